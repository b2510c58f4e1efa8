//! The bar by which one moves through a record. It works by links and a form; the script only spares
//! the reload, and plays.

use backout_server::view::ReplayView;
use maud::{Markup, html};

use super::run::Shown;
use super::words::clock;
use super::{Frame, Spot};

/// How much faster than it was a record is played.
const SPEEDS: [(u32, &str); 5] = [
    (1, "as fast as it was"),
    (10, "10 times"),
    (60, "60 times"),
    (600, "600 times"),
    (3_600, "an hour a second"),
];
/// The one that is chosen at first.
const SPEED_FIRST: u32 = 10;

/// Where in the record the page stands, and how to move.
pub(super) fn replay(frame: &Frame, shown: &Shown<'_>, place: &ReplayView) -> Markup {
    html! {
        section.replay id="replay" aria-labelledby="replay-head" {
            div id="replay-place" data-part="" aria-live="polite" { (stands(frame, shown, place)) }
            (scrubber(shown, place))
            div id="replay-moves" data-part="" { (moves(shown, place)) }
        }
    }
}

fn stands(frame: &Frame, shown: &Shown<'_>, place: &ReplayView) -> Markup {
    html! {
        div.place data-at=(place.at) data-last=(place.last) data-ahead=(joined(&place.ahead_ms))
            data-words=(words(place)) {
            h2 id="replay-head" {
                span.mark.loud { "Replay" } " Event " (place.at) " of " (place.last) ", "
                time datetime=(place.moment) { (day(&place.moment)) " " (clock(&place.moment)) }
            }
            p.lead {
                @if let Some(step) = &place.on { a href=(shown.spot().step(step)) { (step) } " " }
                (place.says)
                @if place.by != "engine" { " " b { "by " (place.by) } }
                @if let Some(reason) = &place.reason { ": " q { (reason) } }
            }
            p.small {
                "What was known just then. Nothing can be commanded in a replay."
                @if !frame.alone { " " a href=(Spot::now(shown.spot().run).with("")) { "Back to now" } }
            }
        }
    }
}

/// `2026-11-23T02:58:01.123Z` as `2026-11-23`.
fn day(rfc3339: &str) -> &str {
    rfc3339.split_once('T').map_or("", |(day, _)| day)
}

/// The place in one line, for who hears it.
fn words(place: &ReplayView) -> String {
    let on = place.on.as_ref().map(|step| format!("{step} ")).unwrap_or_default();
    let (at, last, says) = (place.at, place.last, &place.says);
    format!("event {at} of {last}, {}: {on}{says}", clock(&place.moment))
}

fn joined(numbers: &[u64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Stays in its place while the page around it moves: it may be held by a finger.
fn scrubber(shown: &Shown<'_>, place: &ReplayView) -> Markup {
    html! {
        form.scrub id="scrub" method="get" action={ "/runs/" (shown.spot().run) } {
            input type="range" id="scrub-at" name="at" min="1" max=(place.last) value=(place.at)
                list="scrub-decisions" aria-label="Event" aria-valuetext=(words(place))
                aria-describedby="scrub-keys";
            datalist id="scrub-decisions" {
                @for decision in &place.decisions { option value=(decision) {} }
            }
            @if let Some(step) = shown.chosen.step.as_ref() {
                input type="hidden" name="step" value=(step);
            }
            button.go type="submit" { "Go there" }
            div.player hidden {
                button type="button" id="scrub-play" { "Play" }
                label { "Speed " select id="scrub-speed" { @for (speed, says) in SPEEDS {
                    option value=(speed) selected[speed == SPEED_FIRST] { (says) } } } }
            }
            p.small id="scrub-keys" hidden {
                "On the bar: arrow keys go by one event, n and p to the next and the last decision, space plays."
            }
        }
    }
}

fn moves(shown: &Shown<'_>, place: &ReplayView) -> Markup {
    let before = place.at.checked_sub(1).filter(|at| *at > 0);
    let next = Some(place.at + 1).filter(|at| *at <= place.last);
    let to = |id: &str, words: &str, at: Option<u64>| to(shown, id, words, at);
    html! {
        nav.moves aria-label="Move in the record" {
            (to("move-first", "First", before.map(|_| 1)))
            (to("move-before", "One back", before))
            (to("move-next", "One on", next))
            (to("move-decision-before", "Decision before", place.decision_before))
            (to("move-decision-next", "Next decision", place.decision_next))
            (to("move-last", "Last", next.map(|_| place.last)))
        }
    }
}

fn to(shown: &Shown<'_>, id: &str, words: &str, at: Option<u64>) -> Markup {
    let step = shown.chosen.step.as_ref();
    let step = step.map(|step| format!("step={}", super::query(step))).unwrap_or_default();
    html! {
        @match at {
            Some(at) => a.move id=(id) href=(shown.spot().after(at).with(&step)) { (words) },
            None => span.move id=(id) aria-disabled="true" { (words) },
        }
    }
}
