//! `improvements`: what exercises left to be improved.

use std::fs;

use serde::Serialize;

use crate::app::App;
use crate::exercise::{self, OldReport, Why};
use crate::exit::{Exit, Failure};
use crate::view::style::{DIM, GOOD, WARN, paint};

/// Arguments of `improvements`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those of one runbook
    #[arg(long, value_name = "NAME")]
    runbook: Option<String>,
    /// Those that are done too
    #[arg(long)]
    all: bool,
    /// Say that one is done, by its name in the list
    #[arg(long, value_name = "EXERCISE/N")]
    done: Option<String>,
    /// Agree on one that is only proposed, or give it to somebody else
    #[arg(long, value_name = "EXERCISE/N", requires = "owner", requires = "due")]
    agree: Option<String>,
    /// Who sees to it
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// Until when
    #[arg(long, value_name = "YYYY-MM-DD")]
    due: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One line of the list.
#[derive(Serialize)]
struct Line<'a> {
    name: String,
    runbook: &'a str,
    #[serde(flatten)]
    improvement: &'a backout_tabletop::report::Improvement,
}

/// Lists them, or changes one.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let mut reports = exercise::reports(app)?;
    tell_unreported(app)?;
    if let Some(name) = &args.done {
        change(&mut reports, name, |one| "done".clone_into(&mut one.state))?;
    }
    if let (Some(name), Some(owner), Some(due)) = (&args.agree, &args.owner, &args.due) {
        let date = due.parse::<chrono::NaiveDate>();
        date.map_err(|_| Failure::usage(format!("`{due}` is not a date"), "write YYYY-MM-DD"))?;
        change(&mut reports, name, |one| {
            (one.owner, one.due, one.state) = (owner.clone(), due.clone(), "open".to_owned());
        })?;
    }
    let lines: Vec<Line<'_>> = reports
        .iter()
        .filter(|old| args.runbook.as_ref().is_none_or(|name| *name == old.report.runbook))
        .flat_map(lines)
        .filter(|line| args.all || line.improvement.state != "done")
        .collect();
    if args.json {
        app.ui.json(&lines)?;
    } else {
        app.ui.data(&shown(&lines))?;
    }
    Ok(Exit::Done)
}

/// Exercises that nothing is known from yet.
fn tell_unreported(app: &App) -> Result<(), Failure> {
    for one in exercise::unreported(app)? {
        match &one.why {
            Why::GoesOn => app.ui.say(&format!("the exercise {} goes on", one.name)),
            Why::BrokenOff(at) => app.ui.warn(&format!(
                "the exercise {} was broken off after {at} and has no report; to make it: \
                 backout report --exercise {}",
                one.name, one.name
            )),
        }
    }
    Ok(())
}

fn lines(old: &OldReport) -> impl Iterator<Item = Line<'_>> {
    old.report.improvements.iter().enumerate().map(|(at, improvement)| Line {
        name: format!("{}/{}", old.exercise, at + 1),
        runbook: &old.report.runbook,
        improvement,
    })
}

/// Changes an improvement in the report that holds it.
fn change(
    reports: &mut [OldReport],
    name: &str,
    change: impl FnOnce(&mut backout_tabletop::report::Improvement),
) -> Result<(), Failure> {
    let missing = || {
        Failure::usage(
            format!("there is no improvement `{name}`"),
            "`backout improvements --all` lists them",
        )
    };
    let (exercise, number) = name.rsplit_once('/').ok_or_else(missing)?;
    let at = number.parse::<usize>().ok().and_then(|at| at.checked_sub(1)).ok_or_else(missing)?;
    let old = reports.iter_mut().find(|old| old.exercise == exercise).ok_or_else(missing)?;
    change(old.report.improvements.get_mut(at).ok_or_else(missing)?);
    let failed = |error: String| Failure::file(format!("writing {}", old.path.display()), error);
    let text =
        serde_json::to_string_pretty(&old.report).map_err(|error| failed(error.to_string()))?;
    // A half written report would be lost: it is replaced as a whole.
    let beside = old.path.with_extension("json.new");
    let written = fs::write(&beside, text + "\n").and_then(|()| fs::rename(&beside, &old.path));
    written.map_err(|error| failed(error.to_string()))
}

fn shown(lines: &[Line<'_>]) -> String {
    if lines.is_empty() {
        return "no improvement is open".to_owned();
    }
    let line = |line: &Line<'_>| {
        let one = line.improvement;
        let state = match one.state.as_str() {
            "done" => paint(GOOD, "done    "),
            "open" => paint(WARN, "open    "),
            _ => paint(DIM, "proposed"),
        };
        let owner = if one.owner.is_empty() {
            String::new()
        } else {
            format!(" ({}, due {})", one.owner, one.due)
        };
        format!("{state} {} [{}] {}{owner}", line.name, line.runbook, one.action)
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}
