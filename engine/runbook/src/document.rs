//! A RON document that is no runbook, read with the same care: every problem at its line, all of
//! them at once.

use backout_core::contract::Guarantee;
use backout_core::limits::RUNBOOK_BYTES_MAX;
use serde_json::Value;

use crate::catalogue::{ActionInfo, Checked};
use crate::codes;
use crate::fields;
use crate::input::duplicates;
use crate::problem::{self, Problem};
use crate::read;
use crate::schema::{Action, Place};
use crate::source;
use crate::tree::{Kind, Node, Span};

/// A document with the places of all that stands in it.
pub struct Document<'a> {
    text: &'a str,
    root: Node<'a>,
    problems: Vec<Problem>,
}

impl std::fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl<'a> Document<'a> {
    /// Reads a text that should hold `name(field: value)` as a JSON schema describes it.
    pub fn read(text: &'a str, name: &str, schema: &Value) -> Self {
        if text.len() > RUNBOOK_BYTES_MAX {
            let root = Node { kind: Kind::Bad, span: Span::default() };
            return Self { text, root, problems: vec![source::too_large(text.len() as u64)] };
        }
        let (root, problems) = read::read(text);
        let mut document = Self { text, root, problems };
        if document.problems.is_empty() {
            document.check(name, schema);
        }
        document
    }

    fn check(&mut self, name: &str, schema: &Value) {
        let root = self.root.bare();
        let (Kind::Struct(Some(found), _) | Kind::Tuple(Some(found), _)) = &root.kind else {
            let message = format!("{} instead of `{name}(...)`", root.describe());
            let problem = Problem::new(codes::NOT_A_RUNBOOK, message).at(root.span, "here");
            self.problems.push(problem.help(format!("write `{name}(format: 1, ...)`")));
            return;
        };
        if found.text != name {
            let message = format!("`{}(...)` instead of `{name}(...)`", found.text);
            let problem = Problem::new(codes::NOT_A_RUNBOOK, message);
            self.problems.push(problem.at(found.span, format!("`{name}` is expected here")));
            return;
        }
        duplicates(root, &mut self.problems);
        let Ok(value) = root.to_json() else { return };
        let info = ActionInfo {
            input_schema: schema.clone(),
            guarantee: Guarantee::ReadOnly,
            pure: true,
            check: Box::new(|_| Checked::default()),
        };
        let place = Place { node: Some(root), or: root.span };
        self.problems.extend(Action::of(info).check(name, &value, place));
    }

    /// What it holds as JSON, where nothing is wrong with it so far.
    pub fn value(&self) -> Option<Value> {
        if !self.problems.is_empty() {
            return None;
        }
        self.root.bare().to_json().ok()
    }

    /// Adds a problem at the value that a JSON pointer names.
    pub fn wrong(&mut self, pointer: &str, problem: Problem, label: &str) {
        let span = self.root.locate(pointer).span;
        self.problems.push(problem.at(span, label));
    }

    /// The milliseconds of the duration that a JSON pointer names; what is none is a problem there.
    pub fn duration(&mut self, pointer: &str, text: &str) -> u64 {
        match fields::parse_duration(text) {
            Ok(ms) => ms,
            Err(problem) => {
                self.wrong(pointer, problem, "not a duration that can be used");
                0
            }
        }
    }

    /// All that is wrong, in the order of the text, with lines and columns.
    pub fn problems(mut self) -> Vec<Problem> {
        problem::settle(&mut self.problems, self.text);
        self.problems
    }
}

/// Advice for a name that does not exist: the nearest one, else all of them.
pub fn advice(wrong: &str, kind: &str, names: &[&str]) -> Option<String> {
    problem::advice(wrong, kind, names)
}

/// The milliseconds of a duration such as `90s` or `1h30m`.
///
/// # Errors
/// What is wrong with it.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    fields::parse_duration(text).map_err(|problem| problem.message)
}
