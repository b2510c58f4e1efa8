//! Reading a store, which needs no ownership: beside its owner, on a full or damaged disk.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use backout_core::event::{Event, Recorded};
use backout_core::evolve;
use backout_core::exercise::is_drill;
use backout_core::id::{RunId, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::redact::{Rule, Taken};
use backout_core::snapshot::catch_up;
use backout_core::state::{RunState, RunStatus};
use backout_runtime::herald::is_message;
use backout_runtime::survey::best_guarantee;
use backout_runtime::{Clock, Host, SystemClock};
use backout_server::client::Client;
use backout_server::drilled::{exercises_of, known, rehearsals};
use backout_server::view::{
    EARLIER_RUNS_MAX, EarlierView, Leading, RunFacts, RunView, add_earlier, circle, rfc3339,
    run_view, time_view, waits_for,
};
use backout_store::journal::StoreError;
use backout_store::{EmbeddedStore, Exported, Opened, Reader, Snapshot, StoreOptions};
use serde::Serialize;

use crate::app::App;
use crate::exit::Failure;
use crate::{names, people};

/// Runs, the newest first, among which earlier ones of a runbook are sought: a look stays a look in a
/// store of thousands.
const EARLIER_LOOKED_AT_MAX: usize = 200;

/// The process that owns a store.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OwnerSeen {
    /// Its process id.
    pub(crate) pid: u32,
    /// When it opened the store, RFC 3339.
    pub(crate) since: String,
}

/// A store that is only read.
pub(crate) struct Reading {
    folder: PathBuf,
    /// Absent where there is no store in the folder: then there are no runs either.
    reader: Option<(Reader, Snapshot)>,
    runs: Vec<RunId>,
    owner: Option<OwnerSeen>,
    host: Arc<Host>,
    /// The state that was asked for last: one command asks for the same one several times, and what is
    /// read is read at one moment.
    folded: RefCell<Option<RunState>>,
}

impl Reading {
    /// Looks into the store's folder. A folder without a store is a store without runs.
    pub(crate) fn open(app: &App) -> Result<Self, Failure> {
        let folder = app.store()?;
        let reader = match Reader::open(&folder) {
            Ok(reader) => {
                let snapshot = reader.snapshot()?;
                Some((reader, snapshot))
            }
            Err(StoreError::Io { .. }) if !folder.join("format").exists() => None,
            Err(error) => return Err(error.into()),
        };
        let runs = reader.as_ref().map_or(Ok(Vec::new()), |(reader, _)| reader.list())?;
        let owner = reader.as_ref().and_then(|(reader, _)| reader.owner());
        let owner = owner.map(|owner| OwnerSeen { pid: owner.pid, since: owner.since });
        Ok(Self { folder, reader, runs, owner, host: app.host(), folded: RefCell::default() })
    }

    /// The store's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The store's folder, for people.
    pub(crate) fn place(&self) -> String {
        self.folder.display().to_string()
    }

    /// Which store it is, and whose.
    pub(crate) fn whose(&self) -> String {
        let place = self.place();
        match (&self.reader, &self.owner) {
            (None, _) => format!("store {place}: there is none yet"),
            (Some(_), None) => format!("store {place}, no engine runs on it"),
            (Some(_), Some(owner)) => {
                format!("store {place}, owned by process {} since {}", owner.pid, owner.since)
            }
        }
    }

    /// The process that owns it, if one does.
    pub(crate) fn owner(&self) -> Option<&OwnerSeen> {
        self.owner.as_ref()
    }

    /// All runs.
    pub(crate) fn names(&self) -> &[RunId] {
        &self.runs
    }

    /// The run that a text names.
    pub(crate) fn find(&self, text: &str) -> Result<RunId, Failure> {
        names::resolve(text, &self.runs, || self.latest())
            .map_err(|failure| self.with_place(failure))
    }

    fn with_place(&self, failure: Failure) -> Failure {
        match failure {
            Failure::NoSuchRun { message, help } => {
                Failure::NoSuchRun { message: format!("{message} (store {})", self.place()), help }
            }
            other => other,
        }
    }

    /// The run that was created last. No run is created after its journal was last written, so those
    /// written before the best one found so far need no look.
    fn latest(&self) -> Option<RunId> {
        let (reader, snapshot) = self.reader.as_ref()?;
        let created = |run: &RunId| {
            let (first, _) = reader.readable_at(snapshot, run, 1).ok()?;
            let first = first.first()?;
            match &first.event {
                // What is told of a run is not what somebody means by the latest one.
                Event::RunCreated { plan, .. } if is_message(plan) => None,
                _ => Some(first.at),
            }
        };
        let mut newest_first: Vec<(i64, &RunId)> =
            self.runs.iter().map(|run| (self.written_ms(run), run)).collect();
        newest_first.sort_by(|one, other| other.cmp(one));
        let mut best: Option<(Timestamp, &RunId)> = None;
        for (written_ms, run) in newest_first {
            if best.is_some_and(|(at, _)| written_ms < at.0) {
                break;
            }
            best = best.max(created(run).map(|at| (at, run)));
        }
        best.map(|(_, run)| run.clone())
    }

