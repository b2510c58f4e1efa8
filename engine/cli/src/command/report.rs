//! `report`: the after-action record of a run.

use std::fs;
use std::path::{Path, PathBuf};

use backout_core::id::Timestamp;
use backout_report::{Seen, html, markdown, report};
use backout_server::view::rfc3339;
use backout_tabletop::page;
use backout_tabletop::report::blocks;

use crate::app::App;
use crate::exercise;
use crate::exit::{Exit, Failure};
use crate::reading::Reading;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN", required_unless_present = "exercise")]
    run: Option<String>,
    /// The report of an exercise in its place, by its folder or its name among those beside the
    /// store; of one that was broken off it is made now
    #[arg(long, value_name = "FOLDER", conflicts_with = "run")]
    exercise: Option<PathBuf>,
    /// As one HTML file that needs nothing else; without it, Markdown
    #[arg(long, conflicts_with = "json")]
    html: bool,
    /// As one JSON document
    #[arg(long)]
    json: bool,
    /// Write it to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Makes the record from the journal alone: no engine is needed, and a damaged run has one up to its
/// damage.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    if let Some(folder) = &args.exercise {
        return of_exercise(app, args, folder);
    }
    let reading = Reading::open(app)?;
    let run = reading.find(args.run.as_deref().unwrap_or("latest"))?;
    let (events, damage) = reading.readable(&run)?;
    let now = Timestamp(reading.now_ms(app, &run));
    let seen = Seen { now, head: reading.head(&run), leading: reading.leading() };
    let made = report(&events, seen);
    let record = made.map_err(|error| Failure::Internal(format!("run {run}: {error}")))?;
    let text = if args.json {
        serde_json::to_string_pretty(&record)
            .map_err(|error| Failure::Internal(format!("the record as JSON: {error}")))?
            + "\n"
    } else if args.html {
        html(&record, Timestamp(app.now_ms()))
    } else {
        markdown(&record)
    };
    write(app, args, &text)?;
    match damage {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

fn of_exercise(app: &App, args: &Args, folder: &Path) -> Result<Exit, Failure> {
    let report = exercise::report_of(app, folder)?;
    let page = blocks(&report);
    let text = if args.json {
        exercise::json(&report)?
    } else if args.html {
        page::html(&format!("Report: {}", report.title), &page)
    } else {
        page::markdown(&page)
    };
    write(app, args, &text).map(|()| Exit::Done)
}

fn write(app: &App, args: &Args, text: &str) -> Result<(), Failure> {
    let Some(file) = &args.output else { return app.ui.data(text) };
    fs::write(file, text).map_err(|error| {
        let message = format!("{} cannot be written: {error}", file.display());
        Failure::usage(message, "name another file with --output")
    })?;
    app.ui.say(&format!("written: {} at {}", file.display(), rfc3339(Timestamp(app.now_ms()))));
    Ok(())
}
