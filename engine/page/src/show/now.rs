//! "What now?": what is in doubt, what waits for a person, and what comes next.

use backout_server::view::{AlarmView, Offer, StepView, Want};
use maud::{Markup, html};

use super::command::form;
use super::run::Shown;
use super::words::{ago, plain};
use super::{Frame, step};

/// Wants shown in full; the others are named.
const WANTS_SHOWN_MAX: usize = 20;
/// Steps that come next, by name.
const NEXT_SHOWN_MAX: usize = 12;

/// The first thing on the screen.
pub(super) fn now(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let mut wants: Vec<&Want> = shown.view.wants.iter().collect();
    // What is in doubt comes first: everything else can wait for it.
    wants.sort_by_key(|want| want.what != "in-doubt");
    html! {
        section.now id="now" data-part="" aria-labelledby="now-head" {
            h2 id="now-head" { @if shown.is_replay() { "What was known then" } @else { "What now?" } }
            (standing(frame, shown))
            (tally(&wants))
            div.cards { @for (at, want) in wants.iter().take(WANTS_SHOWN_MAX).enumerate() {
                (asked(frame, shown, want, at))
            } }
            @if wants.len() > WANTS_SHOWN_MAX {
                p { "and " (wants.len() - WANTS_SHOWN_MAX) " more, below among the steps" }
            }
            @for alarm in &shown.view.alarms { (alarmed(shown, alarm)) }
            (next(shown))
        }
    }
}

/// How many of each kind, each leading to its first.
fn tally(wants: &[&Want]) -> Markup {
    let mut kinds: Vec<(&str, usize, usize)> = Vec::new();
    for (at, want) in wants.iter().enumerate() {
        match kinds.iter_mut().find(|(what, ..)| *what == want.what) {
            Some((_, count, _)) => *count += 1,
            None => kinds.push((&want.what, 1, at)),
        }
    }
    html! {
        @if wants.len() > 1 {
            p.tally { @for (what, count, at) in kinds {
                a.badge.{ "is-" (what) } href={ "#want-" (at) } {
                    span.sign aria-hidden="true" { (kind(what).0) } (count) " " (kind(what).1.to_lowercase())
                } " "
            } }
        }
    }
}

/// Why nothing goes on by itself, where that is so.
fn standing(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let view = shown.view;
    if shown.is_record() && !shown.is_replay() {
        return html! {
            div.card.is-interrupted {
                p.lead { "The exercise is over: this is its record, and nothing goes on by it." }
            }
        };
    }
    let why = match view.state.as_str() {
        "interrupted" if view.stale => {
            "No engine drives this run, and it stood still for long: look at what drifted, then resume it."
        }
        "interrupted" => {
            "No engine drives this run: what was in flight is looked at when it is resumed."
        }
        "paused" => "The run is paused: nothing new is started until it is resumed.",
        "aborted" if !view.closed => "The run was aborted. To resume reopens it.",
        "waiting" if !view.driven => "No engine drives this run now; commands are recorded.",
        _ => return html! {},
    };
    html! {
        div.card.is-interrupted {
            p.lead { (why) }
            @if let Some(resume) = on_run(frame, shown, "resume").filter(|_| !shown.is_record()) { div.commands { (resume) } }
        }
    }
}

/// One command about the run, where it is possible.
fn on_run(frame: &Frame, shown: &Shown<'_>, word: &str) -> Option<Markup> {
    let offer = shown
        .offers(frame)
        .into_iter()
        .find(|offer| offer.word == word && offer.refused.is_none())?;
    Some(form(shown.about(frame, "now", None), &offer))
}

fn kind(what: &str) -> (&'static str, &'static str) {
    match what {
        "in-doubt" => ("?", "In doubt"),
        "approval" => ("\u{2026}", "Waits for approval"),
        "unverified" => ("?", "Done, but not seen as wanted"),
        "failed" => ("\u{2717}", "Failed"),
        "output" => ("\u{2026}", "An output is missing"),
        "alarm" => ("!", "Alarm"),
        "circle" => ("!", "Runs wait for each other"),
        _ => ("\u{2026}", "Waits for a person"),
    }
}

/// The commands that answer a want, the likeliest first.
fn answers(what: &str) -> &'static [&'static str] {
    match what {
        "in-doubt" => &["settle-done", "settle-not-done"],
        "approval" => &["approve", "reject", "break-glass"],
        "unverified" | "alarm" => &["settle-done", "retry"],
        "output" => &["skip"],
        _ => &["retry", "skip", "settle-done"],
    }
}

