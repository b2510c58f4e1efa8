//! Decisions from a file: who asks what, and when. With them a drill plays by itself.

use backout_core::command::Ask;
use backout_runbook::document::Document;
use backout_runbook::{Problem, codes};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::scenario::On;

/// The version of the format that this release reads.
pub const DECISIONS_FORMAT: u32 = 1;

/// The decisions of an exercise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// The version of this format: 1.
    pub format: u32,
    /// What is decided.
    pub decisions: Vec<Decision>,
}

/// A decision. It has `at` or `on`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// When, from the start: `"5m"`.
    #[serde(default)]
    pub at: Option<String>,
    /// After what.
    #[serde(default)]
    pub on: Option<On>,
    /// Who decides.
    pub by: String,
    /// Their roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What is asked: `(ask: "approve", step: "schema_down")`.
    pub ask: Value,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether the ordinary rules are set aside.
    #[serde(default)]
    pub break_glass: bool,
}

impl Decision {
    /// What is asked, as the core reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn asked(&self) -> Result<Ask, String> {
        asked(&self.ask)
    }
}

/// What is asked, as the core reads it; `verdict: "done"` needs no output.
///
/// # Errors
/// What is wrong with it.
pub fn asked(ask: &Value) -> Result<Ask, String> {
    let mut ask = ask.clone();
    if ask.get("verdict").and_then(Value::as_str) == Some("done") {
        ask["verdict"] = json!({ "done": {} });
    }
    Ask::deserialize(&ask).map_err(|error| error.to_string())
}

/// The word of what is asked, `approve` for instance, and its step.
pub fn words(ask: &Value) -> (&str, Option<&str>) {
    let text = |field| ask.get(field).and_then(Value::as_str);
    (text("ask").unwrap_or_default(), text("step"))
}

/// Reads a file of decisions.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn read(text: &str) -> Result<Decisions, Vec<Problem>> {
    let mut document = Document::read(text, "Decisions", &schema_for!(Decisions).to_value());
    let read = document.value().and_then(|value| Decisions::deserialize(value).ok());
    let Some(read) = read else { return Err(document.problems()) };
    if read.format != DECISIONS_FORMAT {
        let message = format!("format {} is not known", read.format);
        document.wrong("/format", Problem::new(codes::FORMAT, message), "here");
    }
    for (at, decision) in read.decisions.iter().enumerate() {
        let place = format!("/decisions/{at}");
        if let Err(error) = decision.asked() {
            let problem = Problem::new(codes::BAD_WORD, format!("nobody can ask this: {error}"));
            let help = "write such as `(ask: \"approve\", step: \"switch\")`";
            document.wrong(&format!("{place}/ask"), problem.advise(help), "not a decision");
        }
        if decision.at.is_some() == decision.on.is_some() {
            let message = "a decision has one moment: `at` or `on`";
            document.wrong(&place, Problem::new(codes::SCENARIO_SHAPE, message), "here");
        }
        let after = decision.on.as_ref().and_then(|on| on.after.as_ref());
        for (field, time) in [("at", decision.at.as_ref()), ("on/after", after)] {
            if let Some(time) = time {
                document.duration(&format!("{place}/{field}"), time);
            }
        }
    }
    let problems = document.problems();
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}
