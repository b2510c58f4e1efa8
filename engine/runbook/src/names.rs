//! What expressions name, against what the runbook has.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use backout_core::expr::{ExprError, Expression, Reference, Template};

use crate::codes;
use crate::draft::DraftStep;
use crate::graph::{ADVISED_MAX, Ancestors, Graph, sorted};
use crate::params::Declared;
use crate::problem::{Problem, advice};
use crate::tree::{Kind, Node, Span};

/// The names of a runbook.
pub(crate) struct Names<'x, 'n, 'a> {
    pub(crate) source: &'x str,
    pub(crate) params: &'x [Declared<'n>],
    pub(crate) steps: &'x [DraftStep<'n, 'a>],
    pub(crate) index: &'x HashMap<&'n str, usize>,
    /// The keys of each `for_each` step, where they are known.
    pub(crate) keys: &'x [Option<Vec<String>>],
    pub(crate) graph: &'x Graph,
    /// Each step after those it needs; nothing where there is a circle.
    pub(crate) order: Option<&'x [usize]>,
    /// Made when the first expression names a step: it costs a bit for each pair of steps.
    pub(crate) ancestors: OnceCell<Ancestors>,
}

/// One expression in a text of the file.
pub(crate) struct Found<'e> {
    pub(crate) expression: &'e Expression,
    /// Where it stands in the file.
    pub(crate) place: Range<usize>,
}

impl Names<'_, '_, '_> {
    /// Checks all that an expression of the step at `at` names.
    pub(crate) fn check(&self, at: usize, found: &Found<'_>, problems: &mut Vec<Problem>) {
        for reference in found.expression.references() {
            let problem = match reference {
                Reference::Param { name, .. } => self.param(name),
                Reference::Item { .. } => self.item(at),
                Reference::Output { step, key, field, .. } => {
                    let advised = problems.len() < ADVISED_MAX;
                    self.output(at, step, key.as_deref(), field.as_deref(), advised)
                }
            };
            if let Some((problem, text)) = problem {
                problems.push(problem.at(self.narrow(found, reference), text));
            }
        }
    }

    /// Whether the expression names a secret.
    pub(crate) fn secret(&self, expression: &Expression) -> Option<&str> {
        expression.references().iter().find_map(|reference| match reference {
            Reference::Param { name, .. } => {
                let declared = self.params.iter().find(|param| param.name.value == name)?;
                declared.secret.then_some(declared.name.value)
            }
            Reference::Item { .. } | Reference::Output { .. } => None,
        })
    }

    /// The reference within the expression, where it is written as it is shown.
    fn narrow(&self, found: &Found<'_>, reference: &Reference) -> Range<usize> {
        let written = reference.to_string();
        let text = self.source.get(found.place.clone()).unwrap_or("");
        match text.find(&written) {
            Some(at) => found.place.start + at..found.place.start + at + written.len(),
            None => found.place.clone(),
        }
    }

    fn param(&self, name: &str) -> Option<(Problem, &'static str)> {
        if self.params.iter().any(|param| param.name.value == name) {
            return None;
        }
        let names: Vec<&str> = self.params.iter().map(|param| param.name.value).collect();
        let message = format!("the runbook has no parameter `{name}`");
        let help = advice(name, "its parameters are", &names)
            .unwrap_or_else(|| format!("declare it: params: {{\"{name}\": (type: text)}}"));
        Some((Problem::new(codes::UNKNOWN_REFERENCE, message).help(help), "no such parameter"))
    }

    fn item(&self, at: usize) -> Option<(Problem, &'static str)> {
        if self.steps.get(at).is_some_and(|step| step.for_each.is_some()) {
            return None;
        }
        let problem = Problem::new(codes::ITEM, "`item` in a step without `for_each`")
            .advise("add `for_each: […]` to the step, or name a parameter");
        Some((problem, "there is no item here"))
    }

    fn output(
        &self,
        at: usize,
        step: &str,
        key: Option<&str>,
        field: Option<&str>,
        advised: bool,
    ) -> Option<(Problem, &'static str)> {
        let Some(before) = self.index.get(step).copied() else {
            let names = if advised { sorted(self.index) } else { Vec::new() };
            let problem =
                Problem::new(codes::UNKNOWN_REFERENCE, format!("there is no step `{step}`"))
                    .help(advice(step, "the steps are", &names));
            return Some((problem, "no such step"));
        };
        if let Some(problem) = self.keyed(before, step, key, field) {
            return Some(problem);
        }
        let order = self.order?;
        let ancestors = self.ancestors.get_or_init(|| self.graph.ancestors(order));
        if ancestors.contains(at, before) {
            return None;
        }
        let message = format!("step `{step}` does not come before this step");
        let help = if before == at {
            "a step cannot use its own output".to_owned()
        } else if ancestors.contains(before, at) {
            format!("`{step}` comes after this step")
        } else {
            format!("add \"{step}\" to the `needs` of this step")
        };
        Some((Problem::new(codes::NOT_BEFORE, message).help(help), "its output may not be there"))
    }

    /// Whether the items of a `for_each` are named as they must be.
    fn keyed(
        &self,
        before: usize,
        step: &str,
        key: Option<&str>,
        field: Option<&str>,
    ) -> Option<(Problem, &'static str)> {
        let is_each = self.steps.get(before).is_some_and(|step| step.for_each.is_some());
        let problem = match (is_each, key) {
            (true, None) if field.is_some() => Problem::new(
                codes::ITEM,
                format!("`{step}` is a `for_each` step with many outputs"),
            )
            .help(format!("name the item: steps.{step}[\"key\"].output.x")),
            (false, Some(_)) => Problem::new(
                codes::ITEM,
                format!("`{step}` is no `for_each` step, it has no items"),
            )
            .help(format!("write steps.{step}.output.x")),
            (true, Some(key)) => {
                let keys = self.keys.get(before)?.as_ref()?;
                if keys.iter().any(|known| known == key) {
                    return None;
                }
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                Problem::new(codes::ITEM, format!("`{step}` has no item `{key}`")).help(advice(
                    key,
                    "its items are",
                    &keys,
                ))
            }
            _ => return None,
        };
        Some((problem, "named in the wrong way"))
    }
}

