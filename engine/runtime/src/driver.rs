//! One run's engine: decide, append, fold, reconcile, acknowledge. One task owns the state; all
//! else reaches it by messages.
//!
//! The state runs ahead of the disk: it is folded as soon as it is decided, and the append is
//! queued. Reads may start from it; an effect is sent, and a person is answered, only once its
//! events are durable. A failed append therefore ends the driver, and the journal is read again.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use backout_core::command::{Ask, Report};
use backout_core::drive::{Run, TurnError};
use backout_core::event::{Cause, Recorded, Sending, Wait};
use backout_core::id::{Epoch, RunId, Seq, StepId, TargetId, Timestamp};
use backout_core::snapshot;
use backout_core::state::{Phase, RunState, StepState};
use backout_core::{Command, next_due};
use backout_store::journal::{AppendResult, JournalStore, Pending};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};

use crate::Clock;
use crate::call::Calls;
use crate::crash::{CrashPoint, Window};
use crate::handle::{EngineError, Seen, unchanged};

mod journal;
mod room;
mod world;

pub(crate) use backout_core::Name;
use world::UnderWay;

/// Messages waiting for one driver: more than a run's parallel steps can send at once, so that a
/// report seldom waits; a sender beyond it waits, and nothing is lost.
pub(crate) const INBOX_MAX: usize = 2_048;
/// Messages taken in one go, so that their events share an append.
const TAKEN_AT_ONCE: usize = 1_024;

/// What reaches a driver.
pub(crate) enum Message {
    /// A person's command.
    Ask { ask: Ask, cause: Cause, seen: Seen, reply: oneshot::Sender<Result<Seq, EngineError>> },
    /// The world's answer.
    Answer { name: Name, report: Report },
    /// Let go in order.
    Stop { why: String, deadline: Timestamp },
}

struct LettingGo {
    why: String,
    deadline: Timestamp,
}

/// Why a driver ended.
pub(crate) enum End {
    /// The run is over, or was let go in order.
    Done,
    /// It cannot go on; what is durable is safe.
    Stopped(EngineError),
    /// The store has no room; the run is taken up again when there is.
    Full(String),
}

pub(crate) struct Driver {
    pub(crate) id: RunId,
    pub(crate) run: Run,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) crash: Option<CrashPoint>,
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) own: mpsc::WeakSender<Message>,
    pub(crate) progress: Progress,
}

/// What a driver knows besides the state.
#[derive(Default)]
pub(crate) struct Progress {
    durable: Seq,
    kept: Seq,
    batch: Vec<Recorded>,
    appends: FuturesOrdered<Pending>,
    appended: VecDeque<Vec<Recorded>>,
    acks: VecDeque<(Seq, oneshot::Sender<Result<Seq, EngineError>>)>,
    intents: HashMap<Sending, Seq>,
    under_way: HashMap<Name, UnderWay>,
    answered: HashSet<Name>,
    later: Option<Timestamp>,
    held: BTreeSet<TargetId>,
    letting_go: Option<LettingGo>,
    appends_made: u64,
}

