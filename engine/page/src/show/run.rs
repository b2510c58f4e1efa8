//! One run.

use backout_core::command::Ask;
use backout_core::event::{Cause, Recorded};
use backout_core::id::{StepId, Timestamp};
use backout_core::state::RunState;
use backout_server::Piece;
use backout_server::graph::{layout, state_sign};
use backout_server::problem::Problem;
use backout_server::view::{
    MessageView, Offer, Offered, RunView, StepView, ask_of, counted, duration, left_words, offers,
    offers_on,
};
use maud::{Markup, html};
use serde_json::json;

use super::command::{About, commands};
use super::locks::Holder;
use super::words::{ago, badge, plain, run_sign};
use super::{
    Frame, Spot, big, dag, exercise, messages, now, problem, replay, step, timeline, whole,
};
use crate::form::Sent;
use crate::routes::Chosen;

/// Events that are told to whom somebody else was faster.
pub(crate) const SINCE_MAX: usize = 10;
/// Steps of a plan that is drawn whole.
const DRAWN_MAX: usize = 400;
/// Steps of the longest chain that are named.
const CHAIN_SHOWN_MAX: usize = 30;

/// A run, and what of it is shown.
pub(crate) struct Shown<'a> {
    pub(crate) state: &'a RunState,
    pub(crate) view: &'a RunView,
    pub(crate) lines: &'a [Recorded],
    pub(crate) chosen: &'a Chosen,
    /// When the page is made.
    pub(crate) now: Timestamp,
    /// The runs that hold what the chosen step waits for.
    pub(crate) holders: Vec<Holder>,
    /// The last messages to people outside.
    pub(crate) messages: Vec<MessageView>,
    /// What the chosen step printed so far, where it is at work.
    pub(crate) printed: Option<Piece>,
    /// The form that was just refused.
    pub(crate) sent: Option<&'a Sent>,
}

/// A command that was not followed.
pub(crate) struct Refusal<'a> {
    pub(crate) run: String,
    pub(crate) problem: &'a Problem,
    pub(crate) sent: &'a Sent,
    /// What happened since the person looked.
    pub(crate) since: &'a [Recorded],
}

impl<'a> Shown<'a> {
    pub(super) fn step(&self, id: &str) -> Option<&'a StepView> {
        self.view.steps.iter().find(|step| step.id == id)
    }

    /// Where it is, for links.
    pub(super) fn spot(&self) -> Spot<'a> {
        Spot { run: &self.view.run, at: self.view.replay.as_ref().map(|replay| replay.at) }
    }

    /// Whether it is shown as it was: then nothing can be commanded.
    pub(super) fn is_replay(&self) -> bool {
        self.view.replay.is_some()
    }

    /// Whether nothing can be asked of it: a replay, or the record of an exercise that is over.
    pub(super) fn is_record(&self) -> bool {
        self.view.is_record()
    }

    /// The step that was chosen; else the first that wants something, moves, or is there.
    pub(crate) fn chosen_step(&self) -> Option<&'a StepView> {
        let chosen = self.chosen.step.as_deref().and_then(|id| self.step(id));
        let wanted = || self.view.wants.iter().find_map(|want| self.step(&want.step));
        let moving = || self.view.next.iter().find_map(|id| self.step(id));
        chosen.or_else(wanted).or_else(moving).or_else(|| self.view.steps.last())
    }

    /// The commands about the run, with what this person may not.
    pub(super) fn offers(&self, frame: &Frame) -> Vec<Offer> {
        let all = offers(self.state, frame.now, &frame.actor, self.view.driven);
        self.allowed(frame, None, all)
    }

    /// The commands about a step, with what this person may not.
    pub(super) fn offers_on(&self, frame: &Frame, step: &str) -> Vec<Offer> {
        let all = offers_on(self.state, &StepId::from(step), frame.now, &frame.actor);
        self.allowed(frame, Some(step), all)
    }

    fn allowed(&self, frame: &Frame, step: Option<&str>, mut offers: Vec<Offer>) -> Vec<Offer> {
        for offer in &mut offers {
            let Some(offered) = offer.offered() else { continue };
            if let Err(problem) = may_ask(frame, self.state, offered, step) {
                offer.refused = Some(problem.detail);
                offer.help = problem.help;
            }
        }
        offers
    }

    /// About what the forms of a place ask.
    pub(super) fn about(
        &self,
        frame: &'a Frame,
        place: &'a str,
        step: Option<&'a StepView>,
    ) -> About<'a> {
        let consent = step.and_then(|step| step.wait.as_ref()?.consent.as_deref());
        let planned = step.and_then(|step| self.state.find(&StepId::from(step.id.as_str())));
        About {
            frame,
            run: &self.view.run,
            seq: self.view.seq,
            consent,
            with: planned.map(|(_, planned, _)| &planned.with),
            locks: &self.view.locks,
            refused: self.sent,
            place,
        }
    }
}

