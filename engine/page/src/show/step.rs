//! One step in full.

use backout_server::graph::state_sign;
use backout_server::view::{EffectView, StepView, duration};
use maud::{Markup, html};
use serde_json::Value;

use super::command::commands;
use super::run::Shown;
use super::words::{ago, badge, plain};
use super::{Frame, locks, query};

/// Lines of a difference that are shown at once; the rest opens.
const DIFFERENCE_SHOWN: usize = 12;

/// The chosen step.
pub(super) fn step(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let Some(view) = shown.chosen_step() else { return html! {} };
    let offers = shown.offers_on(frame, &view.id);
    html! {
        section.step id="step" data-part="" aria-labelledby="step-head" tabindex="-1" {
            h2 id="step-head" { "Step " (view.id) " " (badge(&view.state, state_sign(&view.state))) }
            @if !view.title.is_empty() { p.lead { (view.title) } }
            @if let Some(note) = &view.note { p.note { (note) } }
            (facts(shown, view))
            @if let Some(trouble) = &view.trouble { div.card.is-failed { p { (trouble) } } }
            (proposed(view))
            (effects(view))
            (printed(shown, view))
            (output(&view.output))
            (captured(shown, view))
            (locks::of_step(frame, view, &shown.holders))
            @if !shown.is_record() {
                h3 { "What you can do" }
                (commands(shown.about(frame, "step", Some(view)), &offers))
            }
        }
    }
}

/// What it would change, as last looked at, with what to know before.
pub(super) fn proposed(view: &StepView) -> Markup {
    html! {
        @if !view.difference.is_empty() {
            div.difference {
                h4 { "What it changes" }
                pre { @for line in view.difference.iter().take(DIFFERENCE_SHOWN) { (line) "\n" } }
                @if view.difference.len() > DIFFERENCE_SHOWN {
                    details id={ "more-" (view.id) } {
                        summary { (view.difference.len() - DIFFERENCE_SHOWN) " more lines" }
                        pre { @for line in view.difference.iter().skip(DIFFERENCE_SHOWN) { (line) "\n" } }
                    }
                }
            }
        }
        @for hazard in &view.hazards {
            p.hazard { span.sign aria-hidden="true" { "!" } "Hazard " code { (hazard.code) } ": " (hazard.text) }
        }
    }
}

fn facts(shown: &Shown<'_>, view: &StepView) -> Markup {
    html! {
        dl.facts {
            dt { "Action" } dd { code { (view.action) } }
            @if let Some(guarantee) = &view.guarantee {
                dt { "Guarantee" } dd { (guarantee) } }
            @if let Some(reversibility) = &view.reversibility {
                dt { "Can be undone" } dd { (plain(reversibility)) } }
            @if view.attempts > 0 { dt { "Attempt" } dd { (view.attempts) } }
            @if let Some(wait) = &view.wait {
                dt { "Waits for" } dd { (wait.waits_for) ": " (wait.why)
                    @if let Some(due) = &wait.due { ", at " (super::words::clock(due)) }
                    @for run in &wait.held_by { " " a href={ "/runs/" (run) } { "run " (run) } } } }
            (times(shown, view))
            @if !view.approved_by.is_empty() {
                dt { "Approved by" } dd { (view.approved_by.join(", ")) } }
            @if !view.needs.is_empty() {
                dt { "Comes after" } dd { @for need in &view.needs {
                    a href=(shown.spot().step(need)) { (need) } " " } } }
            @if let Some(owner) = &view.owner { dt { "Who knows" } dd { (owner) } }
            @if let Some(url) = &view.runbook_url { dt { "More" } dd { (link(url)) } }
        }
    }
}

fn times(shown: &Shown<'_>, view: &StepView) -> Markup {
    html! {
        @if let Some(started) = &view.started {
            dt { "Started" } dd { (ago(started, shown.now)) }
        }
        @if let Some(took) = view.took_ms {
            dt { @if view.ended.is_some() { "Took" } @else { "So far" } }
            dd { (duration(took))
                @if let Some(late) = view.overdue_ms {
                    " " span.mark.loud { (duration(late)) " longer than expected" } } }
        }
    }
}

/// Only an address of the web becomes a link.
fn link(url: &str) -> Markup {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    html! {
        @if is_web { a href=(url) rel="noreferrer" { (url) } } @else { (url) }
    }
}

fn effects(view: &StepView) -> Markup {
    html! {
        @if !view.effects.is_empty() {
            h3 { "Effects of this attempt" }
            ol.effects { @for effect in &view.effects { li { (effect_of(effect)) } } }
        }
    }
}

fn effect_of(effect: &EffectView) -> Markup {
    html! {
        (badge(&effect.state, effect_sign(&effect.state))) " " (effect.title)
        @if effect.dispatch > 1 { " (sent " (effect.dispatch) " times)" }
        div.small { "key " code { (effect.key) } }
        @if let Some(evidence) = &effect.evidence { p.evidence { "Known of it: " (evidence) } }
    }
}

fn effect_sign(state: &str) -> &'static str {
    match state {
        "done" => "\u{2713}",
        "satisfied" => "=",
        "in-flight" => "\u{25b6}",
        "unclear" | "in-doubt" => "?",
        "again" => "\u{2026}",
        "refused" | "failed" => "\u{2717}",
        _ => "\u{25cb}",
    }
}

/// What it prints while it works; the script goes on from `next`.
fn printed(shown: &Shown<'_>, view: &StepView) -> Markup {
    let run = shown.spot().run;
    html! {
        @if let Some(piece) = &shown.printed {
            h3 { "What it prints" }
            pre.output.live-output id="live-output" tabindex="0" role="log" aria-label="what the step prints"
                data-next=(piece.next)
                data-follow={ "/api/v1/runs/" (run) "/printed/stream?step=" (query(&view.id)) } { (piece.text) }
        }
    }
}

/// All that it printed, where that was kept.
fn captured(shown: &Shown<'_>, view: &StepView) -> Markup {
    let log = view.output.get("log");
    let digest = log.and_then(|log| log.get("sha256")?.as_str());
    let bytes = log.and_then(|log| log.get("bytes")?.as_u64());
    html! {
        @if let (Some(digest), Some(bytes)) = (digest, bytes) {
            p { a href={ "/api/v1/runs/" (shown.spot().run) "/output/" (digest) } {
                "All that it printed" } " (" (bytes) " bytes)" }
        }
    }
}

/// Bytes of an output that are shown; the whole stands in `history --json`.
const OUTPUT_BYTES_SHOWN: usize = 20_000;

fn output(output: &Value) -> Markup {
    let is_empty = output.is_null() || output.as_object().is_some_and(serde_json::Map::is_empty);
    let text = serde_json::to_string_pretty(output).unwrap_or_default();
    let end = text.floor_char_boundary(OUTPUT_BYTES_SHOWN);
    html! {
        @if !is_empty {
            h3 { "Output" }
            pre.output tabindex="0" { (text[..end]) @if end < text.len() { "\n(cut)" } }
        }
    }
}
