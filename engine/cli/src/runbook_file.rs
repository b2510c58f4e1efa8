//! A runbook's file: read, checked, and its problems shown.

use std::path::Path;

use backout_core::plan::Plan;
use backout_runbook::{Mode, Problem, Severity, Source, Style, accept, compile_beside, render};
use backout_runtime::Host;
use backout_server::books::{Beside, beside, read};
use backout_server::view::counted;

use crate::app::App;
use crate::catalogue::Actions;
use crate::exit::Failure;
use crate::params::Given;

/// What `check` found in one file.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The file's path as the person gave it.
    pub(crate) file: String,
    /// Its text; empty where it could not be read.
    pub(crate) text: String,
    /// The plan, where the file is valid.
    pub(crate) plan: Option<Plan>,
    /// Problems and warnings, in the order of the file.
    pub(crate) problems: Vec<Problem>,
    /// The parameters that have no value yet.
    pub(crate) missing: Vec<String>,
    /// The manifest beside it, and what is wrong with that.
    pub(crate) releases: Option<Beside>,
}

/// A valid runbook with all its parameters.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What it will do.
    pub(crate) plan: Plan,
    /// The file's text.
    pub(crate) text: String,
    /// What is doubtful in it, in words.
    pub(crate) warnings: Vec<String>,
}

/// Checks a file; parameters may be missing.
pub(crate) fn check(host: &Host, file: &Path, given: &Given) -> Checked {
    checked(host, file, given, Mode::Check)
}

/// Checks a text.
#[cfg(test)]
pub(crate) fn check_text(host: &Host, name: &str, text: &str, given: &Given) -> Checked {
    compiled(host, name.to_owned(), text.to_owned(), None, given, Mode::Check)
}

/// Loads a runbook for a plan or a run; problems are shown and end the command.
pub(crate) fn load(app: &App, host: &Host, file: &Path, given: &Given) -> Result<Loaded, Failure> {
    let checked = checked(host, file, given, Mode::Run);
    show_problems(app, &checked);
    let errors = checked.errors();
    let warnings = checked.warnings().map(|problem| problem.message.clone()).collect();
    let Checked { file, text, plan, .. } = checked;
    match plan {
        Some(plan) => Ok(Loaded { plan, text, warnings }),
        None => Err(Failure::InvalidRunbook { count: counted(errors, "problem"), file }),
    }
}

/// Shows problems and warnings with the lines of the file, to stderr.
pub(crate) fn show_problems(app: &App, checked: &Checked) {
    let style = Style { width: app.ui.width.min(120), colour: true, unicode: app.ui.interactive };
    let show = |source: Source<'_>, problems: &[Problem]| {
        for problem in problems {
            app.ui.say(render(problem, &source, style).trim_end());
        }
    };
    if let Some(beside) = &checked.releases {
        show(Source { name: &beside.file, text: &beside.text }, &beside.problems);
    }
    show(Source { name: &checked.file, text: &checked.text }, &checked.problems);
}

impl Checked {
    /// How many problems keep it from running.
    fn errors(&self) -> usize {
        let beside = self.releases.iter().flat_map(|beside| &beside.problems);
        let all = self.problems.iter().chain(beside);
        all.filter(|problem| problem.severity == Severity::Error).count()
    }

    /// What is doubtful, in words.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }
}

fn checked(host: &Host, file: &Path, given: &Given, mode: Mode) -> Checked {
    let name = file.display().to_string();
    match accept(&name, read(file)) {
        Ok(text) => compiled(host, name, text, beside(file), given, mode),
        Err(problem) => Checked {
            file: name,
            text: String::new(),
            plan: None,
            problems: vec![*problem],
            missing: Vec::new(),
            releases: None,
        },
    }
}

fn compiled(
    host: &Host,
    file: String,
    text: String,
    releases: Option<Beside>,
    given: &Given,
    mode: Mode,
) -> Checked {
    let source = Source { name: &file, text: &text };
    let manifest = releases.as_ref().map(|beside| beside.text.as_str());
    let compiled = compile_beside(&source, manifest, given, mode, &Actions(host));
    let releases = releases.map(|beside| Beside {
        problems: match compiled.release_problems {
            // It was not looked at, or is well.
            none if none.is_empty() => none,
            _ if !beside.problems.is_empty() => beside.problems,
            found => found,
        },
        ..beside
    });
    let mut problems = compiled.problems;
    problems.extend(compiled.warnings);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Checked { file, text, plan: compiled.plan, problems, missing: compiled.missing, releases }
}
