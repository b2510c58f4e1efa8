//! `run`: starts a run and stays with it.

use std::path::PathBuf;

use backout_core::id::Seq;
use backout_core::plan::Plan;

use super::ask::agreed;
use super::follow::{self, Manner};
use super::plan::look;
use super::preflight;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::reach::Reach;
use crate::{people, runbook_file, view};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamArgs,
    /// Do not ask before it starts; needed without a terminal where the environment is protected
    #[arg(long, short)]
    yes: bool,
    /// End with 4 as soon as nothing can go on without a person
    #[arg(long)]
    no_wait: bool,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", value_parser = super::ask::filled)]
    reason: Option<String>,
}

/// Shows, asks, starts, follows.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let given = params::read(&args.params)?;
    let host = app.host();
    let loaded = runbook_file::load(app, &host, &args.file, &given)?;
    preflight::secrets(&host, &loaded.plan, loaded.plan.steps.iter())?;
    if app.ui.interactive {
        let report = app.block_on(look(&host, &loaded.plan))?;
        app.ui.say(&view::plan::report(&report, app.ui.width));
    }
    if !allowed(app, &loaded.plan, args.yes)? {
        app.ui.say("nothing was started");
        return Ok(Exit::Done);
    }
    let folder = app.store()?;
    let run = people::new_run()?;
    let by = people::by(args.reason.clone(), false)?;
    let manner = Manner { in_place: app.ui.interactive && !args.no_wait };
    app.block_on(async {
        let mut reach = Reach::open(&app.ui, &folder, host).await?;
        let name = loaded.plan.name.clone();
        reach.start(run.clone(), loaded.plan, loaded.text, by).await?;
        app.ui.data(&format!("run {run} of {name}"))?;
        let exit = follow::follow(app, &mut reach, &run, Seq(0), manner).await;
        reach.close("the command ended", follow::GRACE_MS).await;
        exit
    })
}

/// Asks once on a terminal; without one only a protected environment needs `--yes`.
fn allowed(app: &App, plan: &Plan, yes: bool) -> Result<bool, Failure> {
    let protected = plan.environment.as_ref().is_some_and(|environment| environment.protected);
    if yes {
        return Ok(true);
    }
    if app.ui.interactive {
        return Ok(agreed(app, &format!("run {}? [y/N]", plan.name)));
    }
    if protected {
        return Err(Failure::usage(
            "the environment is protected and there is no terminal to ask on",
            "add `--yes`",
        ));
    }
    Ok(true)
}
