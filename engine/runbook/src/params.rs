//! Parameters: how they are declared, and the values given for them.

use std::collections::BTreeMap;

use backout_core::plan::ParamValue;
use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::codes;
use crate::fields::{At, Record, listed, name_fault, parse_duration};
use crate::problem::{Problem, advice};
use crate::releases::{RELEASES_FILE, Releases};
use crate::tables;
use crate::tree::Node;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ParamType {
    /// Any text.
    #[default]
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// True or false.
    Boolean,
    /// A text such as `90s`.
    Duration,
    /// A text such as `2.4.1`.
    Version,
    /// One of some texts.
    Choice,
    /// A list of values.
    List,
    /// The id of an entry of the manifest beside the runbook; its value is the entry.
    Release,
}

const TYPES: [(&str, ParamType); 8] = [
    ("text", ParamType::Text),
    ("integer", ParamType::Integer),
    ("boolean", ParamType::Boolean),
    ("duration", ParamType::Duration),
    ("version", ParamType::Version),
    ("choice", ParamType::Choice),
    ("list", ParamType::List),
    ("release", ParamType::Release),
];

impl ParamType {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("text", |(word, _)| word)
    }
}

/// A value as a person gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum GivenParam {
    /// From `-p name=value`: read by the parameter's type.
    Text(String),
    /// From a file of parameters: has its type already.
    Value(Value),
}

/// A parameter as the file declares it.
#[derive(Debug)]
pub(crate) struct Declared<'n> {
    pub(crate) name: At<&'n str>,
    pub(crate) kind: ParamType,
    pub(crate) default: Option<Value>,
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) options: Vec<String>,
    pub(crate) help: String,
    pub(crate) secret: bool,
}

/// The values of a run, and the names of those that are not given.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) known: BTreeMap<String, ParamValue>,
    pub(crate) missing: Vec<String>,
}

/// Reads the declarations.
pub(crate) fn declared<'n>(
    record: &Record<'n, '_>,
    problems: &mut Vec<Problem>,
) -> Vec<Declared<'n>> {
    let entries = record.entries("params", problems);
    entries.into_iter().filter_map(|(name, node)| one(name, node, problems)).collect()
}

fn one<'n>(
    name: At<&'n str>,
    node: &'n Node<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Declared<'n>> {
    problems.extend(name_fault("a parameter's name", name));
    let record = Record::open(node, &tables::PARAM, problems)?;
    let mut declared = Declared {
        name,
        kind: record.word("type", &TYPES, problems).unwrap_or_default(),
        default: None,
        pattern: pattern(&record, problems),
        options: record.lines("options", problems),
        help: record.line("help", problems),
        secret: record.boolean("secret", problems).unwrap_or_default(),
    };
    check_options(&declared, &record, problems);
    if let Some(node) = record.get("default") {
        declared.default = default(&declared, node, problems);
    }
    Some(declared)
}

