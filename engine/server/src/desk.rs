//! Who takes commands: the engine, or an exercise that stands in its place. Every face works with
//! either, and knows the difference only where it says so.

use std::sync::Arc;

use async_trait::async_trait;
use backout_core::command::Ask;
use backout_core::contract::Guarantee;
use backout_core::event::{Actor, Cause};
use backout_core::id::RunId;
use backout_core::plan::PlanStep;
use backout_runtime::survey::best_guarantee;
use backout_runtime::{Answer, Clock, Engine, EngineError, Host, Seen, Start};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// What a face needs of whoever takes commands.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Makes a run and drives it. It is durable when this returns.
    async fn begin(&self, run: RunId, start: Start, cause: Cause) -> Result<(), EngineError>;

    /// Takes a run up and lets it go on.
    async fn resume(&self, run: &RunId, cause: Cause) -> Result<(), EngineError>;

    /// A person's command. It is durable when this returns.
    async fn ask(&self, run: &RunId, ask: Ask, cause: Cause) -> Result<Answer, EngineError>;

    /// The same, only where the run is still at one of these positions. Where this is not compared
    /// with the command, a face that looked just before is all there is.
    async fn ask_seen(
        &self,
        run: &RunId,
        ask: Ask,
        cause: Cause,
        _seen: Seen,
    ) -> Result<Answer, EngineError> {
        self.ask(run, ask, cause).await
    }

    /// Takes a run up, only where it is still at one of these positions.
    async fn resume_seen(&self, run: &RunId, cause: Cause, _seen: Seen) -> Result<(), EngineError> {
        self.resume(run, cause).await
    }

    /// The runs that are driven here, in order.
    fn driven(&self) -> Vec<RunId>;

    /// Whether a run is driven here.
    fn is_driven(&self, run: &RunId) -> bool {
        self.driven().contains(run)
    }

    /// The best guarantee that a step's action and input allow.
    fn best_guarantee(&self, step: &PlanStep) -> Option<Guarantee>;

    /// The actions that can be reached from here: in an exercise none.
    fn host(&self) -> &Arc<Host>;

    /// The clock by which everything here happens.
    fn clock(&self) -> Arc<dyn Clock>;

    /// The exercise, where it is one.
    fn exercise(&self) -> Option<&dyn Exercise> {
        None
    }
}

#[async_trait]
impl Desk for Engine {
    async fn begin(&self, run: RunId, start: Start, cause: Cause) -> Result<(), EngineError> {
        Self::begin(self, run, start, cause).await
    }

    async fn resume(&self, run: &RunId, cause: Cause) -> Result<(), EngineError> {
        Self::resume(self, run, cause).await
    }

    async fn ask(&self, run: &RunId, ask: Ask, cause: Cause) -> Result<Answer, EngineError> {
        Self::ask(self, run, ask, cause).await
    }

    async fn ask_seen(
        &self,
        run: &RunId,
        ask: Ask,
        cause: Cause,
        seen: Seen,
    ) -> Result<Answer, EngineError> {
        Self::ask_seen(self, run, ask, cause, seen).await
    }

    async fn resume_seen(&self, run: &RunId, cause: Cause, seen: Seen) -> Result<(), EngineError> {
        Self::resume_seen(self, run, cause, seen).await
    }

    fn driven(&self) -> Vec<RunId> {
        Self::driven(self)
    }

    fn is_driven(&self, run: &RunId) -> bool {
        Self::is_driven(self, run)
    }

    fn best_guarantee(&self, step: &PlanStep) -> Option<Guarantee> {
        best_guarantee(Self::host(self), step)
    }

    fn host(&self) -> &Arc<Host> {
        Self::host(self)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Self::clock(self).clone()
    }
}

/// An exercise that somebody leads. Its methods block for the disk.
pub trait Exercise: Send + Sync {
    /// What everybody may see.
    fn view(&self) -> ExerciseView;

    /// What one of those who are at it may see besides, and do.
    fn seat(&self, who: &Actor) -> SeatView;

    /// Does what a line of its language says, `inject support` for instance; what there is to
    /// answer. Who may is looked at here.
    fn line(&self, line: &str, who: &Actor) -> Result<Option<String>, Problem>;

    /// Ends it for something real.
    fn emergency(&self, who: &Actor, text: &str) -> Result<(), Problem>;
}

