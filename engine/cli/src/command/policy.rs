//! `policy`: the file that says who may run what and approve what.

use std::path::{Path, PathBuf};

use backout_access::Policy;
use backout_access::policy::{POLICY_BYTES_MAX, read};
use backout_runbook::{Problem, Severity, Source, Style, render};
use backout_server::view::counted;
use clap::Subcommand;
use serde::Serialize;

use crate::app::App;
use crate::exit::{Exit, Failure};

/// Arguments of `policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a policy file and show every problem at its line
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    valid: bool,
    problems: Vec<Problem>,
}

/// Checks the file.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let Verb::Check(args) = &args.verb;
    let text = text(&args.file)?;
    let (policy, problems) = match read(&text) {
        Ok((policy, warnings)) => (Some(policy), warnings),
        Err(problems) => (None, problems),
    };
    let file = args.file.display().to_string();
    if args.json {
        app.ui.json(&Report { file, valid: policy.is_some(), problems })?;
    } else {
        show(app, &file, &text, &problems);
        if let Some(policy) = &policy {
            app.ui.data(&format!("{file} is valid: {}", summary(policy)))?;
        }
    }
    Ok(if policy.is_some() { Exit::Done } else { Exit::InvalidRunbook })
}

/// Reads a policy that is to be used; its problems are shown and end the command.
pub(crate) fn load(app: &App, file: &Path) -> Result<Policy, Failure> {
    let (text, name) = (text(file)?, file.display().to_string());
    match read(&text) {
        Ok((policy, warnings)) => {
            show(app, &name, &text, &warnings);
            Ok(policy)
        }
        Err(problems) => {
            show(app, &name, &text, &problems);
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
            Err(Failure::InvalidRunbook { count: counted(errors.count(), "problem"), file: name })
        }
    }
}

/// A file beyond the limit is not read: it may be a disk.
fn text(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::file(format!("policy {}", file.display()), error);
    let bytes = std::fs::metadata(file).map_err(failed)?.len();
    if bytes > POLICY_BYTES_MAX as u64 {
        let why = format!("it has {bytes} bytes, more than POLICY_BYTES_MAX ({POLICY_BYTES_MAX})");
        return Err(Failure::file(format!("policy {}", file.display()), why));
    }
    std::fs::read_to_string(file).map_err(failed)
}

fn show(app: &App, file: &str, text: &str, problems: &[Problem]) {
    let style = Style { width: app.ui.width.min(120), colour: true, unicode: app.ui.interactive };
    for problem in problems {
        app.ui.say(render(problem, &Source { name: file, text }, style).trim_end());
    }
}

fn summary(policy: &Policy) -> String {
    let (run, approve) = (policy.run.len(), policy.approve.len());
    format!(
        "{}, {} for running, {} for approving, {}",
        counted(policy.groups.len(), "group"),
        counted(run, "rule"),
        counted(approve, "rule"),
        counted(policy.issuers.len(), "issuer"),
    )
}
