//! Which event may follow in which state: the tables of `docs/rules.md`. Anything else is a damaged
//! journal or a bug, and is refused before it changes the state.

use crate::contract::{Guarantee, Settled};
use crate::event::{Event, RunEnd, Sending, SkipCause, StopCause, Wait};
use crate::id::StepId;
use crate::plan::Role;
use crate::state::{EffectRun, EffectState, Phase, RunState, StepRun, StepState};

/// Says why the event cannot follow, where it cannot.
pub(super) fn check(run: &RunState, event: &Event) -> Result<(), String> {
    if run.closed && !matches!(event, Event::NoteTaken { .. } | Event::EngineDetached { .. }) {
        return Err("the run is closed".into());
    }
    match event {
        Event::RunCreated { .. }
        | Event::EngineAttached { .. }
        | Event::EngineDetached { .. }
        | Event::NoteTaken { .. } => Ok(()),
        Event::RunPaused
        | Event::RunResumed
        | Event::RunStopping { .. }
        | Event::RunEnded { .. }
        | Event::RunClosed
        | Event::UndoBegun { .. }
        | Event::RevertPlanned { .. }
        | Event::StepsInserted { .. }
        | Event::StepsHeld { .. }
        | Event::StepsFreed { .. }
        | Event::StepsAdopted { .. }
        | Event::RunSuperseded { .. }
        | Event::LocksYielded { .. }
        | Event::CommandOffered { .. }
        | Event::CommandTaken => of_run(run, event),
        Event::StepStarted { step, .. }
        | Event::StepPrepared { step, .. }
        | Event::StepLocked { step, .. }
        | Event::StepWaits { step, .. }
        | Event::StepApproved { step, .. }
        | Event::StepSucceeded { step, .. }
        | Event::StepLooked { step, .. }
        | Event::StepUnverified { step, .. }
        | Event::StepFailed { step, .. }
        | Event::StepSkipped { step, .. }
        | Event::StepCancelled { step }
        | Event::StepUndone { step }
        | Event::StepReopened { step, .. } => of_step(run, step, event),
        Event::WatchAlarm { step, .. }
        | Event::WatchCalm { step }
        | Event::WatchHeld { step }
        | Event::WatchAccepted { step } => of_watch(run, step, event),
        Event::EffectIntended { sending }
        | Event::EffectDone { sending, .. }
        | Event::EffectRefused { sending, .. }
        | Event::EffectFailed { sending, .. }
        | Event::EffectUnclear { sending, .. }
        | Event::EffectSettled { sending, .. }
        | Event::EffectInDoubt { sending, .. } => of_effect(run, sending, event),
    }
}

fn of_run(run: &RunState, event: &Event) -> Result<(), String> {
    let over = matches!(run.phase, Phase::Ended(_));
    let stopping = matches!(run.phase, Phase::Stopping(_));
    let undo_steps = |steps: &[crate::plan::PlanStep]| {
        steps.iter().any(|step| matches!(step.role, Role::Undo { .. }))
    };
    let legal = match event {
        Event::RunPaused => !over && !stopping && !run.paused,
        Event::RunResumed => match run.phase {
            Phase::Forward | Phase::Undoing(_) => run.paused,
            Phase::Stopping(_) | Phase::Ended(RunEnd::Failed | RunEnd::Aborted) => true,
            Phase::Ended(RunEnd::Succeeded | RunEnd::Undone | RunEnd::Superseded) => false,
        },
        Event::RunStopping { why: StopCause::Aborted } => {
            !over && run.phase != Phase::Stopping(StopCause::Aborted)
        }
        Event::RunEnded { end, .. } => !run.paused && !run.holds_back() && may_end(run, *end),
        Event::RunClosed => over,
        Event::UndoBegun { undo } => {
            *undo == run.undos.saturating_add(1)
                && !matches!(
                    run.phase,
                    Phase::Undoing(_) | Phase::Ended(RunEnd::Undone | RunEnd::Superseded)
                )
        }
        Event::RevertPlanned { .. } => matches!(run.phase, Phase::Undoing(_)) && !run.undo_planned,
        Event::StepsInserted { steps, .. } if undo_steps(steps) => {
            matches!(run.phase, Phase::Undoing(_)) && !run.undo_planned && !run.paused
        }
        Event::StepsInserted { before, .. } => {
            run.phase == Phase::Forward && before.iter().all(|id| has_not_begun(run, id))
        }
        Event::RunStopping { why: StopCause::Halted { .. } } => run.phase == Phase::Forward,
        Event::StepsHeld { .. } | Event::StepsFreed { .. } | Event::CommandOffered { .. } => {
            !over && !stopping
        }
        Event::StepsAdopted { .. } => run.phase == Phase::Forward && !run.has_begun(),
        Event::RunSuperseded { .. } => run.may_be_superseded(),
        Event::LocksYielded { targets } => {
            !targets.is_empty() && targets.iter().all(|target| run.may_yield(target))
        }
        Event::CommandTaken => run.offer.is_some(),
        _ => false,
    };
    if legal { Ok(()) } else { Err(format!("the run is {}", phase(run))) }
}

