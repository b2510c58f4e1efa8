//! `lock`: who holds which target; to take one over, and to hold one against others.

use std::collections::BTreeMap;

use backout_core::command::Ask;
use backout_core::event::Wait;
use backout_core::id::{RunId, TargetId, Timestamp};
use backout_core::state::{RunState, StepState};
use backout_runtime::Start;
use backout_server::hands::hold_plan;
use serde::Serialize;

use super::ask::{agreed, filled, give};
use super::background;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reading::Reading;

/// Arguments of `lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show every target that is held, by which run, and who waits for it
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Have the run that holds a target let go of it, for those that wait
    Take {
        /// The target, as `lock list` shows it
        #[arg(value_name = "TARGET")]
        target: String,
        /// Why; it stands in the record of the run that loses it
        #[arg(long, value_name = "TEXT", required = true, value_parser = filled)]
        reason: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Hold targets, so that no run changes them until you approve the step `release`
    Hold {
        /// The targets
        #[arg(value_name = "TARGET", required = true)]
        targets: Vec<String>,
        /// Why; it stands in the record
        #[arg(long, value_name = "TEXT", required = true, value_parser = filled)]
        reason: String,
    },
}

/// A target that is held.
#[derive(Debug, Default, Serialize)]
struct Held {
    /// The run that holds it, and its runbook.
    run: String,
    runbook: String,
    /// Who commands that run, and in which state it is.
    commander: String,
    state: String,
    /// The runs that wait for it.
    waiting: Vec<String>,
}

/// Lists, takes or holds.
pub(crate) fn run(app: &App, args: Args) -> Result<Exit, Failure> {
    match args.what {
        What::List { json } => list(app, json),
        What::Take { target, reason, yes } => take(app, &target, reason, yes),
        What::Hold { targets, reason } => hold(app, &targets, reason),
    }
}

fn held(app: &App) -> Result<BTreeMap<String, Held>, Failure> {
    let reading = Reading::open(app)?;
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    let mut waits: Vec<(TargetId, RunId)> = Vec::new();
    for run in reading.names() {
        let Ok(state) = reading.state(run) else { continue };
        for target in state.locks.keys() {
            held.insert(target.to_string(), of(&state));
        }
        waits.extend(awaited(&state).map(|target| (target, run.clone())));
    }
    for (target, run) in waits {
        if let Some(held) = held.get_mut(target.as_str()) {
            held.waiting.push(run.to_string());
        }
    }
    Ok(held)
}

fn of(state: &RunState) -> Held {
    Held {
        run: state.run.to_string(),
        runbook: state.plan.name.clone(),
        commander: state.commander.name.clone(),
        state: state.status().word().to_owned(),
        waiting: Vec::new(),
    }
}

fn awaited(state: &RunState) -> impl Iterator<Item = TargetId> + '_ {
    state.steps.iter().flat_map(|step| match &step.state {
        StepState::Waiting(Wait::Lock { holders }) => {
            holders.iter().map(|holder| holder.target.clone()).collect()
        }
        _ => Vec::new(),
    })
}

fn list(app: &App, json: bool) -> Result<Exit, Failure> {
    let held = held(app)?;
    if json {
        app.ui.json(&held)?;
        return Ok(Exit::Done);
    }
    if held.is_empty() {
        app.ui.say("no target is held");
    }
    for (target, held) in &held {
        app.ui.data(&line(target, held))?;
    }
    Ok(Exit::Done)
}

fn line(target: &str, held: &Held) -> String {
    let waiting = match held.waiting.as_slice() {
        [] => String::new(),
        runs => format!("; run {} waits for it", runs.join(", run ")),
    };
    format!(
        "{target}\n  held by run {} of {}, which is {}, commanded by {}{waiting}",
        held.run, held.runbook, held.state, held.commander
    )
}

fn take(app: &App, target: &str, reason: String, yes: bool) -> Result<Exit, Failure> {
    let all = held(app)?;
    let Some(found) = all.get(target) else {
        let message = format!("nobody holds `{target}`");
        return Err(Failure::usage(message, "`backout lock list` shows what is held"));
    };
    app.ui.say(&line(target, found));
    if app.ui.interactive && !yes && !agreed(app, "have it let go? [y/N]") {
        app.ui.say("nothing was done");
        return Ok(Exit::Done);
    }
    let ask = Ask::Yield { targets: vec![target.into()] };
    give(app, &RunId::new(found.run.as_str()), ask, Some(reason), false)
}

/// A run that locks the targets and waits for a person.
fn hold(app: &App, targets: &[String], reason: String) -> Result<Exit, Failure> {
    let run = people::new_run()?;
    let targets: Vec<TargetId> = targets.iter().map(|target| target.as_str().into()).collect();
    let plan = hold_plan(&targets, &reason, Timestamp(app.now_ms()));
    let by = people::by(Some(reason), false)?;
    let exit = background::start(app, &app.store()?, &run, Start::all(plan, String::new()), by);
    app.ui.say(&format!("to let go: backout approve {run} release"));
    exit
}
