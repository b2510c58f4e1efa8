//! What a commander's events make of the run: what is held back, adopted, given away, handed over.

use super::step::step_of;
use crate::adopt::Adopted;
use crate::event::{Event, Recorded, RunEnd};
use crate::id::{RunId, StepId, StepIx, Timestamp};
use crate::state::{Offer, RunState, StepState};

pub(super) fn fold(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let at = recorded.at;
    match &recorded.event {
        Event::StepsHeld { steps } => run.held.extend(found(run, steps)?),
        Event::StepsFreed { steps } => {
            for ix in found(run, steps)? {
                run.held.remove(&ix);
            }
            super::run::retry_locks(run, at);
        }
        Event::StepsAdopted { from, steps } => adopted(run, from, steps, at)?,
        Event::RunSuperseded { by } => superseded(run, by, at),
        Event::LocksYielded { targets } => run.locks.retain(|target, _| !targets.contains(target)),
        Event::CommandOffered { to } => {
            run.offer = Some(Offer { to: to.clone(), by: recorded.cause.actor.clone(), at });
        }
        Event::CommandTaken => {
            run.commander = recorded.cause.actor.clone();
            run.offer = None;
        }
        _ => return Err("not an event of a commander".into()),
    }
    Ok(())
}

fn found(run: &RunState, steps: &[StepId]) -> Result<Vec<StepIx>, String> {
    let find = |id| run.order.find(id).ok_or_else(|| format!("there is no step `{id}`"));
    steps.iter().map(find).collect()
}

fn adopted(
    run: &mut RunState,
    from: &RunId,
    steps: &[Adopted],
    at: Timestamp,
) -> Result<(), String> {
    run.continues = Some(from.clone());
    for adopted in steps {
        let (ix, step) = step_of(run, &adopted.step)?;
        step.made.clone_from(&adopted.made);
        step.adopted = true;
        if let Some(outcome) = &adopted.outcome {
            step.input = outcome.input.clone();
            step.output = outcome.output.clone();
            step.look += 1;
            run.change(ix, StepState::Succeeded { changed: outcome.changed }, at);
        }
    }
    Ok(())
}

/// What waits will not go on here; what was being retried neither.
fn superseded(run: &mut RunState, by: &RunId, at: Timestamp) {
    super::run::cancel_idle(run, at);
    for ix in run.active.clone() {
        run.change(ix, StepState::Cancelled, at);
    }
    run.superseded_by = Some(by.clone());
    run.paused = false;
    run.offer = None;
    super::run::ended(run, RunEnd::Superseded, None, at);
}
