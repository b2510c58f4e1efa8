//! Which runbooks there are, what one asks for, and what it would do.

use backout_core::contract::{Gate, Satisfied};
use backout_runbook::{Outline, ParamOutline};
use backout_runtime::survey::{EffectReport, Looked, StepReport};
use backout_server::PlanAnswer;
use backout_server::books::{BookListed, BookView};
use backout_server::problem::Problem;
use backout_server::view::{counted, duration};
use maud::{Markup, html};

use super::words::plain;
use super::{Frame, problem, query, whole};
use crate::start::{Fields, PARAM};

/// The runbooks that can be started by name.
pub(crate) fn all(frame: &Frame, is_open: bool, books: &[BookListed]) -> Markup {
    let main = html! {
        h1 { "Start a runbook" }
        section aria-label="Runbooks" {
            @if !is_open {
                p { "This engine was started without a folder of runbooks: "
                    code { "backout serve --runbooks DIR" } }
            } @else if books.is_empty() { p { "There is no runbook in the folder." } }
            ul.books { @for book in books { li { (listed(book)) } } }
        }
    };
    whole(frame, "Start a runbook - Backout", None, &main)
}

fn listed(book: &BookListed) -> Markup {
    let title = book.outline.as_ref().map_or("", |outline| outline.title.as_str());
    html! {
        a href={ "/start?runbook=" (query(&book.name)) } { (book.name) }
        @if !title.is_empty() { " " (title) }
        @if !book.problems.is_empty() {
            " " span.mark.loud { "cannot be run: " (counted(book.problems.len(), "problem")) }
        }
        @if let Some(outline) = &book.outline {
            div.small { (counted(outline.steps.len(), "step"))
                @if let Some(owner) = &outline.owner { ", kept by " (owner) } }
        }
    }
}

/// One runbook with what it asks for, and its plan where that was asked for.
pub(crate) fn one(
    frame: &Frame,
    book: &BookView,
    fields: &Fields,
    plan: Option<&Result<PlanAnswer, Problem>>,
) -> Markup {
    let listed = &book.listed;
    let main = html! {
        p { a href="/start" { "All runbooks" } }
        h1 { (listed.outline.as_ref().map_or(listed.name.as_str(), title)) }
        @if let Some(outline) = &listed.outline {
            @if !outline.description.is_empty() { p.lead { (outline.description) } }
        }
        @for fault in &listed.problems { p.card.is-failed { (fault) } }
        @for warning in &book.warnings { p.hazard { span.sign aria-hidden="true" { "!" } (warning) } }
        section aria-labelledby="params-head" { (asks(book, fields)) }
        @match plan {
            None => {}
            Some(Err(refused)) => { section aria-label="The plan" { (problem::card(refused)) } }
            Some(Ok(plan)) => (seen(frame, book, fields, plan)),
        }
    };
    whole(frame, &format!("Start {} - Backout", listed.name), None, &main)
}

fn title(outline: &Outline) -> &str {
    if outline.title.is_empty() { &outline.name } else { &outline.title }
}

/// What it asks for. The address then holds the answers, so that a reload loses nothing.
fn asks(book: &BookView, fields: &Fields) -> Markup {
    let params = book.listed.outline.as_ref().map_or(&[][..], |outline| &outline.params);
    html! {
        h2 id="params-head" { "Parameters" }
        form.params method="get" action="/start" {
            input type="hidden" name="runbook" value=(book.listed.name);
            input type="hidden" name="look" value="1";
            @if params.is_empty() { p { "It asks for nothing." } }
            @for param in params { (asked(param, fields)) }
            button type="submit" disabled[!book.listed.problems.is_empty()] { "See what it would do" }
            p.small { "It looks at every target, and changes nothing." }
        }
    }
}

