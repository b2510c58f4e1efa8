//! What follows from a command. Chooses, and never records.

mod advance;
mod commander;
mod people;
mod report;
mod step;

pub use people::freed_by_skip;

use crate::command::Command;
use crate::event::{CORE_VERSION, Cause, Event};
use crate::id::{StepId, StepIx, TargetId, Timestamp};
use crate::plan::PlanStep;
use crate::state::{Phase, RunState, StepRun};

/// A command that cannot be followed, in words for the person who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What stands in the way.
    pub message: String,
    /// What to do instead.
    pub help: Option<String>,
}

impl Rejection {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The events that follow from a command; none where nothing follows, as from a report that no
/// longer fits. `state` is absent before the run exists. After the events are folded in,
/// [`Command::Advance`] gives what follows by itself, until nothing does.
pub fn decide(
    state: Option<&RunState>,
    now: Timestamp,
    cause: &Cause,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
    let Some(run) = state else {
        return create(command);
    };
    match command {
        Command::Create { .. } => Err(Rejection::new(format!("run {} exists already", run.run))),
        Command::Attach { engine } if run.closed => {
            Err(Rejection::new(format!("run {} is closed; {engine} cannot take it up", run.run)))
        }
        Command::Attach { engine } => Ok(vec![Event::EngineAttached { engine: engine.clone() }]),
        Command::Detach { why } => Ok(vec![Event::EngineDetached { why: why.clone() }]),
        Command::Ask(ask) => people::decide(run, now, cause, ask),
        Command::Report(report) => Ok(report::decide(run, now, report)),
        Command::Advance => Ok(advance::advance(run, now)),
    }
}

fn create(command: &Command) -> Result<Vec<Event>, Rejection> {
    let Command::Create { run, plan, text, part, adopt } = command else {
        return Err(Rejection::new("the run does not exist yet"));
    };
    let created = Event::RunCreated {
        run: run.clone(),
        plan: plan.clone(),
        text: text.clone(),
        core: CORE_VERSION,
    };
    let adopted = adopt.as_ref().map(|adoption| Event::StepsAdopted {
        from: adoption.from.clone(),
        steps: adoption.steps.clone(),
    });
    let held = commander::all_but(plan, part)?;
    Ok(std::iter::once(created).chain(adopted).chain(held).collect())
}

/// The targets that these events lock; the store grants all of them with the append, or none.
/// Where a run is taken up again its locks are claimed anew, so that their tokens rise.
pub fn claims(run: Option<&RunState>, events: &[Event]) -> Vec<TargetId> {
    let held = || run.map(|run| run.locks.keys().cloned().collect()).unwrap_or_default();
    events
        .iter()
        .flat_map(|event| match event {
            Event::StepLocked { targets, .. } => targets.clone(),
            Event::EngineAttached { .. } => held(),
            _ => Vec::new(),
        })
        .collect()
}

/// The targets that these events let go.
pub fn releases(run: Option<&RunState>, events: &[Event]) -> Vec<TargetId> {
    let ends =
        |event: &Event| matches!(event, Event::RunEnded { .. } | Event::RunSuperseded { .. });
    if events.iter().any(ends) {
        return run.map(|run| run.locks.keys().cloned().collect()).unwrap_or_default();
    }
    let yielded = events.iter().filter_map(|event| match event {
        Event::LocksYielded { targets } => Some(targets),
        _ => None,
    });
    yielded.flatten().cloned().collect()
}

/// A step as decisions look at it.
#[derive(Clone, Copy)]
struct At<'a> {
    run: &'a RunState,
    ix: StepIx,
    plan: &'a PlanStep,
    step: &'a StepRun,
    now: Timestamp,
}

impl<'a> At<'a> {
    fn new(run: &'a RunState, ix: StepIx, now: Timestamp) -> Option<Self> {
        Some(Self { run, ix, plan: run.plan_step(ix)?, step: run.step(ix)?, now })
    }

    fn find(run: &'a RunState, id: &StepId, now: Timestamp) -> Option<Self> {
        Self::new(run, run.order.find(id)?, now)
    }

    /// Whether what it made is watched, and not as it was left.
    fn is_alarmed(&self) -> bool {
        self.step.watched.alarm.is_some() && self.run.phase == Phase::Forward
    }

    fn id(&self) -> StepId {
        self.plan.id.clone()
    }
}
