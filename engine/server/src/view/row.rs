//! One row of a list of runs: what a list shows and is asked for, without the steps.

use std::collections::BTreeMap;

use backout_core::event::Wait;
use backout_core::exercise::is_drill;
use backout_core::id::{RunId, Seq, TargetId, Timestamp};
use backout_core::state::{RunState, RunStatus, StepState};

use backout_runtime::herald::ABOUT_LABEL;

use super::lock::LockView;
use super::rfc3339;
use super::run::{Listed, is_done, word_of};

/// The words of runs' states.
pub(crate) const STATES: [&str; 9] = [
    "running",
    "waiting",
    "paused",
    "interrupted",
    "succeeded",
    "failed",
    "aborted",
    "undone",
    "superseded",
];

/// What is kept of a run for lists. What depends on the time, or on who drives it, comes later.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) run: RunId,
    pub(crate) seq: Seq,
    pub(crate) created: Timestamp,
    pub(crate) labels: BTreeMap<String, String>,
    /// Steps whose outcome only a person can say.
    pub(crate) in_doubt: usize,
    /// Steps that wait for a person, those in doubt among them.
    pub(crate) asking: usize,
    /// The targets that it holds.
    pub(crate) locks: Vec<TargetId>,
    /// The targets that it waits for, since others hold them.
    pub(crate) awaits: Vec<TargetId>,
    commander: String,
    status: RunStatus,
    attached: bool,
    last: Timestamp,
    stale_after_ms: u64,
    listed: Listed,
}

impl Row {
    pub(crate) fn of(state: &RunState) -> Self {
        let done = state.steps.iter().filter(|step| is_done(step.state.word())).count();
        let in_doubt = state.steps.iter().filter(|step| step.state == StepState::InDoubt).count();
        let listed = Listed {
            run: state.run.to_string(),
            runbook: state.plan.name.clone(),
            title: state.plan.title.clone(),
            owner: state.plan.owner.clone(),
            state: String::new(),
            created: rfc3339(state.created),
            last: rfc3339(state.last),
            starter: state.starter.name.clone(),
            message_about: state.plan.labels.get(ABOUT_LABEL).cloned(),
            drill: is_drill(&state.plan),
            done,
            steps: state.steps.len(),
            stale: false,
            break_glass: state.break_glass,
        };
        Self {
            run: state.run.clone(),
            seq: state.seq,
            created: state.created,
            labels: state.plan.labels.clone(),
            in_doubt,
            asking: state.asking.len(),
            locks: state.locks.keys().cloned().collect(),
            awaits: state.steps.iter().flat_map(|step| awaited(&step.state)).collect(),
            commander: state.commander.name.clone(),
            status: state.status(),
            attached: state.attached,
            last: state.last,
            stale_after_ms: state.plan.stale_after_ms,
            listed,
        }
    }

    /// The word of its state.
    pub(crate) fn word(&self, driven: bool) -> &'static str {
        word_of(self.status, driven, self.attached)
    }

    /// One of the targets that it holds.
    pub(crate) fn lock(&self, target: &TargetId, word: &str) -> LockView {
        LockView {
            target: target.to_string(),
            run: self.run.to_string(),
            runbook: self.listed.runbook.clone(),
            commander: self.commander.clone(),
            state: word.to_owned(),
            waiting: Vec::new(),
        }
    }

    /// As a list shows it.
    pub(crate) fn listed(&self, now: Timestamp, driven: bool) -> Listed {
        Listed {
            state: self.word(driven).to_owned(),
            stale: self.is_stale(now, driven),
            ..self.listed.clone()
        }
    }

    /// Whether it stood still for so long that it goes on only when named.
    pub(crate) fn is_stale(&self, now: Timestamp, driven: bool) -> bool {
        let unfinished = !self.status.is_end();
        unfinished && !driven && now.since_ms(self.last) > self.stale_after_ms
    }

    /// Whether a text stands in what people know it by, whatever the case.
    pub(crate) fn has_text(&self, lower_case: &str) -> bool {
        let Listed { run, runbook, title, starter, .. } = &self.listed;
        [run, runbook, title, starter].iter().any(|text| text.to_lowercase().contains(lower_case))
    }

    pub(crate) fn runbook(&self) -> &str {
        &self.listed.runbook
    }

    pub(crate) fn owner(&self) -> Option<&str> {
        self.listed.owner.as_deref()
    }
}

fn awaited(state: &StepState) -> Vec<TargetId> {
    match state {
        StepState::Waiting(Wait::Lock { holders }) => {
            holders.iter().map(|holder| holder.target.clone()).collect()
        }
        _ => Vec::new(),
    }
}
