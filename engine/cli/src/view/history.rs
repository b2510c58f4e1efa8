//! A run's events for people.

use backout_core::event::Recorded;
use backout_core::exercise::is_drilled;
use backout_server::view::{rfc3339, sentence};

use super::style::{BOLD, DIM, DOUBT, GOOD, TROUBLE, WARN, paint};
use super::text::{cut, padded, wrapped};
use anstyle::Style;

/// Columns of a step's name; a longer one is cut, `--step` and `--json` have it whole.
const STEP_COLUMNS: usize = 16;
/// The mark of an exercise: it stands on each line.
const DRILL: &str = "DRILL ";
/// Columns before a line's own words: position, time and step, with the space between them.
const HEAD_COLUMNS: usize = 5 + 2 + 12 + 2 + STEP_COLUMNS + 2;

/// The day of an event, as a line of its own where it is another than that of the event before.
pub(crate) fn day(recorded: &Recorded, before: Option<&Recorded>) -> String {
    let of = |recorded: &Recorded| rfc3339(recorded.at).get(..10).unwrap_or_default().to_owned();
    let today = of(recorded);
    if before.is_some_and(|before| of(before) == today) {
        return String::new();
    }
    format!("{}\n", paint(DIM, &format!("{today} (UTC)")))
}

/// One event in one line, or more where words or a person's reason need them.
pub(crate) fn line(recorded: &Recorded, width: usize) -> String {
    let drill = if is_drilled(recorded) { DRILL } else { "" };
    let head = HEAD_COLUMNS + drill.len();
    let (step, words) = sentence(&recorded.event);
    let at = rfc3339(recorded.at);
    let time = paint(DIM, at.get(11..23).unwrap_or(&at));
    let step = padded(&cut(step.as_deref().unwrap_or("-"), STEP_COLUMNS), STEP_COLUMNS);
    let words = wrapped(&words, head, width);
    let words = paint(style(recorded), words.trim());
    let (seq, step, drill) = (recorded.seq.0, paint(BOLD, &step), paint(WARN, drill));
    format!("{drill}{seq:>5}  {time}  {step}  {words}\n{}", by_whom(recorded))
}

fn by_whom(recorded: &Recorded) -> String {
    let cause = &recorded.cause;
    if cause.actor.name == "engine" && cause.reason.is_none() && !cause.break_glass {
        return String::new();
    }
    let unverified = if cause.actor.verified { "" } else { " (unverified)" };
    let reason = cause.reason.as_ref().map(|reason| format!(": {}", cut(reason, 200)));
    let mark = if cause.break_glass { paint(WARN, " BREAK-GLASS") } else { String::new() };
    let drill = if is_drilled(recorded) { paint(WARN, DRILL) } else { String::new() };
    format!(
        "{drill}{:21}by {}{unverified}{}{mark}\n",
        "",
        cause.actor.name,
        reason.unwrap_or_default()
    )
}

/// The colour of an event.
pub(crate) fn style(recorded: &Recorded) -> Style {
    use backout_core::event::{Event, RunEnd, Wait};
    match &recorded.event {
        Event::StepSucceeded { .. }
        | Event::StepUndone { .. }
        | Event::RunEnded { end: RunEnd::Succeeded | RunEnd::Undone, .. } => GOOD,
        Event::StepFailed { .. }
        | Event::EffectFailed { .. }
        | Event::EffectRefused { .. }
        | Event::RunEnded { .. } => TROUBLE,
        Event::EffectInDoubt { .. }
        | Event::EffectUnclear { .. }
        | Event::StepUnverified { .. } => DOUBT,
        Event::StepWaits {
            wait: Wait::Approval { .. } | Wait::Person { .. } | Wait::Output { .. },
            ..
        }
        | Event::WatchAlarm { .. } => WARN,
        _ => Style::new(),
    }
}
