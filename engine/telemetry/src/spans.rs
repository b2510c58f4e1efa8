//! Spans as they follow from a run's events.

use std::collections::BTreeMap;

use backout_core::event::{Event, Recorded};
use backout_core::id::{Seq, StepId, Timestamp};
use backout_core::state::{Phase, RunState, StepState};
use backout_core::{evolve, trace};

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The run as a whole.
    Run,
    /// A step over all its attempts.
    Step,
    /// One attempt of a step.
    Attempt,
}

/// One span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it is about.
    pub kind: SpanKind,
    /// Its name: `run NAME`, `step ID`, `attempt ID`.
    pub name: String,
    /// Its trace: that of the run.
    pub trace: [u8; 16],
    /// Itself.
    pub id: [u8; 8],
    /// The span around it; none for the run.
    pub parent: Option<[u8; 8]>,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What went wrong, if anything.
    pub failed: Option<String>,
    /// What else is known, `backout.*`; never an input, an output or a reason, which may hold what a
    /// trace should not.
    pub attributes: Vec<(&'static str, String)>,
}

/// The fold from events to spans.
#[derive(Debug, Default)]
pub struct Spans {
    state: Option<RunState>,
    /// When the attempt under way of each step began, and which it is.
    begun: BTreeMap<StepId, (u32, Timestamp)>,
}

impl Spans {
    /// The position of the next event.
    pub fn next(&self) -> Seq {
        self.state.as_ref().map_or(Seq(1), |state| state.seq.next())
    }

    /// Folds one event in and gives the spans that ended with it. An event that does not fit gives none:
    /// whoever drives the run says what is wrong with it.
    pub fn take(&mut self, recorded: &Recorded) -> Vec<Span> {
        if evolve(&mut self.state, recorded).is_err() {
            return Vec::new();
        }
        let Some(state) = &self.state else { return Vec::new() };
        match &recorded.event {
            Event::RunEnded { .. } | Event::RunSuperseded { .. } => vec![of_run(state)],
            Event::StepSucceeded { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepUnverified { step, .. } => {
                let attempt =
                    self.begun.remove(step).and_then(|begun| of_attempt(state, step, begun));
                attempt.into_iter().chain(of_step(state, step)).collect()
            }
            Event::StepStarted { step, attempt, .. } => {
                let before = self.begun.insert(step.clone(), (*attempt, recorded.at));
                before.and_then(|begun| of_attempt(state, step, begun)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn of_run(state: &RunState) -> Span {
    let failed = match state.phase {
        Phase::Ended(backout_core::event::RunEnd::Failed) => Some("failed".to_owned()),
        _ => None,
    };
    Span {
        kind: SpanKind::Run,
        name: format!("run {}", state.plan.name),
        trace: trace::trace_id(&state.run),
        id: trace::run_span(&state.run),
        parent: None,
        start: state.created,
        end: state.last,
        failed,
        attributes: vec![
            ("backout.run", state.run.to_string()),
            ("backout.runbook", state.plan.name.clone()),
            ("backout.state", state.status().word().to_owned()),
        ],
    }
}

fn of_step(state: &RunState, id: &StepId) -> Option<Span> {
    let (_, planned, step) = state.find(id)?;
    Some(Span {
        kind: SpanKind::Step,
        name: format!("step {id}"),
        trace: trace::trace_id(&state.run),
        id: trace::step_span(&state.run, id),
        parent: Some(trace::run_span(&state.run)),
        start: step.started?,
        end: state.last,
        failed: failed(&step.state),
        attributes: vec![
            ("backout.run", state.run.to_string()),
            ("backout.step", id.to_string()),
            ("backout.action", planned.action.to_string()),
            ("backout.state", step.state.word().to_owned()),
            ("backout.guarantee", step.guarantee().map_or("", |g| g.word()).to_owned()),
        ],
    })
}

/// The attempt that just ended.
fn of_attempt(state: &RunState, id: &StepId, begun: (u32, Timestamp)) -> Option<Span> {
    let (attempt, start) = begun;
    let (_, planned, step) = state.find(id)?;
    let is_last = step.attempt == attempt;
    Some(Span {
        kind: SpanKind::Attempt,
        name: format!("attempt {id}"),
        trace: trace::trace_id(&state.run),
        id: trace::attempt_span(&state.run, id, attempt),
        parent: Some(trace::step_span(&state.run, id)),
        start,
        end: state.last,
        failed: if is_last { failed(&step.state) } else { Some("tried again".to_owned()) },
        attributes: vec![
            ("backout.step", id.to_string()),
            ("backout.action", planned.action.to_string()),
            ("backout.attempt", attempt.to_string()),
        ],
    })
}

fn failed(state: &StepState) -> Option<String> {
    match state {
        StepState::Failed { .. } => Some("failed".to_owned()),
        StepState::Unverified => Some("done, but not seen as wanted".to_owned()),
        _ => None,
    }
}
