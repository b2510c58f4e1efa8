//! An exercise on every page: the banner that nobody overlooks, and what those who take part are told.

use backout_server::desk::{ExerciseView, Told};
use backout_server::view::{DrillView, EMERGENCY, duration};
use maud::{Markup, html};

use super::Frame;

/// That it is an exercise, above every page of it; or that it is none any more.
pub(super) fn banner(frame: &Frame) -> Markup {
    let Some(exercise) = &frame.exercise else { return html! {} };
    html! {
        div.exercise id="drill" data-part="" {
            @if let Some(by) = &exercise.emergency { (real(by)) }
            @else {
                p.drill {
                    b.word { (word(exercise)) } " " span.title { (exercise.title) }
                    span.pace { (pace(exercise)) }
                }
                @if exercise.over.is_none() { (emergency(frame)) }
            }
        }
    }
}

/// What it is, in one word.
pub(super) fn word(exercise: &ExerciseView) -> &'static str {
    if exercise.run.is_empty() { "DISCUSSION" } else { "DRILL" }
}

/// The same for the record of an exercise, which nobody leads any more.
pub(super) fn mark(drill: &DrillView) -> Markup {
    html! {
        div.exercise id="drill" data-part="" {
            @if let Some(called) = &drill.emergency { (real(called)) }
            @else {
                p.drill {
                    b.word { "DRILL" } " " span.title { (drill.title) }
                    @match drill.broken_off() {
                        Some(at) => { " (a record: broken off after " (at) " of its clock, nobody leads it any more)" },
                        None => " (a record)",
                    }
                }
            }
        }
    }
}

fn real(by: &str) -> Markup {
    html! {
        div.real role="alert" {
            p.word { (EMERGENCY) }
            p { "Called by " b { (by) } ". Leave this page; nothing here is or was real." }
        }
    }
}

pub(super) fn pace(exercise: &ExerciseView) -> Markup {
    let lasts = duration(exercise.lasts_ms);
    let goes = if exercise.stopped || exercise.over.is_some() { 0 } else { exercise.speed };
    html! {
        time.clock data-clock=(exercise.lasted_ms) data-speed=(goes) { (clock(exercise.lasted_ms)) }
        " of " (lasts)
        @if let Some(over) = &exercise.over { ", over: " (over) }
        @else if exercise.stopped { ", the clock stands still" }
        @else if exercise.speed > 1 { ", " (exercise.speed) " times as fast" }
    }
}

/// `+03:20`.
fn clock(ms: u64) -> String {
    format!("+{:02}:{:02}", ms / 60_000, ms / 1_000 % 60)
}

fn emergency(frame: &Frame) -> Markup {
    html! {
        details.command.do-emergency id="do-emergency" {
            summary { "REAL EMERGENCY" }
            form method="post" action="/exercise/emergency" {
                p.does { "Ends the exercise at once, on every screen." }
                input type="hidden" name="token" value=(frame.token);
                label { "What has happened"
                    input name="text" id="emergency-text" autocomplete="off"; }
                button.do type="submit" { "End the exercise: this is real" }
            }
        }
    }
}

/// What those who take part are told.
pub(super) fn told(frame: &Frame) -> Markup {
    let Some(exercise) = &frame.exercise else { return html! {} };
    html! {
        section.briefing id="briefing" data-part="" aria-labelledby="briefing-head" {
            h2 id="briefing-head" { "What you are told" }
            ol.briefs reversed {
                @for told in exercise.told.iter().rev() { li { (message(told)) } }
                @if !exercise.situation.is_empty() {
                    li { p.from { time { "+00:00" } " " b { "the situation" } } p { (exercise.situation) } }
                }
            }
        }
    }
}

pub(super) fn message(told: &Told) -> Markup {
    html! {
        p.from {
            time { (told.clock) } " " b { (told.from) }
            @if !told.to.is_empty() { " to " (told.to) }
            @if !told.by.is_empty() { " by " (told.by) }
        }
        p { (told.text) }
    }
}
