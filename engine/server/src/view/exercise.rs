//! What every face shows of a run that is one of an exercise, so that nobody takes it for real, and
//! nobody takes what is real for an exercise.

use backout_core::exercise::{
    DRILL_LABEL, DRILL_TITLE_LABEL, calls_emergency, has_mark, is_drill, is_over,
};
use backout_core::state::{Phase, RunState};
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
    /// How long it had lasted by its own clock when it was broken off, milliseconds: whoever led it
    /// was lost, and nobody ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_off_ms: Option<u64>,
    /// Who ended it for something real, and in what words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// Whether anybody leads the exercise that a run is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leading {
    /// Somebody does.
    Somebody,
    /// Nobody does any more: the run is a record.
    Nobody,
    /// The record is looked at as it was at an earlier moment, or by itself: it is not known here.
    Unknown,
}

/// The mark of a run; nothing where it is real.
pub fn drill_view(state: &RunState, leading: Leading) -> Option<DrillView> {
    if !is_drill(&state.plan) {
        return None;
    }
    let label = |name| state.plan.labels.get(name).cloned().unwrap_or_default();
    let called = state.notes.iter().rev();
    let mut called = called.filter(|note| has_mark(&note.by) && calls_emergency(&note.text));
    Some(DrillView {
        scenario: label(DRILL_LABEL),
        title: label(DRILL_TITLE_LABEL),
        over: leading != Leading::Somebody || is_over(state),
        broken_off_ms: (leading == Leading::Nobody && stopped_short(state))
            .then(|| state.last.since_ms(state.created)),
        emergency: called.next().map(|note| format!("{}: {}", note.by.name, note.text)),
    })
}

/// Whether a record ends without the last word of its exercise.
fn stopped_short(state: &RunState) -> bool {
    !is_over(state) && !matches!(state.phase, Phase::Ended(_))
}

impl DrillView {
    /// When it was broken off, by its own clock: `+12:30`.
    pub fn broken_off(&self) -> Option<String> {
        let ms = self.broken_off_ms?;
        Some(format!("+{:02}:{:02}", ms / 60_000, ms / 1_000 % 60))
    }

    /// It in one line, for a terminal.
    pub fn line(&self) -> String {
        match (&self.emergency, self.broken_off()) {
            (Some(called), _) => format!("{EMERGENCY} Called by {called}"),
            (None, Some(at)) => {
                format!(
                    "DRILL, broken off after {at} of its clock, nobody leads it: {}",
                    self.title
                )
            }
            (None, None) if self.over => {
                format!("DRILL, the record of one that is over: {}", self.title)
            }
            (None, None) => format!("DRILL, nothing here is real: {}", self.title),
        }
    }
}

/// What everybody is told when a real emergency ends an exercise.
pub const EMERGENCY: &str = "REAL EMERGENCY: the exercise is over, this is real now.";
