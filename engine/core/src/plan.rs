//! The plan: a runbook made ready to run. It is journaled whole, so that a newer binary cannot read
//! the file differently.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{ActionName, StepId, StepIx, TargetId};
use crate::limits::{self, MAX_PARALLEL_DEFAULT, STALE_AFTER_MS_DEFAULT, TIMEOUT_MS_DEFAULT};

/// The action of a step that a person does by hand and then approves; an undo uses it where nothing
/// can put an effect back.
pub const BY_HAND_ACTION: &str = "wait.approval";

/// The version of the runbook format that this release reads.
pub const RUNBOOK_FORMAT: u32 = 1;

/// Where a runbook acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Its name, `production` for instance.
    pub name: String,
    /// Whether a run without a terminal needs `--yes`.
    #[serde(default)]
    pub protected: bool,
}

/// When a step that failed is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Retry {
    /// Sendings after the first one.
    pub max: u32,
    /// Before the second sending, milliseconds.
    pub backoff_ms: u64,
    /// Each wait is the one before times this.
    pub factor: f64,
    /// How much of a wait is drawn by chance, 0 to 1; seeded from the key.
    pub jitter: f64,
    /// No wait is longer, milliseconds.
    pub cap_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max: 0, backoff_ms: 1_000, factor: 2.0, jitter: 0.2, cap_ms: 60_000 }
    }
}

/// What happens when a step's sendings are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnExhausted {
    /// The step waits for a person; other branches go on.
    #[default]
    Wait,
    /// The run stops and is failed.
    Halt,
    /// The step is failed, and its need counts as met.
    Continue,
    /// The run is undone.
    Undo,
}

/// Who must say yes before a step acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalPolicy {
    /// How many different people.
    pub count: u32,
    /// Roles or people; empty is anyone.
    #[serde(default)]
    pub by: Vec<String>,
    /// Whether the one who started the run may.
    pub starter_may: bool,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { count: 1, by: Vec::new(), starter_may: true }
    }
}

/// Why a step stands in the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The author wrote it.
    #[default]
    Step,
    /// It is one of the runbook's `success` checks, or the person who must say so.
    Success,
    /// It puts back what effect number `made` of step `of` did, in undo number `undo`.
    Undo {
        /// From 1 on.
        undo: u32,
        /// The step that is undone.
        of: StepId,
        /// The index into what that step made.
        made: usize,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// Its name, unique in the plan.
    pub id: StepId,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Why it stands here.
    #[serde(default)]
    pub role: Role,
    /// The steps that come before it.
    #[serde(default)]
    pub needs: Vec<StepId>,
    /// A CEL expression; false is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The item of `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
    /// What it does.
    pub action: ActionName,
    /// The action's input, with `${…}` not yet filled in.
    #[serde(default)]
    pub with: Value,
    /// Whether the action's `prepare` computes only: its intent may join the append before it.
    #[serde(default)]
    pub pure: bool,
    /// How long one verb may take.
    pub timeout_ms: u64,
    /// When it is sent again.
    #[serde(default)]
    pub retry: Retry,
    /// What happens when that is used up.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
    /// Who must say yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPolicy>,
    /// Hazard codes accepted in the file.
    #[serde(default)]
    pub accept: Vec<String>,
    /// How long it must stay satisfied, counted over samples only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_ms: Option<u64>,
    /// How long it usually takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_ms: Option<u64>,
    /// More targets to lock.
    #[serde(default)]
    pub locks: Vec<TargetId>,
    /// Whether it is looked at again until the run ends.
    #[serde(default)]
    pub watch: bool,
    /// Who knows about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where more is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook_url: Option<String>,
    /// What to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl PlanStep {
    /// A step as a runbook that says no more about it would have it; without needs.
    pub fn new(id: impl Into<StepId>, action: impl Into<ActionName>, with: Value) -> Self {
        Self {
            id: id.into(),
            title: String::new(),
            role: Role::Step,
            needs: Vec::new(),
            when: None,
            item: None,
            action: action.into(),
            with,
            pure: false,
            timeout_ms: TIMEOUT_MS_DEFAULT,
            retry: Retry::default(),
            on_exhausted: OnExhausted::Wait,
            approval: None,
            accept: Vec::new(),
            soak_ms: None,
            expect_ms: None,
            locks: Vec::new(),
            watch: false,
            owner: None,
            runbook_url: None,
            note: None,
        }
    }
}

/// What makes the run *recovered*, beyond its steps being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Success {
    /// How long the checks must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// Who must say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validated_by: Option<String>,
}

/// Who is told, and how often. Shown; its timers act in a later release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comms {
    /// Milliseconds between updates.
    pub cadence_ms: u64,
    /// Where.
    pub channel: String,
}

/// Who is called when it takes too long. Shown; its timers act in a later release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Escalation {
    /// Milliseconds after the run began.
    pub after_ms: u64,
    /// Who.
    pub to: String,
}

/// A parameter as it was given: for a secret its reference, never its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParamValue {
    /// The value, or a secret's reference as text.
    pub value: Value,
    /// Whether `value` is a reference.
    #[serde(default)]
    pub secret: bool,
}

