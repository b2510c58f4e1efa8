//! What steps took in runs that succeeded, by runbook: what a later run's time left is told by.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backout_core::id::{RunId, StepId, Timestamp};
use backout_core::state::{RunState, RunStatus};

use crate::drilled::{self, Rehearsal};
use crate::face::Face;
use crate::problem::Problem;
use crate::view::{EARLIER_RUNS_MAX, EarlierView, RunView, add_took, time_view, took};
use crate::witness::locked;

/// Runs kept of one runbook: some more than are looked at, for replays of the last ones.
const KEPT_MAX: usize = 50;
/// Between two looks at all runs: one that ended unseen meanwhile is missed for so long.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What each step of a run took, milliseconds.
type Took = Arc<[(StepId, u64)]>;

/// The runs of one runbook that succeeded, by when they ended.
type Book = BTreeMap<(Timestamp, RunId), Took>;

/// The runs that succeeded.
#[derive(Default)]
pub(crate) struct Times {
    books: Mutex<HashMap<String, Book>>,
    looked: Mutex<Option<(Instant, u64)>>,
    drills: Mutex<HashMap<String, (Instant, Vec<Rehearsal>)>>,
}

impl Times {
    /// Keeps what the steps of a run took, where it is over and well.
    pub(crate) fn note(&self, state: &RunState) {
        let Some(ended) = state.ended.filter(|_| state.status() == RunStatus::Succeeded) else {
            return;
        };
        let mut books = locked(&self.books);
        let book = books.entry(state.plan.name.clone()).or_default();
        book.insert((ended, state.run.clone()), took(state).collect());
        while book.len() > KEPT_MAX {
            book.pop_first();
        }
    }

    /// Whether all runs should be looked at again: at first, and then now and then where any changed.
    pub(crate) fn is_due(&self, changes: u64) -> bool {
        let mut looked = locked(&self.looked);
        let fresh = looked.is_some_and(|(at, seen)| seen == changes || at.elapsed() < LOOK_EVERY);
        if !fresh {
            *looked = Some((Instant::now(), changes));
        }
        !fresh
    }

    /// What was known at a moment from the last runs of the same runbook.
    pub(crate) fn earlier(&self, state: &RunState, now: Timestamp) -> EarlierView {
        let mut earlier = EarlierView::default();
        let books = locked(&self.books);
        let Some(book) = books.get(&state.plan.name) else { return earlier };
        let before =
            book.iter().rev().filter(|((ended, run), _)| *ended <= now && *run != state.run);
        for (_, took) in before.take(EARLIER_RUNS_MAX) {
            add_took(&mut earlier.took, took.iter().cloned());
            earlier.runs += 1;
        }
        earlier
    }

    /// What exercises of a runbook took, looked at now and then.
    fn drilled(&self, exercises: &Path, runbook: &str, now: Timestamp) -> EarlierView {
        let mut drills = locked(&self.drills);
        let fresh = drills.get(runbook).filter(|(looked, _)| looked.elapsed() < LOOK_EVERY);
        if let Some((_, found)) = fresh {
            return drilled::known(found, now);
        }
        let found = drilled::rehearsals(exercises, runbook);
        let known = drilled::known(&found, now);
        drills.insert(runbook.to_owned(), (Instant::now(), found));
        known
    }
}

impl Face {
    /// What the steps of a run's runbook took in earlier runs. Blocks for the disk.
    pub(crate) fn earlier(&self, run: &RunId) -> Result<EarlierView, Problem> {
        Ok(self.earlier_of(&*self.state(run)?, self.now()))
    }

    /// The view with the time left by what earlier runs took, where there are any. Blocks for the disk.
    pub(crate) fn timed(&self, state: &RunState, view: RunView, now: Timestamp) -> RunView {
        if state.status().is_end() {
            return view;
        }
        let earlier = self.earlier_of(state, now);
        if earlier.is_empty() {
            return view;
        }
        RunView { time: Some(time_view(state, now, &earlier)), ..view }
    }

    /// By earlier runs; where there are none, by exercises.
    fn earlier_of(&self, state: &RunState, now: Timestamp) -> EarlierView {
        let earlier = self.shelf.earlier(state, now);
        match &self.exercises {
            Some(exercises) if earlier.runs == 0 => {
                self.shelf.times.drilled(exercises, &state.plan.name, now)
            }
            _ => earlier,
        }
    }
}
