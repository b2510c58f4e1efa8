//! The secrets that a run will need: looked for before it goes on, so that all that are missing are
//! named together, and not one at a time at 03:00.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::id::ActionName;
use backout_core::plan::{Plan, PlanStep};
use backout_plugin_api::{SecretError, SecretRef};
use serde_json::Value;

use crate::Host;

/// Levels of references from one part of a schema to another: a schema that goes round must end.
const SCHEMA_DEPTH_MAX: usize = 32;

/// A secret that cannot be had, and the steps that need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSecret {
    /// What is wrong; never holds a value.
    pub error: SecretError,
    /// The steps that need it.
    pub steps: BTreeSet<String>,
}

/// The secrets of these steps that cannot be had now. Values are looked at and let go.
pub fn missing_secrets<'a>(
    host: &Host,
    plan: &Plan,
    steps: impl Iterator<Item = &'a PlanStep>,
) -> Vec<MissingSecret> {
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut schemas: BTreeMap<&ActionName, Value> = BTreeMap::new();
    for step in steps {
        let Some(action) = host.find(&step.action) else { continue };
        let schema =
            schemas.entry(&step.action).or_insert_with(|| (action.manifest().input)().to_value());
        for reference in references(schema, plan, step) {
            needed.entry(reference).or_default().insert(step.id.to_string());
        }
    }
    let missing = |(reference, steps)| {
        let error = host.secrets.resolve(&SecretRef(reference)).err()?;
        Some(MissingSecret { error, steps })
    };
    needed.into_iter().filter_map(missing).collect()
}

fn references(schema: &Value, plan: &Plan, step: &PlanStep) -> Vec<String> {
    let mut found = Vec::new();
    gather(schema, schema, &step.with, 0, &mut found);
    found.into_iter().filter_map(|text| reference(plan, &text)).collect()
}

/// A reference as written, or the one that a secret parameter holds.
fn reference(plan: &Plan, text: &str) -> Option<String> {
    let Some(expression) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return (!text.contains("${")).then(|| text.to_owned());
    };
    let param = plan.params.get(expression.trim().strip_prefix("params.")?)?;
    param.value.as_str().filter(|_| param.secret).map(str::to_owned)
}

/// The texts that stand where the schema asks for a secret's reference.
fn gather(root: &Value, schema: &Value, value: &Value, depth: usize, found: &mut Vec<String>) {
    if depth > SCHEMA_DEPTH_MAX {
        return;
    }
    let mut go = |schema: &Value, value: &Value| gather(root, schema, value, depth + 1, found);
    if let Some(path) = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#'))
        && let Some(target) = root.pointer(path)
    {
        go(target, value);
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        schema[word].as_array().into_iter().flatten().for_each(|schema| go(schema, value));
    }
    match value {
        Value::String(text) if schema["format"] == "secret-ref" => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| go(&schema["items"], item)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let field = schema["properties"].get(name);
                go(field.unwrap_or(&schema["additionalProperties"]), value);
            }
        }
        _ => {}
    }
}
