//! A step's `with`: as JSON, against the action, and its expressions.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::contract::Guarantee;
use backout_core::expr::{Expression, Reference, Scope, Template};
use backout_core::id::TargetId;
use serde_json::{Map, Value};

use crate::catalogue::{Checked, InputProblem};
use crate::codes;
use crate::each::Item;
use crate::fields::twice;
use crate::lower::Report;
use crate::names::{Found, Names, place, template};
use crate::params::Values;
use crate::problem::Problem;
use crate::schema::{Action, Actions, Place};
use crate::tree::{Kind, Node, Span};

/// A step's input as written.
pub(crate) struct Input<'x, 'c> {
    name: &'x str,
    action: &'x Action<'c>,
    pub(crate) with: Value,
    pub(crate) pure: bool,
    pub(crate) guarantee: Guarantee,
    /// Whether any text in it holds `${…}`.
    open: bool,
    checked: Checked,
    at: usize,
}

/// What holds for one sub-step.
pub(crate) struct One {
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) targets: Vec<TargetId>,
    pub(crate) locks: Vec<TargetId>,
}

/// Reads the input of the step at `at`. `made` is an input that the file does not hold. Nothing
/// where no action can be asked.
pub(crate) fn read<'x, 'c>(
    names: &Names<'x, '_, '_>,
    at: usize,
    made: Option<Value>,
    actions: &'x mut Actions<'c>,
    report: &mut Report,
) -> Option<Input<'x, 'c>> {
    let step = names.steps.get(at)?;
    let node = step.with.map(Node::bare);
    let with = match (made, node) {
        (Some(made), _) => Some(made),
        (None, None) => Some(Value::Object(Map::new())),
        (None, Some(node)) => written(node, report),
    };
    let action_name = step.action?;
    if actions.find(action_name.value).is_none() {
        let message = format!("there is no action `{}`", action_name.value);
        let help = actions.advice(action_name.value);
        let problem = Problem::new(codes::UNKNOWN_ACTION, message);
        report.problems.push(problem.at(action_name.span, "no such action").help(help));
        if let Some(with) = &with {
            expressions(names, at, with, None, report);
        }
        return None;
    }
    let action = actions.find(action_name.value)?;
    let with = with?;
    let open = expressions(names, at, &with, Some(action), report);
    let mut input = Input {
        name: action_name.value,
        action,
        pure: action.info.pure,
        guarantee: action.info.guarantee,
        open,
        checked: Checked::default(),
        at,
        with,
    };
    input.check(names, report);
    Some(input)
}

/// A node as the input of an action.
fn written(node: &Node<'_>, report: &mut Report) -> Option<Value> {
    duplicates(node, &mut report.problems);
    match node.to_json() {
        Ok(Value::Null) => Some(Value::Object(Map::new())),
        Ok(Value::Array(items)) if items.is_empty() => Some(Value::Object(Map::new())),
        Ok(with) => Some(with),
        Err(inner) if matches!(inner.kind, Kind::Bad) => None,
        Err(inner) => {
            let message = format!("{} cannot be the key of a map here", inner.describe());
            let problem = Problem::new(codes::INPUT_VALUE, message).at(inner.span, "not a text");
            report.problems.push(problem.advise("the keys of maps are texts: {\"a\": 1}"));
            None
        }
    }
}

/// Reports fields and keys that are written twice.
pub(crate) fn duplicates(node: &Node<'_>, problems: &mut Vec<Problem>) {
    match &node.kind {
        Kind::Some(inner) => duplicates(inner, problems),
        Kind::List(items) | Kind::Tuple(_, items) => {
            for item in items {
                duplicates(item, problems);
            }
        }
        Kind::Struct(_, fields) => {
            let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
            for field in fields {
                duplicates(&field.value, problems);
                match seen.get(field.name.text) {
                    Some(first) => {
                        let what = format!("field `{}`", field.name.text);
                        problems.push(twice(&what, *first, field.name.span));
                    }
                    None => drop(seen.insert(field.name.text, field.name.span)),
                }
            }
        }
        Kind::Map(entries) => {
            let mut seen: BTreeMap<String, Span> = BTreeMap::new();
            for (key, value) in entries {
                duplicates(value, problems);
                let name = key.to_json().map(|key| key.to_string()).unwrap_or_default();
                match seen.get(&name) {
                    Some(first) => problems.push(twice(&format!("key {name}"), *first, key.span)),
                    None => drop(seen.insert(name, key.span)),
                }
            }
        }
        _ => {}
    }
}