fn has_not_begun(run: &RunState, id: &StepId) -> bool {
    run.find(id).is_some_and(|(_, _, step)| step.state == StepState::Pending && step.attempt == 0)
}

fn may_end(run: &RunState, end: RunEnd) -> bool {
    run.active.is_empty()
        && match &run.phase {
            Phase::Forward => match end {
                RunEnd::Succeeded => run.met == run.steps.len(),
                RunEnd::Failed => true,
                RunEnd::Aborted | RunEnd::Undone | RunEnd::Superseded => false,
            },
            Phase::Stopping(StopCause::Halted { .. }) => end == RunEnd::Failed,
            Phase::Stopping(StopCause::Aborted) => end == RunEnd::Aborted,
            Phase::Undoing(_) => matches!(end, RunEnd::Undone | RunEnd::Failed),
            Phase::Ended(_) => false,
        }
}

fn phase(run: &RunState) -> &'static str {
    match &run.phase {
        Phase::Forward if run.paused => "paused",
        Phase::Forward => "going forward",
        Phase::Stopping(_) => "stopping",
        Phase::Undoing(_) => "being undone",
        Phase::Ended(_) => "over",
    }
}

fn of_step(run: &RunState, id: &StepId, event: &Event) -> Result<(), String> {
    let (ix, _, step) = run.find(id).ok_or_else(|| format!("there is no step `{id}`"))?;
    if matches!(event, Event::StepStarted { .. }) && step.unmet > 0 {
        return Err(format!("`{id}` may not start before what it needs"));
    }
    if matches!(event, Event::StepStarted { .. }) && !run.may_start(ix) {
        return Err(format!("`{id}` may not start, for the run is {}", phase(run)));
    }
    let is_open = |effect: &EffectRun| effect.doubtful && effect.is_again();
    if step.state == StepState::Running && (step.is_busy() || step.effects.iter().any(is_open)) {
        return Err(format!("an effect of `{id}` has no final answer"));
    }
    let alarmed = step.watched.alarm.is_some();
    if may_follow(&step.state, event) || alarmed && matches!(event, Event::StepReopened { .. }) {
        return Ok(());
    }
    Err(format!("`{id}` is {}, and this does not follow from it", step.state.word()))
}

fn of_watch(run: &RunState, id: &StepId, event: &Event) -> Result<(), String> {
    let (ix, _, step) = run.find(id).ok_or_else(|| format!("there is no step `{id}`"))?;
    if run.phase != Phase::Forward || !run.watched.contains(&ix) {
        return Err(format!("`{id}` is not watched"));
    }
    let alarmed = step.watched.alarm.is_some();
    match event {
        Event::WatchCalm { .. } | Event::WatchAccepted { .. } if !alarmed => {
            Err(format!("`{id}` has no alarm"))
        }
        Event::WatchHeld { .. } if alarmed => Err(format!("`{id}` has an alarm")),
        _ => Ok(()),
    }
}

fn may_follow(state: &StepState, event: &Event) -> bool {
    use StepState as S;
    match event {
        Event::StepStarted { .. } => matches!(state, S::Pending | S::Waiting(Wait::Retry { .. })),
        Event::StepPrepared { .. } => *state == S::Preparing,
        Event::StepLocked { .. } => may_lock(state),
        Event::StepWaits { wait, .. } => may_wait(state, wait),
        Event::StepApproved { .. } => matches!(state, S::Waiting(Wait::Approval { .. })),
        Event::StepSucceeded { .. } => may_succeed(state),
        Event::StepUnverified { .. } => {
            matches!(state, S::Running | S::Waiting(Wait::Soak { .. }))
        }
        Event::StepFailed { .. } => {
            matches!(state, S::Preparing | S::Running | S::Waiting(Wait::Approval { .. }))
        }
        Event::StepSkipped { by: SkipCause::When, .. } => {
            matches!(state, S::Pending | S::Waiting(Wait::Retry { .. }))
        }
        Event::StepSkipped { by: SkipCause::Person, .. } => matches!(
            state,
            S::Pending | S::Waiting(_) | S::Failed { .. } | S::Unverified | S::Cancelled
        ),
        Event::StepLooked { .. } | Event::StepCancelled { .. } => *state == S::Running,
        Event::StepUndone { .. } => {
            *state == S::Unverified || state.is_rest() && *state != S::Undone
        }
        Event::StepReopened { .. } => matches!(
            state,
            S::Failed { .. }
                | S::Unverified
                | S::Cancelled
                | S::Waiting(Wait::Person { .. } | Wait::Output { .. } | Wait::Retry { .. })
        ),
        _ => false,
    }
}

