//! Messages to people outside about a run. Each is a run of its own with one step.

use backout_core::event::Wait;
use backout_core::state::{RunState, StepRun, StepState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rfc3339;

/// A message to people outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    /// The run that sends it.
    pub run: String,
    /// What it is: `update`, `reminder`, `escalation`, `alarm`, `break_glass` or `ended`.
    pub kind: String,
    /// The channel.
    pub channel: String,
    /// Whom it calls, where it is not for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// One line.
    pub title: String,
    /// All of it.
    pub text: String,
    /// `sent`, `waiting` or `failed`.
    pub state: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// When it was sent or given up, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// When it is tried again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// What stood in the way last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The view of a run that is a message.
pub(crate) fn message_view(state: &RunState) -> Option<MessageView> {
    let (planned, step) = (state.plan.steps.first()?, state.steps.first()?);
    let field = |name: &str| planned.with.get(name).and_then(|value| value.as_str());
    let text = |name: &str| field(name).unwrap_or_default().replace("$${", "${");
    let (word, due, trouble) = standing(step);
    Some(MessageView {
        run: state.run.to_string(),
        kind: text("kind"),
        channel: text("channel"),
        to: field("to").map(str::to_owned),
        title: text("title"),
        text: text("text"),
        state: word.to_owned(),
        made: rfc3339(state.created),
        ended: state.ended.map(rfc3339),
        due,
        trouble,
    })
}

fn standing(step: &StepRun) -> (&'static str, Option<String>, Option<String>) {
    match &step.state {
        StepState::Succeeded { .. } => ("sent", None, None),
        StepState::Failed { reason, .. } => ("failed", None, Some(reason.clone())),
        StepState::Cancelled | StepState::Skipped(_) | StepState::Undone | StepState::InDoubt => {
            ("failed", None, step.trouble.clone())
        }
        StepState::Waiting(Wait::Retry { due, why }) => {
            ("waiting", Some(rfc3339(*due)), Some(why.clone()))
        }
        StepState::Pending
        | StepState::Preparing
        | StepState::Running
        | StepState::Unverified
        | StepState::Waiting(_) => ("waiting", None, step.trouble.clone()),
    }
}
