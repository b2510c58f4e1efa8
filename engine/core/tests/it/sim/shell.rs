//! One engine with one run, as the real shell does it: decide, make durable, then act.

use std::collections::BTreeMap;

use backout_core::command::{Command, Report};
use backout_core::drive::{Run, Turn, TurnError};
use backout_core::event::{Cause, Event, Recorded, Sending};
use backout_core::id::{Epoch, RunId, Seq, StepId, Timestamp};
use backout_core::plan::Plan;
use backout_core::state::StepState;
use backout_core::{Wanted, claims, effects, effects_of, watches};

use super::store::Store;

/// A name for something under way.
pub(crate) type Name = String;

pub(crate) fn name(wanted: &Wanted) -> Name {
    let of = |s: &Sending| format!("{}/{}/{}/{}", s.step, s.attempt, s.effect, s.dispatch);
    match wanted {
        Wanted::Prepare { step, attempt, look, .. } => format!("prepare {step}/{attempt}/{look}"),
        Wanted::Watch(watch) => format!("watch {}/{}/{}", watch.step, watch.look, watch.last),
        Wanted::Apply(dispatch) => format!("apply {}", of(&dispatch.sending)),
        Wanted::Settle(dispatch) => format!("settle {}/{}", of(&dispatch.sending), dispatch.look),
        Wanted::Revert { step, made, .. } => format!("revert {step}/{made}"),
    }
}

pub(crate) struct Shell {
    pub(crate) id: RunId,
    pub(crate) run: Run,
    plan: Box<Plan>,
    /// Rises with each death: what was asked by an earlier one is not answered.
    pub(crate) life: u64,
    pub(crate) alive: bool,
    /// Decided and folded in, not yet given to the disk.
    pub(crate) batch: Vec<Recorded>,
    /// Given to the disk, not yet durable.
    pub(crate) floating: Vec<Vec<Recorded>>,
    pub(crate) durable: Seq,
    pub(crate) under_way: BTreeMap<Name, Wanted>,
    pub(crate) intents: BTreeMap<Sending, Seq>,
}

impl Shell {
    pub(crate) fn new(id: RunId, plan: Box<Plan>) -> Self {
        Self {
            id,
            run: Run::new(Epoch(0)),
            plan,
            life: 0,
            alive: false,
            batch: Vec::new(),
            floating: Vec::new(),
            durable: Seq(0),
            under_way: BTreeMap::new(),
            intents: BTreeMap::new(),
        }
    }

    /// One command and all that follows from it. `Ok(false)` is a refusal.
    pub(crate) fn give(
        &mut self,
        store: &mut Store,
        now: Timestamp,
        cause: &Cause,
        command: &Command,
    ) -> Result<bool, String> {
        let mut turn = match self.run.turn(now, cause, command) {
            Ok(turn) => turn,
            Err(TurnError::Rejected(_)) => return Ok(false),
            Err(TurnError::Illegal(error)) => return Err(error.to_string()),
        };
        loop {
            self.push(std::mem::take(&mut turn.recorded));
            let Some((cause, event)) = turn.claiming.take() else { return Ok(true) };
            turn = self.claim(store, now, &cause, event)?;
        }
    }

    fn push(&mut self, recorded: Vec<Recorded>) {
        for recorded in recorded {
            if let Event::EffectIntended { sending } = &recorded.event {
                self.intents.insert(sending.clone(), recorded.seq);
            }
            self.batch.push(recorded);
        }
    }

    /// Everything before it is durable, then it is asked with its locks.
    fn claim(
        &mut self,
        store: &mut Store,
        now: Timestamp,
        cause: &Cause,
        event: Event,
    ) -> Result<Turn, String> {
        self.make_durable(store);
        let wanted = claims(self.run.state.as_ref(), std::slice::from_ref(&event));
        let renew = matches!(event, Event::EngineAttached { .. });
        match (store.claim(&self.id, &wanted, renew, now), &event) {
            (Ok(grants), _) => {
                let recorded =
                    self.run.granted(now, cause, event, grants).map_err(|e| e.to_string())?;
                self.batch.push(recorded);
                self.make_durable(store);
                let advance = self.run.turn(now, &Cause::engine(), &Command::Advance);
                advance.map_err(|error| error.to_string())
            }
            (Err(holders), Event::StepLocked { step, .. }) => {
                self.run.held(now, step, holders).map_err(|error| error.to_string())
            }
            (Err(_), event) => Err(format!("held by others: {event:?}")),
        }
    }