/// A runbook made ready to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// [`RUNBOOK_FORMAT`] of the file it was made from.
    pub format: u32,
    /// The runbook's name.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Who keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// For searching.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When somebody last read it, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<String>,
    /// When somebody must read it again, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_by: Option<String>,
    /// The parameters as given.
    #[serde(default)]
    pub params: BTreeMap<String, ParamValue>,
    /// Steps at work at once.
    pub max_parallel: u32,
    /// How long it may stand still and go on without being named.
    pub stale_after_ms: u64,
    /// The steps, each after those it needs or not: order is given by `needs` alone.
    pub steps: Vec<PlanStep>,
    /// What makes it recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Success>,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comms: Option<Comms>,
    /// Who is called.
    #[serde(default)]
    pub escalation: Vec<Escalation>,
}

impl Plan {
    /// A plan of these steps as a runbook that says no more would have it.
    pub fn new(name: impl Into<String>, steps: Vec<PlanStep>) -> Self {
        Self {
            format: RUNBOOK_FORMAT,
            name: name.into(),
            title: String::new(),
            description: String::new(),
            owner: None,
            environment: None,
            labels: BTreeMap::new(),
            reviewed: None,
            review_by: None,
            params: BTreeMap::new(),
            max_parallel: MAX_PARALLEL_DEFAULT,
            stale_after_ms: STALE_AFTER_MS_DEFAULT,
            steps,
            success: None,
            comms: None,
            escalation: Vec::new(),
        }
    }
}

/// Why a list of steps is not a plan. The runbook reader finds all of these with their places
/// first; here they keep a damaged or foreign journal out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two steps have one id.
    #[error("two steps are called `{0}`")]
    Duplicate(StepId),
    /// A need names no step.
    #[error("step `{step}` needs `{need}`, which does not exist")]
    UnknownNeed {
        /// The step.
        step: StepId,
        /// What it names.
        need: StepId,
    },
    /// The needs form a circle.
    #[error("step `{0}` needs itself in the end")]
    Cycle(StepId),
    /// Beyond a limit.
    #[error("{count} steps are more than STEPS_MAX ({max})", max = limits::STEPS_MAX)]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// The order of a plan's steps, derived from their needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Where each id stands.
    pub index: BTreeMap<StepId, StepIx>,
    /// For each step, the steps that need it, in plan order.
    pub dependents: Vec<Vec<StepIx>>,
    /// For each step, the steps it needs.
    pub needs: Vec<Vec<StepIx>>,
    /// For each step, its wave from 0: one more than the highest wave it needs.
    pub wave: Vec<usize>,
}

impl Order {
    /// Orders the steps, or says why they have no order.
    pub fn of(steps: &[PlanStep]) -> Result<Self, PlanError> {
        // What puts things back is never refused for its number.
        let count = steps.iter().filter(|s| !matches!(s.role, Role::Undo { .. })).count();
        if count > limits::STEPS_MAX {
            return Err(PlanError::TooMany { count });
        }
        let mut index = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            if index.insert(step.id.clone(), StepIx(at)).is_some() {
                return Err(PlanError::Duplicate(step.id.clone()));
            }
        }
        let mut dependents = vec![Vec::new(); steps.len()];
        let mut needs = vec![Vec::new(); steps.len()];
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<NodeIndex> = steps.iter().map(|_| graph.add_node(())).collect();
        for (at, step) in steps.iter().enumerate() {
            for need in &step.needs {
                let unknown =
                    || PlanError::UnknownNeed { step: step.id.clone(), need: need.clone() };
                let before = *index.get(need).ok_or_else(unknown)?;
                // The last one: `dependents` is short where `needs` may be long, and the reverse.
                if dependents[before.0].last() == Some(&StepIx(at)) {
                    continue;
                }
                dependents[before.0].push(StepIx(at));
                needs[at].push(before);
                graph.add_edge(nodes[before.0], nodes[at], ());
            }
        }
        let sorted = toposort(&graph, None)
            .map_err(|cycle| PlanError::Cycle(steps[cycle.node_id().index()].id.clone()))?;
        let mut wave = vec![0; steps.len()];
        for node in sorted {
            let at = node.index();
            wave[at] = needs[at].iter().map(|need| wave[need.0] + 1).max().unwrap_or(0);
        }
        Ok(Self { index, dependents, needs, wave })
    }

    /// A step and all that need it, directly or not, in plan order.
    pub fn branch(&self, from: StepIx) -> BTreeSet<StepIx> {
        reach(from, &self.dependents)
    }

    /// A step and all that it needs, directly or not, in plan order.
    pub fn way_to(&self, end: StepIx) -> BTreeSet<StepIx> {
        reach(end, &self.needs)
    }

    /// Where an id stands.
    pub fn find(&self, id: &StepId) -> Option<StepIx> {
        self.index.get(id).copied()
    }
}

fn reach(from: StepIx, next: &[Vec<StepIx>]) -> BTreeSet<StepIx> {
    let mut found = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(ix) = open.pop() {
        let further = next.get(ix.0).into_iter().flatten();
        open.extend(further.filter(|next| found.insert(**next)).copied());
    }
    found
}
