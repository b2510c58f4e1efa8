//! The survey: `prepare` for every step of a plan whose input can be known now, all at once. It is
//! the dry run of a whole runbook and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_core::contract::{Gate, Guarantee, PrepareFailure, Prepared, Reversibility, Satisfied};
use backout_core::expr::{self, Expression, Outputs, Reference, Scope};
use backout_core::id::{RunId, TargetId, Timestamp};
use backout_core::plan::{ApprovalPolicy, Environment, Order, Plan, PlanError, PlanStep, Role};
use backout_plugin_api::{CancellationToken, Context};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Clock, Host};

/// Milliseconds that one target has to answer; later it is `not seen`.
pub const SURVEY_TIMEOUT_MS: u64 = 5_000;
/// Targets looked at in one moment: enough to be at once for every real runbook, and below the
/// usual limit of open files.
const SURVEY_AT_ONCE_MAX: usize = 256;

/// What a look at one step gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// The target answered.
    Seen,
    /// The target answered, and the action refuses.
    Refused,
    /// The target did not answer in time, or at all.
    NotSeen,
    /// The input depends on the output of an earlier step.
    NotYet,
    /// Its `when` is false.
    Skipped,
}

/// Something to know before, and whether the file accepts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HazardReport {
    /// A stable word.
    pub code: String,
    /// What it means here.
    pub text: String,
    /// Whether the step's `accept` names it; else a person is asked.
    pub accepted: bool,
}

/// One effect that a step would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectReport {
    /// One line for people.
    pub title: String,
    /// Whether it is there already.
    pub satisfied: Satisfied,
    /// What differs.
    pub difference: Vec<String>,
    /// What can be brought back.
    pub reversibility: Reversibility,
}

/// What a step would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// The step.
    pub id: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its wave, from 1 on.
    pub wave: usize,
    /// `plugin.verb`.
    pub action: String,
    /// The steps before it.
    pub needs: Vec<String>,
    /// Whether it stands in the plan for itself, as a check, or for a person.
    pub role: Role,
    /// What the look gave.
    pub looked: Looked,
    /// Why it was refused, not seen, not yet known, or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The guarantee that this target gives; where it was not seen, the best that the input allows.
    pub guarantee: Guarantee,
    /// Whether all is there already; absent where it was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub satisfied: Option<bool>,
    /// The effects that it would make, those that are there already included.
    pub effects: Vec<EffectReport>,
    /// What to know before.
    pub hazards: Vec<HazardReport>,
    /// What can be brought back; absent where it was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversibility: Option<Reversibility>,
    /// The targets that it locks.
    pub locks: Vec<TargetId>,
    /// Earlier steps that act on the same targets: what was seen is from before them.
    pub seen_before: Vec<String>,
    /// Whether it may be left out: its `when` depends on what an earlier step gives.
    pub conditional: bool,
    /// What the step waits for by its nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Who must say yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPolicy>,
    /// How long it must stay satisfied, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_ms: Option<u64>,
    /// How long it usually takes, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_ms: Option<u64>,
}

/// What a plan would do, as far as it can be seen now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The runbook's name.
    pub runbook: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Where it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// When it was looked at, milliseconds since 1970.
    pub at: Timestamp,
    /// The first step after which not everything can be brought back, as far as it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_of_no_return: Option<String>,
    /// What the runbook itself gives cause to doubt, before any target is looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The steps, in plan order.
    pub steps: Vec<StepReport>,
}

impl PlanReport {
    /// How many looks ended so.
    pub fn count(&self, looked: Looked) -> usize {
        self.steps.iter().filter(|step| step.looked == looked).count()
    }
}

/// Looks at every step of a plan. Each look takes at most `timeout_ms`.
///
/// # Errors
/// Where the steps have no order.
pub async fn survey(
    host: &Host,
    clock: &dyn Clock,
    plan: &Plan,
    timeout_ms: u64,
) -> Result<PlanReport, PlanError> {
    let order = Order::of(&plan.steps)?;
    let now = clock.now();
    // Boxed, so that who looks may do so from any task.
    let looks: Vec<BoxFuture<'_, StepReport>> =
        plan.steps.iter().map(|step| look(host, plan, step, now, timeout_ms).boxed()).collect();
    let steps: Vec<StepReport> =
        futures::stream::iter(looks).buffered(SURVEY_AT_ONCE_MAX).collect().await;
    let mut report = PlanReport {
        runbook: plan.name.clone(),
        title: plan.title.clone(),
        environment: plan.environment.clone(),
        at: now,
        point_of_no_return: None,
        warnings: Vec::new(),
        steps,
    };
    for (step, wave) in report.steps.iter_mut().zip(&order.wave) {
        step.wave = wave + 1;
    }
    name_shared_targets(&mut report, &order);
    report.point_of_no_return = point_of_no_return(&report);
    Ok(report)
}

