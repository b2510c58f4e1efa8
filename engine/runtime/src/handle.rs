//! The engine's handle: cloneable; channels never leave this crate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use backout_core::adopt::{Adoption, compare};
use backout_core::command::Ask;
use backout_core::drive::{Run, TurnError};
use backout_core::event::Cause;
use backout_core::exercise::{DRILL_LABEL, is_drill};
use backout_core::id::{ActionName, CommandId, RunId, Seq, StepId, Timestamp};
use backout_core::plan::Plan;
use backout_core::state::RunState;
use backout_core::{Command, releases};
use backout_store::journal::{Append, AppendResult, JournalStore, NewEvent, StoreError};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::call::{Calls, Observer};
use crate::capture::Captures;
use crate::crash::CrashPoint;
use crate::driver::{Driver, INBOX_MAX, Message, Progress, load};
use crate::follow::{Follow, Followed};
use crate::herald::{self, Herald};
use crate::{Clock, Host};

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The core said no.
    #[error("{message}")]
    Rejected {
        /// What stands in the way.
        message: String,
        /// What to type instead.
        help: Option<String>,
    },
    /// The run is not where it was when the person looked, and nothing was done.
    #[error("run {run} changed since you saw it; nothing was done")]
    Changed {
        /// The run.
        run: RunId,
        /// Where it is now.
        last: Seq,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's journal cannot be folded.
    #[error("run {run}: {why}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// What is wrong.
        why: String,
    },
    /// Nothing more can be written; what was acknowledged is safe.
    #[error("the engine stopped: {why}")]
    Stopped {
        /// What happened.
        why: String,
    },
}

/// Milliseconds between two looks at whether all is told, when the engine stops.
const TELL_LOOK_MS: u64 = 20;

/// The positions at which a person may have seen a run; nothing where they do not say.
pub type Seen = Option<Vec<Seq>>;

/// The answer to a person's command: it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The run's last position after it.
    pub seq: Seq,
    /// Whether an engine that drives the run took it; else it is only recorded.
    pub driven: bool,
}

/// A run to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// What it will do.
    pub plan: Plan,
    /// The file it was made from, for people.
    pub text: String,
    /// What only is to be done for now: these steps and what they need; empty is all.
    pub part: Vec<StepId>,
    /// The earlier run that this one goes on for: what it did and this plan leaves as it was is
    /// adopted.
    pub continues: Option<RunId>,
}

impl Start {
    /// All of a plan, from its beginning.
    pub fn all(plan: Plan, text: String) -> Self {
        Self { plan, text, part: Vec::new(), continues: None }
    }
}

/// What an engine is given besides its store, plugins and clock.
#[derive(Clone)]
pub struct Options {
    /// Where it runs, for people: host and process.
    pub engine: String,
    /// The folder of a run's own records; see [`backout_plugin_api::Context::scratch`].
    pub scratch: Arc<dyn Fn(&RunId) -> PathBuf + Send + Sync>,
    /// Told of progress and output as they come.
    pub observer: Option<Observer>,
    /// Where output is kept; absent is nowhere.
    pub captures: Option<Captures>,
    /// Where a debug build dies.
    pub crash: Option<CrashPoint>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("engine", &self.engine).finish_non_exhaustive()
    }
}

pub(crate) type Ended = watch::Receiver<Option<Result<(), EngineError>>>;

#[derive(Clone)]
struct Driven {
    inbox: mpsc::Sender<Message>,
    ended: Ended,
    is_message: bool,
}

