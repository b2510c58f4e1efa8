//! What the engine's shell does, on the clock of the exercise: what is wanted is begun, what answers
//! is reported, and every event is durable at once.

use backout_core::command::{Command, Report};
use backout_core::drive::{Turn, TurnError};
use backout_core::event::{Cause, Event, Grant, Holder, Recorded};
use backout_core::id::{LockToken, RunId, StepId, TargetId, Timestamp};
use backout_core::watch::{Found, Watch};
use backout_core::{Dispatch, Name, Rejection, Wanted, claims, effects, next_due};

use super::{Broken, Drill, Happening, marked};
use crate::world::{Asked, Reply};

/// Milliseconds that a look at a target takes, at the least and at the most.
const LOOK_MS: (u64, u64) = (40, 400);

impl Drill {
    pub(super) fn create(&mut self) -> Result<(), Broken> {
        let create = Command::Create {
            run: self.setup.run.clone(),
            plan: Box::new(self.setup.plan.clone()),
            text: self.setup.text.clone(),
            part: Vec::new(),
            adopt: None,
        };
        let starter = super::starter(&self.setup.scenario);
        self.give(&starter, &create)?.map_err(|rejection| Broken(rejection.message))
    }

    pub(super) fn attach(&mut self) -> Result<(), Broken> {
        let attach = Command::Attach { engine: "drill, simulated world".into() };
        self.give(&Cause::engine(), &attach)?.map_err(|rejection| Broken(rejection.message))
    }

    /// One command and all that follows from it; the inner error is the core's no.
    pub(super) fn give(
        &mut self,
        cause: &Cause,
        command: &Command,
    ) -> Result<Result<(), Rejection>, Broken> {
        let mut turn = match self.run.turn(self.now, cause, command) {
            Ok(turn) => turn,
            Err(TurnError::Rejected(rejection)) => return Ok(Err(rejection)),
            Err(TurnError::Illegal(error)) => return Err(Broken(error.to_string())),
        };
        loop {
            self.push(std::mem::take(&mut turn.recorded));
            let Some((cause, event)) = turn.claiming.take() else { break };
            turn = self.claim(&cause, event)?;
        }
        self.reconcile();
        self.look_at_planned();
        Ok(Ok(()))
    }

    pub(super) fn push(&mut self, recorded: Vec<Recorded>) {
        if recorded.iter().any(|r| matches!(r.event, Event::RunEnded { .. })) {
            self.locks.held.clear();
        }
        for r in &recorded {
            if let Event::LocksYielded { targets } = &r.event {
                self.locks.held.retain(|target, _| !targets.contains(target));
            }
        }
        self.journal.extend(recorded.into_iter().map(marked));
    }

    fn claim(&mut self, cause: &Cause, event: Event) -> Result<Turn, Broken> {
        let illegal = |error: &dyn std::fmt::Display| Broken(error.to_string());
        if let Event::StepLocked { step, targets } = &event
            && let Some(holders) = self.holders(step, targets)
        {
            let step = step.clone();
            return self.run.held(self.now, &step, holders).map_err(|error| illegal(&error));
        }
        let wanted = claims(self.run.state.as_ref(), std::slice::from_ref(&event));
        let renew = matches!(event, Event::EngineAttached { .. });
        let grants = wanted.into_iter().map(|target| self.locks.grant(target, renew)).collect();
        let recorded = self.run.granted(self.now, cause, event, grants);
        self.journal.push(marked(recorded.map_err(|error| illegal(&error))?));
        let advance = self.run.turn(self.now, &Cause::engine(), &Command::Advance);
        advance.map_err(|error| illegal(&error))
    }

    /// Who else holds the targets of a step now.
    fn holders(&mut self, step: &StepId, targets: &[TargetId]) -> Option<Vec<Holder>> {
        let (run, since, until) = self.locks.foreign.get(step)?.clone();
        if self.now >= until {
            self.locks.foreign.remove(step);
            return None;
        }
        let holder = |target: &TargetId| Holder {
            target: target.clone(),
            run: RunId::new(run.as_str()),
            since,
        };
        Some(targets.iter().map(holder).collect())
    }

    pub(super) fn try_locks(&mut self, step: StepId) -> Result<(), Broken> {
        if self.away.is_none() {
            // A step that does not wait any more says nothing.
            drop(self.give(&Cause::engine(), &Command::Report(Report::TryLocks { step }))?);
        }
        Ok(())
    }

