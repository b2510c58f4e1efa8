//! `noop.run`: does nothing, and journals like any effect.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::DATA_VERSION;

const DOCS: &str = "\
Does nothing at all, but is journaled like any effect: prepared, its intent made durable, applied,
its outcome made durable. It is for tests, exercises and benchmarks, and for a step that only joins
others or carries values.

**Guarantee: `conditional`.** There is no outside effect, so there is nothing that could be made
twice: `settle` always answers *done*, and a repeat is harmless. It is not called `read-only`,
because the engine records no intent for those, and this action exists to have one.
";

/// What `noop.run` takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NoopInput {
    /// What later steps may use as `steps.ID.output`.
    output: Map<String, Value>,
    /// A line for people; it stands in the plan.
    note: Option<String>,
}

/// The action `noop.run`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

#[async_trait]
impl Action for Noop {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("noop.run"),
            summary: "Does nothing, and is journaled like any effect.",
            docs: DOCS,
            input: || schema_for!(NoopInput),
            example: r#"(output: { "version": "1.4.2" }, note: "joins both branches")"#,
            guarantee: Guarantee::Conditional,
            pure: true,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, _: &Value) -> Checked {
        Checked { guarantee: Some(Guarantee::Conditional), ..Checked::default() }
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let note = NoopInput::deserialize(input).ok().and_then(|input| input.note);
        ByHand {
            does: note.map_or_else(|| "does nothing".to_owned(), |note| format!("nothing: {note}")),
            commands: vec!["true".to_owned()],
            verify: vec!["true".to_owned()],
        }
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: NoopInput = parse_input(input)?;
        Ok(Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::Conditional,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![effect(input)],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: Value::Null,
        })
    }

    async fn apply(&self, _: &Context, call: &Call) -> Outcome {
        Outcome::Done { output: output(call) }
    }

    async fn settle(&self, _: &Context, call: &Call) -> Settled {
        Settled::Done { output: output(call) }
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

fn effect(input: NoopInput) -> PreparedEffect {
    PreparedEffect {
        title: input.note.unwrap_or_else(|| "nothing".to_owned()),
        wave: 0,
        satisfied: Satisfied::CannotTell,
        before: Image::Absent,
        wanted: Image::Absent,
        difference: Vec::new(),
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Object(input.output),
    }
}

/// The output stands in what was prepared, so that a repeat gives the same.
fn output(call: &Call) -> Value {
    call.effect().map_or_else(|| Value::Object(Map::new()), |effect| effect.data.clone())
}
