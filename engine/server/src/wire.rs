//! What goes over the wire, beside the views.

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause, Recorded};
use backout_core::id::{CommandId, RunId, StepId, TargetId, Timestamp};
use backout_core::plan::Plan;
use backout_runtime::Start;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::groups;
use crate::view::{EarlierView, HistoryLine, Listed};

/// Who asks, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct By {
    /// The operating-system user's name. It is believed on the control socket only, where nobody
    /// vouches for it; the groups of that name are looked up by whoever takes the command. On a
    /// port a verified caller goes before it, and without one it stands in the record as claimed.
    #[serde(default)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AskRequest {
    /// What.
    pub ask: Ask,
    /// Who and why.
    #[serde(default)]
    pub by: By,
}

/// The answer to a command: it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskReply {
    /// The run's last position after it.
    pub seq: u64,
    /// Whether an engine drives the run.
    pub driven: bool,
}

/// `POST /api/v1/runs`: make a run and drive it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartRequest {
    /// The run's name, chosen by the caller so that a repeat is known as such.
    pub run: RunId,
    /// What it will do.
    pub plan: Plan,
    /// The file it was made from.
    pub text: String,
    /// What only is to be done for now: these steps and what they need; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part: Vec<StepId>,
    /// An earlier run, which ends, and in whose place this one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<RunId>,
    /// Who and why.
    #[serde(default)]
    pub by: By,
}

impl StartRequest {
    /// What the engine is to make, and for whom.
    pub fn parts(self) -> (RunId, Start, By) {
        let Self { run, plan, text, part, continues, by } = self;
        (run, Start { plan, text, part, continues }, by)
    }
}

/// `POST /api/v1/runs/{id}/resume`: take a run up and drive it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeRequest {
    /// Who and why.
    #[serde(default)]
    pub by: By,
}

/// `POST /api/v1/locks`: hold targets, so that no run changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldRequest {
    /// The targets, as the list of locks or a plan shows them.
    pub targets: Vec<TargetId>,
    /// Who and why; the reason is needed.
    #[serde(default)]
    pub by: By,
}

/// The answer to a start or a resume: it is durable, and the engine drives the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunReply {
    /// The run.
    pub run: RunId,
}

/// `GET /api/v1/owner`: the process that owns the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What `GET /api/v1/runs` may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunsQuery {
    /// In one of these states, with commas between them: `running`, `waiting`, `paused`,
    /// `interrupted`, `succeeded`, `failed`, `aborted`, `undone`, `superseded`.
    pub state: Option<String>,
    /// Of the runbook of this name.
    pub runbook: Option<String>,
    /// With this label, `key:value`.
    pub label: Option<String>,
    /// Of a runbook that this one keeps.
    pub owner: Option<String>,
    /// Created at this moment or later, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// Created before this moment, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
    /// With this text in its name, runbook, title or starter, whatever the case.
    pub text: Option<String>,
    /// At most so many; 50 where nothing is said.
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u16>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// `GET /api/v1/runs`: runs, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunsPage {
    /// The runs.
    pub runs: Vec<Listed>,
    /// How many there are on all pages.
    pub matching: usize,
    /// What to send as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Runs that cannot be read; they may or may not be wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// A run that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unreadable {
    /// The run.
    pub run: String,
    /// What stands in the way.
    pub why: String,
}

/// What a run may be asked for with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunQuery {
    /// Whether the head of its hash chain is wanted too; the whole journal is read for it.
    pub head: bool,
    /// As it was known just after this event, and not now: a replay. The first event is 1.
    #[schemars(range(min = 1))]
    pub at: Option<u64>,
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventsQuery {
    /// From this position on; the first is 1.
    pub from: u64,
    /// Milliseconds to wait for the first one where there is none yet.
    pub wait_ms: u64,
}

/// From where a stream of events begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamQuery {
    /// From this position on; the first is 1. `Last-Event-ID` goes before it.
    pub from: u64,
}