/// Where byte `at` of a text node stands in the file; the node's own place where its text is not
/// written byte for byte.
pub(crate) fn place(source: &str, node: &Node<'_>, at: usize, bytes: usize) -> Range<usize> {
    let written = source.get(Range::from(node.span)).unwrap_or("");
    let plain = matches!(&node.kind, Kind::Text(std::borrow::Cow::Borrowed(_)));
    match written.find('"') {
        Some(quote) if plain => {
            let start = (node.span.start + quote + 1 + at).min(node.span.end);
            start..(start + bytes).min(node.span.end)
        }
        _ => node.span.into(),
    }
}

/// The problem of an expression that cannot be read.
pub(crate) fn syntax_problem(
    source: &str,
    node: Option<&Node<'_>>,
    or: Span,
    error: &ExprError,
) -> Problem {
    let at = match error {
        ExprError::Syntax { at, .. } => *at,
        ExprError::Absent { .. } | ExprError::Eval { .. } => 0,
    };
    let place = node.map_or(or.into(), |node| place(source, node, at, 1));
    Problem::new(codes::EXPRESSION, format!("not an expression: {error}"))
        .at(place, "here")
        .advise("an expression is CEL: params.x, steps.id.output.y, item; `$${` is a literal `${`")
}

/// The template of a text, or its problem.
pub(crate) fn template(
    source: &str,
    text: &str,
    node: Option<&Node<'_>>,
    or: Span,
    problems: &mut Vec<Problem>,
) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            problems.push(syntax_problem(source, node, or, &error));
            None
        }
    }
}
