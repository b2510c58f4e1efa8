//! The pages themselves: pure functions from views to markup.

mod command;
mod dag;
pub(crate) mod list;
mod now;
pub(crate) mod problem;
pub(crate) mod run;
pub(crate) mod start;
mod step;
pub(crate) mod timeline;
mod words;

use backout_core::event::Actor;
use backout_core::id::Timestamp;
use backout_server::Sender;
use maud::{DOCTYPE, Markup, html};

use crate::assets::{ICON, SCRIPT, STYLE};

/// What stands around a page.
pub(crate) struct Frame {
    /// Who looks at it, as far as that is believed.
    pub(crate) sender: Sender,
    /// Who looks at it and acts, as the record will have it.
    pub(crate) actor: Actor,
    /// The token of its forms.
    pub(crate) token: String,
    /// Names the next command that one of its forms gives.
    pub(crate) command: String,
    /// When it is made.
    pub(crate) now: Timestamp,
}

/// A whole page. `live` is the stream that tells of its changes.
fn whole(frame: &Frame, title: &str, live: Option<&str>, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body data-live=[live] {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { "Backout" }
                    nav aria-label="Pages" { a href="/" { "Runs" } " " a href="/start" { "Start a runbook" } }
                    (line(frame))
                }
                main id="main" tabindex="-1" { (main) }
            }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="icon" type="image/svg+xml" href=(ICON.address);
            link rel="stylesheet" href=(STYLE.address);
            script src=(SCRIPT.address) defer {}
        }
    }
}

/// Who looks, and how fresh it is. Without script it says when it was made.
fn line(frame: &Frame) -> Markup {
    let vouched = words::vouched(&frame.actor);
    html! {
        p.who title="commands from this page are recorded under this name" {
            "You act as " b { (frame.actor.name) } (vouched)
            @if !frame.actor.roles.is_empty() { " (" (frame.actor.roles.join(", ")) ")" }
        }
        p.line id="line" role="status" {
            span.dot aria-hidden="true" {}
            span.text { "as of " (words::moment(frame.now)) "; reload to see what changed" }
        }
    }
}

/// A text as a part of an address's query.
pub(crate) fn query(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Where a step of a run is shown.
fn step_link(run: &str, step: &str) -> String {
    format!("/runs/{run}?step={}#step", query(step))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_step_of_a_list_is_named_in_an_address() {
        assert_eq!(super::query("copy[a/b c]"), "copy%5Ba%2Fb%20c%5D");
    }
}