/// Of which step what it prints is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LiveQuery {
    /// The step.
    pub step: String,
    /// From this byte on, of all that it printed.
    pub from: u64,
}

/// A piece of what a step printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LivePiece {
    /// The text.
    pub text: String,
    /// From where to ask on.
    pub next: u64,
}

/// About what the offers are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OffersQuery {
    /// About this step; else about the run as a whole.
    pub step: Option<String>,
}

/// Which part of an output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputQuery {
    /// From this byte on.
    pub offset: u64,
}

/// `GET /api/v1/runs/{id}/history`: events in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPage {
    /// At most [`EVENTS_PAGE_MAX`]; ask again from behind the last one.
    pub lines: Vec<HistoryEntry>,
    /// Whether the engine drives the run.
    pub driven: bool,
}

/// An event in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// The step that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What happened.
    pub says: String,
    /// The event itself.
    pub line: HistoryLine,
}

/// A sign that some run changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// How many appends there were since the process began.
    pub changes: u64,
}

/// Whether the process that owns the store is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The release that it is.
    pub version: String,
    /// How many runs it drives.
    pub drives: usize,
}

/// `GET /api/v1/runs/{id}/events?from=N`: the durable events from a position on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsPage {
    /// The events, at most [`EVENTS_PAGE_MAX`]; none where nothing came within the time to wait.
    pub events: Vec<Recorded>,
    /// Whether the engine drives the run.
    pub driven: bool,
    /// The time by the clock of whoever drives, which is an exercise's own in an exercise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// How long steps took in earlier runs of its runbook; only beside the run's first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierView>,
}

/// Events in one page: a page stays below a few megabytes.
pub const EVENTS_PAGE_MAX: usize = 500;
/// Milliseconds that a request for events waits for the first one before it answers with none.
pub const EVENTS_WAIT_MS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde::de::DeserializeOwned;
    use serde_json::{Map, Value, json};

    use super::*;

    const NAMES: [&str; 16] = [
        "ask",
        "by",
        "actor",
        "reason",
        "command",
        "break_glass",
        "run",
        "plan",
        "text",
        "seq",
        "step",
        "note",
        "approve",
        "abort",
        "events",
        "steps",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            select(&NAMES[..]).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let name = prop_oneof![select(&NAMES[..]).prop_map(str::to_owned), ".{0,6}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    /// What is read is written again as something that reads the same; what is not says why.
    fn check<T>(value: &Value) -> Result<(), TestCaseError>
    where
        T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
    {
        match serde_json::from_value::<T>(value.clone()) {
            Ok(read) => {
                let written = serde_json::to_value(&read).unwrap();
                prop_assert_eq!(serde_json::from_value::<T>(written).unwrap(), read);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        Ok(())
    }

    fn check_all(value: &Value) -> Result<(), TestCaseError> {
        check::<AskRequest>(value)?;
        check::<StartRequest>(value)?;
        check::<ResumeRequest>(value)?;
        check::<HoldRequest>(value)?;
        check::<AskReply>(value)?;
        check::<EventsPage>(value)?;
        check::<Owner>(value)
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused_with_a_reason(value in value()) {
            check_all(&value)?;
        }

        #[test]
        fn a_good_request_with_any_other_field_is_read_or_refused(
            name in select(&NAMES[..]), field in value(), inside in any::<bool>(),
        ) {
            let by = json!({ "actor": "ann", "reason": "because" });
            let ask = json!({ "kind": "note", "text": "hello" });
            let mut request = json!({ "ask": ask, "by": by, "run": "r000000000", "text": "" });
            let place = if inside { &mut request["by"] } else { &mut request };
            place[name] = field;
            check_all(&request)?;
        }

        #[test]
        fn any_text_is_a_request_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(serde_json::from_slice::<AskRequest>(&bytes));
            drop(serde_json::from_slice::<StartRequest>(&bytes));
        }
    }
}
