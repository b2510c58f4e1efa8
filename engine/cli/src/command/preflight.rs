//! What is looked at before an engine acts: the secrets that it will need, and, after a long
//! standstill, what was changed by others meanwhile.

use std::sync::Arc;

use backout_core::plan::{Plan, PlanStep};
use backout_core::state::RunState;
use backout_runtime::drift::{Drift, drift};
use backout_runtime::needs::missing_secrets;
use backout_runtime::{Host, SystemClock};
use backout_server::view::counted;

use super::ask::agreed;
use crate::app::App;
use crate::exit::Failure;
use crate::view::style::{WARN, paint};
use crate::view::text::wrapped;

/// Refuses where secrets are missing, and names all of them together.
pub(crate) fn secrets<'a>(
    host: &Host,
    plan: &Plan,
    steps: impl Iterator<Item = &'a PlanStep>,
) -> Result<(), Failure> {
    let missing = missing_secrets(host, plan, steps);
    if missing.is_empty() {
        return Ok(());
    }
    let line = |missing: &backout_runtime::needs::MissingSecret| {
        let steps: Vec<&str> = missing.steps.iter().map(String::as_str).collect();
        format!("  {} (for {})", missing.error, steps.join(", "))
    };
    let lines: Vec<String> = missing.iter().map(line).collect();
    let message =
        format!("{} cannot be had:\n{}", counted(missing.len(), "secret"), lines.join("\n"));
    Err(Failure::usage(message, "nothing was done; provide them and give the command again"))
}

/// The steps of a run that may still act.
pub(crate) fn left(state: &RunState) -> impl Iterator<Item = &PlanStep> {
    let open = state.plan.steps.iter().zip(&state.steps).filter(|(_, step)| !step.state.is_rest());
    open.map(|(planned, _)| planned)
}

/// Shows what others changed since the run stood still; on a terminal the person says whether it
/// goes on.
pub(crate) async fn stale(app: &App, host: &Host, state: &RunState) -> bool {
    app.ui.say(&paint(
        WARN,
        &format!("run {} stood still for long; looking at what it did", state.run),
    ));
    let found = drift(host, Arc::new(SystemClock), state).await;
    if found.is_empty() {
        app.ui.say("everything that it did is still as it left it");
    }
    for one in &found {
        app.ui.say(wrapped(&words(one), 2, app.ui.width).trim_end());
    }
    !app.ui.interactive || agreed(app, &format!("go on with run {}? [y/N]", state.run))
}

fn words(drift: &Drift) -> String {
    let what = if drift.seen { "changed since" } else { "could not be looked at" };
    format!("{} {what}: {}", drift.step, drift.difference.join("; "))
}
