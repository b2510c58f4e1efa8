//! The plan, drawn as `backout graph` draws it, with each step a link.

use backout_core::plan::{Order, Plan, PlanStep};
use backout_core::state::RunState;
use backout_server::graph::{NodeLook, drawing};
use maud::{Markup, PreEscaped};

use super::run::Shown;

/// The drawing of a run.
pub(super) fn dag(shown: &Shown<'_>, chosen: &str) -> Markup {
    part(shown, &shown.state.plan, &shown.state.order, chosen)
}

/// The drawing of some of its steps, as a plan of their own.
pub(super) fn part(shown: &Shown<'_>, plan: &Plan, order: &Order, chosen: &str) -> Markup {
    let look = |step: &PlanStep| look(shown.state, step, chosen);
    let link = |step: &PlanStep| shown.spot().step(step.id.as_str());
    // The drawing escapes every text that it holds.
    PreEscaped(drawing(plan, order, look, link))
}

fn look(state: &RunState, step: &PlanStep, chosen: &str) -> NodeLook {
    let Some((_, _, run)) = state.find(&step.id) else { return NodeLook::default() };
    let mut class = run.state.word().to_owned();
    if step.id.as_str() == chosen {
        class.push_str(" chosen");
    }
    NodeLook { state: class, note: run.trouble.clone().unwrap_or_default() }
}
