//! The plan, drawn as `backout graph` draws it, with each step a link.

use backout_core::plan::PlanStep;
use backout_core::state::RunState;
use backout_server::graph::{NodeLook, drawing};
use maud::{Markup, PreEscaped};

use super::Spot;

/// The drawing of a run.
pub(super) fn dag(spot: Spot<'_>, state: &RunState, chosen: &str) -> Markup {
    let look = |step: &PlanStep| look(state, step, chosen);
    let link = |step: &PlanStep| spot.step(step.id.as_str());
    // The drawing escapes every text that it holds.
    PreEscaped(drawing(&state.plan, &state.order, look, link))
}

fn look(state: &RunState, step: &PlanStep, chosen: &str) -> NodeLook {
    let Some((_, _, run)) = state.find(&step.id) else { return NodeLook::default() };
    let mut class = run.state.word().to_owned();
    if step.id.as_str() == chosen {
        class.push_str(" chosen");
    }
    NodeLook { state: class, note: run.trouble.clone().unwrap_or_default() }
}
