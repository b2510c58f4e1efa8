//! What happened, the newest first.

use backout_core::event::Recorded;
use backout_core::exercise::is_drilled;
use backout_core::id::Seq;
use backout_core::state::RunState;
use backout_server::problem::Problem;
use backout_server::view::{rfc3339, sentence};
use maud::{Markup, html};

use super::Spot;
use super::words::{clock, vouched};
use crate::book::Book;

/// Events on one page.
const LINES_SHOWN: u64 = 80;

/// The events to show: the last ones, or those before one.
pub(crate) fn read(
    book: &Book,
    state: &RunState,
    before: Option<u64>,
) -> Result<Vec<Recorded>, Problem> {
    let end = before.unwrap_or(u64::MAX).min(state.seq.0 + 1);
    let from = end.saturating_sub(LINES_SHOWN).max(1);
    let limit = usize::try_from(end.saturating_sub(from)).unwrap_or(0);
    book.events(&state.run, Seq(from), limit)
}

/// The section.
pub(super) fn timeline(spot: Spot<'_>, lines: &[Recorded], before: Option<u64>) -> Markup {
    html! {
        section.timeline id="timeline" data-part="" aria-labelledby="timeline-head" {
            h2 id="timeline-head" { "What happened" }
            @if let Some(before) = before {
                p { "Up to event " (before.saturating_sub(1)) ". "
                    a href={ (spot.with("")) "#timeline" } { "Show the newest" } }
            }
            ol.events reversed {
                @for at in (0..lines.len()).rev() { (line(spot, lines, at)) }
            }
            @if let Some(first) = lines.first().filter(|first| first.seq.0 > 1) {
                p { a href={ (spot.with(&format!("before={}", first.seq))) "#timeline" } { "Earlier" } }
            }
        }
    }
}

/// One event. What a person said stands at the first event of their command only.
pub(super) fn line(spot: Spot<'_>, lines: &[Recorded], at: usize) -> Markup {
    let Some(recorded) = lines.get(at) else { return html! {} };
    let (step, what) = sentence(&recorded.event);
    let cause = &recorded.cause;
    let by_person = cause.actor.name != "engine";
    let before = at.checked_sub(1).and_then(|before| lines.get(before));
    let goes_on = before.is_some_and(|before| before.cause == *cause);
    html! {
        li.person[by_person] value=(recorded.seq) {
            a.then href=(spot.after(recorded.seq.0).with("")) title="what was known then" {
                time datetime=(rfc3339(recorded.at)) { (clock(&rfc3339(recorded.at))) } } " "
            @if let Some(step) = step { a href=(spot.step(&step)) { (step) } " " }
            @if is_drilled(recorded) { span.mark { "DRILL" } " " }
            span.what { (what) }
            @if by_person {
                " " b.by { "by " (cause.actor.name) }
                (vouched(&cause.actor))
            }
            @if cause.break_glass { " " span.mark.loud { "break glass" } }
            @if let Some(reason) = cause.reason.as_ref().filter(|_| !goes_on) { q.reason { (reason) } }
        }
    }
}
