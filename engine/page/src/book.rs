//! What the page reads, and what it keeps for its list of runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq};
use backout_server::Face;
use backout_server::problem::Problem;
use backout_server::view::{Listed, RunView};

/// Rows kept; each takes less than a kilobyte.
const ROWS_MAX: usize = 20_000;

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
        Self { face, rows: Arc::default() }
    }

    /// The last durable event of a run.
    pub(crate) fn last(&self, run: &RunId) -> Seq {
        *self.face.store.watch(run).borrow()
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

    /// Every run that can be read, the newest first, and what is wrong with the others.
    pub(crate) fn rows(&self) -> Result<(Vec<Row>, Vec<String>), Problem> {
        let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
        for run in self.face.store.list()? {
            match self.row(&run) {
                Ok(row) => rows.push(row),
                Err(problem) => unreadable.push(format!("run {run}: {}", problem.detail)),
            }
        }
        rows.sort_by(|a, b| {
            (&b.listed.created, &b.listed.run).cmp(&(&a.listed.created, &a.listed.run))
        });
        Ok((rows, unreadable))
    }

    fn row(&self, run: &RunId) -> Result<Row, Problem> {
        let (seq, driven) = (self.last(run), self.face.engine.is_driven(run));
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody drives grows stale by time alone.
        let holds = |kept: &&KeptRow| {
            kept.seq == seq && kept.driven == driven && (driven || kept.row.is_at_rest())
        };
        if let Some(kept) = rows.get(run).filter(holds) {
            return Ok(kept.row.clone());
        }
        let state = self.face.state(run)?;
        let row = Row::of(&self.face.view_of(&state));
        if rows.len() < ROWS_MAX {
            rows.insert(run.clone(), KeptRow { seq: state.seq, driven, row: row.clone() });
        }
        Ok(row)
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
