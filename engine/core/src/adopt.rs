//! What a run takes over from an earlier one, whose runbook was wrong: the outcomes of steps that the
//! corrected runbook leaves as they were.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expr::{self, Outputs, Scope};
use crate::id::{RunId, Seq, StepId};
use crate::plan::{Plan, PlanStep, Role};
use crate::state::{Made, RunState, StepRun, StepState};

/// What an earlier run did of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Adopted {
    /// The step; it has the same name in both runs.
    pub step: StepId,
    /// Its outcome; absent where it is done again, and only what it made is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What it made, which an undo puts back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Made>,
}

/// How an adopted step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Whether it changed anything.
    pub changed: bool,
    /// What its action took, every expression filled in.
    #[serde(default)]
    pub input: Value,
    /// What later steps may use.
    #[serde(default)]
    pub output: Value,
}

/// All that is taken over from one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Adoption {
    /// The earlier run.
    pub from: RunId,
    /// What it did.
    pub steps: Vec<Adopted>,
}

/// How a corrected runbook stands to a run of the old one.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What the new run takes over.
    pub adoption: Adoption,
    /// Done, and the same in the new runbook.
    pub adopted: Vec<StepId>,
    /// Done or begun, and other in the new runbook: done again, with the reason.
    pub again: Vec<(StepId, String)>,
    /// Not done by the old run, or not in it.
    pub anew: Vec<StepId>,
    /// Made by steps that the new runbook no longer has: the new run's undo does not put them back.
    pub left_behind: Vec<StepId>,
}

/// Holds a plan against a run: a step whose name, action and filled-in input are the same, and which
/// is done, is adopted.
pub fn compare(old: &RunState, new: &Plan) -> Comparison {
    let mut found = Comparison {
        adoption: Adoption { from: old.run.clone(), steps: Vec::new() },
        adopted: Vec::new(),
        again: Vec::new(),
        anew: Vec::new(),
        left_behind: Vec::new(),
    };
    for step in &new.steps {
        place(old, new, step, &mut found);
    }
    let gone = |(plan, step): &(&PlanStep, &StepRun)| {
        !step.made.is_empty()
            && !matches!(plan.role, Role::Undo { .. })
            && new.steps.iter().all(|new| new.id != plan.id)
    };
    let left = old.plan.steps.iter().zip(&old.steps).filter(gone);
    found.left_behind = left.map(|(plan, _)| plan.id.clone()).collect();
    number(&mut found.adoption.steps);
    found
}

fn place(old: &RunState, new: &Plan, step: &PlanStep, found: &mut Comparison) {
    let known = old.find(&step.id).filter(|(_, _, run)| run.attempt > 0 || run.adopted);
    let Some((_, before, run)) = known else {
        found.anew.push(step.id.clone());
        return;
    };
    let outcome = match differs(old, new, before, step, run) {
        None => {
            found.adopted.push(step.id.clone());
            let changed = run.state == StepState::Succeeded { changed: true };
            Some(Outcome { changed, input: run.input.clone(), output: run.output.clone() })
        }
        Some(why) => {
            found.again.push((step.id.clone(), why));
            None
        }
    };
    if outcome.is_some() || !run.made.is_empty() {
        let adopted = Adopted { step: step.id.clone(), outcome, made: run.made.clone() };
        found.adoption.steps.push(adopted);
    }
}

/// Why a step is done again; absent where its outcome stands.
fn differs(
    old: &RunState,
    new: &Plan,
    before: &PlanStep,
    step: &PlanStep,
    run: &StepRun,
) -> Option<String> {
    if !matches!(run.state, StepState::Succeeded { .. }) {
        return Some(format!("it is {}", run.state.word()));
    }
    if before.action != step.action {
        return Some(format!("it did {} and shall do {}", before.action, step.action));
    }
    let outputs: &dyn Outputs = old;
    let scope = Scope { params: &new.params, item: step.item.as_ref(), outputs };
    match expr::resolve(&step.with, &scope) {
        Ok(input) if input == run.input => None,
        Ok(_) => Some("its input is another".into()),
        Err(error) => Some(format!("its input cannot be computed from the old run: {error}")),
    }
}

/// The order in which all of it was made, over both generations, so that an undo goes backwards.
fn number(steps: &mut [Adopted]) {
    let mut all: Vec<&mut Made> = steps.iter_mut().flat_map(|step| &mut step.made).collect();
    all.sort_by_key(|made| (!made.adopted, made.seq));
    for (place, made) in (1..).zip(all) {
        made.seq = Seq(place);
        made.adopted = true;
    }
}
