//! A few actions as data, in the shape that plugins give them.

use std::collections::BTreeMap;

use backout_core::contract::Guarantee;
use backout_core::id::TargetId;
use backout_runbook::{
    ActionInfo, Catalogue, Checked, Compiled, GivenParam, InputProblem, Mode, Source, compile,
    compile_beside,
};
use serde_json::{Value, json};

pub(crate) struct Actions;

impl Catalogue for Actions {
    fn actions(&self) -> Vec<String> {
        ["noop.run", "wait.for", "wait.approval", "exec.run", "flags.off"]
            .map(str::to_owned)
            .to_vec()
    }

    fn find(&self, name: &str) -> Option<ActionInfo<'_>> {
        let (schema, guarantee) = match name {
            "noop.run" => (object(&json!({}), &json!([])), Guarantee::Transactional),
            "wait.for" => {
                let fields = json!({"duration": {"type": "string", "description": "how long"}});
                (object(&fields, &json!(["duration"])), Guarantee::ReadOnly)
            }
            "wait.approval" => (
                object(&json!({"text": {"type": "string"}}), &json!(["text"])),
                Guarantee::ReadOnly,
            ),
            "exec.run" => (exec(), Guarantee::Probed),
            "flags.off" => (flags(), Guarantee::Conditional),
            _ => return None,
        };
        let check: Box<dyn Fn(&Value) -> Checked> = match name {
            "exec.run" => Box::new(check_exec),
            "flags.off" => Box::new(check_flags),
            _ => Box::new(|_| Checked::default()),
        };
        Some(ActionInfo { input_schema: schema, guarantee, pure: name != "exec.run", check })
    }
}

fn object(properties: &Value, required: &Value) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn exec() -> Value {
    object(
        &json!({
            "command": {"type": "array", "items": {"type": "string"}, "minItems": 1,
                "description": "the program and its arguments"},
            "settle": {"type": ["array", "null"], "items": {"type": "string"}},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "cwd": {"type": ["string", "null"]},
            "signal": {"type": "string", "enum": ["term", "kill"]},
            "nice": {"type": "integer"},
        }),
        &json!(["command"]),
    )
}

fn flags() -> Value {
    let mut schema = object(
        &json!({
            "file": {"type": "string"},
            "flag": {"type": "string"},
            "token": {"anyOf": [{"$ref": "#/$defs/SecretRef"}, {"type": "null"}]},
            "relay": {"$ref": "#/$defs/Relay"},
        }),
        &json!(["file", "flag"]),
    );
    schema["$defs"] = json!({
        "SecretRef": {"type": "string", "format": "secret-ref", "pattern": "^(env|file|cmd):|\\$\\{"},
        "Relay": object(&json!({"url": {"type": "string"}, "port": {"type": "integer"}}), &json!(["url"])),
    });
    schema
}

fn check_exec(input: &Value) -> Checked {
    let mut checked = Checked::default();
    let word = |at: usize| input["command"][at].as_str().unwrap_or("");
    if word(0).is_empty() {
        checked.problems.push(InputProblem {
            at: "/command/0".to_owned(),
            message: "the program has no name".to_owned(),
            help: None,
        });
    }
    if word(0) == "sh" && word(2).contains("${") {
        checked.warnings.push(InputProblem {
            at: "/command/2".to_owned(),
            message: "a value is inserted into the text of a shell".to_owned(),
            help: Some("pass it by `env`".to_owned()),
        });
    }
    let probed = input.get("settle").is_some_and(|settle| !settle.is_null());
    checked.guarantee = Some(if probed { Guarantee::Probed } else { Guarantee::Manual });
    checked
}

fn check_flags(input: &Value) -> Checked {
    let file = input["file"].as_str().filter(|file| !file.contains("${"));
    let targets = file.map(|file| TargetId::new(format!("file:{file}"))).into_iter().collect();
    Checked { targets, ..Checked::default() }
}

/// Compiles a text for a run, with parameters given as `name=value`.
pub(crate) fn run(text: &str, given: &[&str]) -> Compiled {
    let given: BTreeMap<String, GivenParam> = given
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), GivenParam::Text(value.to_owned())))
        .collect();
    compile(&Source { name: "test.ron", text }, &given, Mode::Run, &Actions)
}

/// Compiles a text as `check` does.
pub(crate) fn check(text: &str) -> Compiled {
    compile(&Source { name: "test.ron", text }, &BTreeMap::new(), Mode::Check, &Actions)
}

/// Compiles a text as `check` does, with this manifest beside it.
pub(crate) fn beside(text: &str, releases: &str) -> Compiled {
    let source = Source { name: "test.ron", text };
    compile_beside(&source, Some(releases), &BTreeMap::new(), Mode::Check, &Actions)
}

/// A runbook with these fields after its name.
pub(crate) fn runbook(fields: &str) -> String {
    format!("Runbook(format: 1, name: \"test\", {fields})")
}
