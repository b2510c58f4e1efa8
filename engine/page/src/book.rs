//! The runs as they are now: each is folded once, and then only what happened since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use backout_core::event::Recorded;
use backout_core::evolve;
use backout_core::id::{RunId, Seq, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::state::RunState;
use backout_runtime::survey::best_guarantee;
use backout_server::Face;
use backout_server::problem::Problem;
use backout_server::view::{Listed, RunFacts, RunView, circle, run_view, waits_for};

/// States kept folded; a run of ten thousand steps takes some tens of megabytes.
const STATES_MAX: usize = 16;
/// Rows kept; each takes less than a kilobyte.
const ROWS_MAX: usize = 20_000;
/// Events read at once while a journal is folded.
const EVENTS_AT_ONCE: usize = 2_000;

/// A run in the list.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) listed: Listed,
    pub(crate) title: String,
    pub(crate) environment: Option<String>,
    /// What only a person can move on, as `kind step`.
    pub(crate) wants: Vec<(String, String)>,
    pub(crate) alarms: usize,
}

/// What the page reads, with what it keeps of it.
#[derive(Clone)]
pub(crate) struct Book {
    pub(crate) face: Face,
    states: Arc<Mutex<Vec<Arc<RunState>>>>,
    rows: Arc<Mutex<BTreeMap<RunId, KeptRow>>>,
}

/// A row, and of what it tells.
struct KeptRow {
    seq: Seq,
    driven: bool,
    row: Row,
}

impl Book {
    pub(crate) fn new(face: Face) -> Self {
        Self { face, states: Arc::default(), rows: Arc::default() }
    }

    /// The last durable event of a run.
    pub(crate) fn last(&self, run: &RunId) -> Seq {
        *self.face.store.watch(run).borrow()
    }

    /// The state of a run.
    pub(crate) fn state(&self, run: &RunId) -> Result<Arc<RunState>, Problem> {
        let kept = self.kept(run);
        let state = match kept {
            Some(kept) if kept.seq >= self.last(run) => return Ok(kept),
            Some(kept) => self.fold(run, Some(kept.as_ref().clone()))?,
            None => self.fold(run, self.face.store.kept_fold(run))?,
        };
        let state = Arc::new(state);
        self.keep(state.clone());
        Ok(state)
    }

    fn kept(&self, run: &RunId) -> Option<Arc<RunState>> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().find(|state| state.run == *run).cloned()
    }

    /// The one used last comes last; the first one goes.
    fn keep(&self, state: Arc<RunState>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|kept| kept.run != state.run);
        if states.len() >= STATES_MAX {
            states.remove(0);
        }
        states.push(state);
    }

    fn fold(&self, run: &RunId, from: Option<RunState>) -> Result<RunState, Problem> {
        let mut state = from;
        loop {
            let next = state.as_ref().map_or(Seq(1), |state| state.seq.next());
            let events = self.face.store.read(run, next, EVENTS_AT_ONCE)?;
            for recorded in &events {
                evolve(&mut state, recorded).map_err(|error| unreadable(run, &error))?;
            }
            if events.len() < EVENTS_AT_ONCE {
                return state.ok_or_else(|| no_such_run(run));
            }
        }
    }

    /// Events of a run from a position on.
    pub(crate) fn events(
        &self,
        run: &RunId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Recorded>, Problem> {
        Ok(self.face.store.read(run, from, limit)?)
    }

    /// What every face shows of a run.
    pub(crate) fn view(&self, state: &RunState, now: Timestamp) -> RunView {
        let host = self.face.engine.host();
        let best = |step: &PlanStep| Some(best_guarantee(host, step)?.word().to_owned());
        let driven = self.face.engine.is_driven(&state.run);
        let view = run_view(state, &RunFacts { now, driven, head: None, best_guarantee: &best });
        match self.circle(state) {
            Some(circle) => view.in_circle(&circle),
            None => view,
        }
    }

    fn circle(&self, state: &RunState) -> Option<Vec<RunId>> {
        let own = waits_for(state);
        let waits =
            |run: &RunId| self.state(run).map(|state| waits_for(&state)).unwrap_or_default();
        if own.is_empty() { None } else { circle(&state.run, &own, &waits) }
    }

    /// Every run that can be read, the newest first, and what is wrong with the others.
    pub(crate) fn rows(&self, now: Timestamp) -> Result<(Vec<Row>, Vec<String>), Problem> {
        let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
        for run in self.face.store.list()? {
            match self.row(&run, now) {
                Ok(row) => rows.push(row),
                Err(problem) => unreadable.push(format!("run {run}: {}", problem.detail)),
            }
        }
        rows.sort_by(|a, b| {
            (&b.listed.created, &b.listed.run).cmp(&(&a.listed.created, &a.listed.run))
        });
        Ok((rows, unreadable))
    }

    fn row(&self, run: &RunId, now: Timestamp) -> Result<Row, Problem> {
        let (seq, driven) = (self.last(run), self.face.engine.is_driven(run));
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody drives grows stale by time alone.
        let holds = |kept: &&KeptRow| {
            kept.seq == seq && kept.driven == driven && (driven || kept.row.is_at_rest())
        };
        if let Some(kept) = rows.get(run).filter(holds) {
            return Ok(kept.row.clone());
        }
        let state = self.state(run)?;
        let row = Row::of(&self.view(&state, now));
        if rows.len() < ROWS_MAX {
            rows.insert(run.clone(), KeptRow { seq: state.seq, driven, row: row.clone() });
        }
        Ok(row)
    }

    /// One number that changes when anything in the list does.
    pub(crate) fn pulse(&self) -> Result<u64, Problem> {
        let runs = self.face.store.list()?;
        let of = |run: &RunId| self.last(run).0 + u64::from(self.face.engine.is_driven(run));
        let sum: u64 = runs.iter().map(of).fold(0, u64::wrapping_add);
        Ok(sum.wrapping_mul(31).wrapping_add(u64::try_from(runs.len()).unwrap_or(u64::MAX)))
    }
}

impl Row {
    fn of(view: &RunView) -> Self {
        Self {
            listed: view.listed(),
            title: view.title.clone(),
            environment: view.environment.as_ref().map(|place| place.name.clone()),
            wants: view.wants.iter().map(|w| (w.what.clone(), w.step.clone())).collect(),
            alarms: view.alarms.len(),
        }
    }

    fn is_at_rest(&self) -> bool {
        matches!(
            self.listed.state.as_str(),
            "succeeded" | "failed" | "aborted" | "undone" | "superseded"
        )
    }
}

fn unreadable(run: &RunId, why: &dyn std::fmt::Display) -> Problem {
    let detail = format!("run {run} cannot be folded: {why}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable run", detail)
}

fn no_such_run(run: &RunId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such run", format!("there is no run {run}"))
}
