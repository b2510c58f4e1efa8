//! A scenario: what an exercise is about, the world at its start, what happens in it, and what is
//! expected of those who take part.

mod msel;
mod read;

pub(crate) use msel::clock;
pub use msel::{Row, csv, msel, table};
pub use read::{Timed, read, schema};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the scenario format that this release reads.
pub const SCENARIO_FORMAT: u32 = 1;

fn hour() -> String {
    "60m".to_owned()
}

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The version of this format: 1.
    pub format: u32,
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What those who take part are told at the start.
    #[serde(default)]
    pub situation: String,
    /// The runbook that it is made for, beside this file.
    #[serde(default)]
    pub runbook: Option<String>,
    /// Values of the runbook's parameters.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Decides every chance. `--seed` takes its place.
    #[serde(default)]
    pub seed: u64,
    /// How long the exercise may last, by its own clock: `"60m"`.
    #[serde(default = "hour")]
    pub lasts: String,
    /// What the exercise is to show. Objectives are rated, never persons.
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Who takes part.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// What is there at the start.
    #[serde(default)]
    pub world: WorldStart,
    /// By step: how the twin of its action behaves.
    #[serde(default)]
    pub steps: BTreeMap<String, StepModel>,
    /// What happens.
    #[serde(default)]
    pub injects: Vec<Inject>,
    /// What those who take part should do, and by when.
    #[serde(default)]
    pub expected: Vec<Expected>,
    /// How often an update is due: `"15m"`. Without it, as the runbook's `comms` says.
    #[serde(default)]
    pub updates: Option<String>,
    /// What a discussion asks, in order.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// What is asked at the end. Without it, the usual three questions.
    #[serde(default)]
    pub hotwash: Vec<String>,
}

/// Something that the exercise is to show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Its name.
    pub id: String,
    /// One sentence.
    pub text: String,
    /// The capability that it belongs to, `operational communication` for instance.
    #[serde(default)]
    pub capability: String,
    /// The evaluation guide: what an evaluator looks at.
    #[serde(default)]
    pub guide: Vec<String>,
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `commander`, `operator`, `approver`, `facilitator`, `evaluator`, `data collector`,
    /// `observer`, or another word.
    pub role: String,
    /// Who, where that is known before.
    #[serde(default)]
    pub who: Option<String>,
    /// What this role is there for.
    #[serde(default)]
    pub does: String,
}

/// What is there at the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorldStart {
    /// Flags by name. One that a step names and that is not here is on.
    #[serde(default)]
    pub flags: BTreeMap<String, FlagStart>,
    /// Containers by `project/service` or by name. One that is not here runs another image.
    #[serde(default)]
    pub containers: BTreeMap<String, ContainerStart>,
    /// Schemas by what the steps name in `database` or `path`. Where there is only one, it is meant.
    #[serde(default)]
    pub schemas: BTreeMap<String, SchemaStart>,
    /// Services by name: what checks see.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceStart>,
}

/// A flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagStart {
    /// The variation that everybody gets: `"on"`.
    pub value: String,
    /// How often it is evaluated in a minute.
    #[serde(default)]
    pub evaluations_per_minute: u64,
}

/// A container, or all replicas of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerStart {
    /// The image that it runs.
    pub image: String,
    /// Images with which it does not become healthy.
    #[serde(default)]
    pub sick_with: Vec<String>,
}

/// A schema and its ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaStart {
    /// The migrations that are applied, oldest first.
    pub ledger: Vec<Migration>,
}

/// A migration that is applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Its version: `"42"`.
    pub version: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What its way down drops, in words: `"orders.discount"`.
    #[serde(default)]
    pub drops: Option<String>,
    /// Rows that are lost with it.
    #[serde(default)]
    pub rows: u64,
}

/// A service as its users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceStart {
    /// The share of requests that fail when all is well, 0 to 1.
    #[serde(default)]
    pub errors: f64,
    /// The usual latency when all is well.
    pub latency: String,
    /// Checks fail above this share of errors.
    pub errors_below: f64,
    /// Checks fail above this latency.
    pub latency_below: String,
    /// What makes it worse, for as long as it is so.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
}

/// Something that makes a service worse while it is so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// What: `flag:NAME`, `container:NAME`, `schema:NAME/VERSION` or `step:ID`.
    pub thing: String,
    /// How it is: a flag's variation, an image, `"applied"`; for a step `"undone"` or `"done"`.
    pub is: String,
    /// The share of requests that fail besides.
    #[serde(default)]
    pub errors: f64,
    /// The latency that comes on top.
    #[serde(default)]
    pub latency: Option<String>,
}

/// How the twin of a step's action behaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepModel {
    /// How long it takes: one duration, the least and the most, or the least, the usual and the most.
    /// Without it, about what the runbook's `expect` says.
    #[serde(default)]
    pub takes: Vec<String>,
    /// How long it took in the past; one of them is drawn.
    #[serde(default)]
    pub took: Vec<String>,
    /// The guarantee, where it is not that of the action.
    #[serde(default)]
    pub guarantee: Option<String>,
    /// `exact`, `shape-only` or `none`.
    #[serde(default)]
    pub reversibility: Option<String>,
    /// What to know before, by code.
    #[serde(default)]
    pub hazards: BTreeMap<String, String>,
    /// What later steps may use.
    #[serde(default)]
    pub output: Value,
    /// For a check: the service that it looks at. Without it, all of them.
    #[serde(default)]
    pub service: Option<String>,
}