/// The engine. Runs are driven by tasks of its own.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn JournalStore>,
    host: Arc<Host>,
    clock: Arc<dyn Clock>,
    options: Arc<Options>,
    runs: Arc<Mutex<BTreeMap<RunId, Driven>>>,
    /// Those who follow each run that is no message.
    followers: Vec<Follow>,
    /// Those at work; each ends soon after the engine lets go of its run.
    following: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over a store, with these plugins and this clock.
    pub fn new(
        store: Arc<dyn JournalStore>,
        host: Arc<Host>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        let runs = Arc::new(Mutex::new(BTreeMap::new()));
        let (followers, following) = (Vec::new(), Arc::default());
        Self { store, host, clock, options: Arc::new(options), runs, followers, following }
    }

    /// The same, whose runs are followed from now on.
    #[must_use]
    pub fn followed_by(mut self, follow: Follow) -> Self {
        self.followers.push(follow);
        self
    }

    /// The same, which also tells people outside of its runs, as their runbooks say.
    #[must_use]
    pub fn telling(self) -> Self {
        if self.host.find(&herald::SEND_ACTION.into()).is_none() {
            return self;
        }
        self.followed_by(Arc::new(|followed| Box::pin(Herald::new(followed).tell())))
    }

    /// Makes a run and drives it. It is durable when this returns.
    pub async fn start(
        &self,
        run: RunId,
        plan: Plan,
        text: String,
        cause: Cause,
    ) -> Result<(), EngineError> {
        self.begin(run, Start::all(plan, text), cause).await
    }

    /// Makes a run of which a part is to be done for now, or which goes on for an earlier one, and
    /// drives it. It is durable when this returns.
    ///
    /// # Errors
    /// The earlier run cannot be superseded, or what [`Engine::start`] says.
    pub async fn begin(&self, run: RunId, start: Start, cause: Cause) -> Result<(), EngineError> {
        let Start { plan, text, part, continues } = start;
        is_real(&plan)?;
        let adopt = match continues {
            Some(old) => Some(Box::new(self.adopt(&old, &run, &plan, &cause).await?)),
            None => None,
        };
        let epoch = self.store.next_epoch(&run)?;
        let plan = Box::new(plan);
        let create = Command::Create { run: run.clone(), plan, text, part, adopt };
        self.drive(run, Run::new(epoch), Some((cause, create))).await
    }

    /// Ends an earlier run in favour of a new one, and only then says what of it is adopted: what it
    /// did up to its last moment counts as done.
    async fn adopt(
        &self,
        old: &RunId,
        new: &RunId,
        plan: &Plan,
        cause: &Cause,
    ) -> Result<Adoption, EngineError> {
        let supersede = Ask::Supersede { by: new.clone() };
        if let Err(error) = self.ask(old, supersede, cause.clone()).await
            && !self.is_orphaned(old)?
        {
            return Err(error);
        }
        Ok(compare(&self.state(old)?, plan).adoption)
    }

    /// Whether a run was superseded by one that never came to be: the engine died in between.
    fn is_orphaned(&self, old: &RunId) -> Result<bool, EngineError> {
        let heir = self.state(old)?.superseded_by;
        let read = heir.map(|heir| self.store.read(&heir, Seq(1), 1));
        Ok(matches!(read, Some(Err(StoreError::NoSuchRun(_)))))
    }

    fn state(&self, run: &RunId) -> Result<RunState, EngineError> {
        let read = load(self.store.as_ref(), run, backout_core::id::Epoch::default())?;
        read.state.ok_or_else(|| StoreError::NoSuchRun(run.clone()).into())
    }

    /// Takes a run up as it is: a paused one stays paused. Nothing happens where this engine drives
    /// it already.
    pub async fn take_up(&self, run: &RunId) -> Result<(), EngineError> {
        self.take_up_with(run, None, &None).await
    }

    /// Takes a run up and lets it go on: also one that is paused, failed or aborted.
    pub async fn resume(&self, run: &RunId, cause: Cause) -> Result<(), EngineError> {
        self.resume_seen(run, cause, None).await
    }

    /// The same, only where the run is still at one of these positions.
    ///
    /// # Errors
    /// [`EngineError::Changed`], or what [`Engine::resume`] says.
    pub async fn resume_seen(
        &self,
        run: &RunId,
        cause: Cause,
        seen: Seen,
    ) -> Result<(), EngineError> {
        if self.is_driven(run) {
            return self.ask_seen(run, Ask::Resume, cause, seen).await.map(drop);
        }
        self.take_up_with(run, Some((cause, Command::Ask(Ask::Resume))), &seen).await
    }

    async fn take_up_with(
        &self,
        id: &RunId,
        first: Option<(Cause, Command)>,
        seen: &Seen,
    ) -> Result<(), EngineError> {
        if self.is_driven(id) {
            return Ok(());
        }
        let epoch = self.store.next_epoch(id)?;
        let run = load(self.store.as_ref(), id, epoch)?;
        match &run.state {
            None => return Err(StoreError::NoSuchRun(id.clone()).into()),
            Some(state) => is_real(&state.plan)?,
        }
        unchanged(id, run.seq(), seen)?;
        self.drive(id.clone(), run, first).await
    }

    async fn drive(
        &self,
        id: RunId,
        run: Run,
        first: Option<(Cause, Command)>,
    ) -> Result<(), EngineError> {
        let since = run.seq();
        let (inbox, receiver) = mpsc::channel(INBOX_MAX);
        let (ended_sender, ended) = watch::channel(None);
        let (ready, is_ready) = oneshot::channel();
        let driver = Driver {
            calls: Arc::new(self.calls(&id, &run)),
            id: id.clone(),
            run,
            store: self.store.clone(),
            clock: self.clock.clone(),
            crash: self.options.crash.clone(),
            inbox: receiver,
            own: inbox.downgrade(),
            progress: Progress::default(),
        };
        let plan = first_plan(first.as_ref()).or(driver.run.state.as_ref().map(|s| &s.plan));
        let is_message = plan.is_some_and(herald::is_message);
        let (about, over) = (id.clone(), ended.clone());
        self.lock().insert(id.clone(), Driven { inbox, ended, is_message });
        let engine = self.options.engine.clone();
        let runs = self.runs.clone();
        tokio::spawn(async move {
            let result = driver.drive(first, engine, Some(ready)).await;
            if let Err(error) = &result {
                tracing::error!(run = %id, %error, "the run stands still");
            }
            runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            // Nobody may be waiting.
            drop(ended_sender.send(Some(result)));
        });
        let gone = || EngineError::Stopped { why: "the run's driver ended at once".into() };
        is_ready.await.unwrap_or_else(|_| Err(gone()))?;
        if !is_message {
            self.follow(&about, since, &over);
        }
        Ok(())
    }

    fn follow(&self, run: &RunId, since: Seq, ended: &Ended) {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        following.retain(|follower| !follower.is_finished());
        for follow in &self.followers {
            let (engine, run, ended) = (self.clone(), run.clone(), ended.clone());
            following.push(tokio::spawn(follow(Followed { engine, run, since, ended })));
        }
    }

    fn calls(&self, id: &RunId, run: &Run) -> Calls {
        Calls {
            host: self.host.clone(),
            clock: self.clock.clone(),
            store_id: self.store.id(),
            run: id.clone(),
            epoch: run.epoch,
            scratch: (self.options.scratch)(id),
            observer: self.options.observer.clone(),
            captures: self.options.captures.clone(),
        }
    }

    /// A person's command. Where this engine does not drive the run, the command is recorded all
    /// the same, and nothing goes on until the run is resumed.
    pub async fn ask(&self, run: &RunId, ask: Ask, cause: Cause) -> Result<Answer, EngineError> {
        self.ask_seen(run, ask, cause, None).await
    }

    /// The same, only where the run is still at one of these positions: whoever decides for the run
    /// compares, in one go with the command.
    ///
    /// # Errors
    /// [`EngineError::Changed`], or what [`Engine::ask`] says.
    pub async fn ask_seen(
        &self,
        run: &RunId,
        ask: Ask,
        cause: Cause,
        seen: Seen,
    ) -> Result<Answer, EngineError> {
        self.fits(run, &ask)?;
        let Some(driven) = self.find(run) else {
            return self.record(run, ask, cause, &seen).await;
        };
        let (reply, answer) = oneshot::channel();
        let (asked, by) = (ask.clone(), cause.clone());
        let message = Message::Ask { ask: asked, cause: by, seen: seen.clone(), reply };
        if driven.inbox.send(message).await.is_err() {
            return self.record(run, ask, cause, &seen).await;
        }
        match answer.await {
            Ok(result) => Ok(Answer { seq: result?, driven: true }),
            // The driver ended before it took the command: nobody drives the run now.
            Err(_) => self.record(run, ask, cause, &seen).await,
        }
    }

    /// Whether the actions take what a person gives them: the core knows no action.
    fn fits(&self, run: &RunId, ask: &Ask) -> Result<(), EngineError> {
        match ask {
            Ask::Retry { step, with: Some(with) } => {
                let run = load(self.store.as_ref(), run, backout_core::id::Epoch::default())?;
                let step = run.state.as_ref().and_then(|state| state.find(step));
                // A step that is not there is told by the core.
                step.map_or(Ok(()), |(_, planned, _)| self.takes(&planned.action, with))
            }
            Ask::Insert { steps, .. } => {
                steps.iter().try_for_each(|step| self.takes(&step.action, &step.with))
            }
            _ => Ok(()),
        }
    }

    fn takes(&self, action: &ActionName, with: &Value) -> Result<(), EngineError> {
        let rejected = |message| EngineError::Rejected {
            message,
            help: Some(format!("backout plugins {action} shows what it takes")),
        };
        let found = self.host.find(action);
        let action = found.ok_or_else(|| rejected(format!("there is no action `{action}`")))?;
        let schema = (action.manifest().input)().to_value();
        if let Ok(schema) = jsonschema::validator_for(&schema)
            && let Err(error) = schema.validate(with)
        {
            let place = error.instance_path().to_string();
            return Err(rejected(format!("{place}: {error}").trim_start_matches(": ").to_owned()));
        }
        action.check(with).accepted().map_err(|refusal| rejected(refusal.reason().to_owned()))
    }

    /// Records a command of a run that nobody drives. Nothing is begun; only a run that this leaves
    /// with nothing to do comes to its end.
    async fn record(
        &self,
        id: &RunId,
        ask: Ask,
        cause: Cause,
        seen: &Seen,
    ) -> Result<Answer, EngineError> {
        let mut run = load(self.store.as_ref(), id, backout_core::id::Epoch::default())?;
        let before = run.state.clone().ok_or_else(|| StoreError::NoSuchRun(id.clone()))?;
        is_real(&before.plan)?;
        unchanged(id, before.seq, seen)?;
        run.epoch = before.epoch;
        let now = self.clock.now();
        let rejected = |error| refused(id, error);
        let mut recorded = run.record(now, &cause, &Command::Ask(ask)).map_err(rejected)?;
        if !recorded.is_empty() && run.state.as_ref().is_some_and(is_idle) {
            let turn =
                run.turn(now, &Cause::engine(), &Command::Advance).map_err(|e| refused(id, e))?;
            recorded.extend(turn.recorded);
        }
        if recorded.is_empty() {
            return Ok(Answer { seq: before.seq, driven: false });
        }
        let events: Vec<_> = recorded.iter().map(|recorded| recorded.event.clone()).collect();
        let new = recorded
            .into_iter()
            .map(|r| NewEvent { at: r.at, cause: r.cause, event: r.event })
            .collect();
        let append = Append {
            append_id: CommandId::new(format!("{id}.ask.{}", before.seq)),
            run: id.clone(),
            epoch: run.epoch,
            expected_seq: before.seq,
            claims: Vec::new(),
            releases: releases(Some(&before), &events),
            intends: 0,
            events: new,
        };
        match self.store.append(append).await {
            AppendResult::Committed { last, .. } => {
                let (_, ended) = watch::channel(Some(Ok(())));
                self.follow(id, before.seq, &ended);
                Ok(Answer { seq: last, driven: false })
            }
            AppendResult::Conflict { .. } => Err(EngineError::Rejected {
                message: format!("run {id} changed while this was decided"),
                help: Some("look at it again with status, then repeat the command".into()),
            }),
            AppendResult::Full { why }
            | AppendResult::Refused { why }
            | AppendResult::Unknown { why } => {
                Err(EngineError::Stopped { why: format!("nothing was recorded: {why}") })
            }
            other => Err(EngineError::Stopped { why: format!("nothing was recorded: {other:?}") }),
        }
    }

    /// Runs that this engine drives.
    pub fn driven(&self) -> Vec<RunId> {
        self.lock().keys().cloned().collect()
    }

    /// Whether this engine drives a run.
    pub fn is_driven(&self, run: &RunId) -> bool {
        self.find(run).is_some()
    }

    /// Waits until this engine no longer drives the run: it is over, was let go, or cannot go on.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub async fn wait(&self, run: &RunId) -> Result<(), EngineError> {
        let Some(mut driven) = self.find(run) else { return Ok(()) };
        match driven.ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    /// Lets go of all runs in order: starts nothing more, waits up to `grace_ms` for what is in
    /// flight, records why.
    pub async fn stop(&self, why: &str, grace_ms: u64) {
        let deadline = self.clock.now().plus_ms(grace_ms);
        self.last_words(deadline).await;
        let runs: Vec<Driven> = self.lock().values().cloned().collect();
        for driven in &runs {
            // A driver that ended meanwhile has let go already.
            drop(driven.inbox.send(Message::Stop { why: why.to_owned(), deadline }).await);
        }
        for mut driven in runs {
            drop(driven.ended.wait_for(Option::is_some).await);
        }
        let following =
            std::mem::take(&mut *self.following.lock().unwrap_or_else(PoisonError::into_inner));
        for mut follower in following {
            // What it does not come to in time is done when the run is taken up.
            tokio::select! {
                _ = &mut follower => {}
                () = self.clock.sleep_until(deadline) => follower.abort(),
            }
        }
    }

    /// What is still to be told of runs that are over is sent, as far as the time allows.
    async fn last_words(&self, deadline: Timestamp) {
        let over = self.clock.sleep_until(deadline);
        let told = async {
            while !self.is_told() {
                tokio::task::yield_now().await;
                self.clock.sleep_until(self.clock.now().plus_ms(TELL_LOOK_MS)).await;
            }
        };
        tokio::select! { () = told => {}, () = over => {} }
    }

    /// Whether nobody follows a run that is over any more, and no message is under way.
    fn is_told(&self) -> bool {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let at_work = following.iter().filter(|follower| !follower.is_finished()).count();
        drop(following);
        let runs = self.lock();
        let driven = runs.values().filter(|driven| !driven.is_message).count();
        at_work <= driven * self.followers.len() && driven == runs.len()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The store, for reading and watching.
    pub fn store(&self) -> &Arc<dyn JournalStore> {
        &self.store
    }

    /// The plugins.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    fn find(&self, run: &RunId) -> Option<Driven> {
        self.lock().get(run).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, Driven>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine reaches real targets: it does nothing for the run of an exercise, whose plan names them.
fn is_real(plan: &Plan) -> Result<(), EngineError> {
    if !is_drill(plan) {
        return Ok(());
    }
    Err(EngineError::Rejected {
        message: format!("this is the record of a drill (its label `{DRILL_LABEL}` says so)"),
        help: Some("nothing real is done for it; `backout replay RUN` walks through it".to_owned()),
    })
}

fn first_plan(first: Option<&(Cause, Command)>) -> Option<&Plan> {
    match first {
        Some((_, Command::Create { plan, .. })) => Some(plan),
        _ => None,
    }
}

/// Whether a run is where a person saw it.
pub(crate) fn unchanged(run: &RunId, last: Seq, seen: &Seen) -> Result<(), EngineError> {
    match seen {
        Some(seen) if !seen.contains(&last) => Err(EngineError::Changed { run: run.clone(), last }),
        Some(_) | None => Ok(()),
    }
}

fn is_idle(state: &RunState) -> bool {
    state.active.is_empty() && state.ready.is_empty()
}

fn refused(run: &RunId, error: TurnError) -> EngineError {
    match error {
        TurnError::Rejected(rejection) => {
            EngineError::Rejected { message: rejection.message, help: rejection.help }
        }
        TurnError::Illegal(illegal) => {
            EngineError::Unreadable { run: run.clone(), why: illegal.to_string() }
        }
    }
}
