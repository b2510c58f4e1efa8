//! Actions for people: fields with types and defaults, guarantee, an example.

use std::fmt::Write;

use backout_plugin_api::Manifest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::style::{BOLD, DIM, paint};
use super::text::{padded, wrapped};

/// An action as `plugins --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct ActionView {
    /// `plugin.verb`.
    pub(crate) action: String,
    /// The best guarantee that any input allows.
    pub(crate) guarantee: &'static str,
    /// One sentence.
    pub(crate) summary: &'static str,
    /// The input as a JSON schema.
    pub(crate) input: Value,
    /// A `with` block in RON.
    pub(crate) example: &'static str,
}

impl ActionView {
    /// What a manifest says.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self {
            action: manifest.name.to_string(),
            guarantee: manifest.guarantee.word(),
            summary: manifest.summary,
            input: (manifest.input)().to_value(),
            example: manifest.example,
        }
    }
}

/// One field of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Its type in words: `text`, `list of text`, `"a" or "b"`.
    pub(crate) kind: String,
    /// `required`, or the default.
    pub(crate) default: String,
    pub(crate) help: String,
    /// The fields of a struct, if it is one.
    pub(crate) inner: Vec<Self>,
}

/// Levels of fields that are shown: deeper ones are named by their type only.
const LEVELS_MAX: usize = 4;

/// The fields of an input's schema.
pub(crate) fn fields(schema: &Value) -> Vec<Field> {
    fields_of(schema, schema, LEVELS_MAX)
}

fn fields_of(root: &Value, schema: &Value, levels: usize) -> Vec<Field> {
    let schema = follow(root, schema);
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let field = |(name, value): (&String, &Value)| {
        let inner =
            if levels > 1 { fields_of(root, element(root, value), levels - 1) } else { Vec::new() };
        Field {
            name: name.clone(),
            kind: kind(root, value, levels),
            default: default(value, required.contains(&name.as_str())),
            help: help(root, value),
            inner,
        }
    };
    properties.iter().map(field).collect()
}

fn help(root: &Value, value: &Value) -> String {
    let own = value["description"].as_str().or_else(|| follow(root, value)["description"].as_str());
    own.unwrap_or_default().replace('\n', " ")
}

fn default(value: &Value, required: bool) -> String {
    match &value["default"] {
        Value::Null if required => "required".to_owned(),
        Value::Null => "optional".to_owned(),
        given => format!("default {given}"),
    }
}

/// Follows `$ref`, and the one real choice of an optional field.
fn follow<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str() {
        return root.pointer(name.trim_start_matches('#')).unwrap_or(schema);
    }
    let choices: Vec<&Value> = choices(schema).filter(|one| one["type"] != "null").collect();
    match choices.as_slice() {
        [one] => follow(root, one),
        _ => schema,
    }
}

fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let of = |name: &str| schema[name].as_array().into_iter().flatten();
    of("anyOf").chain(of("oneOf")).chain(of("allOf"))
}

/// The element of a list or a map, else the schema itself.
fn element<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = follow(root, schema);
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            return follow(root, &schema[part]);
        }
    }
    schema
}

fn kind(root: &Value, schema: &Value, levels: usize) -> String {
    let schema = follow(root, schema);
    if schema["format"] == "secret-ref" {
        return "secret reference".to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return joined(values.iter().map(ToString::to_string));
    }
    if !schema["const"].is_null() {
        return schema["const"].to_string();
    }
    if choices(schema).next().is_some() && levels > 0 {
        return joined(choices(schema).map(|one| kind(root, one, levels - 1)));
    }
    match type_word(schema) {
        "array" if levels > 0 => format!("list of {}", kind(root, &schema["items"], levels - 1)),
        "object" if schema["additionalProperties"].is_object() && levels > 0 => {
            format!("map of text to {}", kind(root, &schema["additionalProperties"], levels - 1))
        }
        "array" => "list".to_owned(),
        "object" if schema["properties"].is_object() => "struct".to_owned(),
        "object" => "map".to_owned(),
        "string" => "text".to_owned(),
        "" => "any value".to_owned(),
        other => other.to_owned(),
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all.join(" or ")
}

/// The type; of an optional one the type that is not null.
fn type_word(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(word) => word,
        Value::Array(words) => {
            words.iter().filter_map(Value::as_str).find(|word| *word != "null").unwrap_or_default()
        }
        _ => "",
    }
}

