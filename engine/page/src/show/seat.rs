//! An exercise as one of those who are at it sees it: what is to come for those who lead and rate, what
//! everybody may say, and what takes another part.

use backout_server::desk::{
    DeedView, ExerciseView, PlannedInject, RatedObjective, ScriptView, SeatView,
};
use maud::{Markup, html};

use super::exercise::{message, pace, told};
use super::{Frame, talk, whole};

/// Lines of the log on one page.
const LOG_SHOWN_MAX: usize = 100;

/// What became of the last line.
pub(crate) enum After {
    /// There was none.
    Nothing,
    /// It was done.
    Done,
    /// It was answered with this.
    Answered(String),
}

/// Who sits there, at which exercise.
#[derive(Clone, Copy)]
pub(crate) struct Chair<'a> {
    pub(crate) frame: &'a Frame,
    pub(crate) exercise: &'a ExerciseView,
    pub(crate) seat: &'a SeatView,
}

/// The page of an exercise.
pub(crate) fn page(chair: Chair<'_>, after: &After) -> Markup {
    let Chair { frame, exercise, seat } = chair;
    let goes_on = exercise.over.is_none();
    let main = html! {
        @match after {
            After::Nothing => {},
            After::Done => p.said role="status" id="said" { "Done." },
            After::Answered(answer) => div.card.is-waiting role="alert" { pre { (answer) } },
        }
        (head(chair))
        // A part that may come is there before it comes: what is live puts new parts into old ones.
        div.part id="over" data-part="" {
            @if !goes_on && exercise.emergency.is_none() { (hotwash(chair)) }
        }
        @if seat.talk.is_none() && seat.refused("stop").is_none() { (turns(chair)) }
        @if let Some(talking) = &seat.talk { (talk::sections(chair, talking)) }
        @if seat.script.is_none() || seat.talk.is_some() { (told(frame)) }
        @if let Some(script) = &seat.script {
            @if seat.talk.is_none() { (injects(chair, script)) }
            @if *script == ScriptView::default() { (objectives(chair)) }
            @else { div.columns { (objectives(chair)) (behind(script)) } }
        } @else { (objectives(chair)) }
        (log(chair))
        (other_parts(seat))
    };
    let title = format!("{}: {} - Backout", super::exercise::word(exercise), exercise.title);
    whole(frame, &title, Some("/api/v1/changes"), &main)
}

fn head(chair: Chair<'_>) -> Markup {
    let Chair { exercise, seat, .. } = chair;
    let does = match seat.part.as_str() {
        "facilitator" => "Lead the exercise",
        "evaluator" => "Evaluate the exercise",
        "data collector" => "Collect what is seen",
        _ => "Take part",
    };
    html! {
        section.head id="head" data-part="" {
            h1 { (does) }
            p { "You are here as " b { (seat.part) } "." }
            @if !exercise.run.is_empty() {
                p { "The run, where decisions about it are taken: "
                    a href={ "/runs/" (exercise.run) } { (exercise.run) } }
            }
        }
    }
}

/// One line of the language: `line` is its beginning.
pub(super) fn button(chair: Chair<'_>, line: &str, label: &str) -> Markup {
    let word = line.split(' ').next().unwrap_or_default();
    html! {
        @if let Some(why) = chair.seat.refused(word) {
            button type="button" disabled title=(why) { (label) }
        } @else {
            form.inline method="post" action="/exercise" {
                input type="hidden" name="token" value=(chair.frame.token);
                input type="hidden" name="line" value=(line);
                button type="submit" { (label) }
            }
        }
    }
}

/// A line that asks for more: `field` is what.
pub(super) fn asking(
    chair: Chair<'_>,
    line: &str,
    label: &str,
    says: &str,
    field: &Markup,
) -> Markup {
    let id = format!("do-{}", line.replace(' ', "-"));
    let word = line.split(' ').next().unwrap_or_default();
    html! {
        @if let Some(why) = chair.seat.refused(word) {
            button type="button" disabled title=(why) { (label) }
        } @else {
            details.command id=(id) {
                summary { (label) }
                form method="post" action="/exercise" {
                    p.does { (says) }
                    input type="hidden" name="token" value=(chair.frame.token);
                    input type="hidden" name="line" value=(line);
                    (field)
                    button.do type="submit" { (label) }
                }
            }
        }
    }
}