/// Whether this person may give a command, with something in each of its fields.
pub(super) fn may_ask(
    frame: &Frame,
    state: &RunState,
    offered: &Offered,
    step: Option<&str>,
) -> Result<(), Problem> {
    let fields = json!({ "text": "-", "with": {}, "to": "-", "targets": [] });
    let fields = offered.fields_of(fields.as_object().cloned().unwrap_or_default());
    let Ok(ask) = ask_of(offered, step, fields) else { return Ok(()) };
    let actor = frame.actor.clone();
    let break_glass = offered.break_glass;
    let cause = Cause { command: None, actor, reason: Some("-".to_owned()), break_glass };
    if ask == Ask::Resume {
        return frame.sender.may_resume(state, &cause);
    }
    frame.sender.may_ask(&ask, state, &cause)
}

/// The page of a run.
pub(crate) fn page(frame: &Frame, shown: &Shown<'_>, refused: Option<&Refusal<'_>>) -> Markup {
    let view = shown.view;
    let main = html! {
        @if let Some(refusal) = refused { (not_followed(refusal)) }
        @if let Some(seq) = shown.chosen.said.filter(|_| refused.is_none()) {
            p.said role="status" id="said" { "Recorded as event " (seq) "." }
        }
        @if let Some(drill) = view.drill.as_ref().filter(|_| frame.exercise.is_none()) {
            (exercise::mark(drill))
        }
        @if let Some(place) = &view.replay { (replay::replay(frame, shown, place)) }
        (head(shown))
        @if !shown.is_replay() { (exercise::told(frame)) }
        (now::now(frame, shown))
        div.columns {
            (steps(frame, shown))
            (step::step(frame, shown))
        }
        @if !shown.is_replay() {
            (whole_run(frame, shown))
            (messages::messages(shown))
        }
        (timeline::timeline(shown.spot(), shown.lines, shown.chosen.before))
    };
    let live = format!("/api/v1/runs/{}/events/stream?from={}", view.run, view.seq + 1);
    whole(frame, &title(view), Some(live.as_str()).filter(|_| !shown.is_replay()), &main)
}

/// The tab says what needs a person without being looked at.
fn title(view: &RunView) -> String {
    let asks = match view.wants.len() {
        0 => String::new(),
        count => format!("({count}) "),
    };
    let replay = view.replay.as_ref().map(|_| "Replay: ").unwrap_or_default();
    let drill = view.drill.as_ref().map(|_| "DRILL: ").unwrap_or_default();
    format!("{drill}{replay}{asks}{} {} - Backout", plain(&view.state), view.runbook)
}

fn not_followed(refusal: &Refusal<'_>) -> Markup {
    let label = refusal.sent.offered().map_or("", |offered| offered.label);
    html! {
        div.refusal id="refusal" {
            h2 { "Not done: " (label) }
            (problem::card(refusal.problem))
            @if !refusal.since.is_empty() {
                p { "Since you looked:" }
                ol.events { @for at in 0..refusal.since.len() {
                    (timeline::line(Spot::now(&refusal.run), refusal.since, at)) } }
            }
            @if !refusal.sent.reason.trim().is_empty() {
                p { "You wrote: " q { (refusal.sent.reason) } }
            }
        }
    }
}

fn head(shown: &Shown<'_>) -> Markup {
    let view = shown.view;
    let title = if view.title.is_empty() { &view.runbook } else { &view.title };
    html! {
        section.head id="head" data-part="" {
            h1 { (title) }
            p.state {
                (badge(&view.state, run_sign(&view.state)))
                @if view.undoing { " " span.mark { "undoing what it did" } }
                @if view.closed { " " span.mark { "closed" } }
                @if view.stale { " " span.mark.loud { "stale" } }
                @if view.break_glass { " " span.mark.loud { "break glass: the rules were set aside" } }
                @if let Some(offer) = &shown.state.offer {
                    " " span.mark { "command offered to " (offer.to) }
                }
            }
            (lineage(shown.state))
            (gist(shown))
            @if !shown.is_replay() {
                p.small { a href=(shown.spot().after(1).with("")) { "Replay it from its first event" } }
            }
            details.more id="facts" {
                summary { "More about this run" }
                (facts(shown))
            }
        }
    }
}

/// The runs before and after it.
fn lineage(state: &RunState) -> Markup {
    html! {
        @if let Some(by) = &state.superseded_by {
            p.lead { "Run " a href={ "/runs/" (by) } { (by) } " goes on in its place." }
        }
        @if let Some(from) = &state.continues {
            p { "It goes on for run " a href={ "/runs/" (from) } { (from) } "." }
        }
    }
}

