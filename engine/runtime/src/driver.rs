//! One run's engine: decide, append, fold, reconcile, acknowledge. One task owns the state; all
//! else reaches it by messages.
//!
//! The state runs ahead of the disk: it is folded as soon as it is decided, and the append is
//! queued. Reads may start from it; an effect is sent, and a person is answered, only once its
//! events are durable. A failed append therefore ends the driver, and the journal is read again.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use backout_core::command::{Ask, Report};
use backout_core::contract::Guarantee;
use backout_core::drive::{Run, Turn, TurnError};
use backout_core::event::{Cause, Event, Recorded, Sending, Wait};
use backout_core::id::{CommandId, Epoch, RunId, Seq, StepId, TargetId, Timestamp};
use backout_core::snapshot;
use backout_core::state::{Phase, RunState, StepState};
use backout_core::{Command, Wanted, claims, effects, next_due};
use backout_plugin_api::CancellationToken;
use backout_store::journal::{Append, AppendResult, JournalStore, NewEvent, Pending};
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::Clock;
use crate::call::Calls;
use crate::crash::{CrashPoint, Window};
use crate::handle::EngineError;

/// Messages waiting for one driver: more than a run's parallel steps can send at once, so that a
/// report seldom waits; a sender beyond it waits, and nothing is lost.
pub(crate) const INBOX_MAX: usize = 2_048;
/// Messages taken in one go, so that their events share an append.
const TAKEN_AT_ONCE: usize = 1_024;
/// Events between two kept folds of a run: reading so many takes a few milliseconds.
const FOLD_EVERY: u64 = 2_000;
/// Milliseconds between two attempts to go on after the store had no room.
const ROOM_POLL_MS: u64 = 2_000;

/// What reaches a driver.
pub(crate) enum Message {
    /// A person's command.
    Ask { ask: Ask, cause: Cause, reply: oneshot::Sender<Result<Seq, EngineError>> },
    /// The world's answer.
    Answer { name: Name, report: Report },
    /// Let go in order.
    Stop { why: String, deadline: Timestamp },
}

/// Names something under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Prepare(StepId, u32, u32),
    Watch(StepId, u32, bool),
    Apply(Sending),
    Settle(Sending, u32),
    Revert(StepId, usize),
}

fn name(wanted: &Wanted) -> Name {
    match wanted {
        Wanted::Prepare { step, attempt, look, .. } => Name::Prepare(step.clone(), *attempt, *look),
        Wanted::Watch(watch) => Name::Watch(watch.step.clone(), watch.look, watch.last),
        Wanted::Apply(dispatch) => Name::Apply(dispatch.sending.clone()),
        Wanted::Settle(dispatch) => Name::Settle(dispatch.sending.clone(), dispatch.look),
        Wanted::Revert { step, made, .. } => Name::Revert(step.clone(), *made),
    }
}

fn not_before(wanted: &Wanted) -> Timestamp {
    match wanted {
        Wanted::Prepare { not_before, .. } => *not_before,
        Wanted::Watch(watch) => watch.not_before,
        Wanted::Apply(dispatch) | Wanted::Settle(dispatch) => dispatch.not_before,
        Wanted::Revert { .. } => Timestamp::default(),
    }
}

