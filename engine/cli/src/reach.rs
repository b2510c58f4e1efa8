//! The engine, wherever it is: in this process, or in the one that owns the store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backout_core::command::Ask;
use backout_core::id::{RunId, Seq};
use backout_runtime::crash::CrashPoint;
use backout_runtime::{Engine, Host, Options, Start, SystemClock};
use backout_server::client::{Client, ClientError};
use backout_server::desk::Desk;
use backout_server::drilled::exercises_of;
use backout_server::socket::{self, Served};
use backout_server::wire::{
    AskReply, AskRequest, By, EVENTS_PAGE_MAX, EventsPage, Owner, ResumeRequest, StartRequest,
};
use backout_server::{Face, Live, Witness};
use backout_store::journal::{JournalStore, StoreError};
use backout_store::{EmbeddedStore, Reader};

use crate::exit::Failure;
use crate::ui::Ui;
use crate::{live, outside, people, reading};

/// How long an owner may take to begin or to be gone.
const MOMENT: Duration = Duration::from_secs(3);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The engine that owns a store.
pub(crate) enum Reach {
    /// It is this process.
    Here(Box<Here>),
    /// It is another one.
    There(Client, Owner),
}

/// The engine of this process, and the socket on which others find it.
pub(crate) struct Here {
    engine: Engine,
    face: Face,
    store: Arc<EmbeddedStore>,
    /// Runs that did not come to rest, as the store found them at its opening.
    unfinished: Vec<RunId>,
    served: Option<Served>,
}

impl Reach {
    /// Finds the engine that owns the store, or becomes it. An owner that just begins has no socket
    /// yet, one that just died still has one: both are given a moment.
    pub(crate) async fn open(ui: &Ui, folder: &Path, host: Arc<Host>) -> Result<Self, Failure> {
        Self::open_as(ui, folder, host, &|face| face).await
    }

