//! A run by hand, for people.

use std::fmt::Write;

use backout_server::view::{ByHandView, StepByHand};

use super::style::{BOLD, DIM, DOUBT, GOOD, WARN, paint};
use super::text::{clean, wrapped};

/// The whole for a person, ready to be printed on paper.
pub(crate) fn text(view: &ByHandView, width: usize) -> String {
    let mut out = format!("{} of {}, by hand\n", paint(BOLD, &view.run), view.runbook);
    if let Some(why) = &view.unreadable {
        let text = format!(
            "The record is readable up to event {} only: {why}. What happened after it is not shown here: look at each target before you act.",
            view.seq
        );
        out.push_str(&paint(WARN, &wrapped(&text, 0, width)));
    }
    pile_text(&mut out, &paint(GOOD, "DONE"), &view.done, width);
    pile_text(
        &mut out,
        &paint(DOUBT, "IN DOUBT: look first, act only if it is not done"),
        &view.in_doubt,
        width,
    );
    pile_text(&mut out, &paint(BOLD, "LEFT, in this order"), &view.left, width);
    if view.in_doubt.is_empty() && view.left.is_empty() {
        out.push_str("\nnothing is left to do\n");
    }
    out
}

fn pile_text(out: &mut String, label: &str, steps: &[StepByHand], width: usize) {
    if steps.is_empty() {
        return;
    }
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "\n{label}");
    for step in steps {
        let title = if step.title.is_empty() { String::new() } else { format!("  {}", step.title) };
        let _ = writeln!(
            out,
            "\n  {}{title}  {}",
            paint(BOLD, &step.id),
            paint(DIM, &format!("({})", step.state))
        );
        out.push_str(&wrapped(&step.does, 4, width));
        if let Some(known) = &step.known {
            out.push_str(&wrapped(&format!("known: {known}"), 4, width));
        }
        let done = matches!(step.state.as_str(), "succeeded" | "already-satisfied");
        if !done || step.known.is_some() {
            commands(out, "do", &step.commands);
        }
        commands(out, "see", &step.verify);
    }
}

/// Commands stand whole on lines of their own, so that they can be copied.
fn commands(out: &mut String, label: &str, commands: &[String]) {
    for command in commands {
        let _ = writeln!(
            out,
            "    {}  {}",
            paint(DIM, &format!("{label:>3}")),
            clean(command).replace('\n', "\n         ")
        );
    }
}
