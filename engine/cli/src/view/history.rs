//! A run's events for people.

use backout_core::event::Recorded;
use backout_server::view::{rfc3339, sentence};

use super::style::{BOLD, DIM, DOUBT, GOOD, TROUBLE, WARN, paint};
use super::text::{cut, padded};
use anstyle::Style;

/// Columns before a line's own words: position, time, step.
const STEP_COLUMNS: usize = 18;

/// One event in one line, or two where a person gave a reason.
pub(crate) fn line(recorded: &Recorded, width: usize) -> String {
    let (step, words) = sentence(&recorded.event);
    let at = rfc3339(recorded.at);
    let step = padded(&cut(step.as_deref().unwrap_or("-"), STEP_COLUMNS), STEP_COLUMNS);
    let head = format!("{:>5}  {}  ", recorded.seq.0, paint(DIM, &at));
    let room = width.saturating_sub(7 + at.len() + 2 + STEP_COLUMNS + 2).max(24);
    let words = paint(style(recorded), &cut(&words, room));
    let mut line = format!("{head}{}  {words}\n", paint(BOLD, &step));
    line.push_str(&by_whom(recorded));
    line
}

fn by_whom(recorded: &Recorded) -> String {
    let cause = &recorded.cause;
    if cause.actor.name == "engine" && cause.reason.is_none() && !cause.break_glass {
        return String::new();
    }
    let unverified = if cause.actor.verified { "" } else { " (unverified)" };
    let reason = cause.reason.as_ref().map(|reason| format!(": {}", cut(reason, 200)));
    let mark = if cause.break_glass { paint(WARN, " BREAK-GLASS") } else { String::new() };
    format!("{:7}by {}{unverified}{}{mark}\n", "", cause.actor.name, reason.unwrap_or_default())
}

/// The colour of an event.
pub(crate) fn style(recorded: &Recorded) -> Style {
    use backout_core::event::{Event, RunEnd, Wait};
    match &recorded.event {
        Event::StepSucceeded { .. } | Event::StepUndone { .. } => GOOD,
        Event::RunEnded { end: RunEnd::Succeeded | RunEnd::Undone, .. } => GOOD,
        Event::StepFailed { .. } | Event::EffectFailed { .. } | Event::EffectRefused { .. } => TROUBLE,
        Event::RunEnded { .. } => TROUBLE,
        Event::EffectInDoubt { .. } | Event::EffectUnclear { .. } | Event::StepUnverified { .. } => DOUBT,
        Event::StepWaits { wait: Wait::Approval { .. } | Wait::Person { .. } | Wait::Output { .. }, .. } => WARN,
        _ => Style::new(),
    }
}
