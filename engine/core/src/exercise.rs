//! The marks of an exercise in the record of its run. Every face knows it by them, and an engine that
//! could reach something real does nothing for it.

use crate::event::{Actor, Recorded};
use crate::plan::Plan;
use crate::state::RunState;

/// The label of a plan, and the role of every actor in its record, by which an exercise is known. The
/// label's value is the scenario's name.
pub const DRILL_LABEL: &str = "drill";
/// The label with the scenario's title.
pub const DRILL_TITLE_LABEL: &str = "drill-title";
/// The labels that only exercises bear: a runbook that had one could never be run for real.
pub const DRILL_LABELS: [&str; 2] = [DRILL_LABEL, DRILL_TITLE_LABEL];
/// A note in an exercise that begins with these words ends it, whoever writes it wherever.
pub const EMERGENCY_WORDS: &str = "REAL EMERGENCY";

/// A note of the engine in an exercise that begins with these words is its last one.
pub const OVER_WORDS: &str = "the exercise is over";

/// Whether a plan is one of an exercise.
pub fn is_drill(plan: &Plan) -> bool {
    plan.labels.contains_key(DRILL_LABEL)
}

/// Whether an event is one of an exercise: each one says so itself.
pub fn is_drilled(recorded: &Recorded) -> bool {
    has_mark(&recorded.cause.actor)
}

/// Whether an actor bears the mark of an exercise.
pub fn has_mark(actor: &Actor) -> bool {
    actor.roles.iter().any(|role| role == DRILL_LABEL)
}

/// Whether somebody says that something real has happened.
pub fn calls_emergency(text: &str) -> bool {
    let said = text.trim_start().chars().take(EMERGENCY_WORDS.len());
    said.map(|c| c.to_ascii_uppercase()).eq(EMERGENCY_WORDS.chars())
}

/// Whether the record of an exercise says that it is over: nobody but its engine says so.
pub fn is_over(state: &RunState) -> bool {
    let engine = Actor::engine();
    let by_engine = |by: &Actor| by.name == engine.name && by.verified && has_mark(by);
    state.notes.iter().rev().any(|note| {
        let over = by_engine(&note.by) && note.text.starts_with(OVER_WORDS);
        over || (has_mark(&note.by) && calls_emergency(&note.text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emergency_is_heard_however_it_is_written() {
        for heard in ["REAL EMERGENCY", " real emergency! the shop is down", "Real Emergency"] {
            assert!(calls_emergency(heard), "{heard}");
        }
        for not in ["", "emergency", "this is a real emergency", "REAL EMERGENC"] {
            assert!(!calls_emergency(not), "{not}");
        }
    }
}
