//! What lists show of a run: a fold over its events.

use std::collections::BTreeMap;

use backout_core::event::{Event, RunEnd};
use backout_core::id::{RunId, Seq, Timestamp};
use serde::{Deserialize, Serialize};

/// What lists show of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run's name.
    pub run: String,
    /// The runbook's name.
    pub runbook: String,
    /// The runbook's title.
    pub title: String,
    /// `running`, `paused`, `succeeded`, `failed`, `aborted`, `undone` or
    /// `superseded`. Whether a running run
    /// waits for a person, only the fold of its whole state tells.
    pub state: String,
    /// When it was created, milliseconds since 1970.
    pub created: i64,
    /// When it came to rest, milliseconds since 1970.
    pub ended: Option<i64>,
    /// The runbook's labels.
    pub labels: BTreeMap<String, String>,
    /// Who knows about the runbook.
    pub owner: Option<String>,
    /// The position up to which events are folded in.
    pub seq: u64,
}

impl RunSummary {
    /// Folds one event in.
    pub fn apply(&mut self, run: &RunId, seq: Seq, at: Timestamp, event: &Event) {
        self.seq = seq.0;
        match event {
            Event::RunCreated { plan, .. } => {
                run.as_str().clone_into(&mut self.run);
                self.runbook.clone_from(&plan.name);
                self.title.clone_from(&plan.title);
                self.labels.clone_from(&plan.labels);
                self.owner.clone_from(&plan.owner);
                self.created = at.0;
                "running".clone_into(&mut self.state);
            }
            Event::RunPaused => "paused".clone_into(&mut self.state),
            Event::RunResumed | Event::UndoBegun { .. } | Event::StepReopened { .. } => {
                "running".clone_into(&mut self.state);
                self.ended = None;
            }
            Event::RunEnded { end, .. } => {
                end_word(*end).clone_into(&mut self.state);
                self.ended = Some(at.0);
            }
            Event::RunSuperseded { .. } => {
                "superseded".clone_into(&mut self.state);
                self.ended = Some(at.0);
            }
            _ => {}
        }
    }

    /// Whether an event changes what a list shows.
    pub fn is_changed_by(event: &Event) -> bool {
        matches!(
            event,
            Event::RunCreated { .. }
                | Event::RunPaused
                | Event::RunResumed
                | Event::UndoBegun { .. }
                | Event::StepReopened { .. }
                | Event::RunEnded { .. }
                | Event::RunSuperseded { .. }
        )
    }
}

fn end_word(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "succeeded",
        RunEnd::Failed => "failed",
        RunEnd::Aborted => "aborted",
        RunEnd::Undone => "undone",
        RunEnd::Superseded => "superseded",
    }
}