    /// Begins what should be happening and is not, forgets what is and should not.
    pub(super) fn reconcile(&mut self) {
        let Some(state) = self.run.state.as_ref().filter(|_| self.away.is_none()) else { return };
        let wanted = effects(state);
        let due = next_due(state);
        let names: Vec<Name> = wanted.iter().map(Wanted::name).collect();
        let kept: std::collections::BTreeSet<&Name> = names.iter().collect();
        self.under_way.retain(|name| kept.contains(name));
        let mut later: Option<Timestamp> = due;
        for (name, wanted) in names.iter().zip(wanted) {
            if self.under_way.contains(name) {
                continue;
            }
            let from = wanted.not_before();
            if from > self.now {
                later = Some(later.map_or(from, |later| later.min(from)));
                continue;
            }
            self.start(name.clone(), wanted);
        }
        self.wake_at(later);
    }

    fn wake_at(&mut self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        if self.wakes.is_some_and(|wakes| wakes <= due && wakes > self.now) {
            return;
        }
        self.wakes = Some(due);
        let life = self.life;
        self.after(due.since_ms(self.now), Happening::Wake { life });
    }

    pub(super) fn wake(&mut self, life: u64) -> Result<(), Broken> {
        if self.lives(life) {
            self.wakes = None;
            // Nothing may be due any more.
            drop(self.give(&Cause::engine(), &Command::Advance)?);
        }
        Ok(())
    }

    fn start(&mut self, name: Name, wanted: Wanted) {
        self.under_way.insert(name.clone());
        let life = self.life;
        let report = match wanted {
            Wanted::Apply(dispatch) => return self.send(name, dispatch),
            Wanted::Watch(watch) => return self.look(name, watch, None),
            Wanted::Prepare { step, attempt, look, action, input, .. } => {
                let asked = Asked { step: &step, action: &action, input: &input, now: self.now };
                let result = self.world.prepare(&asked);
                Report::Prepared { step, attempt, look, result }
            }
            Wanted::Settle(dispatch) => {
                let settled = self.world.settle(&dispatch, self.now);
                Report::Settled { sending: dispatch.sending, settled }
            }
            Wanted::Revert { step, made, action, effect, .. } => {
                let reverted = self.world.revert(&step, &action, &effect);
                Report::Reverted { step, made, reverted }
            }
        };
        let ms = self.world.rng.between(LOOK_MS.0, LOOK_MS.1);
        self.after(ms, Happening::Answer { life, name, report: Box::new(report) });
    }

    /// One look of a watch; the next one, where it has nothing to tell.
    pub(super) fn look(&mut self, name: Name, watch: Box<Watch>, unseen: Option<Timestamp>) {
        let life = self.life;
        let asked =
            Asked { step: &watch.step, action: &watch.action, input: &watch.input, now: self.now };
        let found = Found::of(&self.world.prepare(&asked));
        let blind = matches!(found, Found::Unseen { .. });
        let unseen = blind.then(|| unseen.unwrap_or(self.now));
        if watch.tells(&found, self.now, unseen) {
            let report = Report::Watched { step: watch.step, look: watch.look, found };
            self.after(LOOK_MS.0, Happening::Answer { life, name, report: Box::new(report) });
        } else {
            let ms = Watch::wait_ms(&found);
            self.after(ms, Happening::Look { life, name, watch, unseen });
        }
    }

    fn send(&mut self, name: Name, dispatch: Box<Dispatch>) {
        let life = self.life;
        let fate = self.world.depart(&dispatch, self.now);
        if let Some(ms) = fate.lands_ms {
            self.after(ms, Happening::Land { dispatch: dispatch.clone() });
        }
        let (ms, reply) = fate.replies;
        let (ms, reply) = if ms > dispatch.timeout_ms {
            let why = format!("no answer within {}ms", dispatch.timeout_ms);
            (dispatch.timeout_ms, Reply::Lost(why))
        } else {
            (ms, reply)
        };
        self.after(ms, Happening::Reply { life, name, dispatch, reply });
    }

    pub(super) fn answer(&mut self, life: u64, name: &Name, report: Report) -> Result<(), Broken> {
        if self.lives(life) && self.under_way.remove(name) {
            // A report that no longer fits is ignored by the core.
            drop(self.give(&Cause::engine(), &Command::Report(report))?);
        }
        Ok(())
    }
}

impl super::Locks {
    /// A lock, with its old token where the run holds it already and it is not renewed.
    fn grant(&mut self, target: TargetId, renew: bool) -> Grant {
        if let Some(token) = self.held.get(&target).filter(|_| !renew) {
            return Grant { target, token: *token };
        }
        self.counter += 1;
        let token = LockToken(self.counter);
        self.held.insert(target.clone(), token);
        Grant { target, token }
    }
}