impl Driver {
    /// Follows `first` (to make the run, or to reopen it), takes the run up, and drives it until it
    /// is over, let go, or cannot go on. `ready` hears when it is durable that this engine drives
    /// it.
    pub(crate) async fn drive(
        mut self,
        mut first: Option<(Cause, Command)>,
        engine: String,
        mut ready: Option<oneshot::Sender<Result<(), EngineError>>>,
    ) -> Result<(), EngineError> {
        loop {
            let end = match self.take_up(first.take(), &engine).await {
                Ok(()) => {
                    if let Some(ready) = ready.take() {
                        // The asker may have gone; the run goes on.
                        drop(ready.send(Ok(())));
                    }
                    self.live().await
                }
                Err(end) => end,
            };
            match end {
                End::Done => match self.detach().await {
                    Ok(()) | Err(End::Done) => return Ok(()),
                    Err(End::Stopped(error)) => return Err(error),
                    Err(End::Full(why)) => return Err(EngineError::Stopped { why }),
                },
                End::Stopped(error) => {
                    if let Some(ready) = ready.take() {
                        drop(ready.send(Err(error.clone())));
                    }
                    return Err(error);
                }
                End::Full(why) => {
                    if !self.wait_for_room(&why).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn take_up(&mut self, first: Option<(Cause, Command)>, engine: &str) -> Result<(), End> {
        // Who took the run up, and why, stands in the record also where that changes nothing else.
        let mut taken_by = Cause::engine();
        if let Some((cause, command)) = first {
            if self.run.state.is_some() {
                taken_by = Cause { command: None, ..cause.clone() };
            }
            // What follows by itself waits until an engine is attached.
            let recorded =
                self.run.record(self.clock.now(), &cause, &command).map_err(|e| self.broken(e))?;
            self.push(recorded);
        }
        self.progress.durable = self.run.seq();
        self.progress.kept = self.run.seq();
        if let Some(state) = &self.run.state {
            self.progress.held = state.locks.keys().cloned().collect();
        }
        let attach = Command::Attach { engine: engine.to_owned() };
        self.turn(&taken_by, &attach).await.map_err(TurnEnd::end)?;
        let approved: Vec<StepId> =
            self.waiting_steps(|wait| matches!(wait, Wait::Approval { .. }));
        self.try_locks(approved).await?;
        self.reconcile().await?;
        self.flush();
        self.all_durable().await
    }

    async fn live(&mut self) -> End {
        let mut releases = self.store.lock_releases();
        loop {
            if let Err(end) = self.reconcile().await {
                return end;
            }
            self.flush();
            if let Some(end) = self.is_finished() {
                return end;
            }
            let woken = self.wake(&mut releases).await;
            if let Err(end) = self.react(woken).await {
                return end;
            }
        }
    }

    async fn wake(&mut self, releases: &mut tokio::sync::watch::Receiver<u64>) -> Woken {
        let due = self.next_due();
        let sleep = due.map(|due| self.clock.sleep_until(due));
        let waits_for_lock = self
            .run
            .state
            .as_ref()
            .is_some_and(|state| state.active.iter().any(|ix| is_lock_wait(state, ix.0)));
        tokio::select! {
            Some(result) = self.progress.appends.next(), if !self.progress.appends.is_empty() => {
                Woken::Appended(result)
            }
            message = self.inbox.recv() => Woken::Message(message.map(Box::new)),
            () = async { if let Some(sleep) = sleep { sleep.await } }, if due.is_some() => Woken::Due,
            changed = releases.changed(), if waits_for_lock => {
                if changed.is_ok() { Woken::Released } else { Woken::Due }
            }
        }
    }

    async fn react(&mut self, woken: Woken) -> Result<(), End> {
        match woken {
            Woken::Appended(result) => self.appended(&result),
            Woken::Message(None) => Err(End::Done),
            Woken::Message(Some(message)) => {
                self.take(*message).await?;
                for _ in 0..TAKEN_AT_ONCE {
                    let Ok(message) = self.inbox.try_recv() else { break };
                    self.take(message).await?;
                }
                Ok(())
            }
            Woken::Due => {
                self.turn(&Cause::engine(), &Command::Advance).await.map_err(TurnEnd::end)
            }
            Woken::Released => {
                let waiting = self.waiting_steps(|wait| matches!(wait, Wait::Lock { .. }));
                self.try_locks(waiting).await
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Ask { ask, cause, seen, reply } => {
                // What is decided and not durable yet happened since, too.
                if let Err(changed) = unchanged(&self.id, self.run.seq(), &seen) {
                    drop(reply.send(Err(changed)));
                    return Ok(());
                }
                match self.turn(&cause, &Command::Ask(ask)).await {
                    // Nothing followed from it: what it asks for is so already, and nothing will be
                    // appended whose end could be told.
                    Ok(()) if self.run.seq() <= self.progress.durable => {
                        drop(reply.send(Ok(self.run.seq())));
                    }
                    Ok(()) => self.progress.acks.push_back((self.run.seq(), reply)),
                    Err(TurnEnd::Rejected(error)) => drop(reply.send(Err(error))),
                    Err(TurnEnd::End(end)) => return Err(end),
                }
                Ok(())
            }
            Message::Answer { name, report } => {
                self.progress.under_way.remove(&name);
                self.progress.answered.insert(name.clone());
                if let Name::Apply(sending) = &name {
                    self.progress.intents.remove(sending);
                    CrashPoint::at(self.crash.as_ref(), Window::AfterEffect, &sending.step);
                }
                self.turn(&Cause::engine(), &Command::Report(report)).await.map_err(TurnEnd::end)
            }
            Message::Stop { why, deadline } => {
                self.progress.letting_go = Some(LettingGo { why, deadline });
                Ok(())
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        if let Some(letting_go) = &self.progress.letting_go {
            return Some(letting_go.deadline);
        }
        let timer = self.run.state.as_ref().and_then(next_due);
        [timer, self.progress.later].into_iter().flatten().min()
    }

    fn is_finished(&mut self) -> Option<End> {
        let idle = self.progress.appends.is_empty() && self.progress.batch.is_empty();
        if let Some(letting_go) = &self.progress.letting_go {
            let waited = letting_go.deadline <= self.clock.now();
            let watches = |name: &Name| matches!(name, Name::Watch(..));
            let answered = self.progress.under_way.keys().all(watches);
            return (idle && (waited || answered)).then_some(End::Done);
        }
        let over =
            self.run.state.as_ref().is_none_or(|state| matches!(state.phase, Phase::Ended(_)));
        (over && idle).then_some(End::Done)
    }

    /// Records that the engine lets go. Called after [`Self::live`] ended in order.
    async fn detach(&mut self) -> Result<(), End> {
        let Some(letting_go) = self.progress.letting_go.take() else { return Ok(()) };
        self.record_detach(letting_go.why).await
    }

    async fn record_detach(&mut self, why: String) -> Result<(), End> {
        self.record_only(&Command::Detach { why }).await
    }

    fn waiting_steps(&self, test: fn(&Wait) -> bool) -> Vec<StepId> {
        let Some(state) = &self.run.state else { return Vec::new() };
        state
            .active
            .iter()
            .chain(&state.asking)
            .filter(|ix| match state.step(**ix).map(|step| &step.state) {
                Some(StepState::Waiting(wait)) => test(wait),
                _ => false,
            })
            .filter_map(|ix| state.plan_step(*ix).map(|step| step.id.clone()))
            .collect()
    }

    async fn try_locks(&mut self, steps: Vec<StepId>) -> Result<(), End> {
        for step in steps {
            let report = Command::Report(Report::TryLocks { step });
            self.turn(&Cause::engine(), &report).await.map_err(TurnEnd::end)?;
        }
        Ok(())
    }

    fn broken(&self, error: TurnError) -> End {
        TurnEnd::from_turn(&self.id)(error).end()
    }
}

/// Reads a run from its journal, behind the fold that was kept last.
pub(crate) fn load(store: &dyn JournalStore, id: &RunId, epoch: Epoch) -> Result<Run, EngineError> {
    if let Some(kept) = store.kept_fold(id) {
        let behind = store.read(id, kept.seq, usize::MAX)?;
        if let Some(state) = snapshot::catch_up(kept, &behind) {
            return Ok(Run { state: Some(state), epoch });
        }
    }
    let mut run = Run::new(epoch);
    let recorded = store.read(id, Seq(1), usize::MAX)?;
    run.load(&recorded)
        .map_err(|error| EngineError::Unreadable { run: id.clone(), why: error.to_string() })?;
    Ok(run)
}

fn is_lock_wait(state: &RunState, ix: usize) -> bool {
    state
        .steps
        .get(ix)
        .is_some_and(|step| matches!(step.state, StepState::Waiting(Wait::Lock { .. })))
}

enum Woken {
    Appended(AppendResult),
    Message(Option<Box<Message>>),
    Due,
    Released,
}

enum TurnEnd {
    Rejected(EngineError),
    End(End),
}

impl TurnEnd {
    fn from_turn(id: &RunId) -> impl Fn(TurnError) -> Self + use<> {
        let run = id.clone();
        move |error| match error {
            TurnError::Rejected(rejection) => Self::Rejected(EngineError::Rejected {
                message: rejection.message,
                help: rejection.help,
            }),
            TurnError::Illegal(illegal) => Self::End(End::Stopped(EngineError::Unreadable {
                run: run.clone(),
                why: illegal.to_string(),
            })),
        }
    }

    fn end(self) -> End {
        match self {
            Self::Rejected(error) => End::Stopped(error),
            Self::End(end) => end,
        }
    }
}

fn failed(run: &RunId, result: &AppendResult) -> End {
    let why = match result {
        AppendResult::Full { why } => return End::Full(why.clone()),
        AppendResult::Refused { why } => why.clone(),
        AppendResult::Fenced { epoch } => {
            format!("a newer engine (epoch {}) drives run {run}", epoch.0)
        }
        AppendResult::Conflict { actual } => {
            format!("run {run} was written by someone else, up to event {actual}")
        }
        AppendResult::Held { holders } => {
            let held: Vec<String> =
                holders.iter().map(|h| format!("{} by run {}", h.target, h.run)).collect();
            format!("locks of run {run} are held elsewhere: {}", held.join(", "))
        }
        AppendResult::Unknown { why } => format!("the store stopped: {why}"),
        AppendResult::Committed { .. } => "nothing went wrong".into(),
    };
    End::Stopped(EngineError::Stopped { why })
}
