//! `for_each`: the items, and the key of each.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::expr::{Reference, Scope, Template};
use backout_core::limits::{ID_CHARS_MAX, STEPS_MAX};
use serde_json::Value;

use crate::codes;
use crate::names::syntax_problem;
use crate::params::{Declared, Values};
use crate::problem::Problem;
use crate::tree::{Kind, Node, Span};

/// One item of a list.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) value: Value,
}

/// The items of a `for_each`; nothing where they are not known, or wrong.
pub(crate) fn items(
    source: &str,
    node: &Node<'_>,
    params: &[Declared<'_>],
    values: &Values,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Item>> {
    let list = match &node.kind {
        Kind::Text(text) => computed(source, text, node, params, values, problems)?,
        Kind::Bad => return None,
        _ if node.is_bad() => return None,
        _ => match node.to_json() {
            Ok(list) => list,
            Err(inner) => {
                problems.push(fault("an item cannot be stored").at(inner.span, "not data"));
                return None;
            }
        },
    };
    let Value::Array(list) = list else {
        problems.push(fault("`for_each` takes a list").at(node.span, "not a list"));
        return None;
    };
    if list.len() > STEPS_MAX {
        let message = format!("{} items are more than STEPS_MAX ({STEPS_MAX})", list.len());
        problems.push(Problem::new(codes::LIMIT, message).at(node.span, "too many"));
        return None;
    }
    keyed(list, node, problems)
}

fn fault(message: impl Into<String>) -> Problem {
    Problem::new(codes::FOR_EACH, message).advise(
        "write a list, for_each: [\"a\", \"b\"], or one parameter: for_each: \"${params.x}\"",
    )
}

/// The list that an expression over parameters gives.
fn computed(
    source: &str,
    text: &str,
    node: &Node<'_>,
    params: &[Declared<'_>],
    values: &Values,
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            problems.push(syntax_problem(source, Some(node), node.span, &error));
            return None;
        }
    };
    if !template.is_whole() {
        problems.push(fault("`for_each` is a text, not a list").at(node.span, "not a list"));
        return None;
    }
    for (_, expression) in template.expressions() {
        for reference in expression.references() {
            let Reference::Param { name, .. } = reference else {
                let message = format!("the list is known at `check`, but `{reference}` is not");
                problems.push(fault(message).at(node.span, "not known yet"));
                return None;
            };
            let Some(param) = params.iter().find(|param| param.name.value == name) else {
                let message = format!("the runbook has no parameter `{name}`");
                let problem = Problem::new(codes::UNKNOWN_REFERENCE, message);
                problems.push(problem.at(node.span, "no such parameter"));
                return None;
            };
            if param.secret {
                let message = format!("`{name}` is a secret and cannot be a list");
                let problem = Problem::new(codes::SECRET_PLACE, message);
                problems.push(problem.at(node.span, "no secret may stand here"));
                return None;
            }
            if !values.known.contains_key(name) {
                return None;
            }
        }
    }
    let outputs: BTreeMap<String, Value> = BTreeMap::new();
    match template.resolve(&Scope { params: &values.known, item: None, outputs: &outputs }) {
        Ok(list) => Some(list),
        Err(error) => {
            let problem = Problem::new(codes::NO_VALUE, format!("the list has no value: {error}"));
            problems.push(problem.at(node.span, "cannot be computed"));
            None
        }
    }
}

fn keyed(list: Vec<Value>, node: &Node<'_>, problems: &mut Vec<Problem>) -> Option<Vec<Item>> {
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(list.len());
    let before = problems.len();
    for (at, value) in list.into_iter().enumerate() {
        let span = place(node, at);
        let Some(key) = key(&value) else {
            problems.push(
                Problem::new(codes::FOR_EACH, format!("item {} has no key", at + 1))
                    .at(span, "what is its sub-step called?")
                    .advise("an item is a text, a number, or a struct with a field `key`"),
            );
            continue;
        };
        if !is_key(&key) {
            let message = format!("`{key}` cannot be the key of a sub-step");
            let help = format!(
                "letters, digits and `._:@+-`, at most ID_CHARS_MAX ({ID_CHARS_MAX}); give the item \
                 a field `key`"
            );
            problems.push(Problem::new(codes::FOR_EACH, message).at(span, "not a key").help(help));
        } else if seen.insert(key.clone()) {
            items.push(Item { key, value });
        } else {
            let message = format!("two items have the key `{key}`");
            let problem = Problem::new(codes::FOR_EACH, message).at(span, "again here");
            problems.push(problem.advise("give the items different fields `key`"));
        }
    }
    (problems.len() == before).then_some(items)
}

fn place(node: &Node<'_>, at: usize) -> Span {
    match &node.kind {
        Kind::List(items) => items.get(at).map_or(node.span, |item| item.span),
        _ => node.span,
    }
}

fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Object(fields) => {
            fields.get("key").filter(|key| !key.is_object()).and_then(key_of_field)
        }
        Value::Null | Value::Array(_) => None,
    }
}

fn key_of_field(value: &Value) -> Option<String> {
    match value {
        Value::Object(_) => None,
        plain => key(plain),
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= ID_CHARS_MAX
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@+-".contains(&b))
}
