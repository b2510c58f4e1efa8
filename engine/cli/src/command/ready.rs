//! `ready`: for a pipeline, before each deploy: is the way back open? The last answer is kept.

use std::fs;
use std::path::{Path, PathBuf};

use backout_runtime::survey::{Looked, PlanReport, StepReport};
use backout_server::view::rfc3339;
use serde::{Deserialize, Serialize};

use super::plan::surveyed;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::ParamArgs;
use crate::view;
use crate::view::status::ago;

/// The folder in the store that keeps the last answer for each runbook.
const KEPT: &str = "ready";

/// Arguments of `ready`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 every step could run now; 7 something would be refused; \
                        8 something could not be looked at.")]
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

/// The verdict, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Readiness {
    /// The runbook.
    pub(crate) runbook: String,
    /// When it was looked, RFC 3339.
    pub(crate) at: String,
    /// `ready`, `refused` or `not-seen`.
    pub(crate) verdict: String,
    /// The steps that stand in the way, each with its reason.
    pub(crate) because: Vec<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    now: &'a Readiness,
    last: Option<&'a Readiness>,
    plan: &'a PlanReport,
}

/// Looks, shows, keeps the answer, and says it by the exit code.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let (_, report) = surveyed(app, &args.file, &args.params)?;
    let (exit, now) = judged(&report);
    let store = app.store()?;
    let last = kept(&store).into_iter().find(|kept| kept.runbook == now.runbook);
    if let Err(failure) = keep(&store, &now) {
        app.ui.warn(&format!("the answer could not be kept: {failure}"));
    }
    if args.json {
        app.ui.json(&Answer { now: &now, last: last.as_ref(), plan: &report })?;
        return Ok(exit);
    }
    app.ui.data(&view::plan::report(&report, app.ui.width))?;
    if let Some(last) = &last {
        app.ui.say(&format!("last time, {}: {}", ago(&last.at, app.now_ms()), last.verdict));
    }
    app.ui.data(&format!("{}: {}", now.runbook, now.verdict))?;
    for why in &now.because {
        app.ui.data(&format!("  {why}"))?;
    }
    Ok(exit)
}

fn judged(report: &PlanReport) -> (Exit, Readiness) {
    let (exit, verdict, looked) = if report.count(Looked::Refused) > 0 {
        (Exit::Refused, "refused", Looked::Refused)
    } else if report.count(Looked::NotSeen) > 0 {
        (Exit::NotSeen, "not-seen", Looked::NotSeen)
    } else {
        (Exit::Done, "ready", Looked::Refused)
    };
    let because =
        |step: &StepReport| format!("{}: {}", step.id, step.reason.as_deref().unwrap_or_default());
    let steps = report.steps.iter().filter(|step| step.looked == looked);
    let readiness = Readiness {
        runbook: report.runbook.clone(),
        at: rfc3339(report.at),
        verdict: verdict.to_owned(),
        because: steps.map(because).collect(),
    };
    (exit, readiness)
}

/// Writes beside and renames, so that a reader never sees half an answer.
fn keep(store: &Path, readiness: &Readiness) -> Result<(), Failure> {
    let folder = store.join(KEPT);
    let failed = |error| Failure::file(format!("writing in {}", folder.display()), error);
    fs::create_dir_all(&folder).map_err(failed)?;
    let text = serde_json::to_vec_pretty(readiness)
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let beside = folder.join(format!(".{}.{}", readiness.runbook, std::process::id()));
    fs::write(&beside, text).map_err(failed)?;
    fs::rename(&beside, folder.join(format!("{}.json", readiness.runbook))).map_err(failed)
}

/// The last answers for all runbooks; unreadable ones are left out.
pub(crate) fn kept(store: &Path) -> Vec<Readiness> {
    let Ok(entries) = fs::read_dir(store.join(KEPT)) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let json = paths.filter(|path| path.extension().is_some_and(|ext| ext == "json"));
    let mut all: Vec<Readiness> =
        json.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect();
    all.sort_by(|a, b| a.runbook.cmp(&b.runbook));
    all
}