    /// When the journal of a run was last written, milliseconds since 1970; for ever where it is
    /// not at home yet.
    fn written_ms(&self, run: &RunId) -> i64 {
        let journal = self.folder.join("runs").join(run.as_str()).join("journal");
        let modified = std::fs::metadata(journal).and_then(|metadata| metadata.modified());
        let since = modified.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX)
    }

    /// The events of a run that can be read, and what stands in the way of the rest.
    pub(crate) fn readable(
        &self,
        run: &RunId,
    ) -> Result<(Vec<Recorded>, Option<Failure>), Failure> {
        let none = || StoreError::NoSuchRun(run.clone());
        let (reader, snapshot) = self.reader.as_ref().ok_or_else(none)?;
        let (events, damage) = reader.readable_at(snapshot, run, usize::MAX)?;
        Ok((events, damage.map(Failure::from)))
    }

    /// The state of a run; a damaged one is refused.
    pub(crate) fn state(&self, run: &RunId) -> Result<RunState, Failure> {
        if let Some(state) = self.folded.borrow().as_ref().filter(|state| state.run == *run) {
            return Ok(state.clone());
        }
        let state = self.read_state(run)?;
        *self.folded.borrow_mut() = Some(state.clone());
        Ok(state)
    }

    fn read_state(&self, run: &RunId) -> Result<RunState, Failure> {
        if let Some(state) = self.kept(run) {
            return Ok(state);
        }
        let (events, damage) = self.readable(run)?;
        match damage {
            Some(failure) => Err(failure),
            None => fold(run, &events),
        }
    }

    /// The state by the fold that an engine kept; nothing where there is none, or where what
    /// follows does not fit.
    fn kept(&self, run: &RunId) -> Option<RunState> {
        let (reader, snapshot) = self.reader.as_ref()?;
        let kept = reader.kept_fold(run)?;
        let (events, damage) = reader.readable_from(snapshot, run, kept.seq).ok()?;
        catch_up(kept, &events).filter(|_| damage.is_none())
    }

    /// Whether the owner may lead an exercise here.
    pub(crate) fn leading(&self) -> Leading {
        if self.owner.is_some() { Leading::Somebody } else { Leading::Nobody }
    }

    /// What every face shows of a run.
    pub(crate) fn view(&self, run: &RunId, now_ms: i64) -> Result<RunView, Failure> {
        let state = self.state(run)?;
        let best = |step: &PlanStep| Some(best_guarantee(&self.host, step)?.word().to_owned());
        let facts = RunFacts {
            now: Timestamp(now_ms),
            driven: state.attached && self.drives(&state),
            leading: self.leading(),
            head: None,
            best_guarantee: &best,
        };
        let view = run_view(&state, &facts);
        Ok(match self.circle(&state) {
            Some(circle) => view.in_circle(&circle),
            None => view,
        })
    }

    /// The same with what is known from earlier runs of the runbook.
    pub(crate) fn view_with_times(&self, run: &RunId, now_ms: i64) -> Result<RunView, Failure> {
        let mut view = self.view(run, now_ms)?;
        let state = self.state(run)?;
        let earlier = self.earlier_of(&state);
        if !earlier.is_empty() {
            view.time = Some(time_view(&state, Timestamp(now_ms), &earlier));
        }
        Ok(view)
    }

    /// What the steps of a run's runbook took in earlier runs.
    pub(crate) fn earlier_view(&self, run: &RunId) -> Result<EarlierView, Failure> {
        Ok(self.earlier_of(&self.state(run)?))
    }

    fn earlier_of(&self, state: &RunState) -> EarlierView {
        let before = self.earlier(state);
        let mut view = EarlierView { runs: before.len(), ..EarlierView::default() };
        for run in &before {
            add_earlier(&mut view.took, run);
        }
        if before.is_empty() {
            let drills = rehearsals(&exercises_of(&self.folder), &state.plan.name);
            return known(&drills, Timestamp(i64::MAX));
        }
        view
    }

    /// The last runs of the same runbook that came to their end.
    fn earlier(&self, state: &RunState) -> Vec<RunState> {
        let mut newest_first: Vec<(i64, &RunId)> =
            self.runs.iter().map(|run| (self.written_ms(run), run)).collect();
        newest_first.sort_by(|one, other| other.cmp(one));
        let runs = newest_first.into_iter().take(EARLIER_LOOKED_AT_MAX).map(|(_, run)| run);
        let same = runs.filter(|run| **run != state.run).filter_map(|run| {
            let first = self.first(run)?;
            match first.event {
                Event::RunCreated { plan, .. } if plan.name == state.plan.name => {
                    self.state(run).ok().filter(|state| state.status() == RunStatus::Succeeded)
                }
                _ => None,
            }
        });
        same.take(EARLIER_RUNS_MAX).collect()
    }

    fn first(&self, run: &RunId) -> Option<Recorded> {
        let (reader, snapshot) = self.reader.as_ref()?;
        let (mut first, _) = reader.readable_at(snapshot, run, 1).ok()?;
        first.pop()
    }

    /// The runs that wait for each other's locks in a circle with this one.
    pub(crate) fn circle(&self, state: &RunState) -> Option<Vec<RunId>> {
        let own = waits_for(state);
        let waits =
            |run: &RunId| self.state(run).map(|state| waits_for(&state)).unwrap_or_default();
        if own.is_empty() { None } else { circle(&state.run, &own, &waits) }
    }

    /// Whether the owner drives a run. A drill's store has no other owner than the drill.
    fn drives(&self, state: &RunState) -> bool {
        if is_drill(&state.plan) { self.owner.is_some() } else { self.is_owner(&state.engine) }
    }

    /// The time by which a run's ages are told. An exercise has a clock of its own: that of the drill
    /// that goes on, else its last moment.
    pub(crate) fn now_ms(&self, app: &App, run: &RunId) -> i64 {
        let drilled = self.state(run).ok().filter(|state| is_drill(&state.plan));
        let Some(state) = drilled else { return app.now_ms() };
        let asked = async {
            let found = Client::find(&self.folder).await?;
            Ok(match found {
                Some((client, _)) => Some(client.exercise().await?.now),
                None => None,
            })
        };
        let now = self.owner.as_ref().and_then(|_| app.block_on(asked).ok().flatten());
        let now = now.and_then(|now| chrono::DateTime::parse_from_rfc3339(&now).ok());
        now.map_or(state.last.0, |now| now.timestamp_millis())
    }

    /// Whether the engine that took a run up is the process that owns the store: one that died may
    /// have left the run attached.
    fn is_owner(&self, engine: &str) -> bool {
        let begins = |owner: &OwnerSeen| engine.starts_with(&people::process(owner.pid));
        self.owner.as_ref().is_some_and(begins)
    }

    /// The head of a run's chain; absent where the chain is broken.
    pub(crate) fn head(&self, run: &RunId) -> Option<String> {
        backout_store::head(self.reader()?, run).ok()
    }

    /// Writes a run as one portable file, redacted by these rules where there are any, and gives what
    /// was taken out.
    pub(crate) fn export(
        &self,
        run: &RunId,
        redact: Option<&[Rule]>,
        out: &mut dyn std::io::Write,
    ) -> Result<Taken, Failure> {
        let reader = self.reader().ok_or_else(|| StoreError::NoSuchRun(run.clone()))?;
        Ok(match redact {
            Some(rules) => backout_store::export_redacted(reader, run, rules, out)?,
            None => backout_store::export(reader, run, out).map(|()| Taken::new())?,
        })
    }

    /// The reader, where there is a store.
    pub(crate) fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref().map(|(reader, _)| reader)
    }
}

