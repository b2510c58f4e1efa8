//! What goes over the wire, beside the views.

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause, Recorded};
use backout_core::id::{CommandId, RunId};
use backout_core::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::groups;

/// Who asks, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The operating-system user's name. Over the control socket nobody vouches for it. The groups
    /// of that name are looked up by whoever takes the command; they are not sent.
    pub actor: String,
    /// In the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names this command: sent again with the same name it is followed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// Whether the ordinary rules are set aside; marks every later view.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

impl By {
    /// As the events that follow carry it: with the groups that this machine knows of the name, as
    /// unverified as the name itself.
    pub fn cause(&self) -> Cause {
        let roles = groups::of_user(&self.actor);
        Cause {
            command: self.command.clone(),
            actor: Actor { roles, ..Actor::unverified(self.actor.clone()) },
            reason: self.reason.clone(),
            break_glass: self.break_glass,
        }
    }
}

/// `POST /api/v1/runs/{id}/ask`: a person's command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskRequest {
    /// What.
    pub ask: Ask,
    /// Who and why.
    pub by: By,
}

/// The answer to a command: it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskReply {
    /// The run's last position after it.
    pub seq: u64,
    /// Whether an engine drives the run.
    pub driven: bool,
}

/// `POST /api/v1/runs`: make a run and drive it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRequest {
    /// The run's name, chosen by the caller so that a repeat is known as such.
    pub run: RunId,
    /// What it will do.
    pub plan: Plan,
    /// The file it was made from.
    pub text: String,
    /// Who and why.
    pub by: By,
}

/// `POST /api/v1/runs/{id}/resume`: take a run up and drive it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// Who and why.
    pub by: By,
}

/// The answer to a start or a resume: it is durable, and the engine drives the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReply {
    /// The run.
    pub run: RunId,
}

/// `GET /api/v1/owner`: the process that owns the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// When it opened the store, RFC 3339.
    pub since: String,
    /// The release that it is.
    pub version: String,
    /// Names the store.
    pub store: String,
    /// The runs that it drives.
    pub drives: Vec<RunId>,
}

/// `GET /api/v1/runs/{id}/events?from=N`: the durable events from a position on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventsPage {
    /// The events, at most [`EVENTS_PAGE_MAX`]; none where nothing came within the time to wait.
    pub events: Vec<Recorded>,
    /// Whether the engine drives the run.
    pub driven: bool,
}

/// Events in one page: a page stays below a few megabytes.
pub const EVENTS_PAGE_MAX: usize = 500;
/// Milliseconds that a request for events waits for the first one before it answers with none.
pub const EVENTS_WAIT_MS_MAX: u64 = 10_000;
