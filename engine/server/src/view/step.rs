//! One step of a run, for every face.

use backout_core::contract::{Hazard, Prepared};
use backout_core::event::{Holder, Wait};
use backout_core::id::{StepIx, Timestamp};
use backout_core::plan::{PlanStep, Role};
use backout_core::state::{EffectRun, EffectState, RunState, StepRun, StepState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{duration, rfc3339};

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitView {
    /// `approval`, `retry`, `soak`, `lock`, `timer`, `output` or `person`.
    #[serde(rename = "for")]
    pub waits_for: String,
    /// In words.
    pub why: String,
    /// When it is looked at again by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// For an approval: the digest of what is consented to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// For a lock: the runs that hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<String>,
}

/// One effect of a step's current attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectView {
    /// One line for people.
    pub title: String,
    /// `pending`, `satisfied`, `in-flight`, `unclear`, `again`, `done`, `refused`, `failed` or
    /// `in-doubt`.
    pub state: String,
    /// What it is marked with at its target.
    pub key: String,
    /// How often it was sent.
    pub dispatch: u32,
    /// What is known of an unclear one or one in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Its name.
    pub id: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// `plugin.verb`.
    pub action: String,
    /// Its wave, from 1 on.
    pub wave: usize,
    /// The steps before it.
    pub needs: Vec<String>,
    /// The word of its state; one in doubt is `in-doubt`.
    pub state: String,
    /// The attempt; 0 before the first.
    pub attempts: u32,
    /// What holds for its effects: as prepared, else the best that its action and input allow.
    pub guarantee: Option<String>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitView>,
    /// Its effects in this attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectView>,
    /// What differs from what is wanted, as last prepared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub difference: Vec<String>,
    /// What to know before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hazards: Vec<Hazard>,
    /// `exact`, `shape-only` or `none`; absent before it is prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversibility: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Who said yes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
    /// When its first attempt began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it came to rest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How long it takes or took so far, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// How far beyond its `expect` it is, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_ms: Option<u64>,
    /// Who knows about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where more is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook_url: Option<String>,
    /// What to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it is held back: nothing new of it begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Who changed what its action takes, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_by: Option<String>,
    /// Whether an earlier run did it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// What later steps may use.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Whether it stands in the plan for itself, as a check, to undo another, or for a person.
    pub role: Role,
}

pub(super) fn step_view(
    state: &RunState,
    ix: StepIx,
    now: Timestamp,
    best: &dyn Fn(&PlanStep) -> Option<String>,
) -> Option<StepView> {
    let (planned, step) = (state.plan_step(ix)?, state.step(ix)?);
    let guarantee = step.guarantee().map(|g| g.word().to_owned()).or_else(|| best(planned));
    let prepared = step.prepared.as_deref();
    let took_ms = step.started.map(|started| step.ended.unwrap_or(now).since_ms(started));
    Some(StepView {
        id: planned.id.to_string(),
        title: planned.title.clone(),
        action: planned.action.to_string(),
        wave: state.order.wave.get(ix.0).map_or(0, |wave| wave + 1),
        needs: planned.needs.iter().map(ToString::to_string).collect(),
        state: step.state.word().to_owned(),
        attempts: step.attempt,
        guarantee,
        wait: wait_view(&step.state),
        effects: effects(state, planned, step),
        held: state.held.contains(&ix) && !step.state.is_rest(),
        edited_by: step.edited.as_ref().map(|by| by.name.clone()),
        adopted: step.adopted,
        difference: prepared.map(Prepared::difference).unwrap_or_default(),
        hazards: prepared.map(|p| p.all_hazards().cloned().collect()).unwrap_or_default(),
        reversibility: prepared.map(|p| p.reversibility().word().to_owned()),
        trouble: trouble(step),
        approved_by: step.approvals.iter().map(|a| a.by.name.clone()).collect(),
        started: step.started.map(rfc3339),
        ended: step.ended.map(rfc3339),
        took_ms,
        overdue_ms: overdue(planned, step, took_ms),
        owner: planned.owner.clone(),
        runbook_url: planned.runbook_url.clone(),
        note: planned.note.clone(),
        output: step.output.clone(),
        role: planned.role.clone(),
    })
}