/// A field for a text.
pub(super) fn text(label: &str, id: &str) -> Markup {
    html! { label { (label) textarea name="text" id=(id) rows="2" {} } }
}

fn turns(chair: Chair<'_>) -> Markup {
    let exercise = chair.exercise;
    html! {
        section id="turns" data-part="" aria-labelledby="turns-head" {
            h2 id="turns-head" { "The clock" }
            p.gist { (pace(exercise)) }
            @if exercise.over.is_none() {
                div.commands {
                    @if exercise.stopped { (button(chair, "go", "Go on")) }
                    @else { (button(chair, "stop", "Stop")) }
                    (button(chair, "step", "To the next happening"))
                    (button(chair, "jump 1m", "+1 minute"))
                    (button(chair, "jump 10m", "+10 minutes"))
                    @for speed in ["1", "10", "60"] {
                        (button(chair, &format!("speed {speed}"), &format!("{speed} x")))
                    }
                    (end(chair))
                }
            }
        }
    }
}

/// To end it.
pub(super) fn end(chair: Chair<'_>) -> Markup {
    let says = "Rate first: what is rated here is in the report.";
    asking(chair, "end", "End the exercise", says, &html! {})
}

fn injects(chair: Chair<'_>, script: &ScriptView) -> Markup {
    html! {
        section id="injects" data-part="" aria-labelledby="injects-head" {
            h2 id="injects-head" { "Injects" }
            table.runs {
                thead { tr { th { "When" } th { "Inject" } th { "What they read" } th { "What happens" } th { "Fired" } } }
                tbody { @for inject in &script.injects { (row(chair, inject)) } }
            }
            div.commands {
                (asking(chair, "say", "Say something unplanned",
                    "As `FROM -> TO: TEXT`, or the text alone.", &text("Message", "say-text")))
            }
        }
    }
}

fn row(chair: Chair<'_>, inject: &PlannedInject) -> Markup {
    html! {
        tr {
            td data-head="When" { (inject.when) }
            td.name { (inject.id) }
            td { @if !inject.message.text.is_empty() { (message(&inject.message)) } }
            td { (inject.what) }
            td data-head="Fired" {
                @match &inject.fired {
                    Some(clock) => span.mark { (clock) },
                    None => (button(chair, &format!("inject {}", inject.id), "Fire")),
                }
            }
        }
    }
}

fn objectives(chair: Chair<'_>) -> Markup {
    let rates = chair.seat.refused("rate").is_none();
    html! {
        section id="objectives" data-part="" aria-labelledby="objectives-head" {
            h2 id="objectives-head" { @if rates { "Evaluate" } @else { "What it is to show" } }
            p.small { "Objectives and the runbook are rated, never persons." }
            @for objective in &chair.seat.objectives { (rated(chair, objective)) }
            div.commands {
                (asking(chair, "observe", "Take a note", "With its moment, for the report.",
                    &text("What was seen", "observe-text")))
                @if rates {
                    (asking(chair, "improve", "Agree on an improvement",
                        "As `CAPABILITY | ACTION | OWNER | YYYY-MM-DD`.", &text("Improvement", "improve-text")))
                }
            }
        }
    }
}

fn rated(chair: Chair<'_>, objective: &RatedObjective) -> Markup {
    if chair.seat.script.is_none() {
        return html! { p { (objective.text) } };
    }
    html! {
        h3 { (objective.text) }
        ul { @for look in &objective.guide { li { (look) } } }
        p { @match &objective.rating {
            Some(rating) => { "Rated " b { (rating) } },
            None => "Not rated yet",
        } }
        @if chair.seat.refused("rate").is_none() { div.commands { (rate(chair, objective)) } }
    }
}