fn asked(frame: &Frame, shown: &Shown<'_>, want: &Want, at: usize) -> Markup {
    let (sign, title) = kind(&want.what);
    let view = shown.step(&want.step);
    html! {
        div.card.{ "is-" (want.what) } id={ "want-" (at) } {
            h3 {
                span.sign aria-hidden="true" { (sign) }
                (title) ": " a href=(shown.spot().step(&want.step)) { (want.step) }
                @if let Some(view) = view.filter(|view| !view.title.is_empty() && view.title != want.why) {
                    span.title { (view.title) }
                }
            }
            p.lead { (want.why) }
            @if !want.who.is_empty() { p { "Asked: " b { (want.who.join(", ")) } } }
            @if let Some(view) = view { (step::proposed(view)) }
            @for run in shown.view.circle.iter().skip(1).filter(|_| want.what == "circle") {
                p { a href={ "/runs/" (run) } { "run " (run) } }
            }
            @if !shown.is_record() { (answer(frame, shown, want, view)) }
        }
    }
}

fn answer(frame: &Frame, shown: &Shown<'_>, want: &Want, view: Option<&StepView>) -> Markup {
    if want.what == "circle" {
        return html! { @if let Some(abort) = on_run(frame, shown, "abort") {
        div.commands { (abort) } } };
    }
    let all = shown.offers_on(frame, &want.step);
    let find = |word: &&str| all.iter().find(|offer| offer.word == **word);
    let mut fitting: Vec<&Offer> = answers(&want.what).iter().filter_map(find).collect();
    // The glass is broken only where the ordinary way is closed.
    let may = fitting.iter().any(|offer| offer.word == "approve" && offer.refused.is_none());
    fitting.retain(|offer| offer.word != "break-glass" || !may);
    let about = shown.about(frame, "now", view);
    html! {
        @for offer in fitting.iter().filter(|offer| offer.refused.is_some()) { (refused(offer)) }
        div.commands {
            @for offer in fitting.iter().filter(|offer| offer.refused.is_none()) {
                (form(about, offer))
            }
        }
        p.typed { "On a terminal: " code { (want.commands.first().map_or("", String::as_str)) } }
    }
}

fn refused(offer: &Offer) -> Markup {
    let label = offer.offered().map_or("", |offered| offered.label);
    html! {
        p.not {
            button type="button" disabled { (label) } " "
            (offer.refused.as_deref().unwrap_or_default())
            @if let Some(help) = &offer.help { "; " (help) }
        }
    }
}

/// An alarm that stops nothing yet. One that keeps the run from its end is among the wants.
fn alarmed(shown: &Shown<'_>, alarm: &AlarmView) -> Markup {
    let wanted = |want: &Want| want.what == "alarm" && want.step == alarm.step;
    if shown.view.wants.iter().any(wanted) {
        return html! {};
    }
    html! {
        div.card.is-alarm {
            h3 {
                span.sign aria-hidden="true" { "!" }
                "Alarm: " a href=(shown.spot().step(&alarm.step)) { (alarm.step) }
            }
            p.lead {
                (backout_server::view::alarm_words(&alarm.difference, alarm.by.as_deref(), alarm.unseen))
            }
            p { "since " (ago(&alarm.since, shown.now)) }
        }
    }
}

fn next(shown: &Shown<'_>) -> Markup {
    let view = shown.view;
    let over = shown.state.status().is_end();
    html! {
        @if over && view.wants.is_empty() { (ended(shown)) }
        @else if !view.next.is_empty() && (shown.is_replay() || !shown.is_record()) {
            p.next {
                b { @if view.wants.is_empty() { "Goes on by itself: " } @else { "Next by itself: " } }
                @for id in view.next.iter().take(NEXT_SHOWN_MAX) {
                    a href=(shown.spot().step(id)) { (id) }
                    @if let Some(step) = shown.step(id) { " (" (going(step)) ") " }
                }
                @if view.next.len() > NEXT_SHOWN_MAX {
                    "and " (view.next.len() - NEXT_SHOWN_MAX) " more"
                }
            }
        }
    }
}

fn going(step: &StepView) -> String {
    match &step.wait {
        Some(wait) => wait.why.clone(),
        None => plain(&step.state),
    }
}

fn ended(shown: &Shown<'_>) -> Markup {
    let recovered = match shown.view.recovered {
        Some(true) => ", and what it was for is recovered",
        Some(false) => ", but not recovered",
        None => "",
    };
    html! { p.next { @if !shown.is_replay() { b { "Nothing." } } " The run " (shown.view.state) (recovered) "." } }
}