/// All actions in a table.
pub(crate) fn list(actions: &[Manifest]) -> String {
    let names = actions.iter().map(|action| action.name.as_str().len()).max().unwrap_or(0);
    let line = |action: &Manifest| {
        let name = paint(BOLD, &padded(action.name.as_str(), names));
        format!("{name}  {}  {}\n", padded(action.guarantee.word(), 13), action.summary)
    };
    actions.iter().map(line).collect()
}

/// One action with all its fields.
pub(crate) fn one(action: &Manifest, width: usize) -> String {
    let mut out = format!("{}  {}\n", paint(BOLD, action.name.as_str()), action.summary);
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "guarantee: {} at best\n\nfields of `with`:", action.guarantee.word());
    let schema = (action.input)();
    let fields = fields(schema.as_value());
    if fields.is_empty() {
        out.push_str("  none\n");
    }
    for field in &fields {
        field_text(&mut out, field, 2, width);
    }
    let _ = writeln!(out, "\nexample:\n  with: {}\n", action.example.trim().replace('\n', "\n  "));
    out.push_str(action.docs.trim_end());
    out.push('\n');
    out
}

fn field_text(out: &mut String, field: &Field, indent: usize, width: usize) {
    let facts = paint(DIM, &format!("{}, {}", field.kind, field.default));
    let _ = writeln!(out, "{:indent$}{}  {facts}", "", paint(BOLD, &field.name));
    if !field.help.is_empty() {
        out.push_str(&wrapped(&field.help, indent + 4, width));
    }
    for inner in &field.inner {
        field_text(out, inner, indent + 4, width);
    }
}

/// One plugin's page in `docs/plugins/`.
#[cfg(test)]
pub(crate) fn page(plugin: &str, actions: &[&Manifest]) -> String {
    let mut out = format!(
        "# {plugin}\n\nGenerated from the actions themselves by the test `plugin_pages_are_up_to_date`.\n"
    );
    for action in actions {
        let _ = write!(
            out,
            "\n## `{}`\n\n{}\n\nBest guarantee: `{}`.\n\n{}\n\n",
            action.name,
            action.summary,
            action.guarantee.word(),
            action.docs.trim()
        );
        let schema = (action.input)();
        let fields = fields(schema.as_value());
        if !fields.is_empty() {
            out.push_str("| field | type | | |\n|---|---|---|---|\n");
            rows(&mut out, "", &fields);
            out.push('\n');
        }
        let _ = writeln!(out, "```ron\nwith: {}\n```", action.example.trim());
    }
    out
}

#[cfg(test)]
fn rows(out: &mut String, prefix: &str, fields: &[Field]) {
    for field in fields {
        let name = format!("{prefix}{}", field.name);
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{name}` | {} | {} | {} |",
            cell(&field.kind),
            cell(&field.default),
            cell(&field.help)
        );
        rows(out, &format!("{name}."), &field.inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_reads_as_fields() {
        let schema = json!({
            "type": "object",
            "required": ["command"],
            "properties": {
                "command": { "type": "array", "items": { "type": "string" }, "description": "What." },
                "env": { "type": "object", "additionalProperties": { "type": "string" } },
                "mode": { "$ref": "#/$defs/Mode", "default": "fast" },
                "probe": { "anyOf": [{ "$ref": "#/$defs/Probe" }, { "type": "null" }] },
                "token": { "type": ["string", "null"], "format": "secret-ref" },
            },
            "$defs": {
                "Mode": { "enum": ["fast", "slow"] },
                "Probe": { "type": "object", "properties": { "url": { "type": "string" } }, "required": ["url"] },
            },
        });
        let kinds: Vec<(String, String, String)> =
            fields(&schema).into_iter().map(|f| (f.name, f.kind, f.default)).collect();
        let expected = [
            ("command", "list of text", "required"),
            ("env", "map of text to text", "optional"),
            ("mode", "\"fast\" or \"slow\"", "default \"fast\""),
            ("probe", "struct", "optional"),
            ("token", "secret reference", "optional"),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(kinds, expected);
        assert_eq!(fields(&schema)[3].inner[0].name, "url");
    }
}