fn trouble(step: &StepRun) -> Option<String> {
    match &step.state {
        StepState::Failed { reason, .. } => Some(reason.clone()),
        StepState::Pending
        | StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Running
        | StepState::InDoubt
        | StepState::Unverified => step.trouble.clone(),
        StepState::Succeeded { .. }
        | StepState::Skipped(_)
        | StepState::Cancelled
        | StepState::Undone => None,
    }
}

fn overdue(planned: &PlanStep, step: &StepRun, took_ms: Option<u64>) -> Option<u64> {
    let unfinished = step.ended.is_none();
    let late = took_ms?.checked_sub(planned.expect_ms?)?;
    (unfinished && late > 0).then_some(late)
}

fn effects(state: &RunState, planned: &PlanStep, step: &StepRun) -> Vec<EffectView> {
    let titles = step.prepared.iter().flat_map(|prepared| &prepared.effects).map(|e| &e.title);
    let view = |(index, (effect, title)): (usize, (&EffectRun, &String))| {
        let (word, evidence) = effect_words(&effect.state);
        let key = backout_core::id::EffectKey::new(&state.run, &planned.id, step.attempt, index);
        EffectView {
            title: title.clone(),
            state: word.to_owned(),
            key: key.to_string(),
            dispatch: effect.dispatch,
            evidence,
        }
    };
    step.effects.iter().zip(titles).enumerate().map(view).collect()
}

fn effect_words(state: &EffectState) -> (&'static str, Option<String>) {
    match state {
        EffectState::Pending => ("pending", None),
        EffectState::Satisfied => ("satisfied", None),
        EffectState::InFlight => ("in-flight", None),
        EffectState::Unclear { evidence, .. } => ("unclear", Some(evidence.clone())),
        EffectState::Done => ("done", None),
        EffectState::Again { why, .. } => ("again", Some(why.clone())),
        EffectState::Refused => ("refused", None),
        EffectState::Failed => ("failed", None),
        EffectState::InDoubt { evidence } => ("in-doubt", Some(evidence.clone())),
    }
}

fn wait_view(state: &StepState) -> Option<WaitView> {
    let StepState::Waiting(wait) = state else { return None };
    let view = |waits_for: &str, why: String| WaitView {
        waits_for: waits_for.to_owned(),
        why,
        due: None,
        consent: None,
        held_by: Vec::new(),
    };
    Some(match wait {
        Wait::Approval { consent, why } => {
            WaitView { consent: Some(consent.clone()), ..view("approval", why.clone()) }
        }
        Wait::Retry { due, why } => {
            WaitView { due: Some(rfc3339(*due)), ..view("retry", why.clone()) }
        }
        Wait::Soak { covered_ms, due, seen, .. } => {
            let covered = format!("{} of its soak are covered", duration(*covered_ms));
            let why = match seen.get("unknown").and_then(Value::as_str) {
                Some(unknown) => format!("{covered}; the last look saw nothing: {unknown}"),
                None => covered,
            };
            WaitView { due: Some(rfc3339(*due)), ..view("soak", why) }
        }
        Wait::Lock { holders } => {
            let held_by = holders.iter().map(|holder| holder.run.to_string()).collect();
            WaitView { held_by, ..view("lock", held(holders)) }
        }
        Wait::Timer { due } => {
            WaitView { due: Some(rfc3339(*due)), ..view("timer", "a timer runs".to_owned()) }
        }
        Wait::Person { why } => view("person", why.clone()),
        Wait::Output { from, name } => {
            view("output", format!("`{name}` is not there; {from} should have given it"))
        }
    })
}

pub(super) fn held(holders: &[Holder]) -> String {
    let holder =
        |h: &Holder| format!("{} is held by run {} since {}", h.target, h.run, rfc3339(h.since));
    holders.iter().map(holder).collect::<Vec<_>>().join("; ")
}
