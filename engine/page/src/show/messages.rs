//! What people outside were told of a run.

use backout_server::view::MessageView;
use maud::{Markup, html};

use super::Spot;
use super::run::Shown;
use super::words::{clock, plain};

/// The section; hidden where nobody was told anything.
pub(super) fn messages(shown: &Shown<'_>) -> Markup {
    let all = &shown.messages;
    let count = |word: &str| all.iter().filter(|message| message.state == word).count();
    html! {
        section.messages id="messages" data-part="" aria-labelledby="messages-head" {
            h2 id="messages-head" { "People outside" }
            @if all.is_empty() { p.small { "Nobody was told anything of this run." } }
            @else {
                p { (count("sent")) " sent, " (count("waiting")) " waiting, "
                    @if count("failed") > 0 { b { (count("failed")) " failed" } } @else { "none failed" } }
                ul.told { @for message in all { li { (one(message)) } } }
            }
        }
    }
}

fn one(message: &MessageView) -> Markup {
    let (class, sign) = match message.state.as_str() {
        "sent" => ("succeeded", "\u{2713}"),
        "failed" => ("failed", "\u{2717}"),
        _ => ("waiting", "\u{2026}"),
    };
    html! {
        span.badge.{ "is-" (class) } { span.sign aria-hidden="true" { (sign) } (message.state) } " "
        b { (message.title) } " "
        span.small { (plain(&message.kind)) " to "
            @if let Some(to) = &message.to { (to) " by " }
            (message.channel) ", " (clock(&message.made)) ", "
            a href=(Spot::now(&message.run).with("")) { "its run" } }
        details.more id={ "told-" (message.run) } { summary { "Text" } p { (message.text) } }
        @if let Some(trouble) = &message.trouble {
            p.hazard { (trouble)
                @if let Some(due) = &message.due { "; tried again at " (clock(due)) } }
        }
    }
}
