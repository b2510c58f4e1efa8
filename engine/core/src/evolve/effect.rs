//! What the events of a sending make of its effect and its step.

use std::sync::Arc;

use serde_json::Value;

use super::step::step_of;
use crate::contract::{Guarantee, PreparedEffect, Settled};
use crate::event::{Event, Recorded, Sending};
use crate::id::{Seq, Timestamp};
use crate::state::{EffectRun, EffectState, Made, RunState, StepRun, StepState};

pub(super) fn fold(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let (at, seq) = (recorded.at, recorded.seq);
    match &recorded.event {
        Event::EffectIntended { sending } => intended(run, sending, at),
        Event::EffectDone { sending, output } => made(run, sending, output, None, seq, at),
        Event::EffectRefused { sending, reason } => {
            let (_, step) = step_of(run, &sending.step)?;
            step.tries += 1;
            step.trouble = Some(reason.clone());
            to(run, sending, EffectState::Refused, at)
        }
        Event::EffectFailed { sending, reason, output } => {
            made(run, sending, output, Some(reason), seq, at)
        }
        Event::EffectUnclear { sending, reason } => {
            let evidence = reason.clone();
            to(
                run,
                sending,
                EffectState::Unclear { since: at, due: at, evidence, orphaned: false },
                at,
            )
        }
        Event::EffectSettled { sending, settled, due } => {
            settled_(run, sending, settled, *due, seq, at)
        }
        Event::EffectInDoubt { sending, evidence } => {
            to(run, sending, EffectState::InDoubt { evidence: evidence.clone() }, at)
        }
        _ => Err("not an event of an effect".into()),
    }
}

fn effect_of<'a>(step: &'a mut StepRun, sending: &Sending) -> Result<&'a mut EffectRun, String> {
    if sending.attempt != step.attempt {
        return Err(format!("`{}` is at attempt {}", sending.step, step.attempt));
    }
    let missing = || format!("`{}` has no effect {}", sending.step, sending.effect);
    step.effects.get_mut(sending.effect).ok_or_else(missing)
}

fn intended(run: &mut RunState, sending: &Sending, at: Timestamp) -> Result<(), String> {
    let (ix, step) = step_of(run, &sending.step)?;
    let effect = effect_of(step, sending)?;
    effect.dispatch = sending.dispatch;
    effect.state = EffectState::InFlight;
    effect.looks = 0;
    effect.first_sent.get_or_insert(at);
    run.change(ix, StepState::Running, at);
    Ok(())
}

/// An effect that was sent comes to a new state; the step's own follows from its effects.
fn to(
    run: &mut RunState,
    sending: &Sending,
    state: EffectState,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, &sending.step)?;
    effect_of(step, sending)?.state = state;
    let step_state = if step.is_in_doubt() { StepState::InDoubt } else { StepState::Running };
    if step.effects.iter().all(EffectRun::is_made) {
        step.verifying_since = Some(at);
    }
    run.change(ix, step_state, at);
    Ok(())
}

fn made(
    run: &mut RunState,
    sending: &Sending,
    output: &Value,
    failure: Option<&String>,
    seq: Seq,
    at: Timestamp,
) -> Result<(), String> {
    let key = run.key(sending);
    let (_, step) = step_of(run, &sending.step)?;
    let prepared = step.prepared.clone().ok_or("it was never prepared")?;
    effect_of(step, sending)?.output = output.clone();
    if prepared.guarantee != Guarantee::ReadOnly {
        let new = Made {
            seq,
            key,
            prepared,
            effect: sending.effect,
            input: step.input.clone(),
            output: output.clone(),
            whole: failure.is_none(),
            reverted: None,
            adopted: false,
        };
        match step.made.iter_mut().find(|old| old.is_made_again_by(&new)) {
            // It is put back once, to what was there before its first attempt.
            Some(old) => {
                let (prepared, effect) = (old.prepared.clone(), old.effect);
                *old = Made { prepared, effect, ..new };
            }
            None => step.made.push(new),
        }
    }
    if let Some(reason) = failure {
        step.tries += 1;
        step.trouble = Some(reason.clone());
    }
    let state = if failure.is_some() { EffectState::Failed } else { EffectState::Done };
    to(run, sending, state, at)
}

fn settled_(
    run: &mut RunState,
    sending: &Sending,
    settled: &Settled,
    due: Option<Timestamp>,
    seq: Seq,
    at: Timestamp,
) -> Result<(), String> {
    let (_, step) = step_of(run, &sending.step)?;
    let keyed = step.guarantee() == Some(Guarantee::Keyed);
    let effect = effect_of(step, sending)?;
    effect.looks += 1;
    let by_person = matches!(effect.state, EffectState::InDoubt { .. });
    let (since, orphaned) = effect.state.unclear_since().unwrap_or((at, false));
    let due = due.unwrap_or(at);
    let again = |why: &str| EffectState::Again { due, why: why.into() };
    let unclear =
        |why: &String| EffectState::Unclear { since, due, evidence: why.clone(), orphaned };
    let state = match settled {
        Settled::Done { output } => return made(run, sending, output, None, seq, at),
        Settled::Failed { reason, output } => {
            return made(run, sending, output, Some(reason), seq, at);
        }
        Settled::NotDone => again("it was not made"),
        Settled::Unknown { evidence } if keyed => again(evidence),
        Settled::Running { evidence } | Settled::Unknown { evidence } => unclear(evidence),
        Settled::Unreachable { reason } => unclear(reason),
    };
    if matches!(state, EffectState::Again { .. }) {
        let lost = *settled != Settled::NotDone;
        effect.doubtful = lost;
        // A lost reply, what an engine's death cut off, and what a person has decided, is no failed
        // sending.
        step.tries += u32::from(!lost && !orphaned && !by_person);
        let trouble =
            if lost { "nobody knows whether it was made" } else { "a sending was not made" };
        step.trouble = Some(trouble.into());
    }
    to(run, sending, state, at)
}

impl EffectState {
    fn unclear_since(&self) -> Option<(Timestamp, bool)> {
        match self {
            Self::Unclear { since, orphaned, .. } => Some((*since, *orphaned)),
            Self::Pending
            | Self::Satisfied
            | Self::InFlight
            | Self::Done
            | Self::Again { .. }
            | Self::Refused
            | Self::Failed
            | Self::InDoubt { .. } => None,
        }
    }
}

impl Made {
    /// Whether it made just this.
    pub(super) fn is_same(&self, input: &Value, effect: &PreparedEffect) -> bool {
        let same =
            |made: &PreparedEffect| made.title == effect.title && made.wanted == effect.wanted;
        self.input == *input && self.effect().is_some_and(same)
    }

    /// Whether a later attempt made the same again: the earlier one failed on the way, or somebody
    /// took it back.
    fn is_made_again_by(&self, new: &Self) -> bool {
        !Arc::ptr_eq(&self.prepared, &new.prepared)
            && self.reverted.is_none()
            && new.effect().is_some_and(|effect| self.is_same(&new.input, effect))
    }
}

impl EffectRun {
    /// Whether there is nothing left to do for it.
    pub fn is_made(&self) -> bool {
        matches!(self.state, EffectState::Done | EffectState::Satisfied)
    }
}