/// An exercise as everybody may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExerciseView {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// What those who take part were told at the start.
    pub situation: String,
    /// Its run; empty for a discussion, which has none.
    pub run: String,
    /// The time now by its own clock, RFC 3339.
    pub now: String,
    /// How long it has lasted by its own clock, milliseconds.
    pub lasted_ms: u64,
    /// How long it may last at the most, milliseconds.
    pub lasts_ms: u64,
    /// Whether its clock stands still.
    pub stopped: bool,
    /// How many times as fast as real time the clock goes.
    pub speed: u32,
    /// Why it is over; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Who ended it for something real, and in what words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    /// What those who take part were told since, the oldest first.
    pub told: Vec<Told>,
}

/// A message of an exercise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// When, since the start: `+03:20`.
    pub clock: String,
    /// Who says it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// By what means.
    pub by: String,
    /// What they read.
    pub text: String,
}

/// An exercise as one of those who are at it may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeatView {
    /// What this one is there for: `facilitator`, `evaluator`, `data collector` or `participant`.
    pub part: String,
    /// What can be done at it, and why this one may not.
    pub may: Vec<DeedView>,
    /// What is discussed; absent in a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talk: Option<TalkView>,
    /// What is to come; absent for those who take part, and must not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptView>,
    /// The objectives; how they are rated, and by what, only for those who see the script.
    pub objectives: Vec<RatedObjective>,
    /// What is asked at the end, with the answers so far.
    pub hotwash: Vec<HotwashQuestion>,
    /// Whether the hotwash was closed.
    pub closed: bool,
    /// What was done besides the run, the oldest first; for those who take part what they did
    /// themselves.
    pub log: Vec<LogLine>,
}

impl SeatView {
    /// Why this one may not do what a line begins with; absent where it may.
    pub fn refused(&self, line: &str) -> Option<&str> {
        let deed = self.may.iter().find(|deed| deed.line == line);
        deed.and_then(|deed| deed.refused.as_deref())
    }
}

/// Something that can be done at an exercise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeedView {
    /// What its line begins with.
    pub line: String,
    /// What it does.
    pub does: String,
    /// The parts that may.
    pub takes: Vec<String>,
    /// Why this one may not; absent where it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A line of an exercise's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When, since the start: `+03:20`.
    pub clock: String,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
}

/// A discussion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TalkView {
    /// The questions that were asked so far, the oldest first.
    pub asked: Vec<AskedView>,
    /// How many are still to come.
    pub to_come: usize,
}

/// A question that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskedView {
    /// Its number, from 1 on.
    pub number: usize,
    /// What is the case.
    pub situation: String,
    /// What is asked.
    pub ask: String,
    /// Answers to choose from; none is: in one's own words.
    pub choices: Vec<String>,
    /// Who answered, where it was not the team as a whole, and what.
    pub answers: Vec<(String, String)>,
    /// What the runbook's plan would do; absent until the facilitator shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Whether the plan has a say that is not shown yet.
    pub hidden: bool,
    /// What a good answer holds; for those who see the script.
    pub look_for: Vec<String>,
}

/// What those who take part must not see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptView {
    /// The planned injects.
    pub injects: Vec<PlannedInject>,
    /// What is expected of those who take part, with by when.
    pub expected: Vec<String>,
    /// The things of the simulated world.
    pub world: Vec<String>,
    /// The questions of a discussion that are still to come.
    pub questions: Vec<String>,
}

/// A question of the hotwash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HotwashQuestion {
    /// The question.
    pub question: String,
    /// Who answered, where it was not the team as a whole, and what.
    pub answers: Vec<(String, String)>,
}

/// A planned inject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedInject {
    /// Its name.
    pub id: String,
    /// When it comes by itself; `by hand` where it does not.
    pub when: String,
    /// The message.
    pub message: Told,
    /// What happens in the world, in words.
    pub what: String,
    /// When it was fired, since the start.
    pub fired: Option<String>,
}

/// An objective and how it is rated so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RatedObjective {
    /// Its name.
    pub id: String,
    /// One sentence.
    pub text: String,
    /// What an evaluator looks at.
    pub guide: Vec<String>,
    /// `P`, `S`, `M` or `U`, with what the evaluator wrote.
    pub rating: Option<String>,
}
