//! What every face shows of a run that is one of an exercise, so that nobody takes it for real, and
//! nobody takes what is real for an exercise.

use backout_core::exercise::{
    DRILL_LABEL, DRILL_TITLE_LABEL, calls_emergency, has_mark, is_drill, is_over,
};
use backout_core::state::RunState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The mark of an exercise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillView {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// Whether it is over: then nothing is asked of its run any more.
    #[serde(default)]
    pub over: bool,
    /// Who ended it for something real, and in what words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// The mark of a run; nothing where it is real. `led` says whether anybody is there who leads it.
pub fn drill_view(state: &RunState, led: bool) -> Option<DrillView> {
    if !is_drill(&state.plan) {
        return None;
    }
    let label = |name| state.plan.labels.get(name).cloned().unwrap_or_default();
    let called = state.notes.iter().rev();
    let mut called = called.filter(|note| has_mark(&note.by) && calls_emergency(&note.text));
    Some(DrillView {
        scenario: label(DRILL_LABEL),
        title: label(DRILL_TITLE_LABEL),
        over: !led || is_over(state),
        emergency: called.next().map(|note| format!("{}: {}", note.by.name, note.text)),
    })
}

impl DrillView {
    /// It in one line, for a terminal.
    pub fn line(&self) -> String {
        match &self.emergency {
            Some(called) => format!("{EMERGENCY} Called by {called}"),
            None if self.over => format!("DRILL, the record of one that is over: {}", self.title),
            None => format!("DRILL, nothing here is real: {}", self.title),
        }
    }
}

/// What everybody is told when a real emergency ends an exercise.
pub const EMERGENCY: &str = "REAL EMERGENCY: the drill is over, this is real now.";
