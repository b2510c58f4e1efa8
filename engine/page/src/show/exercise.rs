//! An exercise on the page: the banner that nobody overlooks, what those who take part are told, and
//! the desk of whoever leads it.

use backout_server::desk::{ExerciseView, PlannedInject, RatedObjective, ScriptView, Told};
use backout_server::view::{DrillView, EMERGENCY, duration};
use maud::{Markup, html};

use super::{Frame, whole};

/// Lines of the log on one page.
const LOG_SHOWN_MAX: usize = 100;

/// That it is an exercise, above every page of it; or that it is none any more.
pub(super) fn banner(frame: &Frame) -> Markup {
    let Some(exercise) = &frame.exercise else { return html! {} };
    html! {
        div.exercise id="drill" data-part="" {
            @if let Some(by) = &exercise.emergency { (real(by)) }
            @else {
                p.drill {
                    b.word { "DRILL" } " " span.title { (exercise.title) }
                    span.pace { (pace(exercise)) }
                }
                @if exercise.over.is_none() { (emergency(frame)) }
            }
        }
    }
}

/// The same for the record of an exercise, which nobody leads any more.
pub(super) fn mark(drill: &DrillView) -> Markup {
    html! {
        div.exercise id="drill" data-part="" {
            @if let Some(called) = &drill.emergency { (real(called)) }
            @else { p.drill { b.word { "DRILL" } " " span.title { (drill.title) } " (a record)" } }
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

fn pace(exercise: &ExerciseView) -> Markup {
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

fn message(told: &Told) -> Markup {
    html! {
        p.from {
            time { (told.clock) } " " b { (told.from) }
            @if !told.to.is_empty() { " to " (told.to) }
            @if !told.by.is_empty() { " by " (told.by) }
        }
        p { (told.text) }
    }
}

/// What became of the last line.
pub(crate) enum After {
    /// There was none.
    Nothing,
    /// It was done.
    Done,
    /// It was answered with this.
    Answered(String),
}

/// The desk of whoever leads the exercise.
pub(crate) fn desk(
    frame: &Frame,
    exercise: &ExerciseView,
    script: &ScriptView,
    after: &After,
) -> Markup {
    let main = html! {
        @match after {
            After::Nothing => {},
            After::Done => p.said role="status" id="said" { "Done." },
            After::Answered(answer) => div.card.is-waiting role="alert" { pre { (answer) } },
        }
        section.head id="head" data-part="" {
            h1 { "Lead the exercise" }
            p { "The run, as those who take part see it: "
                a href={ "/runs/" (exercise.run) } { (exercise.run) } }
        }
        @if exercise.over.is_some() && exercise.emergency.is_none() { (hotwash(frame, script)) }
        (turns(frame, exercise))
        (injects(frame, script))
        div.columns {
            (objectives(frame, script))
            (behind(script))
        }
        (log(script))
    };
    whole(frame, &format!("DRILL: {} - Backout", exercise.title), Some("/api/v1/changes"), &main)
}

/// One line of the language: `line` is its beginning, `field` asks for the rest.
fn button(frame: &Frame, line: &str, label: &str) -> Markup {
    html! {
        form.inline method="post" action="/exercise" {
            input type="hidden" name="token" value=(frame.token);
            input type="hidden" name="line" value=(line);
            button type="submit" { (label) }
        }
    }
}

fn asking(frame: &Frame, line: &str, label: &str, says: &str, field: &Markup) -> Markup {
    let id = format!("do-{}", line.replace(' ', "-"));
    html! {
        details.command id=(id) {
            summary { (label) }
            form method="post" action="/exercise" {
                p.does { (says) }
                input type="hidden" name="token" value=(frame.token);
                input type="hidden" name="line" value=(line);
                (field)
                button.do type="submit" { (label) }
            }
        }
    }
}

fn text(label: &str, id: &str) -> Markup {
    html! { label { (label) textarea name="text" id=(id) rows="2" {} } }
}

fn turns(frame: &Frame, exercise: &ExerciseView) -> Markup {
    html! {
        section id="turns" data-part="" aria-labelledby="turns-head" {
            h2 id="turns-head" { "The clock" }
            p.gist { (pace(exercise)) }
            div.commands {
                @if exercise.over.is_none() {
                    @if exercise.stopped { (button(frame, "go", "Go on")) }
                    @else { (button(frame, "stop", "Stop")) }
                    (button(frame, "step", "To the next happening"))
                    (button(frame, "jump 1m", "+1 minute"))
                    (button(frame, "jump 10m", "+10 minutes"))
                    @for speed in ["1", "10", "60"] {
                        (button(frame, &format!("speed {speed}"), &format!("{speed} x")))
                    }
                    (asking(frame, "end", "End the exercise",
                        "Rate first: what is rated here is in the report.", &html! {}))
                }
            }
        }
    }
}

fn injects(frame: &Frame, script: &ScriptView) -> Markup {
    html! {
        section id="injects" data-part="" aria-labelledby="injects-head" {
            h2 id="injects-head" { "Injects" }
            table.runs {
                thead { tr { th { "When" } th { "Inject" } th { "What they read" } th { "What happens" } th { "Fired" } } }
                tbody { @for inject in &script.injects { (row(frame, inject)) } }
            }
            div.commands {
                (asking(frame, "say", "Say something unplanned",
                    "As `FROM -> TO: TEXT`, or the text alone.", &text("Message", "say-text")))
            }
        }
    }
}

fn row(frame: &Frame, inject: &PlannedInject) -> Markup {
    html! {
        tr {
            td data-head="When" { (inject.when) }
            td.name { (inject.id) }
            td { @if !inject.message.text.is_empty() { (message(&inject.message)) } }
            td { (inject.what) }
            td data-head="Fired" {
                @match &inject.fired {
                    Some(clock) => span.mark { (clock) },
                    None => (button(frame, &format!("inject {}", inject.id), "Fire")),
                }
            }
        }
    }
}

fn objectives(frame: &Frame, script: &ScriptView) -> Markup {
    html! {
        section id="objectives" data-part="" aria-labelledby="objectives-head" {
            h2 id="objectives-head" { "Evaluate" }
            p.small { "Objectives and the runbook are rated, never persons." }
            @for objective in &script.objectives { (rated(frame, objective)) }
            div.commands {
                (asking(frame, "observe", "Note an observation", "With its moment, for the report.",
                    &text("What was seen", "observe-text")))
                (asking(frame, "improve", "Agree on an improvement",
                    "As `CAPABILITY | ACTION | OWNER | YYYY-MM-DD`.", &text("Improvement", "improve-text")))
            }
        }
    }
}

fn rated(frame: &Frame, objective: &RatedObjective) -> Markup {
    let line = format!("rate {}", objective.id);
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
    html! {
        h3 { (objective.text) }
        ul { @for look in &objective.guide { li { (look) } } }
        p { @match &objective.rating {
            Some(rating) => { "Rated " b { (rating) } },
            None => "Not rated yet",
        } }
        div.commands { (asking(frame, &line, &format!("Rate {}", objective.id), &objective.text, &choice)) }
    }
}

/// What is talked about when it is over: everybody at it answers under the own name.
fn hotwash(frame: &Frame, script: &ScriptView) -> Markup {
    html! {
        section id="hotwash" data-part="" aria-labelledby="hotwash-head" {
            h2 id="hotwash-head" { "Hotwash" }
            @for (number, one) in (1..).zip(&script.hotwash) {
                h3 { (one.question) }
                ul { @for (by, answer) in &one.answers {
                    li { @if !by.is_empty() { b { (by) } ": " } (answer) } } }
                @if !script.closed {
                    div.commands { (asking(frame, &format!("answer {number}"), "Answer",
                        &one.question, &text("What you say", &format!("answer-{number}-text")))) }
                }
            }
            @if script.closed { p.gist { "It is closed; the report is written." } }
            @else { div.commands { (asking(frame, "finish", "Close the exercise",
                "Rate the objectives and agree on improvements first: the report is written now.",
                &html! {})) } }
        }
    }
}

fn behind(script: &ScriptView) -> Markup {
    html! {
        section id="behind" data-part="" aria-labelledby="behind-head" {
            h2 id="behind-head" { "Behind the curtain" }
            h3 { "Expected of them" }
            ul { @for one in &script.expected { li { (one) } } }
            h3 { "The simulated world" }
            ul.world { @for one in &script.world { li { code { (one) } } } }
            h3 { "Hotwash" }
            ul { @for one in &script.hotwash { li { (one.question) } } }
        }
    }
}

fn log(script: &ScriptView) -> Markup {
    html! {
        section.timeline id="timeline" data-part="" aria-labelledby="timeline-head" {
            h2 id="timeline-head" { "What was done" }
            ol.events reversed {
                @for (clock, who, what) in script.log.iter().rev().take(LOG_SHOWN_MAX) {
                    li { time { (clock) } " " b { (who) } " " span.what { (what) } }
                }
            }
        }
    }
}