fn pattern(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Option<(String, Regex)> {
    let text = record.text("pattern", problems)?;
    match Regex::new(&format!("^(?:{})$", text.value)) {
        Ok(regex) => Some((text.value.to_owned(), regex)),
        Err(error) => {
            let reason = error.to_string();
            let reason =
                reason.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            problems.push(
                Problem::new(codes::PARAM_DECLARED, "the pattern is not a regular expression")
                    .at(text.span, reason)
                    .advise("write it as a raw text: r\"[0-9]+\""),
            );
            None
        }
    }
}

fn check_options(declared: &Declared<'_>, record: &Record<'_, '_>, problems: &mut Vec<Problem>) {
    let fault = |field: &str, message: &str, help: &str| {
        let span = record.get(field).map_or(declared.name.span, |node| node.span);
        Problem::new(codes::PARAM_DECLARED, message).at(span, "declared here").advise(help)
    };
    let choice = declared.kind == ParamType::Choice;
    if choice && declared.options.is_empty() {
        let help = "add `options: [\"a\", \"b\"]`";
        problems.push(fault("options", "a choice without options", help));
    }
    if !choice && record.has("options") {
        problems.push(fault("options", "options without `type: choice`", "add `type: choice`"));
    }
    if declared.secret && declared.kind != ParamType::Text {
        problems.push(fault("type", "a secret is always a text", "remove `type`"));
    }
    if record.has("pattern") && !matches!(declared.kind, ParamType::Text | ParamType::Version) {
        let help = "a pattern is for a text or a version";
        problems.push(fault("pattern", "a pattern for what is no text", help));
    }
}

fn default(declared: &Declared<'_>, node: &Node<'_>, problems: &mut Vec<Problem>) -> Option<Value> {
    if node.is_bad() {
        return None;
    }
    let value = node.to_json().map_err(|_| "not a value that can be stored".to_owned());
    match value.and_then(|value| declared.fit(value)) {
        Ok(value) => Some(value),
        Err(reason) => {
            let message =
                format!("the default of `{}` does not fit: {reason}", declared.name.value);
            problems
                .push(Problem::new(codes::PARAM_DECLARED, message).at(node.span, "does not fit"));
            None
        }
    }
}

impl Declared<'_> {
    /// The value of a text of the command line.
    fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            ParamType::Integer => text
                .trim()
                .parse::<i64>()
                .map(Value::from)
                .map_err(|_| format!("`{text}` is not a whole number")),
            ParamType::Boolean => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(format!("`{text}` is neither `true` nor `false`")),
            },
            ParamType::List => Ok(read_list(text)),
            ParamType::Text
            | ParamType::Duration
            | ParamType::Version
            | ParamType::Choice
            | ParamType::Release => Ok(Value::String(text.to_owned())),
        }
    }

    /// The value, where it fits. The reason never holds a secret's value.
    fn fit(&self, value: Value) -> Result<Value, String> {
        let wrong = |value: &Value| {
            let shown = if self.secret { "the value".to_owned() } else { format!("`{value}`") };
            Err(format!("{shown} is not of type {}", self.kind.word()))
        };
        match (self.kind, &value) {
            (ParamType::Integer, Value::Number(number)) if number.is_i64() => Ok(value),
            (ParamType::Boolean, Value::Bool(_)) | (ParamType::List, Value::Array(_)) => Ok(value),
            (ParamType::Integer | ParamType::Boolean | ParamType::List, _) => wrong(&value),
            (_, Value::String(text)) => self.fit_text(text).map(|()| value),
            _ => wrong(&value),
        }
    }

    fn fit_text(&self, text: &str) -> Result<(), String> {
        if self.secret && !is_secret_reference(text) {
            return Err("it is not a secret's reference".to_owned());
        }
        match self.kind {
            ParamType::Duration => {
                parse_duration(text).map_err(|problem| problem.message)?;
            }
            ParamType::Version if !is_version(text) => {
                return Err(format!("`{text}` is not a version such as 2.4.1"));
            }
            ParamType::Choice if !self.options.iter().any(|option| option == text) => {
                let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
                return Err(format!("`{text}` is not one of {}", listed(&options)));
            }
            _ => {}
        }
        match &self.pattern {
            Some((pattern, regex)) if !regex.is_match(text) => {
                let shown = if self.secret { "the reference" } else { text };
                Err(format!("`{shown}` does not match `{pattern}`"))
            }
            _ => Ok(()),
        }
    }
}

/// `["a", "b"]` as JSON, else texts with commas between them.
fn read_list(text: &str) -> Value {
    if let Ok(list @ Value::Array(_)) = serde_json::from_str(text) {
        return list;
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(Value::from).collect())
}

/// Whether the text has the shape of a secret's reference.
fn is_secret_reference(text: &str) -> bool {
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match text.split_once(':') {
        Some(("env", rest)) => name(rest),
        Some(("file", rest)) => !rest.is_empty(),
        Some(("cmd", rest)) => rest.len() > 2 && rest.starts_with('[') && rest.ends_with(']'),
        _ => false,
    }
}

/// Whether the text looks like a version: numbers with dots, perhaps `v` before and words behind.
fn is_version(text: &str) -> bool {
    let bare = text.strip_prefix('v').unwrap_or(text);
    let end = bare.find(['-', '+']).unwrap_or(bare.len());
    let (numbers, rest) = bare.split_at(end);
    numbers.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b))
        && rest.len() != 1
}

