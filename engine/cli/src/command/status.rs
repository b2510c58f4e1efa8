//! `status`: what is done, in doubt and next; or which runs there are.

use backout_server::view::{Listed, RunView};
use serde::Serialize;

use super::ready::{self, Readiness};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::names::LATEST;
use crate::reading::{OwnerSeen, Reading};
use crate::view;
use crate::view::status::ago;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`; without it, all runs
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Show every step in a table
    #[arg(long, requires = "run")]
    steps: bool,
    /// List the messages to people outside instead
    #[arg(long, conflicts_with = "run")]
    messages: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct List<'a> {
    store: String,
    owner: Option<&'a OwnerSeen>,
    runs: Vec<Listed>,
    unreadable: Vec<Unreadable>,
    ready: Vec<Readiness>,
}

#[derive(Serialize)]
struct Unreadable {
    run: String,
    why: String,
}

/// Shows one run, or all.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    match &args.run {
        Some(name) => one(app, args, &reading, name),
        None => all(app, args, &reading),
    }
}

fn one(app: &App, args: &Args, reading: &Reading, name: &str) -> Result<Exit, Failure> {
    let run = reading.find(name)?;
    let now_ms = reading.now_ms(app, &run);
    let mut view = reading.view_with_times(&run, now_ms)?;
    view.head = reading.head(&run);
    if args.json {
        app.ui.json(&view)?;
        return Ok(Exit::Done);
    }
    if name == LATEST && reading.names().len() > 1 {
        app.ui.say(&format!("the latest of {} runs in {}", reading.names().len(), reading.place()));
    }
    app.ui.data(&shown(&view, args.steps, app, now_ms))?;
    Ok(Exit::Done)
}

fn shown(view: &RunView, steps: bool, app: &App, now_ms: i64) -> String {
    let mut text = view::status::run(view, now_ms, app.ui.width);
    if steps {
        text.push_str(&view::status::steps(view, app.ui.width));
    }
    text
}

fn all(app: &App, args: &Args, reading: &Reading) -> Result<Exit, Failure> {
    // A drill's store holds one run, and its clock.
    let now_ms =
        reading.names().first().map_or_else(|| app.now_ms(), |run| reading.now_ms(app, run));
    let mut runs = Vec::new();
    let mut unreadable = Vec::new();
    for run in reading.names() {
        match reading.view(run, now_ms) {
            Ok(view) => runs.push(view.listed()),
            Err(failure) => {
                unreadable.push(Unreadable { run: run.to_string(), why: failure.to_string() });
            }
        }
    }
    let (messages, others): (Vec<Listed>, Vec<Listed>) =
        runs.into_iter().partition(|run: &Listed| run.message_about.is_some());
    let unsent = messages.iter().filter(|run| run.state != "succeeded").count();
    let mut runs = if args.messages { messages } else { others };
    runs.sort_by(|a, b| (&b.created, &b.run).cmp(&(&a.created, &a.run)));
    let ready = ready::kept(reading.folder());
    if args.json {
        let store = reading.place();
        app.ui.json(&List { store, owner: reading.owner(), runs, unreadable, ready })?;
        return Ok(Exit::Done);
    }
    app.ui.say(&reading.whose());
    if runs.is_empty() && unreadable.is_empty() {
        app.ui.say("no runs yet; `backout run FILE` starts one");
    }
    app.ui.data(&view::status::list(&runs, now_ms))?;
    if unsent > 0 && !args.messages {
        app.ui.warn(&format!("{unsent} not sent yet: backout status --messages"));
    }
    for one in &unreadable {
        app.ui.warn(&format!("run {} cannot be read: {}", one.run, one.why));
    }
    for one in &ready {
        app.ui.data(&format!(
            "ready {}: {} {}",
            one.runbook,
            one.verdict,
            ago(&one.at, app.now_ms())
        ))?;
    }
    Ok(Exit::Done)
}
