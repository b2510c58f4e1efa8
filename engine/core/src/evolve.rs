//! The fold: what each event makes of the state. It records; it never chooses, and never asks the
//! clock.

mod command;
mod effect;
mod legal;
mod run;
mod sets;
mod step;
mod watch;

use crate::event::{Event, Recorded};
use crate::id::Seq;
use crate::state::{Note, Phase, RunState};

/// An event that cannot follow the ones before it: a damaged journal, or a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} cannot follow: {why}")]
pub struct IllegalEvent {
    /// Where.
    pub seq: Seq,
    /// Why.
    pub why: String,
}

/// Folds one event into the state; `None` is before the first. After an error the state is of no
/// use.
pub fn evolve(state: &mut Option<RunState>, recorded: &Recorded) -> Result<(), IllegalEvent> {
    let illegal = |why| IllegalEvent { seq: recorded.seq, why };
    match state {
        None => *state = Some(run::created(recorded).map_err(illegal)?),
        Some(run) => {
            follows(run, recorded).map_err(illegal)?;
            legal::check(run, &recorded.event).map_err(illegal)?;
            run.seq = recorded.seq;
            run.epoch = recorded.epoch;
            run.last = recorded.at;
            run.break_glass |= recorded.cause.break_glass;
            run.locks.extend(recorded.grants.iter().map(|g| (g.target.clone(), g.token)));
            if moves(&recorded.event) {
                run.moved = recorded.seq;
            }
            fold(run, recorded).map_err(illegal)?;
        }
    }
    Ok(())
}

fn follows(run: &RunState, recorded: &Recorded) -> Result<(), String> {
    if recorded.seq != run.seq.next() {
        return Err(format!("the last one was {}", run.seq));
    }
    if recorded.epoch < run.epoch {
        return Err(format!("epoch {} is older than {}", recorded.epoch.0, run.epoch.0));
    }
    Ok(())
}

/// Whether what was looked at before it may be otherwise after it.
fn moves(event: &Event) -> bool {
    !matches!(
        event,
        Event::WatchAlarm { .. }
            | Event::WatchCalm { .. }
            | Event::WatchHeld { .. }
            | Event::NoteTaken { .. }
            // An engine that let go still waited for whom it waited for before.
            | Event::EngineDetached { .. }
            | Event::CommandOffered { .. }
            | Event::CommandTaken
    )
}

fn fold(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let at = recorded.at;
    match &recorded.event {
        Event::RunCreated { .. } => return Err("the run exists already".into()),
        Event::EngineAttached { engine } => run::attached(run, engine, at),
        Event::EngineDetached { .. } => run.attached = false,
        Event::RunPaused => run.paused = true,
        Event::RunResumed => run::resumed(run, at),
        Event::RunStopping { why } => {
            run.phase = Phase::Stopping(why.clone());
            // Nothing is begun any more, so there is nothing to hold back either.
            run.paused = false;
            run.held.clear();
            run::cancel_idle(run, at);
        }
        Event::RunEnded { end, recovered } => run::ended(run, *end, *recovered, at),
        Event::RunClosed => run.closed = true,
        Event::UndoBegun { undo } => {
            run.phase = Phase::Undoing(*undo);
            run.undos = *undo;
            run.undo_planned = false;
            run.held.clear();
            run.ended = None;
            run::cancel_idle(run, at);
        }
        Event::StepsInserted { steps, before } => run::inserted(run, steps, before)?,
        Event::StepsHeld { .. }
        | Event::StepsFreed { .. }
        | Event::StepsAdopted { .. }
        | Event::RunSuperseded { .. }
        | Event::LocksYielded { .. }
        | Event::CommandOffered { .. }
        | Event::CommandTaken => command::fold(run, recorded)?,
        Event::NoteTaken { step, text } => {
            let by = recorded.cause.actor.clone();
            run::noted(run, Note { at, by, step: step.clone(), text: text.clone() });
        }
        Event::RevertPlanned { .. }
        | Event::StepStarted { .. }
        | Event::StepPrepared { .. }
        | Event::StepLocked { .. }
        | Event::StepWaits { .. }
        | Event::StepApproved { .. }
        | Event::StepSucceeded { .. }
        | Event::StepLooked { .. }
        | Event::StepUnverified { .. }
        | Event::StepFailed { .. }
        | Event::StepSkipped { .. }
        | Event::StepCancelled { .. }
        | Event::StepUndone { .. }
        | Event::StepReopened { .. } => step::fold(run, recorded)?,
        Event::WatchAlarm { .. }
        | Event::WatchCalm { .. }
        | Event::WatchHeld { .. }
        | Event::WatchAccepted { .. } => watch::fold(run, recorded)?,
        Event::EffectIntended { .. }
        | Event::EffectDone { .. }
        | Event::EffectRefused { .. }
        | Event::EffectFailed { .. }
        | Event::EffectUnclear { .. }
        | Event::EffectSettled { .. }
        | Event::EffectInDoubt { .. } => effect::fold(run, recorded)?,
    }
    Ok(())
}
