//! What a new run is to do: all of a runbook, a part of it, or what an earlier run left.

use std::collections::BTreeSet;

use backout_core::adopt::{Comparison, compare};
use backout_core::id::{StepId, StepIx};
use backout_core::plan::{Order, Plan};
use backout_runtime::Start;
use backout_server::view::counted;

use super::ask::agreed;
use super::run::Args;
use crate::app::App;
use crate::exit::Failure;
use crate::reading::Reading;
use crate::runbook_file::Loaded;

/// The run as the arguments ask for it; what is adopted or needed besides is shown, and asked once.
pub(crate) fn start(app: &App, args: &Args, loaded: Loaded) -> Result<Start, Failure> {
    let mut start = Start::all(loaded.plan, loaded.text);
    start.part = part(app, args, &start.plan)?;
    if let Some(run) = &args.continued {
        let reading = Reading::open(app)?;
        let old = reading.state(&reading.find(run)?)?;
        let found = compare(&old, &start.plan);
        app.ui.say(&comparison(&found));
        confirmed(app, args, "go on like this?")?;
        start.continues = Some(found.adoption.from);
    }
    Ok(start)
}

fn part(app: &App, args: &Args, plan: &Plan) -> Result<Vec<StepId>, Failure> {
    let part: Vec<StepId> =
        args.until.iter().chain(&args.only).map(|id| StepId::from(id.as_str())).collect();
    if let Some(unknown) = part.iter().find(|id| plan.steps.iter().all(|step| step.id != **id)) {
        let names: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).take(20).collect();
        let message = format!("the runbook has no step `{unknown}`");
        return Err(Failure::usage(message, format!("its steps: {}", names.join(", "))));
    }
    let needed = needed(plan, &part);
    if !args.only.is_empty() && !needed.is_empty() {
        let names: Vec<&str> = needed.iter().map(StepId::as_str).collect();
        app.ui.say(&format!("they need, and so these are done first: {}", names.join(", ")));
        confirmed(app, args, "do these too?")?;
    }
    Ok(part)
}

/// What the steps of a part need besides themselves, in plan order.
fn needed(plan: &Plan, part: &[StepId]) -> Vec<StepId> {
    let Ok(order) = Order::of(&plan.steps) else { return Vec::new() };
    let ends = part.iter().filter_map(|id| order.find(id));
    let found: BTreeSet<StepIx> = ends.flat_map(|end| order.way_to(end)).collect();
    let name = |ix: &StepIx| plan.steps.get(ix.0).map(|step| step.id.clone());
    found.iter().filter_map(name).filter(|id| !part.contains(id)).collect()
}

fn confirmed(app: &App, args: &Args, question: &str) -> Result<(), Failure> {
    if args.yes || app.ui.interactive && agreed(app, &format!("{question} [y/N]")) {
        return Ok(());
    }
    Err(Failure::usage("not confirmed; nothing was started", "add `--yes` to agree beforehand"))
}

/// What is adopted, done again and done anew, for people.
fn comparison(found: &Comparison) -> String {
    let names = |steps: &[StepId]| steps.iter().map(StepId::as_str).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("goes on for run {}", found.adoption.from)];
    let mut group = |what: &str, steps: &[StepId]| {
        if !steps.is_empty() {
            lines.push(format!("  {what} ({}): {}", steps.len(), names(steps)));
        }
    };
    group("adopts", &found.adopted);
    group("does anew", &found.anew);
    for (step, why) in &found.again {
        lines.push(format!("  does again {step}: {why}"));
    }
    if !found.left_behind.is_empty() {
        lines.push(format!(
            "  {} of the old run has no place in this file, and the new run's undo will not put it \
             back: {}",
            counted(found.left_behind.len(), "step"),
            names(&found.left_behind)
        ));
    }
    lines.join("\n")
}