/// What to know at a glance.
fn gist(shown: &Shown<'_>) -> Markup {
    let view = shown.view;
    let (done, held) = (view.listed().done, shown.state.held.len());
    html! {
        p.gist {
            (done) " of " (counted(view.steps.len(), "step")) " done"
            @if held > 0 { ", " (held) " held back" }
            ", " @if view.ended.is_some() { "lasted " } @else { "for " }
            (duration(view.took_ms / 1_000 * 1_000))
            @if let Some(left) = time_left(view) { ", " b { (left) } }
            @if let Some(place) = &view.environment {
                ", in " b { (place.name) } @if place.protected { " (protected)" } }
            ", commanded by " b { (shown.state.commander.name) }
        }
        @if let Some(edge) = &view.point_of_no_return {
            p.edge {
                @if edge.passed { b { "Past the point of no return: " } }
                @else { "No full way back from " }
                a href=(shown.spot().step(&edge.step)) { (edge.step) }
                @if edge.passed { " is done, and can be undone: " } @else { " on, which can be undone: " }
                (plain(&edge.reversibility))
            }
        }
    }
}

/// What is left, while it goes on.
fn time_left(view: &RunView) -> Option<String> {
    view.time.as_ref().filter(|_| view.ended.is_none()).and_then(left_words)
}

/// The chain of steps that the time left is made of.
fn longest(shown: &Shown<'_>) -> Markup {
    let time = shown.view.time.as_ref().filter(|_| shown.view.ended.is_none());
    html! {
        @if let Some(time) = time {
            @if time.left_max_ms > 0 {
                dt { "Longest chain left" } dd { @for step in time.longest.iter().take(CHAIN_SHOWN_MAX) {
                    a href=(shown.spot().step(step)) { (step) } " " }
                    @if time.longest.len() > CHAIN_SHOWN_MAX {
                        "and " (time.longest.len() - CHAIN_SHOWN_MAX) " more" } } }
            @if time.unknown > 0 {
                dt { "Not counted" } dd { (counted(time.unknown, "step")) " that nobody has an expectation of" } }
        }
    }
}

fn facts(shown: &Shown<'_>) -> Markup {
    let view = shown.view;
    html! {
        dl.facts {
            dt { "Run" } dd { code { (view.run) } " of " (view.runbook) }
            dt { "Started" } dd { (ago(&view.created, shown.now)) ", by " (view.starter) }
            (longest(shown))
            dt { "Engine" } dd { @if view.driven { (view.engine) }
                @else { "none now; last " (view.engine) } }
            @if let Some(owner) = &view.owner { dt { "Runbook kept by" } dd { (owner) } }
            @if let Some(offer) = &shown.state.offer {
                dt { "Command" } dd { "offered to " b { (offer.to) } " by " (offer.by.name) } }
            @if !view.locks.is_empty() {
                dt { "Holds" } dd { @for lock in &view.locks { code { (lock) } " " } } }
        }
    }
}

fn steps(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let chosen = shown.chosen_step().map_or("", |step| step.id.as_str());
    html! {
        section.steps id="steps" data-part="" aria-labelledby="steps-head" {
            h2 id="steps-head" { "Steps" }
            @if shown.view.steps.len() > DRAWN_MAX { (big::steps(frame, shown, chosen)) }
            @else {
                div.dag.fits[fits(shown.state)] id="dag" tabindex="0" role="region" aria-label="the steps, drawn" {
                    (dag::dag(shown, chosen))
                }
                details.list id="step-list" {
                    summary { "As a list (" (shown.view.steps.len()) ")" }
                    ol { @for step in &shown.view.steps { (row(shown.spot(), step, chosen)) } }
                }
            }
        }
    }
}

/// Pixels across a drawing that is still read when it is made to fit.
const FITS_WIDTH_MAX: f64 = 1_300.0;

fn fits(state: &RunState) -> bool {
    layout(&state.plan, &state.order).width <= FITS_WIDTH_MAX
}

pub(super) fn row(spot: Spot<'_>, step: &StepView, chosen: &str) -> Markup {
    let current = (step.id == chosen).then_some("true");
    html! {
        li {
            a href=(spot.step(&step.id)) aria-current=[current] { (step.id) } " "
            (badge(&step.state, state_sign(&step.state)))
            @if !step.title.is_empty() { span.small { " " (step.title) } }
        }
    }
}

fn whole_run(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let view = shown.view;
    let offers = shown.offers(frame);
    let over = shown.is_record();
    html! {
        section.whole id="whole" data-part="" aria-labelledby="whole-head" {
            h2 id="whole-head" { "The run as a whole" }
            @if over { p { "The exercise is over: nothing is asked of this run any more." } }
            @else { (commands(shown.about(frame, "run", None), &offers)) }
            @if !view.notes.is_empty() {
                h3 { "Notes" }
                ul.notes { @for note in view.notes.iter().rev() { li { (note) } } }
            }
            p.typed { "On a terminal: " code { "backout status " (view.run) } ", "
                @if over { code { "backout replay " (view.run) } }
                @else { code { "backout watch " (view.run) } "; without an engine: "
                    code { "backout by-hand " (view.run) } } }
        }
    }
}
