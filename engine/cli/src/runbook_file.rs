//! A runbook's file: read, checked, and its problems shown.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use backout_core::limits::RUNBOOK_BYTES_MAX;
use backout_core::plan::Plan;
use backout_runbook::{FileFact, Mode, Problem, Severity, Source, Style, accept, compile, render};
use backout_runtime::Host;
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
}

/// A valid runbook with all its parameters.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What it will do.
    pub(crate) plan: Plan,
    /// The file's text.
    pub(crate) text: String,
}

/// Checks a file; parameters may be missing.
pub(crate) fn check(host: &Host, file: &Path, given: &Given) -> Checked {
    checked(host, file, given, Mode::Check)
}

/// Checks a text.
#[cfg(test)]
pub(crate) fn check_text(host: &Host, name: &str, text: &str, given: &Given) -> Checked {
    compiled(host, name.to_owned(), text.to_owned(), given, Mode::Check)
}

/// Loads a runbook for a plan or a run; problems are shown and end the command.
pub(crate) fn load(app: &App, host: &Host, file: &Path, given: &Given) -> Result<Loaded, Failure> {
    let checked = checked(host, file, given, Mode::Run);
    show_problems(app, &checked);
    let Checked { file, text, plan, problems, .. } = checked;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    match plan {
        Some(plan) => Ok(Loaded { plan, text }),
        None => Err(Failure::InvalidRunbook { count: counted(errors, "problem"), file }),
    }
}

/// Shows problems and warnings with the lines of the file, to stderr.
pub(crate) fn show_problems(app: &App, checked: &Checked) {
    let source = Source { name: &checked.file, text: &checked.text };
    let style = Style { width: app.ui.width.min(120), colour: true, unicode: app.ui.interactive };
    for problem in &checked.problems {
        app.ui.say(render(problem, &source, style).trim_end());
    }
}

fn checked(host: &Host, file: &Path, given: &Given, mode: Mode) -> Checked {
    let name = file.display().to_string();
    match accept(&name, read(file)) {
        Ok(text) => compiled(host, name, text, given, mode),
        Err(problem) => Checked {
            file: name,
            text: String::new(),
            plan: None,
            problems: vec![*problem],
            missing: Vec::new(),
        },
    }
}

fn compiled(host: &Host, file: String, text: String, given: &Given, mode: Mode) -> Checked {
    let source = Source { name: &file, text: &text };
    let compiled = compile(&source, given, mode, &Actions(host));
    let mut problems = compiled.problems;
    problems.extend(compiled.warnings);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Checked { file, text, plan: compiled.plan, problems, missing: compiled.missing }
}

/// A file beyond the limit is not read: it may be a disk.
fn read(file: &Path) -> FileFact {
    match fs::metadata(file) {
        Ok(meta) if meta.is_dir() => FileFact::Folder,
        Ok(meta) if meta.len() > RUNBOOK_BYTES_MAX as u64 => {
            FileFact::TooLarge { bytes: meta.len() }
        }
        Ok(_) => match fs::read(file) {
            Ok(bytes) => FileFact::Bytes(bytes),
            Err(error) if error.kind() == ErrorKind::IsADirectory => FileFact::Folder,
            Err(error) => FileFact::Failed(error),
        },
        Err(error) => FileFact::Failed(error),
    }
}
