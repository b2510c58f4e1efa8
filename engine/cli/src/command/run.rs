//! `run`: starts a run and stays with it.

use std::path::PathBuf;

use backout_core::id::Seq;
use backout_core::plan::Plan;

use super::ask::agreed;
use super::follow::{self, Manner};
use super::plan::look;
use super::{background, part, preflight};
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
    pub(crate) yes: bool,
    /// Only up to this step: it and what it needs, then pause with the rest still to do; may be
    /// repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) until: Vec<String>,
    /// Only these steps; what they need is named and confirmed
    #[arg(long, value_name = "STEP", num_args = 1.., conflicts_with = "until")]
    pub(crate) only: Vec<String>,
    /// Go on for a run whose runbook was wrong: adopt what it did and this file leaves as it was
    #[arg(long = "continue", value_name = "RUN")]
    pub(crate) continued: Option<String>,
    /// Go on under an engine in the background, also after logout
    #[arg(long)]
    detach: bool,
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
    let start = part::start(app, args, loaded)?;
    if !allowed(app, &start.plan, args.yes)? {
        app.ui.say("nothing was started");
        return Ok(Exit::Done);
    }
    let folder = app.store()?;
    let run = people::new_run()?;
    let by = people::by(args.reason.clone(), false)?;
    let manner = Manner { in_place: app.ui.interactive && !args.no_wait };
    let name = start.plan.name.clone();
    if args.detach {
        return background::start(app, &folder, &run, start, by);
    }
    app.block_on(async {
        let mut reach = Reach::open(&app.ui, &folder, host).await?;
        reach.start(run.clone(), start, by).await?;
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