fn asked(param: &ParamOutline, fields: &Fields) -> Markup {
    let name = format!("{PARAM}{}", param.name);
    let default = param.default.as_ref().map(|value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    });
    let given = fields.get(&name).map_or("", String::as_str);
    let id = format!("param-{}", param.name);
    html! {
        label {
            b { (param.name) } @if default.is_none() { " (required)" }
            @if param.secret { " (a secret: give a reference such as env:NAME)" }
            @if !param.help.is_empty() { " " span.small { (param.help) } }
            @if param.options.is_empty() {
                input name=(name) id=(id) value=(given) required[default.is_none()]
                    placeholder=[default.as_deref()] pattern=[param.pattern.as_deref()]
                    autocomplete="off" spellcheck="false";
            } @else {
                select name=(name) id=(id) required[default.is_none()] {
                    option value="" { (default.as_deref().unwrap_or("choose")) }
                    @for option in &param.options {
                        option value=(option) selected[option == given] { (option) }
                    }
                }
            }
        }
    }
}

/// The plan, and the button that starts it.
fn seen(frame: &Frame, book: &BookView, fields: &Fields, plan: &PlanAnswer) -> Markup {
    let report = &plan.report;
    html! {
        section.now aria-labelledby="plan-head" {
            h2 id="plan-head" { "What it would do" }
            p.lead { (counted(report.steps.len(), "step"))
                @if let Some(place) = &report.environment {
                    " in " b { (place.name) } @if place.protected { " (protected)" } }
                @if let Some(step) = &report.point_of_no_return {
                    "; no full way back from " b { (step) } " on" } }
            @for warning in &report.warnings { p.hazard { span.sign aria-hidden="true" { "!" } (warning) } }
            ol.plan { @for step in &report.steps { li { (would(step)) } } }
            (start(frame, book, fields, plan))
        }
    }
}

fn would(step: &StepReport) -> Markup {
    html! {
        b { (step.id) } " " code { (step.action) } " " span.small { "wave " (step.wave) ", " (step.guarantee.word()) }
        @if !step.title.is_empty() { div { (step.title) } }
        @match step.looked {
            Looked::Seen => {}
            Looked::Refused => p.card.is-failed { "Refused: " (reason(step)) },
            Looked::NotSeen => p.card.is-in-doubt { "Not seen: " (reason(step)) },
            Looked::NotYet | Looked::Skipped => p.small { (reason(step)) },
        }
        @for effect in &step.effects { (effect_of(effect)) }
        @for hazard in &step.hazards {
            p.hazard { span.sign aria-hidden="true" { "!" } "Hazard " code { (hazard.code) } ": " (hazard.text)
                @if hazard.accepted { " (accepted in the file)" } }
        }
        @match &step.gate {
            None => {}
            Some(Gate::Approval { text }) => p { "Asks a person: " (text) },
            Some(Gate::Timer { ms }) => p { "Waits " (duration(*ms)) },
        }
        @if let Some(approval) = &step.approval {
            p { "Waits for " (counted(usize::try_from(approval.count).unwrap_or(1), "approval"))
                @if !approval.by.is_empty() { " by " (approval.by.join(" or ")) } }
        }
        @if let Some(soak) = step.soak_ms { p.small { "must stay as wanted for " (duration(soak)) } }
    }
}

fn reason(step: &StepReport) -> &str {
    step.reason.as_deref().unwrap_or("no reason is known")
}

fn effect_of(effect: &EffectReport) -> Markup {
    html! {
        @if effect.satisfied == Satisfied::Yes {
            p { span.sign aria-hidden="true" { "=" } (effect.title) " (as wanted already)" }
        } @else {
            p { (effect.title) span.small { ", undo gives: " (plain(effect.reversibility.word())) } }
            @if !effect.difference.is_empty() {
                pre { @for line in &effect.difference { (line) "\n" } }
            }
        }
    }
}

/// The form carries the plan's digest: only what was seen is started.
fn start(frame: &Frame, book: &BookView, fields: &Fields, plan: &PlanAnswer) -> Markup {
    html! {
        form.start method="post" action="/start" {
            input type="hidden" name="token" value=(frame.token);
            input type="hidden" name="command" value=(frame.command);
            input type="hidden" name="runbook" value=(book.listed.name);
            input type="hidden" name="digest" value=(plan.digest);
            @for (name, value) in fields.iter().filter(|(name, _)| name.starts_with(PARAM)) {
                input type="hidden" name=(name) value=(value);
            }
            label { "Reason (it stands in the record); may stay empty"
                textarea name="reason" id="start-reason" rows="2" {} }
            button type="submit" { "Start " (book.listed.name) }
        }
    }
}
