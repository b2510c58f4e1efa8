//! `resume`: takes up one run, or every interrupted one that is not stale.

use std::sync::Arc;

use backout_core::id::{RunId, Seq};
use backout_runtime::Host;
use backout_server::view::RunView;

use super::follow::{self, Manner};
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
    let runs = match &args.run {
        Some(name) => {
            let run = reading.find(name)?;
            if args.take_over {
                reading.take_over(&run, args.reason.as_deref().unwrap_or_default())?;
            }
            vec![run]
        }
        None => interrupted(app, &reading)?,
    };
    if runs.is_empty() {
        app.ui.say(&format!("nothing to resume in {}", reading.place()));
        return Ok(Exit::Done);
    }
    app.block_on(all(app, args, &reading, app.host(), &runs))
}

/// The interrupted runs that are not stale; stale ones are listed.
fn interrupted(app: &App, reading: &Reading) -> Result<Vec<RunId>, Failure> {
    let mut runs = Vec::new();
    for run in reading.names() {
        let view = match reading.view(run, app.now_ms()) {
            Ok(view) => view,
            Err(failure) => {
                app.ui.warn(&format!("run {run} cannot be read: {failure}"));
                continue;
            }
        };
        match (view.state.as_str(), view.stale) {
            ("interrupted", false) => runs.push(run.clone()),
            ("interrupted", true) => app.ui.say(&stale(&view, app.now_ms())),
            _ => {}
        }
    }
    Ok(runs)
}

fn stale(view: &RunView, now_ms: i64) -> String {
    format!(
        "run {} of {} is stale, its last event was {}; to go on all the same: backout resume {}",
        view.run,
        view.runbook,
        ago(&view.last, now_ms),
        view.run
    )
}

async fn all(
    app: &App,
    args: &Args,
    reading: &Reading,
    host: Arc<Host>,
    runs: &[RunId],
) -> Result<Exit, Failure> {
    let mut reach = Reach::open(&app.ui, reading.folder(), host).await?;
    for run in runs {
        reach.resume(run, people::by(args.reason.clone(), false)?).await?;
        app.ui.say(&format!("run {run} taken up"));
    }
    let manner = Manner { in_place: app.ui.interactive && !args.no_wait };
    let mut worst = Exit::Done;
    for run in runs {
        let seen = reading.last(run);
        let exit = follow::follow(app, &mut reach, run, seen.unwrap_or(Seq(0)), manner).await?;
        if exit.code() > worst.code() {
            worst = exit;
        }
    }
    reach.stop("the command ended", follow::GRACE_MS).await;
    Ok(worst)
}
