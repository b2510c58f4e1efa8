//! Runs as they were known after an earlier event: the same fold, ended there. Nothing but the journal
//! is read, and nothing is done.
//!
//! A journal is read through once. Folds are kept at even distances, so that any move after that folds
//! a bounded piece: where a run grows, the distance doubles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use backout_core::event::{Cause, Recorded};
use backout_core::evolve;
use backout_core::id::{RunId, Seq, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::state::RunState;
use backout_store::journal::{JournalStore, StoreError};

use crate::face::Face;
use crate::problem::Problem;
use crate::view::{Leading, ReplayView, RunFacts, RunView, rfc3339, run_view, sentence};
use crate::witness::{Witness, locked};

/// Runs whose moments are kept: a replay is watched by few people at once.
const TRACKS_MAX: usize = 4;
/// Steps of the folds kept of one run: some ten megabytes at the worst.
const STEPS_KEPT_MAX: usize = 20_000;
/// Folds kept of one run, however small.
const FOLDS_MAX: usize = 32;
/// Events between two folds at first: folding them takes some milliseconds.
const EVERY_FIRST: u64 = 256;
/// Events read at a time.
const PAGE: usize = 256;
/// Moments of following events that are told, so that a player need not ask for each.
const AHEAD_MAX: usize = 64;
/// Decisions that are marked on a scrubber; more than that is a bar.
const MARKS_MAX: usize = 200;

/// The moments of the runs that were replayed lately.
pub(crate) struct Moments {
    store: Arc<Witness>,
    tracks: Mutex<VecDeque<(RunId, Arc<Mutex<Track>>)>>,
}

/// What is kept of one run.
#[derive(Default)]
struct Track {
    /// When each event happened, the first one first.
    times: Vec<Timestamp>,
    /// Where people decided.
    decisions: Vec<u64>,
    /// The cause of the last event: one command may become several.
    cause: Option<Cause>,
    /// The fold of all that was read.
    end: Option<RunState>,
    folds: Folds,
}

/// Folds at even distances, and the one that was asked for last.
struct Folds {
    every: u64,
    kept: Vec<Arc<RunState>>,
    last: Option<Arc<RunState>>,
}

impl Default for Folds {
    fn default() -> Self {
        Self { every: EVERY_FIRST, kept: Vec::new(), last: None }
    }
}

/// A run after one of its events, and where that is in the record.
struct Moment {
    state: Arc<RunState>,
    place: ReplayView,
}

impl Moments {
    pub(crate) fn new(store: Arc<Witness>) -> Self {
        Self { store, tracks: Mutex::default() }
    }

    /// What was known after an event; nothing where there is none of this number. Blocks for the disk.
    fn at(&self, run: &RunId, at: u64) -> Result<Option<Moment>, StoreError> {
        if *self.store.watch(run).borrow() == Seq(0) {
            return Err(StoreError::NoSuchRun(run.clone()));
        }
        let track = self.track(run);
        let mut track = locked(&track);
        track.read_on(&self.store, run)?;
        if at == 0 || at > track.last() {
            return Ok(None);
        }
        let state = track.state(&self.store, run, at)?;
        let event = self.store.read(run, Seq(at), 1)?;
        Ok(event.first().map(|event| Moment { state, place: track.place(event) }))
    }

    /// The moments of a run; those that nobody asked for for longest are forgotten.
    fn track(&self, run: &RunId) -> Arc<Mutex<Track>> {
        let mut tracks = locked(&self.tracks);
        let known = tracks.iter().position(|(known, _)| known == run);
        let found = known.and_then(|at| tracks.remove(at));
        let (run, track) = found.unwrap_or_else(|| (run.clone(), Arc::default()));
        tracks.truncate(TRACKS_MAX - 1);
        tracks.push_front((run, track.clone()));
        track
    }
}

impl Track {
    fn last(&self) -> u64 {
        u64::try_from(self.times.len()).unwrap_or(u64::MAX)
    }

    /// Reads what became durable since.
    fn read_on(&mut self, store: &Witness, run: &RunId) -> Result<(), StoreError> {
        loop {
            let page = store.read(run, Seq(self.last() + 1), PAGE)?;
            for recorded in &page {
                self.push(recorded).map_err(|why| damaged(run, why))?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn push(&mut self, recorded: &Recorded) -> Result<(), String> {
        if recorded.seq.0 != self.last() + 1 {
            return Err(format!("event {} follows event {}", recorded.seq, self.last()));
        }
        evolve(&mut self.end, recorded).map_err(|error| error.to_string())?;
        self.times.push(recorded.at);
        if recorded.is_decision() && self.cause.as_ref() != Some(&recorded.cause) {
            self.decisions.push(recorded.seq.0);
        }
        self.cause = Some(recorded.cause.clone());
        if let Some(end) = &self.end {
            self.folds.pass(end);
        }
        Ok(())
    }

    /// The state after an event that was read.
    fn state(
        &mut self,
        store: &Witness,
        run: &RunId,
        at: u64,
    ) -> Result<Arc<RunState>, StoreError> {
        let begin = self.folds.before(at);
        let mut state = begin.map(Arc::unwrap_or_clone);
        loop {
            let done = state.as_ref().map_or(0, |state| state.seq.0);
            let left = usize::try_from(at - done).unwrap_or(usize::MAX);
            if left == 0 {
                break;
            }
            let page = store.read(run, Seq(done + 1), left.min(PAGE))?;
            if page.is_empty() {
                return Err(damaged(run, format!("event {} is gone", done + 1)));
            }
            for recorded in &page {
                evolve(&mut state, recorded).map_err(|error| damaged(run, error.to_string()))?;
            }
        }
        let state = state.ok_or_else(|| StoreError::NoSuchRun(run.clone()))?;
        let state = Arc::new(state);
        self.folds.last = Some(state.clone());
        Ok(state)
    }

    fn place(&self, event: &Recorded) -> ReplayView {
        let at = event.seq.0;
        let (on, says) = sentence(&event.event);
        let behind = self.decisions.partition_point(|seq| *seq < at);
        let beyond = self.decisions.partition_point(|seq| *seq <= at);
        let ahead = usize::try_from(at).ok().and_then(|at| self.times.get(at..));
        let ahead = ahead.unwrap_or_default().iter().take(AHEAD_MAX);
        let apart = self.decisions.len().div_ceil(MARKS_MAX).max(1);
        ReplayView {
            at,
            last: self.last(),
            moment: rfc3339(event.at),
            on,
            says,
            by: event.cause.actor.name.clone(),
            reason: event.cause.reason.clone(),
            ahead_ms: ahead.map(|next| next.since_ms(event.at)).collect(),
            decision_before: behind.checked_sub(1).and_then(|at| self.decisions.get(at)).copied(),
            decision_next: self.decisions.get(beyond).copied(),
            decisions: self.decisions.iter().step_by(apart).copied().collect(),
        }
    }
}

impl Folds {
    /// Keeps a state that is passed, where it is one of those to keep.
    fn pass(&mut self, state: &RunState) {
        if !state.seq.0.is_multiple_of(self.every) {
            return;
        }
        let room = (STEPS_KEPT_MAX / state.steps.len().max(1)).clamp(2, FOLDS_MAX);
        while self.kept.len() >= room {
            self.every *= 2;
            self.kept.retain(|kept| kept.seq.0.is_multiple_of(self.every));
        }
        if state.seq.0.is_multiple_of(self.every) {
            self.kept.push(Arc::new(state.clone()));
        }
    }

    /// The nearest one that is not behind an event.
    fn before(&mut self, at: u64) -> Option<Arc<RunState>> {
        let count = self.kept.partition_point(|kept| kept.seq.0 <= at);
        let kept = count.checked_sub(1).and_then(|place| self.kept.get(place)).cloned();
        let last = self.last.take().filter(|last| last.seq.0 <= at);
        kept.into_iter().chain(last).max_by_key(|state| state.seq)
    }
}

fn damaged(run: &RunId, why: String) -> StoreError {
    StoreError::Damaged { file: format!("run {run}"), offset: 0, why }
}

impl Face {
    /// What every face showed of a run just after one of its events, and the state that it is of.
    /// Blocks for the disk.
    pub fn view_at(&self, run: &RunId, at: u64) -> Result<(Arc<RunState>, RunView), Problem> {
        let Some(Moment { state, place }) = self.shelf.moments.at(run, at)? else {
            let detail = format!("run {run} has no event {at}");
            return Err(Problem::not_found("no such event", detail));
        };
        let best = |step: &PlanStep| Some(self.engine.best_guarantee(step)?.word().to_owned());
        let facts = RunFacts {
            now: state.last,
            driven: state.attached,
            leading: Leading::Unknown,
            head: None,
            best_guarantee: &best,
        };
        let view = self.timed(&state, run_view(&state, &facts), facts.now);
        Ok((state, RunView { replay: Some(place), ..view.as_record() }))
    }
}

#[cfg(test)]
mod tests {
    use backout_core::event::Event;
    use backout_core::id::Epoch;
    use serde_json::json;

    use super::*;

    fn note(seq: u64, by: &str) -> Recorded {
        let cause = match by {
            "engine" => Cause::engine(),
            name => {
                Cause { actor: backout_core::event::Actor::unverified(name), ..Cause::engine() }
            }
        };
        let event = Event::NoteTaken { step: None, text: format!("note {seq}") };
        let at = Timestamp(i64::try_from(seq).unwrap() * 1_000);
        Recorded { seq: Seq(seq), epoch: Epoch(1), at, cause, grants: Vec::new(), event }
    }

    fn created() -> Recorded {
        let plan = json!({ "format": 1, "name": "t", "max_parallel": 1, "stale_after_ms": 1,
            "steps": [{ "id": "a", "action": "noop.run", "timeout_ms": 1 }] });
        let plan = serde_json::from_value(plan).unwrap();
        let run = RunId::from("r000000000");
        let event = Event::RunCreated { run, plan: Box::new(plan), text: String::new(), core: 1 };
        Recorded { event, ..note(1, "ann") }
    }

    fn track(events: impl IntoIterator<Item = Recorded>) -> Track {
        let mut track = Track::default();
        for recorded in [created()].into_iter().chain(events) {
            track.push(&recorded).unwrap();
        }
        track
    }

    #[test]
    fn folds_are_bounded_and_evenly_apart_however_long_the_run() {
        let track = track((2..=50_000).map(|seq| note(seq, "engine")));
        let folds = &track.folds;
        assert!(folds.kept.len() <= FOLDS_MAX, "{}", folds.kept.len());
        let places: Vec<u64> = folds.kept.iter().map(|kept| kept.seq.0).collect();
        let even: Vec<u64> = (1..=50_000 / folds.every).map(|at| at * folds.every).collect();
        assert_eq!(places, even);
    }

    #[test]
    fn a_decision_is_the_first_event_of_a_persons_command() {
        let by = ["engine", "ann", "ann", "engine", "bea", "ann"];
        let track = track((2..).zip(by).map(|(seq, by)| note(seq, by)));
        assert_eq!(track.decisions, [3, 6, 7]);
        let place = track.place(&note(4, "ann"));
        assert_eq!((place.decision_before, place.decision_next), (Some(3), Some(6)));
        assert_eq!((place.last, place.ahead_ms), (7, vec![1_000, 2_000, 3_000]));
        let place = track.place(&note(7, "ann"));
        assert_eq!((place.decision_before, place.decision_next), (Some(6), None));
    }

    #[test]
    fn an_event_out_of_place_is_damage() {
        let mut track = track([]);
        assert!(track.push(&note(3, "engine")).unwrap_err().contains("event 3 follows event 1"));
    }
}
