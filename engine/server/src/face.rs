//! What every face acts on: the engine, its store, and what is kept of it for answering.

use std::path::PathBuf;
use std::sync::Arc;

use backout_core::exercise::is_drill;
use backout_core::id::{RunId, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::state::RunState;
use backout_runtime::Clock;
use backout_store::journal::{JournalStore, StoreError};
use tokio_util::sync::CancellationToken;

use crate::books::Books;
use crate::desk::{Desk, Exercise};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::once::Once;
use crate::problem::Problem;
use crate::shelf::{Rows, Shelf};
use crate::stream::Tails;
use crate::view::{ByHandView, Leading, RunFacts, RunView, circle, run_view, waits_for};
use crate::witness::Witness;

/// Reads captured output of a run: its digest, an offset, and how many bytes at the most.
pub type Outputs = dyn Fn(&RunId, &str, u64, usize) -> Result<Vec<u8>, StoreError> + Send + Sync;
/// The head of a run's hash chain.
pub type Heads = dyn Fn(&RunId) -> Option<String> + Send + Sync;

/// What the routes and the page act on. Clones are the same.
#[derive(Clone)]
pub struct Face {
    /// Who takes commands: the engine, or an exercise in its place.
    pub engine: Arc<dyn Desk>,
    /// The store that it owns.
    pub store: Arc<dyn JournalStore>,
    /// Since when this process owns the store, RFC 3339.
    pub since: String,
    /// Ended where streams of events should end, since the process does.
    pub closing: CancellationToken,
    pub(crate) witness: Arc<Witness>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) once: Arc<Once>,
    pub(crate) metrics: Arc<Metrics>,
    books: Arc<Books>,
    outputs: Option<Arc<Outputs>>,
    live: Arc<Live>,
    heads: Option<Arc<Heads>>,
    /// The folder of exercises that tell how long steps take.
    pub(crate) exercises: Option<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Face {
    /// A face of an engine that appends through this witness.
    pub fn new(engine: impl Desk + 'static, witness: Arc<Witness>, since: String) -> Self {
        Self::of(Arc::new(engine), witness, since)
    }

    fn of(engine: Arc<dyn Desk>, witness: Arc<Witness>, since: String) -> Self {
        let clock = engine.clock();
        let metrics = Arc::new(Metrics::over(engine.host().clone(), witness.clone()));
        Self {
            engine,
            metrics,
            store: witness.clone(),
            since,
            closing: CancellationToken::new(),
            shelf: Arc::new(Shelf::new(witness.clone())),
            tails: Arc::new(Tails::new(witness.clone())),
            witness,
            once: Arc::default(),
            books: Arc::default(),
            outputs: None,
            live: Arc::default(),
            heads: None,
            exercises: None,
            clock,
        }
    }

    /// Lets runbooks be started by name.
    #[must_use]
    pub fn with_books(mut self, books: Books) -> Self {
        self.books = Arc::new(books);
        self
    }

    /// Counts from now on what `/metrics` shows: for a process that lives long.
    #[must_use]
    pub fn counting(self) -> Self {
        self.metrics.count();
        self
    }

    /// Lets captured output be read.
    #[must_use]
    pub fn with_outputs(mut self, outputs: Arc<Outputs>) -> Self {
        self.outputs = Some(outputs);
        self
    }

    /// Lets what steps print be followed while they work.
    #[must_use]
    pub fn with_live(mut self, live: Arc<Live>) -> Self {
        self.live = live;
        self
    }

    /// What steps print while they work.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Lets the heads of runs' chains be shown.
    #[must_use]
    pub fn with_heads(mut self, heads: Arc<Heads>) -> Self {
        self.heads = Some(heads);
        self
    }

    /// Lets exercises tell how long steps take, where no earlier run does.
    #[must_use]
    pub fn with_exercises(mut self, folder: PathBuf) -> Self {
        self.exercises = Some(folder);
        self
    }

    /// The runbooks that can be started by name.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The exercise that is led here, where it is no engine.
    pub fn exercise(&self) -> Option<&dyn Exercise> {
        self.engine.exercise()
    }

    /// Whether an exercise is led here. Beside a real engine its record is a mere record.
    pub fn leading(&self) -> Leading {
        if self.exercise().is_some() { Leading::Somebody } else { Leading::Nobody }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time at which a run is looked at: of an exercise that nobody leads here the last moment of
    /// its own clock, which nobody turns any more.
    pub fn moment(&self, state: &RunState) -> Timestamp {
        let record = is_drill(&state.plan) && self.leading() == Leading::Nobody;
        if record { state.last } else { self.now() }
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The state of a run as it is durable now. Blocks for the disk.
    pub fn state(&self, run: &RunId) -> Result<Arc<RunState>, Problem> {
        Ok(self.shelf.state(run)?)
    }

    /// What every face shows of a run. Blocks for the disk.
    pub fn view(&self, run: &RunId) -> Result<RunView, Problem> {
        let state = self.state(run)?;
        Ok(self.view_of(&state))
    }

    /// What every face shows of a run in this state. Blocks for the disk where it waits for a lock.
    pub fn view_of(&self, state: &RunState) -> RunView {
        let best = |step: &PlanStep| Some(self.engine.best_guarantee(step)?.word().to_owned());
        let facts = RunFacts {
            now: self.moment(state),
            driven: self.engine.is_driven(&state.run),
            leading: self.leading(),
            head: None,
            best_guarantee: &best,
        };
        let view = self.timed(state, run_view(state, &facts), facts.now);
        match self.circle(state) {
            Some(circle) => view.in_circle(&circle),
            None => view,
        }
    }

    fn circle(&self, state: &RunState) -> Option<Vec<RunId>> {
        let own = waits_for(state);
        let waits =
            |run: &RunId| self.shelf.state(run).map(|state| waits_for(&state)).unwrap_or_default();
        if own.is_empty() { None } else { circle(&state.run, &own, &waits) }
    }

    /// A run as commands a person can type. Blocks for the disk.
    pub fn by_hand(&self, run: &RunId) -> Result<ByHandView, Problem> {
        Ok(ByHandView::of(&*self.state(run)?, self.engine.host(), None))
    }

    /// The head of a run's chain; nothing where it is not known here. Reads the whole journal.
    pub fn head(&self, run: &RunId) -> Option<String> {
        self.heads.as_ref().and_then(|heads| heads(run))
    }

    /// Captured output of a run, from an offset on. Blocks for the disk.
    pub fn output(
        &self,
        run: &RunId,
        sha256: &str,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Problem> {
        let none =
            || Problem::not_found("no such output", "this engine keeps no output of that name");
        let outputs = self.outputs.as_ref().ok_or_else(none)?;
        outputs(run, sha256, offset, bytes_max).map_err(|_| none())
    }

    /// A row of every run. Blocks for the disk.
    pub(crate) fn rows(&self) -> Result<Rows, Problem> {
        Ok(self.shelf.rows()?)
    }
}

/// Does what blocks for the disk where it stands in nobody's way.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::internal(error.to_string())),
    }
}
