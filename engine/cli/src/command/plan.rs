//! `plan`: what a runbook would do, by looking at every target.

use std::path::{Path, PathBuf};

use backout_core::plan::Plan;
use backout_runtime::survey::{PlanReport, SURVEY_TIMEOUT_MS, survey};
use backout_runtime::{Host, SystemClock};

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::{runbook_file, view};

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Looks and shows.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let (_, report) = surveyed(app, &args.file, &args.params)?;
    if args.json {
        app.ui.json(&report)?;
    } else {
        app.ui.data(&view::plan::report(&report, app.ui.width))?;
    }
    Ok(Exit::Done)
}

/// Reads a runbook and looks at all its targets.
pub(crate) fn surveyed(
    app: &App,
    file: &Path,
    params: &ParamArgs,
) -> Result<(Plan, PlanReport), Failure> {
    let given = params::read(params)?;
    let host = app.host();
    let loaded = runbook_file::load(app, &host, file, &given)?;
    let mut report = app.block_on(look(&host, &loaded.plan))?;
    report.warnings = loaded.warnings;
    Ok((loaded.plan, report))
}

/// Looks at all targets of a plan.
pub(crate) async fn look(host: &Host, plan: &Plan) -> Result<PlanReport, Failure> {
    survey(host, &SystemClock, plan, SURVEY_TIMEOUT_MS)
        .await
        .map_err(|error| Failure::Internal(error.to_string()))
}