fn rate(chair: Chair<'_>, objective: &RatedObjective) -> Markup {
    let choice = html! {
        label { "Rating"
            select name="choice" id={ "rating-" (objective.id) } {
                option value="P" { "P: performed without challenges" }
                option value="S" { "S: performed with some challenges" }
                option value="M" { "M: performed with major challenges" }
                option value="U" { "U: unable to be performed" }
            }
        }
        (text("Why", &format!("rate-{}-text", objective.id)))
    };
    let (line, label) = (format!("rate {}", objective.id), format!("Rate {}", objective.id));
    asking(chair, &line, &label, &objective.text, &choice)
}

/// What is talked about when it is over: everybody at it answers under the own name.
fn hotwash(chair: Chair<'_>) -> Markup {
    let seat = chair.seat;
    html! {
        section id="hotwash" aria-labelledby="hotwash-head" {
            h2 id="hotwash-head" { "Hotwash" }
            @for (number, one) in (1..).zip(&seat.hotwash) {
                h3 { (one.question) }
                (answers(&one.answers))
                @if !seat.closed {
                    div.commands { (asking(chair, &format!("answer {number}"), "Answer",
                        &one.question, &text("What you say", &format!("answer-{number}-text")))) }
                }
            }
            @if seat.closed { p.gist { "It is closed; the report is written." } }
            @else { div.commands { (asking(chair, "finish", "Close the exercise",
                "Rate the objectives and agree on improvements first: the report is written now.",
                &html! {})) } }
        }
    }
}

/// Who said what.
pub(super) fn answers(all: &[(String, String)]) -> Markup {
    html! {
        ul.answers { @for (by, answer) in all {
            li { b { @if by.is_empty() { "the team" } @else { (by) } } ": " (answer) }
        } }
    }
}

fn behind(script: &ScriptView) -> Markup {
    html! {
        section id="behind" data-part="" aria-labelledby="behind-head" {
            h2 id="behind-head" { "Behind the curtain" }
            @if !script.questions.is_empty() {
                h3 { "Still to be asked" }
                ul.plain { @for one in &script.questions { li { (one) } } }
            }
            @if !script.expected.is_empty() {
                h3 { "Expected of them" }
                ul { @for one in &script.expected { li { (one) } } }
            }
            @if !script.world.is_empty() {
                h3 { "The simulated world" }
                ul.plain { @for one in &script.world { li { code { (one) } } } }
            }
        }
    }
}

fn log(chair: Chair<'_>) -> Markup {
    let all = chair.seat.script.is_some();
    html! {
        section.timeline id="timeline" data-part="" aria-labelledby="timeline-head" {
            h2 id="timeline-head" { @if all { "What was done" } @else { "What you said and decided" } }
            @if chair.seat.log.is_empty() { p.small { "Nothing yet." } }
            ol.events reversed {
                @for line in chair.seat.log.iter().rev().take(LOG_SHOWN_MAX) {
                    li { time { (line.clock) } " " b { (line.who) } " " span.what { (line.what) } }
                }
            }
        }
    }
}

/// What others may: nobody wonders where it is.
fn other_parts(seat: &SeatView) -> Markup {
    let refused: Vec<&DeedView> = seat.may.iter().filter(|deed| deed.refused.is_some()).collect();
    let mut groups: Vec<&[String]> = refused.iter().map(|deed| &*deed.takes).collect();
    groups.dedup();
    html! {
        @if !refused.is_empty() {
            section id="others" aria-labelledby="others-head" {
                h2 id="others-head" { "What takes another part" }
                @for takes in groups {
                    h3 { "For " (takes.join(" or ")) }
                    ul.plain { @for deed in refused.iter().filter(|deed| deed.takes == takes) {
                        li { button type="button" disabled title=[&deed.refused] { (deed.line) } " " (deed.does) }
                    } }
                }
            }
        }
    }
}
