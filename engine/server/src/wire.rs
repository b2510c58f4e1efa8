//! What goes over the wire, beside the views.

use backout_core::adopt::Adoption;
use backout_core::command::Ask;
use backout_core::event::{Actor, Cause, Recorded};
use backout_core::id::{CommandId, RunId, StepId};
use backout_core::plan::Plan;
use backout_runtime::Start;
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
    /// What only is to be done for now: these steps and what they need; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part: Vec<StepId>,
    /// What an earlier run did already; that run ends, and this one goes on in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adoption>,
    /// Who and why.
    pub by: By,
}

impl StartRequest {
    /// What the engine is to make, and for whom.
    pub fn parts(self) -> (RunId, Start, By) {
        let Self { run, plan, text, part, adopt, by } = self;
        (run, Start { plan, text, part, adopt }, by)
    }
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