    /// The same; where it becomes the owner, its face gets `dress`.
    pub(crate) async fn open_as(
        ui: &Ui,
        folder: &Path,
        host: Arc<Host>,
        dress: &(dyn Fn(Face) -> Face + Sync),
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + MOMENT;
        loop {
            match Self::try_open(ui, folder, host.clone(), dress).await {
                Err(failure) if is_passing(&failure) && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    async fn try_open(
        ui: &Ui,
        folder: &Path,
        host: Arc<Host>,
        dress: &(dyn Fn(Face) -> Face + Sync),
    ) -> Result<Self, Failure> {
        if let Some((client, owner)) = Client::find(folder).await? {
            return Ok(Self::There(client, owner));
        }
        let (store, opened, since) = reading::own(folder)?;
        for line in &opened.lines {
            ui.warn(line);
        }
        let witness = Witness::over(store.clone());
        let printed = Arc::new(Live::default());
        let engine = engine(ui, &store, witness.clone(), host, &printed);
        let face = dress(face(&store, engine.clone(), witness, since).with_live(printed));
        // Without the socket the run goes on; only others cannot help with it.
        let served = socket::serve(folder, face.clone())
            .inspect_err(|error| tracing::warn!(%error, "no control socket"))
            .ok();
        let unfinished = opened.unfinished;
        Ok(Self::Here(Box::new(Here { engine, face, store, unfinished, served })))
    }

    /// Makes a run and drives it.
    pub(crate) async fn start(&self, run: RunId, start: Start, by: By) -> Result<(), Failure> {
        match self {
            Self::Here(here) => Ok(here.engine.begin(run, start, by.cause()).await?),
            Self::There(client, _) => {
                let Start { plan, text, part, continues } = start;
                client.start(&StartRequest { run, plan, text, part, continues, by }).await?;
                Ok(())
            }
        }
    }

    /// Takes a run up.
    pub(crate) async fn resume(&self, run: &RunId, by: By) -> Result<(), Failure> {
        match self {
            Self::Here(here) => Ok(here.engine.resume(run, by.cause()).await?),
            Self::There(client, _) => {
                client.resume(run, &ResumeRequest { by }).await?;
                Ok(())
            }
        }
    }

    /// Gives a person's command.
    pub(crate) async fn ask(&self, run: &RunId, ask: Ask, by: By) -> Result<AskReply, Failure> {
        match self {
            Self::Here(here) => {
                let answer = here.engine.ask(run, ask, by.cause()).await?;
                Ok(AskReply { seq: answer.seq.0, driven: answer.driven })
            }
            Self::There(client, _) => Ok(client.ask(run, &AskRequest { ask, by }).await?),
        }
    }

    /// The events from a position on; waits a while for the first.
    pub(crate) async fn events(
        &self,
        run: &RunId,
        from: Seq,
        wait_ms: u64,
    ) -> Result<EventsPage, ClientError> {
        match self {
            Self::Here(here) => here.events(run, from, wait_ms).await,
            Self::There(client, _) => client.events(run, from.0, wait_ms).await,
        }
    }

    /// Waits until nothing more happens in a run by itself, where the engine is this process; for ever
    /// where it is another.
    pub(crate) async fn over(&self, run: &RunId) {
        match self {
            // Why it ended stands in its events.
            Self::Here(here) => drop(here.engine.wait(run).await),
            Self::There(..) => std::future::pending().await,
        }
    }

    /// Lets go in order and closes the store, where the engine is this process: the next opening
    /// then has nothing to put right.
    pub(crate) async fn close(self, why: &str, grace_ms: u64) {
        let Self::Here(here) = self else { return };
        let Here { engine, face, store, served, .. } = *here;
        engine.stop(why, grace_ms).await;
        face.closing.cancel();
        if let Some(served) = served {
            served.close().await;
        }
        drop((engine, face));
        // Where a request is still being answered it stays open: what is acknowledged is safe.
        match Arc::try_unwrap(store) {
            Ok(store) => store.close(),
            Err(store) => {
                tracing::warn!(holders = Arc::strong_count(&store), "the store is still in use");
            }
        }
    }

    /// Lets go in order, where the engine is this process.
    pub(crate) async fn stop(&self, why: &str, grace_ms: u64) {
        match self {
            Self::Here(here) => here.engine.stop(why, grace_ms).await,
            Self::There(..) => {}
        }
    }

    /// Makes an imported run one of this store; only its owner can.
    pub(crate) fn take_over(&self, run: &RunId) -> Result<(), Failure> {
        match self {
            Self::Here(here) => Ok(here.store.take_over(run)?),
            Self::There(_, owner) => Err(Failure::usage(
                format!("process {} owns the store", owner.pid),
                "take the run over when that process has ended",
            )),
        }
    }

    /// Runs that did not come to rest, where this process opened the store.
    pub(crate) fn unfinished(&self) -> Option<&[RunId]> {
        match self {
            Self::Here(here) => Some(&here.unfinished),
            Self::There(..) => None,
        }
    }

    /// Whether the engine of this process drives any run.
    pub(crate) fn drives(&self) -> bool {
        match self {
            Self::Here(here) => !here.engine.driven().is_empty(),
            Self::There(..) => false,
        }
    }

    /// The process that drives, where it is another one.
    pub(crate) fn other(&self) -> Option<u32> {
        match self {
            Self::Here(_) => None,
            Self::There(_, owner) => Some(owner.pid),
        }
    }
}

/// Whether a failure may be gone in a moment.
fn is_passing(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Client(ClientError::Unreachable { .. } | ClientError::Unreadable { .. })
            | Failure::Store(StoreError::Owned { .. })
    )
}

fn engine(
    ui: &Ui,
    store: &Arc<EmbeddedStore>,
    witness: Arc<Witness>,
    host: Arc<Host>,
    printed: &Arc<Live>,
) -> Engine {
    let (folders, outputs) = (store.clone(), store.clone());
    let options = Options {
        engine: people::here(),
        scratch: Arc::new(move |run| folders.scratch(run)),
        observer: Some(printed.observer(live::observer(ui))),
        captures: Some(Arc::new(move |run, name| {
            outputs.capture(run, name, backout_core::limits::CAPTURE_BYTES_MAX)
        })),
        crash: CrashPoint::from_environment(),
    };
    let engine = Engine::new(witness, host, Arc::new(SystemClock), options);
    outside::told(ui, outside::traced(ui, engine))
}

/// The face of whoever takes the commands of a store.
pub(crate) fn face(
    store: &Arc<EmbeddedStore>,
    engine: impl Desk + 'static,
    witness: Arc<Witness>,
    since: String,
) -> Face {
    let (kept, folder) = (store.clone(), store.dir().to_owned());
    Face::new(engine, witness, since)
        .with_exercises(exercises_of(&folder))
        .with_outputs(Arc::new(move |run, sha256, offset, bytes_max| {
            kept.read_capture(run, sha256, offset, bytes_max)
        }))
        .with_heads(Arc::new(move |run| {
            let reader = Reader::open(&folder).ok()?;
            backout_store::head(&reader, run).ok()
        }))
}

impl Here {
    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the routes act on.
    pub(crate) fn face(&self) -> &Face {
        &self.face
    }

    /// Runs that did not come to rest, as the store found them at its opening.
    pub(crate) fn unfinished(&self) -> &[RunId] {
        &self.unfinished
    }

    async fn events(
        &self,
        run: &RunId,
        from: Seq,
        wait_ms: u64,
    ) -> Result<EventsPage, ClientError> {
        let mut watch = self.store.watch(run);
        let arrived = watch.wait_for(|last| *last >= from);
        // Whether it came or the time passed, what is durable is read.
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), arrived).await.is_ok();
        let events = self
            .store
            .read(run, from, EVENTS_PAGE_MAX)
            .map_err(|error| ClientError::Problem(error.into()))?;
        Ok(EventsPage {
            events,
            driven: self.engine.driven().contains(run),
            now: None,
            earlier: None,
        })
    }
}
