//! `wait.for` and `wait.approval`: gates without an effect.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Gate, Guarantee, InputProblem, MadeEffect,
    Manifest, Outcome, PrepareFailure, Prepared, Reverted, Settled, limits, parse_input,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::DATA_VERSION;

const FOR_DOCS: &str = "\
Waits for a time. The end of the wait is a moment in the journal, so an engine that was away
meanwhile goes on at once, and one that comes back early waits only for the rest.

**Guarantee: `read-only`.** It changes nothing.
";

const APPROVAL_DOCS: &str = "\
Waits until a person says yes with `backout approve`, or no with `backout reject`. Who may do so and
how many it takes stands in the step's `approval`.

**Guarantee: `read-only`.** It changes nothing.
";

/// What `wait.for` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForInput {
    /// How long, from the moment the step begins: `90s`, `10m`, `1h 30m`. A year at the most.
    time: String,
}

/// What `wait.approval` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApprovalInput {
    /// What the person is asked.
    text: String,
}

/// The action `wait.for`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitFor;

/// The action `wait.approval`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitApproval;

#[async_trait]
impl Action for WaitFor {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("wait.for"),
            summary: "Waits for a time; survives restarts.",
            docs: FOR_DOCS,
            input: || schema_for!(ForInput),
            example: r#"(time: "10m")"#,
            guarantee: Guarantee::ReadOnly,
            pure: true,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        let text = input.get("time").and_then(Value::as_str).unwrap_or_default();
        let problem = if text.contains("${") { None } else { milliseconds(text).err() };
        checked(problem.map(|message| InputProblem {
            at: "/time".to_owned(),
            message,
            help: Some("write a number and a unit, such as `90s`, `10m` or `1h 30m`".to_owned()),
        }))
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let text = input.get("time").and_then(Value::as_str).unwrap_or("?");
        let seconds = milliseconds(text).map(|ms| ms.div_ceil(1000).to_string());
        ByHand {
            does: format!("waits for {text}"),
            commands: vec![format!("sleep {}", seconds.unwrap_or_else(|_| text.to_owned()))],
            verify: vec!["date".to_owned()],
        }
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: ForInput = parse_input(input)?;
        let ms = milliseconds(&input.time).map_err(|reason| PrepareFailure::Refused { reason })?;
        Ok(gate(Gate::Timer { ms }))
    }

    async fn apply(&self, _: &Context, _: &Call) -> Outcome {
        no_effect()
    }

    async fn settle(&self, _: &Context, _: &Call) -> Settled {
        Settled::NotDone
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

#[async_trait]
impl Action for WaitApproval {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("wait.approval"),
            summary: "Waits for a person's yes.",
            docs: APPROVAL_DOCS,
            input: || schema_for!(ApprovalInput),
            example: r#"(text: "The error rate is back to normal: go on with the schema?")"#,
            guarantee: Guarantee::ReadOnly,
            pure: true,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        let text = input.get("text").and_then(Value::as_str).unwrap_or_default();
        checked(text.trim().is_empty().then(|| InputProblem {
            at: "/text".to_owned(),
            message: "the text is empty: the person is asked nothing".to_owned(),
            help: Some("say what the person should look at before saying yes".to_owned()),
        }))
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let text = input.get("text").and_then(Value::as_str).unwrap_or("?");
        ByHand {
            does: format!("asks a person: {text}"),
            commands: vec![format!("# ask, and wait for a yes: {}", text.replace('\n', " "))],
            verify: vec!["# somebody who may say so said yes".to_owned()],
        }
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: ApprovalInput = parse_input(input)?;
        Ok(gate(Gate::Approval { text: input.text }))
    }

    async fn apply(&self, _: &Context, _: &Call) -> Outcome {
        no_effect()
    }

    async fn settle(&self, _: &Context, _: &Call) -> Settled {
        Settled::NotDone
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

fn checked(problem: Option<InputProblem>) -> Checked {
    Checked {
        problems: problem.into_iter().collect(),
        guarantee: Some(Guarantee::ReadOnly),
        ..Checked::default()
    }
}

fn gate(gate: Gate) -> Prepared {
    Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::ReadOnly,
        remembered_ms: None,
        locks: Vec::new(),
        effects: Vec::new(),
        hazards: Vec::new(),
        gate: Some(gate),
        converge_ms: 0,
        seen: Value::Null,
    }
}

/// A gate prepares no effect, so nothing is ever applied.
fn no_effect() -> Outcome {
    Outcome::Refused { reason: "a wait has no effect to make".to_owned() }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration: {error}"))?;
    u64::try_from(time.as_millis())
        .ok()
        .filter(|ms| *ms <= limits::DURATION_MS_MAX)
        .ok_or_else(|| format!("`{text}` is longer than a year (DURATION_MS_MAX)"))
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn durations_are_read_or_refused_with_the_reason() {
        assert_eq!(milliseconds("1h 30m"), Ok(5_400_000));
        assert_eq!(milliseconds("0s"), Ok(0));
        assert!(milliseconds("10").unwrap_err().contains("`10` is no duration"));
        assert!(milliseconds("2y").unwrap_err().contains("DURATION_MS_MAX"));
    }
}
