//! A discussion on the page: the question that is asked, what each would do, and what the plan would do
//! beside it.

use backout_server::desk::{AskedView, TalkView};
use maud::{Markup, html};

use super::seat::{Chair, answers, asking, button, end, text};

/// The question now, what was said to it, and the questions before. The form stands in a part of its
/// own, so that nothing that others say disturbs who writes.
pub(super) fn sections(chair: Chair<'_>, talk: &TalkView) -> Markup {
    let Some((now, before)) = talk.asked.split_last() else { return html! {} };
    let goes_on = chair.exercise.over.is_none();
    html! {
        section.now id="talk-now" data-part="" aria-labelledby="talk-head" {
            h2 id="talk-head" { (now.number) ". " (now.ask) }
            @if !now.situation.is_empty() { p.lead { (now.situation) } }
            @if goes_on { (form(chair, now)) }
        }
        section id="talk-said" data-part="" aria-labelledby="talk-said-head" {
            h2 id="talk-said-head" { "What was said" }
            @if now.answers.is_empty() {
                p.small { @if goes_on { "Nobody answered yet." } @else { "Nobody answered." } }
            }
            (beside(now))
            @if goes_on && chair.seat.refused("next").is_none() { (lead(chair, talk, now)) }
        }
        div.part id="before" data-part="" {
            @if !before.is_empty() {
                section id="talk-before" aria-labelledby="talk-before-head" {
                    h2 id="talk-before-head" { "Asked before" }
                    @for one in before.iter().rev() { (earlier(chair, one, goes_on)) }
                }
            }
        }
    }
}

fn form(chair: Chair<'_>, now: &AskedView) -> Markup {
    html! {
        form.reply id={ "reply-" (now.number) } method="post" action="/exercise" {
            input type="hidden" name="token" value=(chair.frame.token);
            input type="hidden" name="line" value={ "reply " (now.number) };
            @if !now.choices.is_empty() {
                fieldset {
                    legend { "What would you do?" }
                    @for (at, choice) in (1..).zip(&now.choices) {
                        label.choice for={ "choice-" (now.number) "-" (at) } {
                            input type="radio" name="choice" id={ "choice-" (now.number) "-" (at) } value=(choice);
                            " " (choice)
                        }
                    }
                }
            }
            (text(if now.choices.is_empty() { "What would you do?" } else { "In your own words" },
                &format!("reply-{}-text", now.number)))
            button.do type="submit" { "Say it as " (chair.frame.actor.name) }
        }
    }
}

/// What was said, and the plan beside it once it is shown.
fn beside(one: &AskedView) -> Markup {
    html! {
        div.beside {
            @if !one.answers.is_empty() { div { (answers(&one.answers)) } }
            @if let Some(plan) = &one.plan {
                div.card { h3 { "The plan" } p { (plan) } }
            } @else if one.hidden {
                p.small { "What the runbook's plan would do is not shown yet." }
            }
            @if !one.look_for.is_empty() {
                div.card { h3 { "Look for" } ul { @for look in &one.look_for { li { (look) } } } }
            }
        }
    }
}

fn lead(chair: Chair<'_>, talk: &TalkView, now: &AskedView) -> Markup {
    let next = if talk.to_come == 0 { "That was the last question" } else { "Next question" };
    html! {
        div.commands {
            @if now.hidden { (button(chair, "show", "Show what the plan would do")) }
            (button(chair, &format!("next {}", now.number), next))
            (end(chair))
        }
    }
}

fn earlier(chair: Chair<'_>, one: &AskedView, goes_on: bool) -> Markup {
    let line = format!("reply {}", one.number);
    html! {
        h3 { (one.number) ". " (one.ask) }
        (beside(one))
        @if goes_on {
            div.commands {
                (asking(chair, &line, "Add to it", &one.ask,
                    &text("What would you do?", &format!("reply-{}-text", one.number))))
            }
        }
    }
}
