//! `resume`: takes up one run, or every interrupted one that is not stale.

use backout_core::command::Ask;
use backout_core::exercise::is_drill;
use backout_core::id::RunId;
use backout_core::state::RunStatus;
use backout_server::view::RunView;

use super::follow::{self, Manner};
use super::preflight;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reach::Reach;
use crate::reading::Reading;
use crate::view::status::ago;

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`; without it, all interrupted ones that are not stale
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Only free the branch that begins here, which was held back; may be repeated
    #[arg(long = "step", value_name = "STEP", requires = "run")]
    steps: Vec<String>,
    /// Take up a run that was imported from another store; it is no longer read-only here
    #[arg(long, requires_all = ["run", "reason"])]
    take_over: bool,
    /// End with 4 as soon as nothing can go on without a person
    #[arg(long)]
    no_wait: bool,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", value_parser = super::ask::filled)]
    reason: Option<String>,
}

/// Takes up and follows.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let named = args.run.as_deref().map(|name| reading.find(name)).transpose()?;
    if let Some(run) = named.as_ref().filter(|_| !args.steps.is_empty()) {
        let steps = super::ask::named(&reading.state(run)?, &args.steps)?;
        let ask = Ask::Free { steps };
        return super::ask::give(app, run, ask, args.reason.clone(), false);
    }
    if named.is_none() && reading.names().is_empty() {
        return Ok(nothing(app, &reading));
    }
    app.block_on(async {
        let mut reach = Reach::open(&app.ui, reading.folder(), app.host()).await?;
        let runs = match named {
            Some(run) => vec![run],
            None => interrupted(app, &reading, reach.unfinished()),
        };
        let exit = match runs.as_slice() {
            [] => Ok(nothing(app, &reading)),
            runs => all(app, args, &reading, &mut reach, runs).await,
        };
        reach.close("the command ended", follow::GRACE_MS).await;
        exit
    })
}

fn nothing(app: &App, reading: &Reading) -> Exit {
    app.ui.say(&format!("nothing to resume in {}", reading.place()));
    Exit::Done
}

/// The interrupted runs that are not stale; stale ones are listed. Only `among` is looked at, where
/// the store says which runs did not come to rest: thousands of others may have.
fn interrupted(app: &App, reading: &Reading, among: Option<&[RunId]>) -> Vec<RunId> {
    let mut runs = Vec::new();
    for run in among.unwrap_or(reading.names()) {
        let view = match reading.view(run, app.now_ms()) {
            Ok(view) => view,
            Err(failure) => {
                app.ui.warn(&format!("run {run} cannot be read: {failure}"));
                continue;
            }
        };
        // This process owns the store by now, if nobody else did: that drives nothing yet.
        let is_interrupted =
            view.state == "interrupted" || (among.is_some() && view.state == "running");
        match (is_interrupted, view.stale) {
            (true, false) => runs.push(run.clone()),
            (true, true) => app.ui.say(&stale(&view, app.now_ms())),
            (false, _) => {}
        }
    }
    runs
}

/// That a run is stale, and what to type.
pub(super) fn stale(view: &RunView, now_ms: i64) -> String {
    format!(
        "run {} of {} is stale, its last event was {}; to go on all the same: backout resume {}",
        view.run,
        view.runbook,
        ago(&view.last, now_ms),
        view.run
    )
}

/// An imported run is driven here only once a person took it over: its own machine may still be at
/// it.
fn refuse_imported(reading: &Reading, run: &RunId) -> Result<(), Failure> {
    if !is_imported(reading, run) {
        return Ok(());
    }
    Err(Failure::usage(format!("run {run} {IMPORTED}"), take_over(run)))
}

const IMPORTED: &str = "was imported and is read-only here";

/// That a run is an imported one, and what to type.
pub(super) fn imported(reading: &Reading, run: &RunId) -> Option<String> {
    is_imported(reading, run).then(|| format!("run {run} {IMPORTED}; {}", take_over(run)))
}

fn is_imported(reading: &Reading, run: &RunId) -> bool {
    let imported = reading.reader().and_then(|reader| reader.imported(run));
    imported.is_some_and(|imported| imported.read_only)
}

fn take_over(run: &RunId) -> String {
    format!("once no other engine drives it: backout resume {run} --take-over --reason TEXT")
}

/// A drill goes on in the process that plays it, and nowhere else: here are real plugins.
async fn drilled(app: &App, args: &Args, reach: &Reach, run: &RunId) -> Result<(), Failure> {
    let Some(pid) = reach.other() else {
        return Err(Failure::usage(
            format!("run {run} is the record of a drill"),
            format!("nothing real is done for it; `backout replay {run}` walks through it"),
        ));
    };
    reach.resume(run, people::by(args.reason.clone(), false)?).await?;
    app.ui.say(&format!("run {run} goes on in the drill of process {pid}"));
    Ok(())
}

async fn all(
    app: &App,
    args: &Args,
    reading: &Reading,
    reach: &mut Reach,
    runs: &[RunId],
) -> Result<Exit, Failure> {
    let mut seen = Vec::new();
    for run in runs {
        let state = reading.state(run)?;
        if matches!(state.status(), RunStatus::Succeeded | RunStatus::Undone) {
            // An approval may have been the last thing that it waited for.
            app.ui.say(&format!("run {run} is {} already", state.status().word()));
            continue;
        }
        if is_drill(&state.plan) {
            drilled(app, args, reach, run).await?;
            continue;
        }
        if args.take_over {
            reach.take_over(run)?;
        } else {
            refuse_imported(reading, run)?;
        }
        let host = app.host();
        preflight::secrets(&host, &state.plan, preflight::left(&state))?;
        let is_old = reading.view(run, app.now_ms())?.stale;
        if is_old && !preflight::stale(app, &host, &state).await {
            app.ui.say(&format!("run {run} was left as it is"));
            continue;
        }
        seen.push((run, state.seq));
        reach.resume(run, people::by(args.reason.clone(), false)?).await?;
        app.ui.say(&format!("run {run} taken up"));
    }
    let manner = Manner { in_place: app.ui.interactive && !args.no_wait };
    let mut worst = Exit::Done;
    for (run, seen) in seen {
        let exit = follow::follow(app, reach, run, seen, manner).await?;
        if exit.code() > worst.code() {
            worst = exit;
        }
    }
    Ok(worst)
}