/// A run as an exported file holds it, redacted or not.
pub(crate) fn exported(path: &Path) -> Result<Exported, Failure> {
    exported_with_head(path, None)
}

/// The same, and which of its events has this head.
pub(crate) fn exported_with_head(path: &Path, head: Option<&str>) -> Result<Exported, Failure> {
    let failed = |error| Failure::file(format!("reading {}", path.display()), error);
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    Ok(backout_store::read_exported_with_head(&mut input, head)?)
}

/// The state that events lead to.
pub(crate) fn fold(run: &RunId, events: &[Recorded]) -> Result<RunState, Failure> {
    let mut state = None;
    for recorded in events {
        evolve(&mut state, recorded).map_err(|error| unreadable(run, &error.to_string()))?;
    }
    state.ok_or_else(|| unreadable(run, "not even its first event can be read"))
}

fn unreadable(run: &RunId, why: &str) -> Failure {
    let damaged =
        StoreError::Damaged { file: format!("run {run}"), offset: 0, why: why.to_owned() };
    damaged.into()
}

/// Opens the store as its owner; says what was put right.
pub(crate) fn own(folder: &Path) -> Result<(Arc<EmbeddedStore>, Opened, String), Failure> {
    let now = SystemClock.now();
    let options = StoreOptions::new(Arc::new(|| SystemClock.now()), people::random::<32>()?);
    let (store, opened) = EmbeddedStore::open(folder, options)?;
    Ok((Arc::new(store), opened, rfc3339(now)))
}