/// The best guarantee that a step's input allows, without looking at its target.
pub fn best_guarantee(host: &Host, step: &PlanStep) -> Option<Guarantee> {
    let action = host.find(&step.action)?;
    Some(action.check(&step.with).guarantee.unwrap_or_else(|| action.manifest().guarantee))
}

async fn look(
    host: &Host,
    plan: &Plan,
    step: &PlanStep,
    now: Timestamp,
    timeout_ms: u64,
) -> StepReport {
    let blank = blank(host, step);
    let Some(action) = host.find(&step.action) else {
        return blank.with(Looked::Refused, format!("this release has no action {}", step.action));
    };
    let (conditional, input) = match known_input(plan, step) {
        Known::Input { input, conditional } => (conditional, input),
        Known::Not(looked, why) => return blank.with(looked, why),
    };
    let context = context(host, step, now, timeout_ms);
    let cancel = context.cancel.clone();
    let timeout = Duration::from_millis(timeout_ms);
    let prepared = tokio::time::timeout(timeout, action.prepare(&context, &input)).await;
    cancel.cancel();
    let seen = match prepared {
        Ok(Ok(prepared)) => filled(blank, step, &prepared),
        Ok(Err(PrepareFailure::Refused { reason })) => blank.with(Looked::Refused, reason),
        Ok(Err(PrepareFailure::Unreachable { reason })) => blank.with(Looked::NotSeen, reason),
        Err(_) => blank.with(Looked::NotSeen, format!("no answer within {timeout_ms} ms")),
    };
    StepReport { conditional, ..seen }
}

fn context(host: &Host, step: &PlanStep, now: Timestamp, timeout_ms: u64) -> Context {
    Context {
        run: RunId::new("-"),
        step: step.id.clone(),
        attempt: 1,
        epoch: 0,
        timeout: Duration::from_millis(timeout_ms),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| {}),
        secrets: host.secrets.clone(),
        scratch: PathBuf::from("/nonexistent/backout-plan"),
        traceparent: None,
        now_ms: now.0,
    }
}

/// Whether a step's input is known before any step has run.
enum Known {
    Input { input: Value, conditional: bool },
    Not(Looked, String),
}

/// No step has run yet.
struct NoOutputs;

impl Outputs for NoOutputs {
    fn output(&self, _id: &str) -> Option<&Value> {
        None
    }

    fn keys(&self, _id: &str) -> Vec<String> {
        Vec::new()
    }
}

fn known_input(plan: &Plan, step: &PlanStep) -> Known {
    let scope = Scope { params: &plan.params, item: step.item.as_ref(), outputs: &NoOutputs };
    let conditional = match known_condition(step, &scope) {
        Ok(Some(true)) => false,
        Ok(Some(false)) => {
            return Known::Not(Looked::Skipped, "its `when` is false".to_owned());
        }
        Ok(None) => true,
        Err(error) => return Known::Not(Looked::Refused, error.to_string()),
    };
    match expr::references_of(&step.with) {
        Ok(references) => match earlier(&references) {
            Some(names) => {
                Known::Not(Looked::NotYet, format!("its input depends on what {names} will give"))
            }
            None => resolved(step, &scope, conditional),
        },
        Err(error) => Known::Not(Looked::Refused, error.to_string()),
    }
}

fn resolved(step: &PlanStep, scope: &Scope<'_>, conditional: bool) -> Known {
    match expr::resolve(&step.with, scope) {
        Ok(input) => Known::Input { input, conditional },
        Err(error) => Known::Not(Looked::Refused, error.to_string()),
    }
}

