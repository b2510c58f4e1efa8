//! Who holds which target; having a run let go of one, and holding one against others.

use std::sync::Arc;

use backout_core::event::Wait;
use backout_core::id::{RunId, StepId, TargetId};
use backout_core::state::{RunState, StepState};
use backout_server::view::{LockView, Offer, StepView, offer_with};
use maud::{Markup, html};
use serde_json::{Map, json};

use super::command::{About, form};
use super::run::may_ask;
use super::words::{badge, run_sign};
use super::{Frame, Spot, whole};

/// A run that holds something, and what of it is wanted.
pub(crate) struct Holder {
    pub(crate) state: Arc<RunState>,
    pub(crate) targets: Vec<TargetId>,
}

/// The runs that hold what a step waits for, each with its targets.
pub(crate) fn holders(state: &RunState, step: &str) -> Vec<(RunId, Vec<TargetId>)> {
    let step = state.find(&StepId::from(step)).map(|(_, _, step)| &step.state);
    let Some(StepState::Waiting(Wait::Lock { holders })) = step else { return Vec::new() };
    let mut runs: Vec<(RunId, Vec<TargetId>)> = Vec::new();
    for holder in holders {
        match runs.iter_mut().find(|(run, _)| *run == holder.run) {
            Some((_, targets)) => targets.push(holder.target.clone()),
            None => runs.push((holder.run.clone(), vec![holder.target.clone()])),
        }
    }
    runs
}

/// Every target that is held. `held` goes with `locks`, one for one.
pub(crate) fn page(frame: &Frame, locks: &[LockView], held: &[Option<Holder>]) -> Markup {
    let main = html! {
        h1 { "Locks" }
        p.lead { "A run holds a target from its first use until the run ends, so that no two change it at once." }
        section id="locks" data-part="" aria-label="Targets that are held" {
            @if locks.is_empty() { p.empty { "No target is held." } }
            @for (at, (lock, holder)) in locks.iter().zip(held).enumerate() {
                (one(frame, lock, holder.as_ref(), at))
            }
        }
        (hold(frame))
    };
    whole(frame, "Locks - Backout", Some("/api/v1/changes"), &main)
}

fn one(frame: &Frame, lock: &LockView, holder: Option<&Holder>, at: usize) -> Markup {
    html! {
        div.card id={ "lock-" (at) } {
            h2 { code { (lock.target) } }
            p { "held by run " a href=(Spot::now(&lock.run).with("")) { (lock.run) } " of " (lock.runbook)
                ", commanded by " b { (lock.commander) } " "
                (badge(&lock.state, run_sign(&lock.state))) }
            @if !lock.waiting.is_empty() {
                p { b { "Waiting for it: " } @for run in &lock.waiting {
                    a href=(Spot::now(run).with("")) { "run " (run) } " " } }
            }
            @if let Some(holder) = holder { (let_go(frame, holder, &format!("lock-{at}"))) }
        }
    }
}

/// Has a run let go of what is wanted of it.
pub(super) fn let_go(frame: &Frame, holder: &Holder, place: &str) -> Markup {
    let state = &holder.state;
    let targets: Vec<String> = holder.targets.iter().map(ToString::to_string).collect();
    let fields = Map::from_iter([("targets".to_owned(), json!(targets))]);
    let offer = offer_with(state, frame.now, &frame.actor, "yield", fields);
    let Some(offer) = offer.map(|offer| allowed(frame, state, offer)) else { return html! {} };
    let run = state.run.as_str();
    let about = About {
        frame,
        run,
        seq: state.seq.0,
        consent: None,
        with: None,
        locks: &targets,
        refused: None,
        place,
    };
    html! {
        @match &offer.refused {
            None => div.commands { (form(about, &offer)) },
            Some(why) => p.not { button type="button" disabled { "Have run " (run) " let go" } " " (why)
                @if let Some(help) = &offer.help { "; " (help) } },
        }
    }
}

fn allowed(frame: &Frame, state: &RunState, offer: Offer) -> Offer {
    let refused = offer.offered().and_then(|offered| may_ask(frame, state, offered, None).err());
    match refused {
        Some(problem) => Offer { refused: Some(problem.detail), help: problem.help, ..offer },
        None => offer,
    }
}

/// What a step waits for, with who holds it.
pub(super) fn of_step(frame: &Frame, step: &StepView, holders: &[Holder]) -> Markup {
    html! {
        @if !holders.is_empty() {
            h3 { "Take over what it waits for" }
            @for (at, holder) in holders.iter().enumerate() {
                p { "Run " a href=(Spot::now(holder.state.run.as_str()).with("")) { (holder.state.run) }
                    " of " (holder.state.plan.name) ", commanded by " b { (holder.state.commander.name) }
                    ", holds " @for target in &holder.targets { code { (target) } " " }
                    "and is " (holder.state.status().word()) "." }
                (let_go(frame, holder, &format!("take-{}-{at}", step.id)))
            }
        }
    }
}

fn hold(frame: &Frame) -> Markup {
    html! {
        section.hold aria-labelledby="hold-head" {
            h2 id="hold-head" { "Hold targets" }
            p { "Makes a run that locks them and waits: no other run changes them until its step "
                code { "release" } " is approved." }
            form method="post" action="/locks" {
                input type="hidden" name="token" value=(frame.token);
                input type="hidden" name="command" value=(frame.command);
                label { "Targets, one a line"
                    textarea name="targets" id="hold-targets" rows="2" required spellcheck="false" {} }
                label { "Reason (it stands in the record)"
                    textarea name="reason" id="hold-reason" rows="2" required {} }
                button type="submit" { "Hold them" }
            }
        }
    }
}