/// Checks every expression in an input; tells whether there is one.
fn expressions(
    names: &Names<'_, '_, '_>,
    at: usize,
    with: &Value,
    action: Option<&Action<'_>>,
    report: &mut Report,
) -> bool {
    let Some(step) = names.steps.get(at) else { return false };
    let mut open = false;
    texts(with, &mut String::new(), &mut |pointer, text| {
        open = true;
        let node = step.with.map(|node| node.locate(pointer));
        let parsed = template(names.source, text, node, step.span, &mut report.problems);
        let Some(parsed) = parsed else { return };
        for (start, expression) in parsed.expressions() {
            let bytes = length_of(&parsed, start);
            let place =
                node.map_or(step.span.into(), |node| place(names.source, node, start, bytes));
            let found = Found { expression, place };
            names.check(at, &found, &mut report.problems);
            let allowed =
                || parsed.is_whole() && action.is_none_or(|action| action.takes_secret(pointer));
            if let Some(name) = names.secret(expression)
                && !allowed()
            {
                report.problems.push(misplaced(name, &found));
            }
        }
    });
    open
}

fn misplaced(name: &str, found: &Found<'_>) -> Problem {
    Problem::new(codes::SECRET_PLACE, format!("the secret `{name}` may not stand here"))
        .at(found.place.clone(), "no field for a secret")
        .advise("insert it alone, \"${params.x}\", in a field that takes a secret's reference")
}

fn length_of(template: &Template, start: usize) -> usize {
    template
        .pieces()
        .iter()
        .find_map(|piece| match piece {
            backout_core::expr::Piece::Expression { at, bytes, .. } if *at == start => Some(*bytes),
            _ => None,
        })
        .unwrap_or(1)
}

/// Calls `found` with each text that holds `${`, and its JSON pointer.
fn texts(value: &Value, pointer: &mut String, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) if Template::is_needed(text) => found(pointer, text),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                within(pointer, &at.to_string(), |pointer| texts(item, pointer, found));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                within(pointer, name, |pointer| texts(field, pointer, found));
            }
        }
        _ => {}
    }
}

fn within(pointer: &mut String, token: &str, inner: impl FnOnce(&mut String)) {
    let before = pointer.len();
    pointer.push('/');
    if token.contains(['~', '/']) {
        pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
    } else {
        pointer.push_str(token);
    }
    inner(pointer);
    pointer.truncate(before);
}

impl Input<'_, '_> {
    /// Checks the input as written. Where it holds expressions, its schema is asked again when
    /// those are filled in that can be.
    fn check(&mut self, names: &Names<'_, '_, '_>, report: &mut Report) {
        let Some(place) = self.place(names) else { return };
        let problems = self.action.check(self.name, &self.with, place);
        let fits = problems.is_empty();
        report.problems.extend(problems);
        if fits {
            self.checked = (self.action.info.check)(&self.with);
            let said = std::mem::take(&mut self.checked.problems);
            report.problems.extend(said.into_iter().map(|said| refused(said, place)));
            let said = std::mem::take(&mut self.checked.warnings);
            report.warnings.extend(said.into_iter().map(|said| doubted(said, place)));
        }
    }

    fn place<'n, 'a>(&self, names: &Names<'_, 'n, 'a>) -> Option<Place<'n, 'a>> {
        let step = names.steps.get(self.at)?;
        let or = step.action.map_or(step.span, |action| action.span);
        Some(Place { node: step.with.map(Node::bare), or })
    }

    /// What holds for one sub-step, with the expressions filled in whose values are known.
    pub(crate) fn one(
        &self,
        names: &Names<'_, '_, '_>,
        values: &Values,
        item: Option<&Item>,
        report: &mut Report,
    ) -> One {
        let mut one = One {
            guarantee: self.checked.guarantee,
            targets: self.checked.targets.clone(),
            locks: self.locks(names, values, item, report),
        };
        if self.open
            && let Some(place) = self.place(names)
        {
            let mut filling =
                Filling { values, item, place, source: names.source, whole: true, report };
            let filled = filling.fill(&self.with, &mut String::new());
            let whole = filling.whole;
            if filled != self.with {
                self.check_filled(&filled, whole, place, &mut one, report);
            }
        }
        one.targets.extend(one.locks.iter().cloned());
        one.targets.sort();
        one.targets.dedup();
        one
    }

    fn check_filled(
        &self,
        filled: &Value,
        whole: bool,
        place: Place<'_, '_>,
        one: &mut One,
        report: &mut Report,
    ) {
        let problems = self.action.check(self.name, filled, place);
        if !problems.is_empty() {
            add_new(&mut report.problems, problems);
            return;
        }
        let checked = (self.action.info.check)(filled);
        one.targets = checked.targets;
        one.guarantee = checked.guarantee.or(one.guarantee);
        if whole {
            let said = checked.problems.into_iter().map(|said| refused(said, place)).collect();
            add_new(&mut report.problems, said);
        }
    }

