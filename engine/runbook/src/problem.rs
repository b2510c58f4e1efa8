//! What is wrong with a runbook: a code, a sentence, places in the file, and advice.

use std::ops::Range;

use schemars::JsonSchema;
use serde::Serialize;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The runbook runs, but look at it.
    Warning,
    /// The runbook does not run.
    Error,
}

/// A place in the file, and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Label {
    /// Byte offsets in the text; empty is a point.
    pub span: Range<usize>,
    /// What to see there.
    pub text: String,
}

/// One thing wrong with a runbook, or doubtful in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// `BO` and four digits; the name of its page in `docs/errors/`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, in lower case and without a full stop.
    pub message: String,
    /// What to type next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The places, the first one is the place of the problem. Empty where the file as a whole, or
    /// a parameter that was given, is wrong.
    pub labels: Vec<Label>,
    /// The line of the first label, from 1 on; 0 where there is none.
    pub line: usize,
    /// The column of the first label in characters, from 1 on; 0 where there is none.
    pub column: usize,
}

impl Problem {
    /// A problem without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            help: None,
            labels: Vec::new(),
            line: 0,
            column: 0,
        }
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, span: impl Into<Range<usize>>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.into(), text: text.into() });
        self
    }

    /// Adds advice; nothing where there is none.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(self, help: &str) -> Self {
        self.help(help.to_owned())
    }

    /// Where it is in the file, for sorting.
    pub(crate) fn place(&self) -> usize {
        self.labels.first().map_or(0, |label| label.span.start)
    }
}

/// A runbook's text and the name to call it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The file's path as the person gave it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(after.map(|(at, _)| at + 1)).collect() }
    }

    /// Line and column of a byte offset, both from 1 on; the column counts characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        (line, before.chars().count() + 1)
    }
}

/// Problems told of one file: nobody reads more, and the rest may follow from the first.
const PROBLEMS_MAX: usize = 1_000;

/// Sorts problems by place, fills in lines and columns, and leaves out what is beyond
/// `PROBLEMS_MAX`.
pub fn settle(problems: &mut Vec<Problem>, text: &str) {
    if problems.is_empty() {
        return;
    }
    let lines = Lines::of(text);
    for problem in problems.iter_mut() {
        if let Some(label) = problem.labels.first() {
            (problem.line, problem.column) = lines.position(label.span.start);
        }
    }
    problems.sort_by_key(Problem::place);
    problems.truncate(PROBLEMS_MAX);
}

/// The name nearest to a wrong one, where one is near enough to be meant.
pub(crate) fn nearest<'n>(
    wrong: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let allowed = wrong.chars().count() / 3;
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(wrong.len()) <= allowed || name.starts_with(wrong))
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| {
            *distance <= allowed
                || (wrong.len() > 2 && name.starts_with(wrong))
                || name.eq_ignore_ascii_case(wrong)
        })
        .min()
        .map(|(_, name)| name)
}

/// Advice for a wrong name: the nearest right one, else all of them.
pub fn advice(wrong: &str, kind: &str, names: &[&str]) -> Option<String> {
    /// Names listed before the list is cut.
    const LISTED_MAX: usize = 30;
    if let Some(near) = nearest(wrong, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if names.is_empty() {
        return None;
    }
    let listed: Vec<String> =
        names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    Some(format!("{kind}: {}{more}", listed.join(", ")))
}