/// Ends a call that is no longer wanted.
struct UnderWay {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
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
    pub(crate) calls: Calls,
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
            Message::Ask { ask, cause, reply } => {
                match self.turn(&cause, &Command::Ask(ask)).await {
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

    /// One turn of the core; its events join the batch. While the run is let go, nothing new
    /// follows from it.
    async fn turn(&mut self, cause: &Cause, command: &Command) -> Result<(), TurnEnd> {
        let now = self.clock.now();
        if self.progress.letting_go.is_some() {
            let recorded =
                self.run.record(now, cause, command).map_err(TurnEnd::from_turn(&self.id))?;
            self.push(recorded);
            return Ok(());
        }
        let mut turn = self.run.turn(now, cause, command).map_err(TurnEnd::from_turn(&self.id))?;
        loop {
            self.push(std::mem::take(&mut turn.recorded));
            let Some((cause, event)) = turn.claiming.take() else { return Ok(()) };
            turn = self.claim(cause, event).await?;
        }
    }

    /// An event that needs locks is appended by itself, and awaited: only then is it known.
    async fn claim(&mut self, cause: Cause, event: Event) -> Result<Turn, TurnEnd> {
        self.flush();
        let now = self.clock.now();
        let wanted = claims(self.run.state.as_ref(), std::slice::from_ref(&event));
        let new = NewEvent { at: now, cause: cause.clone(), event: event.clone() };
        let append = self.append(vec![new], wanted.clone(), Vec::new(), 0);
        let result = self.store.append(append).await;
        let fit = TurnEnd::from_turn(&self.id);
        match (result, &event) {
            (AppendResult::Committed { last, grants }, _) => {
                self.run.granted(now, &cause, event, grants).map_err(|e| fit(e.into()))?;
                self.progress.durable = last;
                self.progress.held.extend(wanted);
                self.run.turn(now, &Cause::engine(), &Command::Advance).map_err(fit)
            }
            (AppendResult::Held { holders }, Event::StepLocked { step, .. }) => {
                self.run.held(now, step, holders).map_err(fit)
            }
            (other, _) => Err(TurnEnd::End(failed(&self.id, &other))),
        }
    }

    fn append(
        &mut self,
        events: Vec<NewEvent>,
        claims: Vec<TargetId>,
        releases: Vec<TargetId>,
        intends: u32,
    ) -> Append {
        self.progress.appends_made += 1;
        let epoch = self.run.epoch;
        let made = self.progress.appends_made;
        let queued: u64 = if claims.is_empty() { events.len().try_into().unwrap_or(0) } else { 0 };
        Append {
            append_id: CommandId::new(format!("{}.{}.{made}", self.id, epoch.0)),
            run: self.id.clone(),
            epoch,
            // The state is ahead by the events of this append, except for one that claims.
            expected_seq: Seq(self.run.seq().0.saturating_sub(queued)),
            claims,
            releases,
            intends,
            events,
        }
    }

    fn push(&mut self, recorded: Vec<Recorded>) {
        for recorded in &recorded {
            if let Event::EffectIntended { sending } = &recorded.event {
                self.progress.intents.insert(sending.clone(), recorded.seq);
            }
        }
        self.progress.batch.extend(recorded);
    }

    /// Queues the batch as one append.
    fn flush(&mut self) {
        if self.progress.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.progress.batch);
        CrashPoint::at_events(self.crash.as_ref(), Window::BeforeIntent, &batch);
        let ends = batch.iter().any(|r| matches!(r.event, Event::RunEnded { .. }));
        let releases = if ends { std::mem::take(&mut self.progress.held) } else { BTreeSet::new() };
        let intends = batch.iter().filter(|r| matches!(r.event, Event::EffectIntended { .. }));
        let intends = u32::try_from(intends.count()).unwrap_or(u32::MAX);
        let new =
            |r: &Recorded| NewEvent { at: r.at, cause: r.cause.clone(), event: r.event.clone() };
        let events = batch.iter().map(new).collect();
        let append = self.append(events, Vec::new(), releases.into_iter().collect(), intends);
        self.progress.appends.push_back(self.store.append(append));
        let kept = if self.crash.is_some() { batch } else { Vec::new() };
        self.progress.appended.push_back(kept);
    }

    fn appended(&mut self, result: &AppendResult) -> Result<(), End> {
        let events = self.progress.appended.pop_front().unwrap_or_default();
        let AppendResult::Committed { last, .. } = result else {
            return Err(failed(&self.id, result));
        };
        self.progress.durable = self.progress.durable.max(*last);
        self.keep_fold();
        CrashPoint::at_events(self.crash.as_ref(), Window::AfterOutcome, &events);
        while let Some((seq, _)) = self.progress.acks.front() {
            if *seq > self.progress.durable {
                break;
            }
            if let Some((seq, reply)) = self.progress.acks.pop_front() {
                // The asker may have gone; the command stands.
                drop(reply.send(Ok(seq)));
            }
        }
        Ok(())
    }

    /// Now and then, while all of the state is durable, it is kept for the next engine.
    fn keep_fold(&mut self) {
        let Some(state) = &self.run.state else { return };
        let behind = state.seq.0.saturating_sub(self.progress.kept.0);
        let is_durable = state.seq == self.progress.durable && self.progress.batch.is_empty();
        // A large plan is kept more seldom: its fold costs as much as its first events did.
        let every = FOLD_EVERY.max(4 * state.steps.len() as u64);
        if behind < every || !is_durable {
            return;
        }
        self.progress.kept = state.seq;
        let (store, run) = (self.store.clone(), self.id.clone());
        let fold = snapshot::keep(state);
        // Nobody waits for it: it is a cache.
        drop(tokio::task::spawn_blocking(move || store.keep_fold(&run, &fold)));
    }

    async fn all_durable(&mut self) -> Result<(), End> {
        while let Some(result) = self.progress.appends.next().await {
            self.appended(&result)?;
        }
        Ok(())
    }

    /// Starts what should be happening and is not, ends what is and should not. What answers at
    /// once is taken at once, so that its events join the same append.
    async fn reconcile(&mut self) -> Result<(), End> {
        loop {
            let Some(state) = &self.run.state else { return Ok(()) };
            let wanted = effects(state);
            let names: HashSet<Name> = wanted.iter().map(name).collect();
            self.progress.under_way.retain(|name, _| names.contains(name));
            self.progress.answered.retain(|name| names.contains(name));
            let now = self.clock.now();
            self.progress.later = None;
            let mut answers = Vec::new();
            for wanted in wanted {
                answers.extend(self.start(wanted, now));
            }
            if answers.is_empty() {
                return Ok(());
            }
            for message in answers {
                self.take(message).await?;
            }
        }
    }

    /// Starts one thing, unless it is under way, or its time or its intent has not come. The answer,
    /// where it is there at once.
    fn start(&mut self, wanted: Wanted, now: Timestamp) -> Option<Message> {
        let name = name(&wanted);
        if self.progress.under_way.contains_key(&name) || self.progress.answered.contains(&name) {
            return None;
        }
        let due = not_before(&wanted);
        if due > now {
            self.progress.later = Some(self.progress.later.map_or(due, |later| later.min(due)));
            return None;
        }
        if self.progress.letting_go.is_some() || !self.is_durable(&wanted) {
            return None;
        }
        if let Wanted::Apply(dispatch) = &wanted {
            CrashPoint::at(self.crash.as_ref(), Window::AfterIntent, &dispatch.sending.step);
        }
        self.begin(name, wanted)
    }

    fn begin(&mut self, name: Name, wanted: Wanted) -> Option<Message> {
        let inline = self.is_pure(&wanted);
        let mut started = self.calls.start(wanted);
        if inline && let Some(report) = (&mut started.answer).now_or_never() {
            return Some(Message::Answer { name, report });
        }
        let own = self.own.clone();
        let answer_name = name.clone();
        let task = tokio::spawn(async move {
            let report = started.answer.await;
            if let Some(own) = own.upgrade() {
                // A driver that is gone needs no answer: the journal says what was in flight.
                drop(own.send(Message::Answer { name: answer_name, report }).await);
            }
        });
        self.progress.under_way.insert(name, UnderWay { cancel: started.cancel, task });
        None
    }

    fn is_pure(&self, wanted: &Wanted) -> bool {
        let step = match wanted {
            Wanted::Prepare { pure, .. } => return *pure,
            Wanted::Apply(dispatch) | Wanted::Settle(dispatch) => &dispatch.sending.step,
            Wanted::Watch(_) | Wanted::Revert { .. } => return false,
        };
        let state = self.run.state.as_ref();
        state.and_then(|state| state.find(step)).is_some_and(|(_, plan, _)| plan.pure)
    }

    /// An effect is sent only once its intent is durable; reads need none.
    fn is_durable(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Apply(dispatch) => {
                let intent = self.progress.intents.get(&dispatch.sending);
                dispatch.prepared.guarantee == Guarantee::ReadOnly
                    || intent.is_none_or(|seq| *seq <= self.progress.durable)
            }
            Wanted::Prepare { .. }
            | Wanted::Watch(_)
            | Wanted::Settle(_)
            | Wanted::Revert { .. } => true,
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

    /// The store has no room. What is in flight is answered and recorded (room for outcomes is
    /// kept), the engine lets go with the reason, and takes the run up again when there is room.
    /// False where the engine was to stop before there was.
    async fn wait_for_room(&mut self, why: &str) -> Result<bool, EngineError> {
        tracing::warn!(run = %self.id, why, "the store has no room; the run stands still");
        for (_, reply) in self.progress.acks.drain(..) {
            drop(reply.send(Err(EngineError::Stopped { why: why.to_owned() })));
        }
        self.reload(self.run.epoch)?;
        if self.finish_in_flight(why).await.is_ok() {
            // Where even this has no room the journal simply ends here.
            drop(self.record_detach(format!("the store has no room: {why}")).await);
        }
        self.progress.under_way.clear();
        while self.progress.letting_go.is_none() {
            let poll = self.clock.sleep_until(self.clock.now().plus_ms(ROOM_POLL_MS));
            tokio::select! {
                message = self.inbox.recv() => match message {
                    None => return Ok(false),
                    Some(Message::Stop { why, deadline }) => {
                        self.progress.letting_go = Some(LettingGo { why, deadline });
                    }
                    // A command is recorded by the asker where there is room for that much, as of
                    // a run that nobody drives; what is answered late is settled.
                    Some(Message::Ask { .. } | Message::Answer { .. }) => {}
                },
                () = poll => if self.has_room().await? {
                    let epoch = self.store.next_epoch(&self.id)?;
                    return self.reload(epoch).map(|()| true);
                },
            }
        }
        Ok(false)
    }

    async fn finish_in_flight(&mut self, why: &str) -> Result<(), End> {
        while self.progress.under_way.keys().any(|name| matches!(name, Name::Apply(_))) {
            let deadline = self.progress.letting_go.as_ref().map(|letting_go| letting_go.deadline);
            let sleep = deadline.map(|deadline| self.clock.sleep_until(deadline));
            let message = tokio::select! {
                message = self.inbox.recv() => message,
                () = async { if let Some(sleep) = sleep { sleep.await } }, if deadline.is_some() => None,
            };
            match message {
                None => return Ok(()),
                Some(Message::Stop { why, deadline }) => {
                    self.progress.letting_go = Some(LettingGo { why, deadline });
                }
                Some(Message::Ask { reply, .. }) => {
                    drop(reply.send(Err(EngineError::Stopped { why: why.to_owned() })));
                }
                Some(Message::Answer { name, report }) => {
                    self.progress.under_way.remove(&name);
                    self.record_only(&Command::Report(report)).await?;
                }
            }
        }
        Ok(())
    }

    /// Records what follows from a command and nothing else, and waits until it is durable.
    async fn record_only(&mut self, command: &Command) -> Result<(), End> {
        let recorded = self
            .run
            .record(self.clock.now(), &Cause::engine(), command)
            .map_err(|error| self.broken(error))?;
        self.push(recorded);
        self.flush();
        self.all_durable().await
    }

    /// A note that intends an effect is admitted only where there is room for the effect's outcome.
    ///
    /// # Errors
    /// The store stopped, or another engine drives the run: waiting would not help.
    async fn has_room(&mut self) -> Result<bool, EngineError> {
        self.reload(self.run.epoch)?;
        let ask = Ask::Note { step: None, text: "the store has room again".into() };
        let recorded = self.run.record(self.clock.now(), &Cause::engine(), &Command::Ask(ask));
        let Ok(recorded) = recorded else { return Ok(false) };
        let new = |r: Recorded| NewEvent { at: r.at, cause: r.cause, event: r.event };
        let events = recorded.into_iter().map(new).collect();
        let append = self.append(events, Vec::new(), Vec::new(), 1);
        match self.store.append(append).await {
            AppendResult::Committed { .. } => Ok(true),
            // A person's command was recorded meanwhile.
            AppendResult::Full { .. } | AppendResult::Conflict { .. } => Ok(false),
            other => match failed(&self.id, &other) {
                End::Stopped(error) => Err(error),
                End::Done | End::Full(_) => Ok(false),
            },
        }
    }

    fn reload(&mut self, epoch: Epoch) -> Result<(), EngineError> {
        self.run = load(self.store.as_ref(), &self.id, epoch)?;
        self.calls.epoch = epoch;
        let progress = &mut self.progress;
        progress.batch.clear();
        progress.appends = FuturesOrdered::new();
        progress.appended.clear();
        progress.answered.clear();
        progress.intents.clear();
        progress.durable = self.run.seq();
        Ok(())
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
