//! `check`: every problem of every file, at its line.

use std::path::PathBuf;

use serde::Serialize;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::runbook_file::{self, Checked};
use backout_server::view::counted;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runbooks
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    params: ParamArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One file's result, for `--json`.
#[derive(Serialize)]
struct FileReport<'a> {
    file: &'a str,
    valid: bool,
    runbook: Option<&'a str>,
    steps: usize,
    /// Parameters that a run must be given.
    missing: &'a [String],
    problems: &'a [backout_runbook::Problem],
    /// The manifest of releases beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    releases: Option<BesideReport<'a>>,
}

#[derive(Serialize)]
struct BesideReport<'a> {
    file: &'a str,
    problems: &'a [backout_runbook::Problem],
}

/// Checks each file; the worst decides the exit code.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let given = params::read(&args.params)?;
    let host = app.host();
    let checked: Vec<Checked> =
        args.files.iter().map(|file| runbook_file::check(&host, file, &given)).collect();
    if args.json {
        app.ui.json(&checked.iter().map(file_report).collect::<Vec<_>>())?;
    } else {
        for one in &checked {
            show(app, one)?;
        }
    }
    let valid = checked.iter().all(|one| one.plan.is_some());
    Ok(if valid { Exit::Done } else { Exit::InvalidRunbook })
}

fn file_report(checked: &Checked) -> FileReport<'_> {
    FileReport {
        file: &checked.file,
        valid: checked.plan.is_some(),
        runbook: checked.plan.as_ref().map(|plan| plan.name.as_str()),
        steps: checked.plan.as_ref().map_or(0, |plan| plan.steps.len()),
        missing: &checked.missing,
        problems: &checked.problems,
        releases: checked
            .releases
            .as_ref()
            .map(|beside| BesideReport { file: &beside.file, problems: &beside.problems }),
    }
}

fn show(app: &App, checked: &Checked) -> Result<(), Failure> {
    runbook_file::show_problems(app, checked);
    if let Some(plan) = &checked.plan {
        let warnings = match checked.problems.len() {
            0 => String::new(),
            count => format!(", {}", counted(count, "warning")),
        };
        app.ui.data(&format!(
            "{}: {} is valid, {}{warnings}",
            checked.file,
            plan.name,
            counted(plan.steps.len(), "step")
        ))?;
    }
    Ok(())
}