/// Something that happens in an exercise. It has `at`, or `on`, or neither: then the facilitator
/// fires it by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// Its name.
    pub id: String,
    /// When, from the start: `"5m"`.
    #[serde(default)]
    pub at: Option<String>,
    /// After what.
    #[serde(default)]
    pub on: Option<On>,
    /// Who says it.
    #[serde(default)]
    pub from: String,
    /// To whom.
    #[serde(default)]
    pub to: String,
    /// By what means: `phone`, `chat`, `page`.
    #[serde(default)]
    pub by: String,
    /// What those who take part read.
    #[serde(default)]
    pub text: String,
    /// What happens in the world.
    #[serde(default)]
    pub what: Option<What>,
    /// The objective that it serves.
    #[serde(default)]
    pub objective: Option<String>,
}

/// A moment that is not known before. Every field that is written must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct On {
    /// When this step comes into the state `is`.
    #[serde(default)]
    pub step: Option<String>,
    /// `preparing`, `running`, `waiting`, `approval`, `person`, `lock`, `retry`, `soak`, `in-doubt`,
    /// `unverified`, `succeeded`, `failed` or `skipped`; without it, `running`.
    #[serde(default)]
    pub is: Option<String>,
    /// When this was asked by somebody: `pause`, `approve`, `retry`, `undo`, and so on.
    #[serde(default)]
    pub decision: Option<String>,
    /// When this inject was fired.
    #[serde(default)]
    pub inject: Option<String>,
    /// So long after it.
    #[serde(default)]
    pub after: Option<String>,
}

fn once() -> u32 {
    1
}

/// What an inject does in the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The next sendings of a step end and say that they failed.
    Fail(StepTrouble),
    /// The next sendings of a step take so long.
    Slow(StepTrouble),
    /// The next sendings of a step say that they are done, and are not.
    Lie(StepTrouble),
    /// The next sendings of a step are made, and the reply is lost.
    LoseReply(StepTrouble),
    /// The target of a step does not answer for a time.
    Unreachable(StepTrouble),
    /// The engine dies, and comes back after a time.
    KillEngine(Away),
    /// The engine's disk is full for a time.
    FullDisk(Away),
    /// Another rollback holds what a step locks, for a time.
    SecondRollback(StepTrouble),
    /// Somebody does not answer for a time: what they decide is not heard.
    Silent(Silent),
    /// Somebody gives a flag a variation.
    Flag(FlagChange),
    /// A long transaction stands in the way of a step's statements, for a time.
    LongTransaction(StepTrouble),
}

/// Trouble with a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepTrouble {
    /// The step.
    pub step: String,
    /// How many sendings it meets.
    #[serde(default = "once")]
    pub times: u32,
    /// For how long: `"10m"`.
    #[serde(default)]
    pub lasts: Option<String>,
    /// What the target says, or who is behind it.
    #[serde(default)]
    pub says: Option<String>,
}

/// The engine is away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// For how long: `"90s"`.
    pub lasts: String,
    /// Whether what was in flight never reached its target.
    #[serde(default)]
    pub lost: bool,
}

/// Somebody does not answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silent {
    /// The name.
    pub who: String,
    /// For how long.
    pub lasts: String,
}

/// Somebody changes a flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagChange {
    /// The flag.
    pub flag: String,
    /// The variation that everybody gets from now on.
    pub value: String,
    /// Who.
    #[serde(default)]
    pub by: Option<String>,
}

/// Something that those who take part should do, or not do; or how the run should end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Its name.
    pub id: String,
    /// One sentence.
    #[serde(default)]
    pub text: String,
    /// What is asked: `approve`, `settle`, `pause`, `note`, and so on.
    #[serde(default)]
    pub ask: Option<String>,
    /// Of which step.
    #[serde(default)]
    pub step: Option<String>,
    /// That it is never asked.
    #[serde(default)]
    pub never: bool,
    /// How the run ends: `succeeded`, `failed`, `aborted` or `undone`.
    #[serde(default)]
    pub end: Option<String>,
    /// From when the time counts; without it, from the start.
    #[serde(default)]
    pub on: Option<On>,
    /// By when: `"5m"`. Without it, by the end.
    #[serde(default)]
    pub within: Option<String>,
    /// The objective that it serves.
    #[serde(default)]
    pub objective: Option<String>,
}

/// A question of a discussion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its name.
    pub id: String,
    /// What is the case now.
    #[serde(default)]
    pub situation: String,
    /// What the team is asked.
    pub ask: String,
    /// The answers to choose from; without any, the team says it in its own words.
    #[serde(default)]
    pub choices: Vec<String>,
    /// The step of the runbook that it is about: the plan's own answer is shown beside the team's.
    #[serde(default)]
    pub step: Option<String>,
    /// What a good answer holds, for the facilitator.
    #[serde(default)]
    pub look_for: Vec<String>,
    /// The objective that it serves.
    #[serde(default)]
    pub objective: Option<String>,
}

impl Scenario {
    /// What a question of the discussion asks, by its name; any other text is itself.
    pub fn asks<'a>(&'a self, question: &'a str) -> &'a str {
        let found = self.questions.iter().find(|one| one.id == question);
        found.map_or(question, |one| one.ask.as_str())
    }

    /// The questions of the hotwash.
    pub fn hotwash(&self) -> Vec<String> {
        if self.hotwash.is_empty() {
            [
                "What went well?",
                "What did not go as you thought it would?",
                "What do we change first?",
            ]
            .map(str::to_owned)
            .to_vec()
        } else {
            self.hotwash.clone()
        }
    }
}
