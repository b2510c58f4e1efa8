//! A run as commands a person can type: done, in doubt, left.

use backout_core::expr::{self, Scope};
use backout_core::id::StepIx;
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, StepRun, StepState};
use backout_runtime::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alarm_words;

/// One step in words and commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepByHand {
    /// The step.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// The word of its state.
    pub state: String,
    /// What it does, one sentence.
    pub does: String,
    /// Commands that do it.
    pub commands: Vec<String>,
    /// Commands or looks that show that it worked.
    pub verify: Vec<String>,
    /// What is known, for one in doubt or failed; what is missing, for one that cannot be told.
    pub known: Option<String>,
}

/// A run in words and commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByHandView {
    /// The run.
    pub run: String,
    /// Its runbook.
    pub runbook: String,
    /// What could not be read, where something could not.
    pub unreadable: Option<String>,
    /// The last event that could be read.
    pub seq: u64,
    /// Steps that are done.
    pub done: Vec<StepByHand>,
    /// Steps whose effect may or may not be there: look first.
    pub in_doubt: Vec<StepByHand>,
    /// Steps that are left, in order.
    pub left: Vec<StepByHand>,
}

/// Where a step belongs.
enum Pile {
    Done,
    InDoubt,
    Left,
    Out,
}

impl ByHandView {
    /// Sorts the steps of a run, in the order of their waves.
    pub fn of(state: &RunState, host: &Host, unreadable: Option<String>) -> Self {
        let mut view = Self {
            run: state.run.to_string(),
            runbook: state.plan.name.clone(),
            unreadable,
            seq: state.seq.0,
            done: Vec::new(),
            in_doubt: Vec::new(),
            left: Vec::new(),
        };
        let mut by_wave: Vec<usize> = (0..state.steps.len()).collect();
        by_wave.sort_by_key(|at| (state.order.wave.get(*at).copied(), *at));
        for at in by_wave {
            let (Some(planned), Some(step)) = (state.plan_step(StepIx(at)), state.step(StepIx(at)))
            else {
                continue;
            };
            let pile = match pile(step) {
                Pile::Done => &mut view.done,
                Pile::InDoubt => &mut view.in_doubt,
                Pile::Left => &mut view.left,
                Pile::Out => continue,
            };
            pile.push(by_hand(state, host, planned, step));
        }
        view
    }
}

/// A step that was under way when the record ends is in doubt for a person, too.
fn pile(step: &StepRun) -> Pile {
    let sent = step.effects.iter().any(|effect| effect.dispatch > 0);
    match &step.state {
        StepState::Succeeded { .. } if step.watched.alarm.is_some() => Pile::InDoubt,
        StepState::Succeeded { .. } => Pile::Done,
        StepState::InDoubt | StepState::Unverified => Pile::InDoubt,
        StepState::Running if sent => Pile::InDoubt,
        StepState::Failed { .. } if !step.made.is_empty() => Pile::InDoubt,
        StepState::Skipped(_) | StepState::Undone => Pile::Out,
        StepState::Pending
        | StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Running
        | StepState::Failed { .. }
        | StepState::Cancelled => Pile::Left,
    }
}

fn by_hand(state: &RunState, host: &Host, planned: &PlanStep, step: &StepRun) -> StepByHand {
    let input = input(state, planned, step);
    let words = match (host.find(&planned.action), &input) {
        (Some(action), Ok(input)) => action.by_hand(input),
        (Some(action), Err(_)) => action.by_hand(&planned.with),
        (None, _) => backout_plugin_api::ByHand {
            does: format!("this release has no action {}: {}", planned.action, planned.with),
            ..Default::default()
        },
    };
    StepByHand {
        id: planned.id.to_string(),
        title: planned.title.clone(),
        state: step.state.word().to_owned(),
        does: words.does,
        commands: words.commands,
        verify: words.verify,
        known: known(step).or_else(|| input.err()),
    }
}

/// The input as it was filled in, or as it can be now.
fn input(state: &RunState, planned: &PlanStep, step: &StepRun) -> Result<Value, String> {
    if step.attempt > 0 {
        return Ok(step.input.clone());
    }
    let scope = Scope { params: &state.plan.params, item: planned.item.as_ref(), outputs: state };
    expr::resolve(&planned.with, &scope).map_err(|error| format!("not all is known yet: {error}"))
}

fn known(step: &StepRun) -> Option<String> {
    use backout_core::state::EffectState;
    let evidence = step.effects.iter().find_map(|effect| match &effect.state {
        EffectState::InDoubt { evidence } | EffectState::Unclear { evidence, .. } => {
            Some(evidence.clone())
        }
        EffectState::InFlight => Some("it was sent, and no answer is recorded".to_owned()),
        EffectState::Pending
        | EffectState::Satisfied
        | EffectState::Again { .. }
        | EffectState::Done
        | EffectState::Refused
        | EffectState::Failed => None,
    });
    match &step.state {
        StepState::Failed { reason, .. } => Some(reason.clone()),
        StepState::Succeeded { .. } => step.watched.alarm.as_deref().map(|alarm| {
            let words = alarm_words(&alarm.difference, alarm.by.as_deref(), alarm.unseen);
            format!("it was done; {words}")
        }),
        _ => evidence.or_else(|| step.trouble.clone()),
    }
}
