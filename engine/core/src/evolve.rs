//! The fold.

use crate::event::Recorded;
use crate::id::Seq;
use crate::state::RunState;

/// An event that cannot follow the ones before it: a damaged journal, or a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} cannot follow: {why}")]
pub struct IllegalEvent {
    /// Where.
    pub seq: Seq,
    /// Why.
    pub why: String,
}

/// Folds one event into the state; `None` is before the first.
pub fn evolve(state: &mut Option<RunState>, _recorded: &Recorded) -> Result<(), IllegalEvent> {
    let _ = state;
    Ok(())
}
