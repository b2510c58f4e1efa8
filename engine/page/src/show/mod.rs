//! The pages themselves: pure functions from views to markup.

mod big;
mod command;
mod dag;
pub(crate) mod exercise;
pub(crate) mod list;
pub(crate) mod locks;
mod messages;
mod now;
pub(crate) mod problem;
mod replay;
pub(crate) mod run;
pub(crate) mod seat;
pub(crate) mod start;
mod step;
mod talk;
pub(crate) mod timeline;
mod words;

use backout_core::event::Actor;
use backout_core::id::Timestamp;
use backout_server::Sender;
use backout_server::desk::ExerciseView;
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
    /// When it is made; in a replay the moment that it shows.
    pub(crate) now: Timestamp,
    /// Whether there is one record and no engine: a replay of a file.
    pub(crate) alone: bool,
    /// The exercise that is led here.
    pub(crate) exercise: Option<ExerciseView>,
}

/// A run as it is shown: now, or after one of its events.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) run: &'a str,
    pub(crate) at: Option<u64>,
}

impl<'a> Spot<'a> {
    /// The run as it is now.
    fn now(run: &'a str) -> Self {
        Self { run, at: None }
    }

    /// After one of its events.
    fn after(self, event: u64) -> Self {
        Self { at: Some(event), ..self }
    }

    /// Its address, with more behind the `?`.
    fn with(self, more: &str) -> String {
        let at = self.at.map(|at| format!("at={at}"));
        let more = Some(more.to_owned()).filter(|more| !more.is_empty());
        let query: Vec<String> = at.into_iter().chain(more).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/runs/{}{mark}{}", self.run, query.join("&"))
    }

    /// Where a step of it is shown.
    fn step(self, step: &str) -> String {
        format!("{}#step", self.with(&format!("step={}", query(step))))
    }
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
                    @if frame.alone { p.alone { "One record, replayed: there is no engine here" } }
                    @else {
                        (nav(frame))
                        (line(frame, live.is_some()))
                    }
                }
                (exercise::banner(frame))
                main id="main" tabindex="-1" { (main) }
            }
        }
    }
}

/// Where one can go. A discussion has one page.
fn nav(frame: &Frame) -> Markup {
    let has_runs = frame.exercise.as_ref().is_none_or(|exercise| !exercise.run.is_empty());
    html! {
        nav aria-label="Pages" {
            @if has_runs { a href="/" { "Runs" } " " }
            @if frame.exercise.is_some() { a href="/exercise" { "The exercise" } }
            @else { a href="/start" { "Start a runbook" } }
            @if has_runs { " " a href="/locks" { "Locks" } }
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
fn line(frame: &Frame, is_live: bool) -> Markup {
    let vouched = words::vouched(&frame.actor);
    html! {
        p.who title="commands from this page are recorded under this name" {
            "You act as " b { (frame.actor.name) } (vouched)
            @if !frame.actor.roles.is_empty() { " (" (frame.actor.roles.join(", ")) ")" }
        }
        @if is_live {
            p.line id="line" role="status" {
                span.dot aria-hidden="true" {}
                span.text { "as of " (words::moment(frame.now)) "; reload to see what changed" }
            }
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

#[cfg(test)]
mod tests {
    #[test]
    fn a_step_of_a_list_is_named_in_an_address() {
        assert_eq!(super::query("copy[a/b c]"), "copy%5Ba%2Fb%20c%5D");
    }

    #[test]
    fn a_step_of_an_earlier_moment_stays_there() {
        let now = super::Spot::now("r000000000");
        assert_eq!(
            (now.with(""), now.step("a")),
            ("/runs/r000000000".to_owned(), "/runs/r000000000?step=a#step".to_owned())
        );
        assert_eq!(now.after(7).step("a"), "/runs/r000000000?at=7&step=a#step");
    }
}
