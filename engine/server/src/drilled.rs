//! What steps took in exercises: what the time left is told by where no real run is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use backout_core::event::Event;
use backout_core::evolve;
use backout_core::exercise::is_drill;
use backout_core::id::{RunId, Seq, StepId, Timestamp};
use backout_core::state::{RunState, RunStatus};
use backout_store::Reader;

use crate::view::{EARLIER_RUNS_MAX, EarlierView, add_took, took};

/// Exercises, the newest first, among which those of a runbook are sought: each is a store of its own.
const LOOKED_AT_MAX: usize = 50;
/// The store in an exercise's folder.
pub const STORE: &str = "store";

/// The folder of all exercises: beside the store of the real runs, and never in it.
pub fn exercises_of(store: &Path) -> PathBuf {
    let name = store.file_name().map(|name| name.to_string_lossy().into_owned());
    store.with_file_name(format!("{}-exercises", name.as_deref().unwrap_or("backout")))
}

/// What each step took in one exercise that ended well.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// When its record was last written.
    at: Timestamp,
    /// Milliseconds, by step.
    took: Vec<(StepId, u64)>,
}

/// What was known at a moment from exercises, the newest first.
pub fn known(rehearsals: &[Rehearsal], now: Timestamp) -> EarlierView {
    let mut view = EarlierView::default();
    for rehearsal in rehearsals.iter().filter(|r| r.at <= now).take(EARLIER_RUNS_MAX) {
        add_took(&mut view.took, rehearsal.took.iter().cloned());
        view.drills += 1;
    }
    view
}

/// The last exercises of a runbook that ended well, the newest first. What cannot be read tells
/// nothing. Blocks for the disk.
pub fn rehearsals(exercises: &Path, runbook: &str) -> Vec<Rehearsal> {
    let looked_at = newest_first(exercises).into_iter().take(LOOKED_AT_MAX);
    let rehearsal = |(at, store): (Timestamp, PathBuf)| {
        let took = took(&rehearsed(&store, runbook)?).collect();
        Some(Rehearsal { at, took })
    };
    looked_at.filter_map(rehearsal).collect()
}

/// The stores of all exercises.
fn newest_first(exercises: &Path) -> Vec<(Timestamp, PathBuf)> {
    let Ok(entries) = fs::read_dir(exercises) else { return Vec::new() };
    let written = |store: PathBuf| {
        let at = fs::metadata(&store).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((Timestamp(i64::try_from(at.as_millis()).ok()?), store))
    };
    let mut all: Vec<_> =
        entries.filter_map(|entry| written(entry.ok()?.path().join(STORE))).collect();
    all.sort_by(|one, other| other.cmp(one));
    all
}

/// The run of an exercise, where it is of this runbook and ended well.
fn rehearsed(store: &Path, runbook: &str) -> Option<RunState> {
    let reader = Reader::open(store).ok()?;
    reader.list().ok()?.into_iter().find_map(|run| ended_well(&reader, &run, runbook))
}

fn ended_well(reader: &Reader, run: &RunId, runbook: &str) -> Option<RunState> {
    let first = reader.read(run, Seq(1), 1).ok()?.pop()?;
    let Event::RunCreated { plan, .. } = first.event else { return None };
    if plan.name != runbook || !is_drill(&plan) {
        return None;
    }
    let mut state = None;
    for recorded in &reader.read(run, Seq(1), usize::MAX).ok()? {
        evolve(&mut state, recorded).ok()?;
    }
    state.filter(|state: &RunState| state.status() == RunStatus::Succeeded)
}