    fn make_durable(&mut self, store: &mut Store) {
        self.float();
        for batch in std::mem::take(&mut self.floating) {
            self.settle_batch(store, batch);
        }
    }

    /// Gives what was decided to the disk.
    pub(crate) fn float(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        let some = !batch.is_empty();
        if some {
            self.floating.push(batch);
        }
        some
    }

    /// The oldest batch is durable.
    pub(crate) fn reach_disk(&mut self, store: &mut Store) {
        if !self.floating.is_empty() {
            let batch = self.floating.remove(0);
            self.settle_batch(store, batch);
        }
    }

    fn settle_batch(&mut self, store: &mut Store, batch: Vec<Recorded>) {
        self.durable = batch.last().map_or(self.durable, |last| last.seq);
        store.append(&self.id, batch);
    }

    /// Says that it goes, after all before it is durable.
    pub(crate) fn let_go(&mut self, store: &mut Store, now: Timestamp) -> Result<(), String> {
        let detach = Command::Detach { why: "a signal".into() };
        let recorded = self.run.record(now, &Cause::engine(), &detach);
        self.batch.extend(recorded.map_err(|error| error.to_string())?);
        self.make_durable(store);
        Ok(())
    }

    /// Dies. Batches given to the disk may be there or not, in order; what was not given is lost.
    pub(crate) fn die(&mut self, store: &mut Store, reached: usize) {
        for _ in 0..reached {
            self.reach_disk(store);
        }
        self.alive = false;
        self.life += 1;
        self.batch.clear();
        self.floating.clear();
        self.under_way.clear();
        self.intents.clear();
    }

    /// Comes back with what is durable.
    pub(crate) fn revive(&mut self, store: &mut Store, now: Timestamp) -> Result<(), String> {
        self.run = Run::new(Epoch(self.run.epoch.0 + 1));
        let journal = store.journals.get(&self.id).cloned().unwrap_or_default();
        self.run.load(&journal).map_err(|error| error.to_string())?;
        self.durable = self.run.seq();
        self.alive = true;
        if journal.is_empty() {
            let plan = (*self.plan).clone();
            let create = Command::create(self.id.clone(), plan, String::new());
            self.give(store, now, &super::people::starter(), &create)?;
        }
        let attach = Command::Attach { engine: "sim".into() };
        self.give(store, now, &Cause::engine(), &attach).map(|_| ())
    }

    pub(crate) fn is_durable(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Apply(dispatch) => {
                let intent = self.intents.get(&dispatch.sending);
                dispatch.prepared.guarantee == backout_core::contract::Guarantee::ReadOnly
                    || intent.is_none_or(|seq| *seq <= self.durable)
            }
            Wanted::Prepare { .. }
            | Wanted::Watch(_)
            | Wanted::Settle(_)
            | Wanted::Revert { .. } => true,
        }
    }

    /// What should be happening; the same whether asked at once or step by step.
    pub(crate) fn wanted(&self) -> Result<Vec<Wanted>, String> {
        let Some(state) = &self.run.state else { return Ok(Vec::new()) };
        let all = effects(state);
        let steps = state.active.iter().filter_map(|ix| state.plan_step(*ix));
        let single = steps.flat_map(|step| effects_of(state, &step.id));
        let single: Vec<Wanted> = single.chain(watches(state)).collect();
        let reverts = |w: &Wanted| matches!(w, Wanted::Revert { .. });
        if all.iter().filter(|w| !reverts(w)).eq(single.iter()) {
            return Ok(all);
        }
        Err("effects and effects_of differ".into())
    }

    /// Steps that wait for a lock.
    pub(crate) fn lock_waits(&self) -> Vec<Report> {
        let Some(state) = &self.run.state else { return Vec::new() };
        let waits = |id: &StepId| {
            state.find(id).is_some_and(|(_, _, step)| {
                matches!(step.state, StepState::Waiting(backout_core::event::Wait::Lock { .. }))
            })
        };
        let steps = state.plan.steps.iter().map(|step| step.id.clone());
        steps.filter(waits).map(|step| Report::TryLocks { step }).collect()
    }
}