/// `None` where the condition depends on what an earlier step gives.
fn known_condition(step: &PlanStep, scope: &Scope<'_>) -> Result<Option<bool>, expr::ExprError> {
    let Some(when) = &step.when else { return Ok(Some(true)) };
    if earlier(Expression::parse(when)?.references()).is_some() {
        return Ok(None);
    }
    expr::truth(when, scope).map(Some)
}

/// The steps that an input names, for people; `None` where it names none. A default does not help:
/// when the step runs, the output will be there.
fn earlier(references: &[Reference]) -> Option<String> {
    let steps: BTreeSet<&str> = references
        .iter()
        .filter_map(|reference| match reference {
            Reference::Output { step, .. } => Some(step.as_str()),
            Reference::Param { .. } | Reference::Item { .. } => None,
        })
        .collect();
    (!steps.is_empty()).then(|| steps.into_iter().collect::<Vec<_>>().join(", "))
}

fn blank(host: &Host, step: &PlanStep) -> StepReport {
    StepReport {
        id: step.id.to_string(),
        title: step.title.clone(),
        wave: 0,
        action: step.action.to_string(),
        needs: step.needs.iter().map(ToString::to_string).collect(),
        role: step.role.clone(),
        looked: Looked::NotSeen,
        reason: None,
        guarantee: best_guarantee(host, step).unwrap_or(Guarantee::Manual),
        satisfied: None,
        effects: Vec::new(),
        hazards: Vec::new(),
        reversibility: None,
        locks: step.locks.clone(),
        seen_before: Vec::new(),
        conditional: step.when.is_some(),
        gate: None,
        approval: step.approval.clone(),
        soak_ms: step.soak_ms,
        expect_ms: step.expect_ms,
    }
}

impl StepReport {
    fn with(self, looked: Looked, reason: String) -> Self {
        Self { looked, reason: Some(reason), ..self }
    }
}

fn filled(blank: StepReport, step: &PlanStep, prepared: &Prepared) -> StepReport {
    let effects = prepared.effects.iter().map(|effect| EffectReport {
        title: effect.title.clone(),
        satisfied: effect.satisfied,
        difference: effect.difference.clone(),
        reversibility: effect.reversibility,
    });
    let hazards = prepared.all_hazards().map(|hazard| HazardReport {
        code: hazard.code.clone(),
        text: hazard.text.clone(),
        accepted: step.accept.contains(&hazard.code),
    });
    let locks: BTreeSet<TargetId> = prepared.locks.iter().chain(&step.locks).cloned().collect();
    StepReport {
        looked: Looked::Seen,
        guarantee: prepared.guarantee,
        satisfied: Some(prepared.is_satisfied() && prepared.gate.is_none()),
        effects: effects.collect(),
        hazards: hazards.collect(),
        reversibility: Some(prepared.reversibility()),
        locks: locks.into_iter().collect(),
        gate: prepared.gate.clone(),
        ..blank
    }
}

/// Names for each step the earlier ones on the same targets.
fn name_shared_targets(report: &mut PlanReport, order: &Order) {
    let mut by_target: BTreeMap<TargetId, Vec<usize>> = BTreeMap::new();
    for (at, step) in report.steps.iter().enumerate() {
        let acts = step.guarantee != Guarantee::ReadOnly && step.satisfied != Some(true);
        for target in step.locks.iter().filter(|_| acts) {
            by_target.entry(target.clone()).or_default().push(at);
        }
    }
    for sharing in by_target.values().filter(|sharing| sharing.len() > 1) {
        for at in sharing {
            let earlier = sharing.iter().filter(|other| order.wave[**other] < order.wave[*at]);
            let names: Vec<String> = earlier.map(|other| report.steps[*other].id.clone()).collect();
            report.steps[*at].seen_before.extend(names);
        }
    }
}

fn point_of_no_return(report: &PlanReport) -> Option<String> {
    let mut by_wave: Vec<(usize, usize)> =
        report.steps.iter().enumerate().map(|(at, step)| (step.wave, at)).collect();
    by_wave.sort_unstable();
    let lossy = |step: &StepReport| step.reversibility.is_some_and(|r| r != Reversibility::Exact);
    let found = by_wave.into_iter().map(|(_, at)| &report.steps[at]).find(|step| lossy(step));
    found.map(|step| step.id.clone())
}