/// Puts together what is given and what is declared. `required` says whether a value that is
/// missing is a problem.
pub(crate) fn values(
    declared: &[Declared<'_>],
    given: &BTreeMap<String, GivenParam>,
    releases: &Releases,
    required: bool,
    problems: &mut Vec<Problem>,
) -> Values {
    let mut values = Values::default();
    if matches!(releases, Releases::Absent) {
        problems.extend(declared.iter().filter(|p| p.kind == ParamType::Release).map(absent));
    }
    for name in given.keys() {
        if !declared.iter().any(|param| param.name.value == name) {
            let names: Vec<&str> = declared.iter().map(|param| param.name.value).collect();
            problems.push(
                Problem::new(
                    codes::PARAM_UNKNOWN,
                    format!("the runbook has no parameter `{name}`"),
                )
                .help(advice(name, "its parameters are", &names)),
            );
        }
    }
    for param in declared {
        let name = param.name.value;
        match given.get(name) {
            Some(value) => given_value(param, value, releases, &mut values, problems),
            None => {
                if let Some(value) = &param.default {
                    values.take(param, value.clone(), releases, problems);
                } else {
                    values.missing.push(name.to_owned());
                    problems.extend(required.then(|| missing(param)));
                }
            }
        }
    }
    values
}

fn given_value(
    param: &Declared<'_>,
    given: &GivenParam,
    releases: &Releases,
    values: &mut Values,
    problems: &mut Vec<Problem>,
) {
    let fitted = match given {
        GivenParam::Text(text) => param.read(text).and_then(|value| param.fit(value)),
        GivenParam::Value(value) => param.fit(value.clone()),
    };
    match fitted {
        Ok(value) => values.take(param, value, releases, problems),
        Err(reason) => {
            let name = param.name.value;
            let code = if param.secret { codes::PARAM_SECRET } else { codes::PARAM_VALUE };
            let help = if param.secret {
                "give a reference, never the value: env:NAME, file:PATH or cmd:[\"prog\", \"arg\"]"
                    .to_owned()
            } else {
                format!("give it: -p {name}={}", placeholder(param))
            };
            problems.push(
                Problem::new(code, format!("the value of `{name}` does not fit: {reason}"))
                    .at(param.name.span, "declared here")
                    .help(help),
            );
            values.missing.push(name.to_owned());
        }
    }
}

fn absent(param: &Declared<'_>) -> Problem {
    let message =
        format!("`{}` is a release, and there is no {RELEASES_FILE} here", param.name.value);
    Problem::new(codes::RELEASES_MISSING, message)
        .at(param.name.span, "names an entry of that file")
        .help(format!(
            "write {RELEASES_FILE} beside the runbook: Releases(format: 1, releases: [])"
        ))
}

impl Values {
    /// A value that fits its type. The id of a release becomes its entry.
    fn take(
        &mut self,
        param: &Declared<'_>,
        value: Value,
        releases: &Releases,
        problems: &mut Vec<Problem>,
    ) {
        if param.kind != ParamType::Release {
            return self.know(param, value);
        }
        let id = value.as_str().unwrap_or_default();
        match releases {
            Releases::Known(manifest) => match manifest.find(id) {
                Some(release) => return self.know(param, release.value.clone()),
                None => problems.push(manifest.unknown(id).at(param.name.span, "declared here")),
            },
            Releases::Absent | Releases::Unreadable => {}
        }
        self.missing.push(param.name.value.to_owned());
    }

    fn know(&mut self, param: &Declared<'_>, value: Value) {
        let value = ParamValue { value, secret: param.secret };
        self.known.insert(param.name.value.to_owned(), value);
    }
}

fn missing(param: &Declared<'_>) -> Problem {
    let name = param.name.value;
    let text = if param.help.is_empty() { String::new() } else { format!(" ({})", param.help) };
    Problem::new(codes::PARAM_MISSING, format!("parameter `{name}` has no value"))
        .at(param.name.span, "has no default")
        .help(format!("give it: -p {name}={}{text}", placeholder(param)))
}

fn placeholder(param: &Declared<'_>) -> String {
    match param.kind {
        _ if param.secret => "env:NAME".to_owned(),
        ParamType::Text => "TEXT".to_owned(),
        ParamType::Integer => "NUMBER".to_owned(),
        ParamType::Boolean => "true".to_owned(),
        ParamType::Duration => "90s".to_owned(),
        ParamType::Version => "1.2.3".to_owned(),
        ParamType::Choice => param.options.join("|"),
        ParamType::List => "A,B".to_owned(),
        ParamType::Release => "2026.1.2".to_owned(),
    }
}
