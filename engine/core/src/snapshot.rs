//! The fold kept as bytes, so that a long run is taken up again without folding all of its journal.
//! A cache and nothing more: whatever is odd about it, the journal is folded instead.

use serde::{Deserialize, Serialize};

use crate::event::{CORE_VERSION, Recorded};
use crate::evolve::evolve;
use crate::plan::Order;
use crate::state::RunState;

/// The version of the state's shape. It rises with every change of [`RunState`], and a snapshot of
/// another version is not read.
const SNAPSHOT_VERSION: u32 = 3;

#[derive(Serialize)]
struct Kept<'a> {
    snapshot: u32,
    core: u32,
    state: &'a RunState,
}

#[derive(Deserialize)]
struct Head {
    snapshot: u32,
    core: u32,
}

#[derive(Deserialize)]
struct Found {
    state: RunState,
}

/// The state as bytes.
pub fn keep(state: &RunState) -> Vec<u8> {
    let kept = Kept { snapshot: SNAPSHOT_VERSION, core: CORE_VERSION, state };
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// The state of these bytes; nothing where they are of another version, or none.
pub fn find(bytes: &[u8]) -> Option<RunState> {
    let head: Head = serde_json::from_slice(bytes).ok()?;
    if head.snapshot != SNAPSHOT_VERSION || head.core != CORE_VERSION {
        return None;
    }
    let Found { mut state } = serde_json::from_slice(bytes).ok()?;
    state.order = Order::of(&state.plan.steps).ok()?;
    let fits = state.steps.len() == state.plan.steps.len();
    fits.then_some(state)
}

/// The kept state, and what happened since: `recorded` begins with the kept state's last event.
/// Nothing where the journal does not go on from it.
pub fn catch_up(kept: RunState, recorded: &[Recorded]) -> Option<RunState> {
    let (last, since) = recorded.split_first()?;
    let fits = last.seq == kept.seq && last.at == kept.last && last.epoch == kept.epoch;
    let mut state = Some(kept).filter(|_| fits);
    state.as_ref()?;
    since.iter().try_for_each(|recorded| evolve(&mut state, recorded)).ok()?;
    state
}
