//! A plan too large to be drawn whole: what stands around the chosen step, and all steps by what is
//! known of them, those first that somebody must look at.

use std::collections::BTreeSet;

use backout_core::id::{StepId, StepIx};
use backout_core::plan::{Order, Plan, PlanStep};
use backout_core::state::RunState;
use backout_server::graph::state_sign;
use backout_server::view::StepView;
use maud::{Markup, html};

use super::run::{Shown, row};
use super::words::badge;
use super::{Frame, dag};

/// Steps before the chosen one that are drawn with it, and as many behind it.
const NEAR_MAX: usize = 16;
/// Steps of one group on a page; the search finds the others.
const GROUP_SHOWN_MAX: usize = 200;
/// The groups, what somebody must look at first.
const GROUPS: [&str; 12] = [
    "in-doubt",
    "failed",
    "unverified",
    "waiting",
    "running",
    "preparing",
    "pending",
    "succeeded",
    "already-satisfied",
    "skipped",
    "undone",
    "cancelled",
];
/// How many of them stand open at first.
const GROUPS_OPEN: usize = 6;

/// The steps.
pub(super) fn steps(frame: &Frame, shown: &Shown<'_>, chosen: &str) -> Markup {
    html! {
        p { (shown.view.steps.len()) " steps are too many for one drawing. Around "
            b { (chosen) } ":" }
        @if let Some((plan, order)) = around(shown.state, chosen) {
            div.dag.fits id="dag" tabindex="0" role="region" aria-label="the chosen step and those beside it, drawn" {
                (dag::part(shown, &plan, &order, chosen))
            }
        }
        (search(frame, shown))
        @match shown.chosen.find.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => (found(shown, text, chosen)),
            None => @for (at, word) in GROUPS.iter().enumerate() {
                (group(shown, word, chosen, at < GROUPS_OPEN))
            },
        }
    }
}

/// The chosen step, those it needs, and those that need it, as a plan of their own.
fn around(state: &RunState, chosen: &str) -> Option<(Plan, Order)> {
    let (ix, ..) = state.find(&StepId::from(chosen))?;
    let near = |of: &[Vec<StepIx>]| -> Vec<StepIx> {
        of.get(ix.0).into_iter().flatten().take(NEAR_MAX).copied().collect()
    };
    let mut kept: BTreeSet<StepIx> = BTreeSet::from([ix]);
    kept.extend(near(&state.order.needs));
    kept.extend(near(&state.order.dependents));
    let planned: Vec<&PlanStep> = kept.iter().filter_map(|ix| state.plan_step(*ix)).collect();
    let is_kept = |id: &StepId| planned.iter().any(|step| step.id == *id);
    let step = |step: &&PlanStep| {
        let needs = step.needs.iter().filter(|id| is_kept(id)).cloned().collect();
        PlanStep { needs, ..(*step).clone() }
    };
    let plan = Plan { steps: planned.iter().map(step).collect(), ..state.plan.clone() };
    let order = Order::of(&plan.steps).ok()?;
    Some((plan, order))
}

fn search(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let spot = shown.spot();
    html! {
        form.filter method="get" action={ "/runs/" (spot.run) "#steps" } {
            @if let Some(at) = spot.at { input type="hidden" name="at" value=(at); }
            label { "Find a step "
                input type="search" name="find" id="find-step" value=[shown.chosen.find.as_ref()]
                    placeholder="name or title" autocomplete="off"; }
            button type="submit" { "Find" }
            @if shown.chosen.find.is_some() && !frame.alone { a href={ (spot.with("")) "#steps" } { "All" } }
        }
    }
}

fn found(shown: &Shown<'_>, text: &str, chosen: &str) -> Markup {
    let word = text.to_lowercase();
    let has = |step: &&StepView| {
        step.id.to_lowercase().contains(&word) || step.title.to_lowercase().contains(&word)
    };
    let steps: Vec<&StepView> = shown.view.steps.iter().filter(has).collect();
    html! {
        h3 { (steps.len()) " with \u{201c}" (text) "\u{201d}" }
        (listed(shown, &steps, chosen))
    }
}

fn group(shown: &Shown<'_>, word: &str, chosen: &str, open: bool) -> Markup {
    let steps: Vec<&StepView> = shown.view.steps.iter().filter(|s| s.state == word).collect();
    html! {
        @if !steps.is_empty() {
            details.list id={ "group-" (word) } open[open] {
                summary { (badge(word, state_sign(word))) " " (steps.len()) }
                (listed(shown, &steps, chosen))
            }
        }
    }
}

fn listed(shown: &Shown<'_>, steps: &[&StepView], chosen: &str) -> Markup {
    html! {
        ul { @for step in steps.iter().take(GROUP_SHOWN_MAX) { (row(shown.spot(), step, chosen)) } }
        @if steps.len() > GROUP_SHOWN_MAX {
            p.small { "and " (steps.len() - GROUP_SHOWN_MAX) " more; find them by name" }
        }
    }
}
