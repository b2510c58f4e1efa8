//! What the events of a step make of it.

use std::sync::Arc;

use serde_json::Value;

use crate::contract::{Guarantee, Prepared, PreparedEffect, Satisfied};
use crate::event::{Event, Recorded, Wait};
use crate::id::{StepId, StepIx, Timestamp};
use crate::state::{Approval, EffectRun, EffectState, Made, RunState, StepRun, StepState};

fn index(run: &RunState, id: &StepId) -> Result<StepIx, String> {
    run.order.find(id).ok_or_else(|| format!("there is no step `{id}`"))
}

pub(super) fn step_of<'a>(
    run: &'a mut RunState,
    id: &StepId,
) -> Result<(StepIx, &'a mut StepRun), String> {
    let ix = index(run, id)?;
    let step = run.steps.get_mut(ix.0).ok_or_else(|| format!("there is no step `{id}`"))?;
    Ok((ix, step))
}

pub(super) fn fold(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let at = recorded.at;
    match &recorded.event {
        Event::RevertPlanned { step, made, reverted } => {
            let (_, step) = step_of(run, step)?;
            let made = step.made.get_mut(*made).ok_or("it made no such effect")?;
            made.reverted = Some(reverted.clone());
        }
        Event::StepStarted { step, attempt, input } => started(run, step, *attempt, input, at)?,
        Event::StepPrepared { step, prepared } => prepared_(run, step, prepared)?,
        Event::StepLocked { step, .. } => {
            let (ix, step) = step_of(run, step)?;
            step.locked = true;
            step.look += 1;
            run.change(ix, StepState::Preparing, at);
        }
        Event::StepWaits { step, wait } => waits(run, step, wait, at)?,
        Event::StepApproved { step, consent } => {
            let (_, step) = step_of(run, step)?;
            let by = recorded.cause.actor.clone();
            let break_glass = recorded.cause.break_glass;
            step.approvals.push(Approval { by, consent: consent.clone(), at, break_glass });
        }
        Event::StepSucceeded { step, changed, output } => {
            succeeded(run, step, *changed, output, at)?;
        }
        Event::StepLooked { step, due, difference } => {
            let (_, step) = step_of(run, step)?;
            step.look += 1;
            step.verify_looks += 1;
            step.due = Some(*due);
            step.trouble = Some(difference.join("; "));
        }
        Event::StepUnverified { step, difference } => {
            rest(run, step, StepState::Unverified, Some(difference.join("; ")), at)?;
        }
        Event::StepFailed { step, reason, met } => {
            let state = StepState::Failed { reason: reason.clone(), met: *met };
            rest(run, step, state, Some(reason.clone()), at)?;
        }
        Event::StepSkipped { step, by } => rest(run, step, StepState::Skipped(*by), None, at)?,
        Event::StepCancelled { step } => rest(run, step, StepState::Cancelled, None, at)?,
        Event::StepUndone { step } => rest(run, step, StepState::Undone, None, at)?,
        Event::StepReopened { step, with } => {
            edit(run, step, with.as_ref(), &recorded.cause.actor)?;
            let (ix, step) = step_of(run, step)?;
            step.tries = 0;
            step.due = None;
            step.ended = None;
            run.change(ix, StepState::Pending, at);
        }
        _ => return Err("not an event of a step".into()),
    }
    Ok(())
}

/// A person changed what its action takes: the plan says it from here on.
fn edit(
    run: &mut RunState,
    id: &StepId,
    with: Option<&Value>,
    by: &crate::event::Actor,
) -> Result<(), String> {
    let Some(with) = with else { return Ok(()) };
    let (ix, step) = step_of(run, id)?;
    step.edited = Some(by.clone());
    let plan = run.plan.steps.get_mut(ix.0).ok_or_else(|| format!("there is no step `{id}`"))?;
    plan.with = crate::expr::literal(with);
    Ok(())
}

fn rest(
    run: &mut RunState,
    id: &StepId,
    state: StepState,
    trouble: Option<String>,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    step.look += 1;
    if trouble.is_some() {
        step.trouble = trouble;
    }
    run.change(ix, state, at);
    Ok(())
}

fn started(
    run: &mut RunState,
    id: &StepId,
    attempt: u32,
    input: &Value,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    if attempt != step.attempt.saturating_add(1) {
        return Err(format!("attempt {attempt} of `{id}` cannot follow {}", step.attempt));
    }
    step.attempt = attempt;
    step.input = input.clone();
    step.prepared = None;
    step.effects.clear();
    step.locked = false;
    step.look += 1;
    step.due = None;
    step.verifying_since = None;
    step.verify_looks = 0;
    step.started.get_or_insert(at);
    run.change(ix, StepState::Preparing, at);
    Ok(())
}

fn prepared_(run: &mut RunState, id: &StepId, prepared: &Prepared) -> Result<(), String> {
    let (_, step) = step_of(run, id)?;
    let state = |effect| {
        if step.is_there(prepared, effect) { EffectState::Satisfied } else { EffectState::Pending }
    };
    step.effects = prepared
        .effects
        .iter()
        .map(|effect| EffectRun { state: state(effect), ..EffectRun::default() })
        .collect();
    step.prepared = Some(Arc::new(prepared.clone()));
    step.look += 1;
    Ok(())
}

fn waits(run: &mut RunState, id: &StepId, wait: &Wait, at: Timestamp) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    step.look += 1;
    match wait {
        Wait::Retry { why, .. } => {
            step.tries += u32::from(step.state == StepState::Preparing);
            step.trouble = Some(why.clone());
        }
        Wait::Person { why } | Wait::Output { name: why, .. } => step.trouble = Some(why.clone()),
        Wait::Approval { .. } | Wait::Soak { .. } | Wait::Lock { .. } | Wait::Timer { .. } => {}
    }
    run.change(ix, StepState::Waiting(wait.clone()), at);
    Ok(())
}

fn succeeded(
    run: &mut RunState,
    id: &StepId,
    changed: bool,
    output: &Value,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    step.output = output.clone();
    step.trouble = None;
    step.look += 1;
    run.change(ix, StepState::Succeeded { changed }, at);
    Ok(())
}

impl StepRun {
    /// Whether an effect is in doubt and no other has still to answer.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.is_busy()
            && self.effects.iter().any(|e| matches!(e.state, EffectState::InDoubt { .. }))
    }

    /// Whether nothing is to be made for this effect: it is as wanted, or this step made it in an
    /// earlier attempt and the action cannot see it. A read is never there already: its answer is
    /// its output.
    pub(crate) fn is_there(&self, prepared: &Prepared, effect: &PreparedEffect) -> bool {
        let made = |made: &Made| made.whole && made.is_same(&self.input, effect);
        prepared.guarantee != Guarantee::ReadOnly
            && match effect.satisfied {
                Satisfied::Yes => true,
                Satisfied::No => false,
                Satisfied::CannotTell => self.made.iter().any(made),
            }
    }

    /// When it goes on without an answer.
    pub(crate) fn goes_on(&self) -> Option<Timestamp> {
        match &self.state {
            StepState::Waiting(Wait::Retry { due, .. } | Wait::Timer { due }) => Some(*due),
            StepState::Running => self.effects_due(),
            StepState::Pending
            | StepState::Preparing
            | StepState::Waiting(_)
            | StepState::InDoubt
            | StepState::Succeeded { .. }
            | StepState::Unverified
            | StepState::Failed { .. }
            | StepState::Skipped(_)
            | StepState::Cancelled
            | StepState::Undone => None,
        }
    }
}
