//! The states of runs that were asked for lately, brought up to date when they are asked for again;
//! and one row of every run for lists.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use backout_core::evolve;
use backout_core::id::{RunId, Seq, Timestamp};
use backout_core::snapshot::catch_up;
use backout_core::state::RunState;
use backout_store::journal::{JournalStore, StoreError};

use crate::moments::Moments;
use crate::times::Times;
use crate::view::{EarlierView, Row};
use crate::witness::{Witness, locked};

/// Steps of all states that are kept: some hundred megabytes at the worst.
const STEPS_KEPT_MAX: usize = 100_000;
/// States that are kept, however small.
const STATES_KEPT_MAX: usize = 2_048;

/// States and rows, over the store that they come from.
pub(crate) struct Shelf {
    store: Arc<Witness>,
    slots: Mutex<Slots>,
    rows: Mutex<HashMap<RunId, Arc<Row>>>,
    /// Runs as they were earlier.
    pub(crate) moments: Moments,
    pub(crate) times: Times,
}

#[derive(Default)]
struct Slots {
    by_run: HashMap<RunId, Arc<Slot>>,
    /// When each was asked for last, so that the oldest goes first.
    by_use: BTreeMap<u64, RunId>,
    uses: u64,
    steps: usize,
}

#[derive(Default)]
struct Slot {
    state: Mutex<Option<Arc<RunState>>>,
    kept: Mutex<Kept>,
}

#[derive(Clone, Copy, Default)]
struct Kept {
    used: u64,
    steps: usize,
}

/// A row of every run, in no order, and the runs that cannot be read with the reason.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Arc<Row>>,
    pub(crate) unread: Vec<(RunId, String)>,
}

impl Shelf {
    pub(crate) fn new(store: Arc<Witness>) -> Self {
        let moments = Moments::new(store.clone());
        let (slots, rows, times) = (Mutex::default(), Mutex::default(), Times::default());
        Self { store, slots, rows, moments, times }
    }

    /// The state of a run as it is durable now. Blocks for the disk.
    pub(crate) fn state(&self, run: &RunId) -> Result<Arc<RunState>, StoreError> {
        let last = *self.store.watch(run).borrow();
        if last == Seq(0) {
            return Err(StoreError::NoSuchRun(run.clone()));
        }
        let slot = locked(&self.slots).slot(run);
        let mut kept = locked(&slot.state);
        let state = match kept.take() {
            Some(state) if state.seq >= last => state,
            Some(state) => self.noted(self.go_on(run, state)?),
            None => self.noted(Arc::new(self.load(run)?)),
        };
        *kept = Some(state.clone());
        drop(kept);
        locked(&self.slots).weigh(run, &slot, state.steps.len());
        Ok(state)
    }

    /// A state that was just folded: where the run is over, what it took is kept.
    fn noted(&self, state: Arc<RunState>) -> Arc<RunState> {
        self.times.note(&state);
        state
    }

    /// What was known at a moment of how long the steps of a run's runbook take. Blocks for
    /// the disk.
    pub(crate) fn earlier(&self, state: &RunState, now: Timestamp) -> EarlierView {
        if self.times.is_due(*self.store.changes().borrow())
            && let Err(error) = self.rows()
        {
            tracing::warn!(%error, "what earlier runs took is not known");
        }
        self.times.earlier(state, now)
    }

    fn go_on(&self, run: &RunId, state: Arc<RunState>) -> Result<Arc<RunState>, StoreError> {
        let since = self.store.read(run, state.seq.next(), usize::MAX)?;
        let mut state = Some(Arc::unwrap_or_clone(state));
        for recorded in &since {
            evolve(&mut state, recorded).map_err(|error| damaged(run, &error))?;
        }
        state.map(Arc::new).ok_or_else(|| StoreError::NoSuchRun(run.clone()))
    }

    /// Folds a run from its journal, behind the fold that was kept last.
    fn load(&self, run: &RunId) -> Result<RunState, StoreError> {
        if let Some(kept) = self.store.kept_fold(run) {
            let behind = self.store.read(run, kept.seq, usize::MAX)?;
            if let Some(state) = catch_up(kept, &behind) {
                return Ok(state);
            }
        }
        let mut state = None;
        for recorded in &self.store.read(run, Seq(1), usize::MAX)? {
            evolve(&mut state, recorded).map_err(|error| damaged(run, &error))?;
        }
        state.ok_or_else(|| StoreError::NoSuchRun(run.clone()))
    }

    /// A row of every run. Blocks for the disk.
    pub(crate) fn rows(&self) -> Result<Rows, StoreError> {
        let runs = self.store.list()?;
        let Rows { mut rows, mut unread } = Rows::default();
        for run in &runs {
            match self.row(run) {
                Ok(row) => rows.push(row),
                // Removed meanwhile.
                Err(StoreError::NoSuchRun(_)) => {}
                Err(error) => unread.push((run.clone(), error.to_string())),
            }
        }
        let mut kept = locked(&self.rows);
        if kept.len() > runs.len() {
            kept.clear();
            kept.extend(rows.iter().map(|row| (row.run.clone(), row.clone())));
        }
        Ok(Rows { rows, unread })
    }

    fn row(&self, run: &RunId) -> Result<Arc<Row>, StoreError> {
        let known = locked(&self.rows).get(run).cloned();
        let seen = self.store.last(run);
        if let Some(row) = known.filter(|row| seen.is_none_or(|seen| seen <= row.seq)) {
            return Ok(row);
        }
        // What nothing was appended to lately is at rest as a rule: its state is not kept.
        let row = match seen {
            Some(_) => Row::of(&*self.state(run)?),
            None => Row::of(&self.noted(Arc::new(self.load(run)?))),
        };
        let row = Arc::new(row);
        locked(&self.rows).insert(run.clone(), row.clone());
        Ok(row)
    }
}

impl Slots {
    fn slot(&mut self, run: &RunId) -> Arc<Slot> {
        let slot = self.by_run.entry(run.clone()).or_default().clone();
        self.uses += 1;
        let mut kept = locked(&slot.kept);
        self.by_use.remove(&kept.used);
        kept.used = self.uses;
        self.by_use.insert(self.uses, run.clone());
        drop(kept);
        slot
    }

    /// Counts what a state weighs now, and lets the oldest go where all are too heavy.
    fn weigh(&mut self, run: &RunId, slot: &Arc<Slot>, steps: usize) {
        if !self.by_run.get(run).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            return;
        }
        let before = std::mem::replace(&mut locked(&slot.kept).steps, steps);
        self.steps = self.steps + steps - before;
        while self.by_run.len() > 1
            && (self.steps > STEPS_KEPT_MAX || self.by_run.len() > STATES_KEPT_MAX)
        {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            if let Some(gone) = self.by_run.remove(&oldest) {
                self.steps -= locked(&gone.kept).steps;
            }
        }
    }
}

fn damaged(run: &RunId, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { file: format!("run {run}"), offset: 0, why: error.to_string() }
}
