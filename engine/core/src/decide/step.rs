//! Pieces of a step's way that several decisions share.

use std::collections::BTreeSet;

use serde_json::Value;

use super::At;
use super::advance::undo_id;
use crate::contract::{Gate, Guarantee, Prepared};
use crate::event::{Event, Sending, StopCause, Wait};
use crate::id::TargetId;
use crate::plan::{OnExhausted, Role};
use crate::retry;
use crate::state::{EffectState, StepRun, StepState};

impl At<'_> {
    /// After a fresh look, before anything is sent: approval, locks, gate, intents.
    pub(super) fn go_on(&self, prepared: &Prepared) -> Vec<Event> {
        if self.is_there_already(prepared) {
            return self.finish(!self.step.made.is_empty(), &prepared.seen);
        }
        if let Some(wait) = self.approval_wait(prepared) {
            return vec![Event::StepWaits { step: self.id(), wait }];
        }
        let missing = self.missing_locks(prepared);
        if !missing.is_empty() {
            return vec![Event::StepLocked { step: self.id(), targets: missing }];
        }
        match &prepared.gate {
            Some(Gate::Timer { ms }) => {
                let wait = Wait::Timer { due: self.now.plus_ms(*ms) };
                vec![Event::StepWaits { step: self.id(), wait }]
            }
            Some(Gate::Approval { .. }) => self.finish(true, &Value::Null),
            None => self.first_intents(prepared),
        }
    }

    /// Whether nothing is left to make.
    fn is_there_already(&self, prepared: &Prepared) -> bool {
        prepared.gate.is_none()
            && prepared.effects.iter().all(|effect| self.step.is_there(prepared, effect))
    }

    /// What is asked of people, where what they said so far is not enough for this.
    fn approval_wait(&self, prepared: &Prepared) -> Option<Wait> {
        let consent = prepared.consent();
        if self.is_approved(prepared, &consent) {
            return None;
        }
        Some(Wait::Approval { consent, why: self.approval_reason(prepared) })
    }

    pub(super) fn is_approved(&self, prepared: &Prepared, consent: &str) -> bool {
        let needed = self.approvals_needed(prepared);
        let given: Vec<_> =
            self.step.approvals.iter().filter(|approval| approval.consent == consent).collect();
        let people: BTreeSet<&str> = given.iter().map(|a| a.by.person()).collect();
        given.iter().any(|approval| approval.break_glass)
            || people.len() >= usize::try_from(needed).unwrap_or(usize::MAX)
    }

    fn approvals_needed(&self, prepared: &Prepared) -> u32 {
        let policy = self.plan.approval.as_ref().map_or(0, |policy| policy.count);
        let gate = u32::from(matches!(prepared.gate, Some(Gate::Approval { .. })));
        let hazard = u32::from(!self.open_hazards(prepared).is_empty());
        policy.max(gate).max(hazard)
    }

    fn open_hazards(&self, prepared: &Prepared) -> Vec<String> {
        prepared
            .all_hazards()
            .filter(|hazard| !self.plan.accept.contains(&hazard.code))
            .map(|hazard| format!("{}: {}", hazard.code, hazard.text))
            .collect()
    }

    fn approval_reason(&self, prepared: &Prepared) -> String {
        if let Some(Gate::Approval { text }) = &prepared.gate {
            return text.clone();
        }
        let before = if self.step.approvals.is_empty() {
            ""
        } else {
            "what it would do is not what was approved; "
        };
        let hazards = self.open_hazards(prepared);
        if hazards.is_empty() {
            format!("{before}the runbook asks for approval")
        } else {
            format!("{before}hazards not accepted in the runbook: {}", hazards.join("; "))
        }
    }

    pub(super) fn missing_locks(&self, prepared: &Prepared) -> Vec<TargetId> {
        let wanted: BTreeSet<&TargetId> = if prepared.guarantee == Guarantee::ReadOnly {
            BTreeSet::new()
        } else {
            prepared.locks.iter().chain(&self.plan.locks).collect()
        };
        wanted.into_iter().filter(|target| !self.run.locks.contains_key(target)).cloned().collect()
    }

    /// Enough people said yes: a gate is passed, anything else is locked and prepared once more.
    pub(super) fn approved(&self, prepared: &Prepared) -> Vec<Event> {
        if prepared.gate.is_some() && prepared.effects.is_empty() {
            self.go_on(prepared)
        } else {
            self.lock(prepared)
        }
    }

    /// All its targets together; then it is prepared once more. Where no step more may be at work
    /// it waits its turn and begins anew.
    pub(super) fn lock(&self, prepared: &Prepared) -> Vec<Event> {
        if self.run.room() == 0 {
            let why = "as many steps as may work at once are at work".into();
            let wait = Wait::Retry { due: self.now, why };
            return vec![Event::StepWaits { step: self.id(), wait }];
        }
        let targets = self.missing_locks(prepared);
        vec![Event::StepLocked { step: self.id(), targets }]
    }

    fn first_intents(&self, prepared: &Prepared) -> Vec<Event> {
        let open = |at: &usize| {
            prepared.effects.get(*at).is_some_and(|effect| !self.step.is_there(prepared, effect))
        };
        let wave = |at: &usize| prepared.effects.get(*at).map_or(0, |effect| effect.wave);
        let open: Vec<usize> = (0..prepared.effects.len()).filter(open).collect();
        let first = open.iter().map(wave).min();
        let now = open.into_iter().filter(|at| Some(wave(at)) == first);
        now.map(|effect| self.intent(effect, 1)).collect()
    }

    pub(super) fn intent(&self, effect: usize, dispatch: u32) -> Event {
        Event::EffectIntended { sending: self.sending(effect, dispatch) }
    }

    pub(super) fn sending(&self, effect: usize, dispatch: u32) -> Sending {
        Sending { step: self.id(), attempt: self.step.attempt, effect, dispatch }
    }

    /// It did what it should: the soak begins, or it is done. A run that goes another way begins no
    /// soak.
    pub(super) fn finish(&self, changed: bool, output: &Value) -> Vec<Event> {
        match self.plan.soak_ms {
            Some(_) if !self.run.admits(self.ix) => {
                vec![Event::StepCancelled { step: self.id() }]
            }
            Some(soak_ms) => {
                let wait = Wait::Soak {
                    covered_ms: 0,
                    sampled: Some(self.now),
                    due: self.now.plus_ms(retry::sample_ms(soak_ms)),
                    seen: Value::Null,
                };
                vec![Event::StepWaits { step: self.id(), wait }]
            }
            None => self.succeed(changed, output.clone()),
        }
    }

    /// It is done, and so perhaps is the undo of another step.
    pub(super) fn succeed(&self, changed: bool, output: Value) -> Vec<Event> {
        let mut events = vec![Event::StepSucceeded { step: self.id(), changed, output }];
        events.extend(self.undone());
        events
    }

    /// The step that this one put back the last effect of. One whose undo was skipped is not undone.
    fn undone(&self) -> Option<Event> {
        let Role::Undo { undo, of, .. } = &self.plan.role else { return None };
        let (_, _, undone) = self.run.find(of)?;
        let several = undone.made.len() > 1;
        let is_back = |at: usize| {
            let id = undo_id(of, *undo, at, several);
            let put_back = |step: &StepRun| matches!(step.state, StepState::Succeeded { .. });
            // One that needed no step was there already.
            id == self.plan.id || self.run.find(&id).is_none_or(|(_, _, step)| put_back(step))
        };
        let all_back = undone.state != StepState::Undone && (0..undone.made.len()).all(is_back);
        all_back.then(|| Event::StepUndone { step: of.clone() })
    }

    /// Whether any effect was really made, and what the step gives.
    pub(super) fn outcome(&self) -> (bool, Value) {
        let changed = self.step.effects.iter().any(|e| e.state == EffectState::Done)
            || !self.step.made.is_empty();
        if let Some(prepared) = &self.step.prepared
            && self.step.effects.iter().all(|effect| effect.dispatch == 0)
        {
            return (changed, prepared.seen.clone());
        }
        let outputs: Vec<&Value> = self.step.effects.iter().map(|effect| &effect.output).collect();
        let output = match outputs.as_slice() {
            [] => Value::Null,
            [one] => (*one).clone(),
            many => serde_json::json!({ "effects": many }),
        };
        (changed, output)
    }

    /// An attempt came to nothing, and nothing of it is still under way.
    pub(super) fn failed_attempt(&self, reason: &str, tries: u32) -> Vec<Event> {
        if !self.run.admits(self.ix) {
            return vec![self.fail(reason, false)];
        }
        if tries <= self.plan.retry.max {
            let due = self.now.plus_ms(self.retry_wait_ms(tries));
            let wait = Wait::Retry { due, why: reason.into() };
            return vec![Event::StepWaits { step: self.id(), wait }];
        }
        self.exhausted(reason)
    }

    /// The wait before the sending that follows on so many, milliseconds.
    pub(super) fn retry_wait_ms(&self, sent: u32) -> u64 {
        let seed = format!("{}/{}", self.run.run, self.plan.id);
        retry::wait_ms(&self.plan.retry, sent, &seed)
    }

    fn exhausted(&self, reason: &str) -> Vec<Event> {
        match self.plan.on_exhausted {
            OnExhausted::Wait => {
                let wait = Wait::Person { why: reason.into() };
                vec![Event::StepWaits { step: self.id(), wait }]
            }
            OnExhausted::Continue => vec![self.fail(reason, true)],
            OnExhausted::Halt => {
                let why = StopCause::Halted { step: self.id() };
                vec![self.fail(reason, false), Event::RunStopping { why }]
            }
            OnExhausted::Undo => {
                vec![self.fail(reason, false), Event::UndoBegun { undo: self.run.undos + 1 }]
            }
        }
    }

    fn fail(&self, reason: &str, met: bool) -> Event {
        Event::StepFailed { step: self.id(), reason: reason.into(), met }
    }
}