    fn locks(
        &self,
        names: &Names<'_, '_, '_>,
        values: &Values,
        item: Option<&Item>,
        report: &mut Report,
    ) -> Vec<TargetId> {
        let Some(step) = names.steps.get(self.at) else { return Vec::new() };
        let outputs: BTreeMap<String, Value> = BTreeMap::new();
        let scope =
            Scope { params: &values.known, item: item.map(|item| &item.value), outputs: &outputs };
        let mut locks = BTreeSet::new();
        for lock in &step.locks {
            if !Template::is_needed(lock) {
                locks.insert(TargetId::from(lock.as_str()));
                continue;
            }
            let resolved = Template::parse(lock).and_then(|template| {
                let known = template.expressions().all(|(_, e)| is_known(e, values, item));
                if known { template.resolve(&scope).map(Some) } else { Ok(None) }
            });
            match resolved {
                Ok(Some(Value::String(text))) => drop(locks.insert(TargetId::new(text))),
                Ok(None) if !values.missing.is_empty() => {}
                Ok(_) => {
                    report.problems.push(no_lock(lock, "it must be known at `check`", step.span));
                }
                Err(error) => {
                    report.problems.push(no_lock(lock, &error.to_string(), step.span));
                }
            }
        }
        locks.into_iter().collect()
    }
}

fn no_lock(lock: &str, reason: &str, span: Span) -> Problem {
    Problem::new(codes::NO_VALUE, format!("the lock `{lock}` has no value: {reason}"))
        .at(span, "in this step")
        .advise("a lock is a text over `params` and `item`")
}

/// Adds problems that are not there yet: sub-steps repeat those of each other.
fn add_new(problems: &mut Vec<Problem>, new: Vec<Problem>) {
    /// Problems looked back at for a repetition.
    const LOOK_BACK: usize = 64;
    for problem in new {
        if !problems.iter().rev().take(LOOK_BACK).any(|old| *old == problem) {
            problems.push(problem);
        }
    }
}

fn refused(said: InputProblem, place: Place<'_, '_>) -> Problem {
    Problem::new(codes::INPUT_REFUSED, said.message)
        .at(place.value(&said.at), "here")
        .help(said.help)
}

fn doubted(said: InputProblem, place: Place<'_, '_>) -> Problem {
    Problem::new(codes::INPUT_DOUBTFUL, said.message)
        .warning()
        .at(place.value(&said.at), "here")
        .help(said.help)
}

/// Whether the value of an expression is known before the run.
fn is_known(expression: &Expression, values: &Values, item: Option<&Item>) -> bool {
    expression.references().iter().all(|reference| match reference {
        Reference::Param { name, .. } => values.known.contains_key(name),
        Reference::Item { .. } => item.is_some(),
        Reference::Output { .. } => false,
    })
}

/// Fills in the expressions whose values are known.
struct Filling<'f, 'n, 'a> {
    values: &'f Values,
    item: Option<&'f Item>,
    place: Place<'n, 'a>,
    source: &'f str,
    /// Whether all of them were.
    whole: bool,
    report: &'f mut Report,
}

impl Filling<'_, '_, '_> {
    fn fill(&mut self, value: &Value, pointer: &mut String) -> Value {
        match value {
            Value::String(text) if Template::is_needed(text) => {
                self.fill_text(text, pointer).unwrap_or_else(|| {
                    self.whole = false;
                    value.clone()
                })
            }
            Value::Array(items) => {
                let filled = items.iter().enumerate().map(|(at, item)| {
                    let mut filled = Value::Null;
                    within(pointer, &at.to_string(), |pointer| filled = self.fill(item, pointer));
                    filled
                });
                Value::Array(filled.collect())
            }
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, field)| {
                    let mut filled = Value::Null;
                    within(pointer, name, |pointer| filled = self.fill(field, pointer));
                    (name.clone(), filled)
                });
                Value::Object(filled.collect())
            }
            plain => plain.clone(),
        }
    }

    fn fill_text(&mut self, text: &str, pointer: &str) -> Option<Value> {
        // What cannot be parsed is reported already.
        let template = Template::parse(text).ok()?;
        if !template.expressions().all(|(_, e)| is_known(e, self.values, self.item)) {
            return None;
        }
        let outputs: BTreeMap<String, Value> = BTreeMap::new();
        let item = self.item.map(|item| &item.value);
        match template.resolve(&Scope { params: &self.values.known, item, outputs: &outputs }) {
            Ok(value) => Some(value),
            Err(error) => {
                let node = self.place.node.map(|node| node.locate(pointer));
                let start = template.expressions().next().map_or(0, |(start, _)| start);
                let span = node.map_or(self.place.or.into(), |node| {
                    place(self.source, node, start, length_of(&template, start))
                });
                let problem = Problem::new(codes::NO_VALUE, format!("it has no value: {error}"))
                    .at(span, "cannot be computed");
                add_new(&mut self.report.problems, vec![problem]);
                None
            }
        }
    }
}