fn may_lock(state: &StepState) -> bool {
    let waits = matches!(state, StepState::Waiting(Wait::Approval { .. } | Wait::Lock { .. }));
    waits || *state == StepState::Preparing
}

fn may_wait(state: &StepState, wait: &Wait) -> bool {
    use StepState as S;
    match wait {
        Wait::Approval { .. } => *state == S::Preparing,
        Wait::Retry { .. } => matches!(
            state,
            S::Preparing | S::Running | S::Waiting(Wait::Approval { .. } | Wait::Lock { .. })
        ),
        Wait::Soak { .. } => matches!(
            state,
            S::Preparing
                | S::Running
                | S::Waiting(Wait::Approval { .. } | Wait::Timer { .. } | Wait::Soak { .. })
        ),
        Wait::Lock { .. } => may_lock(state),
        Wait::Timer { .. } => matches!(state, S::Preparing | S::Waiting(Wait::Approval { .. })),
        Wait::Person { .. } => {
            matches!(state, S::Pending | S::Preparing | S::Running | S::Waiting(Wait::Retry { .. }))
        }
        Wait::Output { .. } => matches!(state, S::Pending | S::Waiting(Wait::Retry { .. })),
    }
}

fn may_succeed(state: &StepState) -> bool {
    use StepState as S;
    match state {
        S::Preparing
        | S::Running
        | S::Succeeded { .. }
        | S::Unverified
        | S::Failed { .. }
        | S::Skipped(_) => true,
        S::Waiting(wait) => match wait {
            Wait::Approval { .. }
            | Wait::Timer { .. }
            | Wait::Soak { .. }
            | Wait::Person { .. }
            | Wait::Output { .. } => true,
            Wait::Retry { .. } | Wait::Lock { .. } => false,
        },
        S::Pending | S::InDoubt | S::Cancelled | S::Undone => false,
    }
}

fn of_effect(run: &RunState, sending: &Sending, event: &Event) -> Result<(), String> {
    let id = &sending.step;
    let (ix, _, step) = run.find(id).ok_or_else(|| format!("there is no step `{id}`"))?;
    if sending.attempt != step.attempt {
        return Err(format!("`{id}` is at attempt {}", step.attempt));
    }
    let missing = || format!("`{id}` has no effect {}", sending.effect);
    let effect = step.effects.get(sending.effect).ok_or_else(missing)?;
    if matches!(event, Event::EffectIntended { .. }) {
        if !run.may_start(ix) {
            return Err(format!("`{id}` may send nothing, for the run is {}", phase(run)));
        }
        return may_send(step, effect, sending);
    }
    if sending.dispatch != effect.dispatch || !may_answer(step, effect, event) {
        return Err(format!("effect {} of `{id}` does not wait for this", sending.effect));
    }
    Ok(())
}

fn may_send(step: &StepRun, effect: &EffectRun, sending: &Sending) -> Result<(), String> {
    if sending.dispatch != effect.dispatch.saturating_add(1) {
        return Err(format!("sending {} cannot follow {}", sending.dispatch, effect.dispatch));
    }
    let open = effect.state == EffectState::Pending || effect.is_again();
    if open && matches!(step.state, StepState::Preparing | StepState::Running) {
        return Ok(());
    }
    Err(format!("effect {} of `{}` is not to be sent", sending.effect, sending.step))
}

/// Whether an effect that was sent may be told this.
fn may_answer(step: &StepRun, effect: &EffectRun, event: &Event) -> bool {
    let read_only = step.guarantee() == Some(Guarantee::ReadOnly);
    let is_open = match event {
        Event::EffectUnclear { .. } if read_only => false,
        Event::EffectDone { .. }
        | Event::EffectRefused { .. }
        | Event::EffectFailed { .. }
        | Event::EffectUnclear { .. } => effect.state == EffectState::InFlight,
        Event::EffectSettled { settled, .. } => match &effect.state {
            EffectState::Unclear { .. } => true,
            EffectState::InDoubt { .. } => {
                matches!(settled, Settled::Done { .. } | Settled::NotDone | Settled::Failed { .. })
            }
            _ => false,
        },
        Event::EffectInDoubt { .. } => {
            matches!(effect.state, EffectState::Unclear { .. })
                || effect.is_again() && effect.doubtful
        }
        _ => false,
    };
    is_open && matches!(step.state, StepState::Running | StepState::InDoubt)
}
