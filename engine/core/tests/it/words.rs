//! The words of `docs/rules.md` for states and events.

use backout_core::contract::Settled;
use backout_core::event::{Event, RunEnd, SkipCause, StopCause, Wait};
use backout_core::state::{Phase, RunState, StepRun, StepState};

pub(crate) fn wait_word(wait: &Wait) -> &'static str {
    match wait {
        Wait::Approval { .. } => "approval",
        Wait::Retry { .. } => "retry",
        Wait::Soak { .. } => "soak",
        Wait::Lock { .. } => "lock",
        Wait::Timer { .. } => "timer",
        Wait::Person { .. } => "person",
        Wait::Output { .. } => "output",
    }
}

pub(crate) fn state_word(state: &StepState) -> String {
    match state {
        StepState::Waiting(wait) => format!("waiting-{}", wait_word(wait)),
        StepState::Succeeded { .. } => "succeeded".into(),
        state => state.word().into(),
    }
}

/// The word of a step's state; one that is watched has two.
pub(crate) fn step_word(step: &StepRun) -> String {
    let word = state_word(&step.state);
    if step.watched.alarm.is_some() { format!("{word}, alarm") } else { word }
}

pub(crate) fn end_word(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "succeeded",
        RunEnd::Failed => "failed",
        RunEnd::Aborted => "aborted",
        RunEnd::Undone => "undone",
        RunEnd::Superseded => "superseded",
    }
}

pub(crate) fn phase_word(run: &RunState) -> String {
    if run.closed {
        return "closed".into();
    }
    let word = match &run.phase {
        Phase::Forward => "forward",
        Phase::Stopping(StopCause::Halted { .. }) => "halting",
        Phase::Stopping(StopCause::Aborted) => "aborting",
        Phase::Undoing(_) => "undoing",
        Phase::Ended(end) => end_word(*end),
    };
    let offered = if run.offer.is_some() { ", offered" } else { "" };
    let paused = if run.paused { ", paused" } else { "" };
    format!("{word}{paused}{offered}")
}

/// The stored kind, with what matters of it.
pub(crate) fn event_word(event: &Event) -> String {
    let kind = crate::world::kind(event);
    match event {
        Event::StepWaits { wait, .. } => format!("{kind} {}", wait_word(wait)),
        Event::StepSkipped { by: SkipCause::When, .. } => format!("{kind} when"),
        Event::StepSkipped { by: SkipCause::Person, .. } => format!("{kind} person"),
        Event::RunEnded { end, .. } => format!("{kind} {}", end_word(*end)),
        Event::RunStopping { why: StopCause::Halted { .. } } => format!("{kind} halted"),
        Event::RunStopping { why: StopCause::Aborted } => format!("{kind} aborted"),
        Event::EffectSettled { settled, .. } => format!("{kind} {}", settled_word(settled)),
        _ => kind,
    }
}

pub(crate) fn settled_word(settled: &Settled) -> &'static str {
    match settled {
        Settled::Done { .. } => "done",
        Settled::NotDone => "not-done",
        Settled::Failed { .. } => "failed",
        Settled::Running { .. } => "running",
        Settled::Unknown { .. } => "unknown",
        Settled::Unreachable { .. } => "unreachable",
    }
}
