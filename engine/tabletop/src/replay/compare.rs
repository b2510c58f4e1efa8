//! Two lines that went apart at one event.

use backout_core::event::{Event, Recorded};
use backout_core::id::Seq;
use backout_core::state::RunState;
use serde::{Deserialize, Serialize};

use super::Tape;
use crate::drill::Broken;

/// One step on both lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The step.
    pub step: String,
    /// Its state at the end of the record.
    pub record: String,
    /// Its state at the end of the other line.
    pub other: String,
}

/// The record and what else could have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The last event that both have.
    pub left_at: Seq,
    /// How the record ended.
    pub record: String,
    /// How the other line ended.
    pub other: String,
    /// How long the record took from there, milliseconds.
    pub record_ms: u64,
    /// How long the other line took from there, milliseconds.
    pub other_ms: u64,
    /// Effects sent from there on in the record.
    pub record_sent: usize,
    /// And on the other line.
    pub other_sent: usize,
    /// Times that a step came into doubt from there on, in the record.
    pub record_doubts: usize,
    /// And on the other line.
    pub other_doubts: usize,
    /// The steps that ended differently.
    pub steps: Vec<Line>,
}

/// Compares a record with a line that left it after `at`.
///
/// # Errors
/// One of them does not fold.
pub fn compare(record: &[Recorded], other: &[Recorded], at: Seq) -> Result<Comparison, Broken> {
    let ends = [folded(record)?, folded(other)?];
    let [first, second] = &ends;
    let words = |state: &RunState, step: usize| {
        state.steps.get(step).map_or("not there", |step| step.state.word()).to_owned()
    };
    let lines = second.plan.steps.iter().enumerate().map(|(step, planned)| Line {
        step: planned.id.to_string(),
        record: words(first, step),
        other: words(second, step),
    });
    Ok(Comparison {
        left_at: at,
        record: first.status().word().to_owned(),
        other: second.status().word().to_owned(),
        record_ms: took(record, at),
        other_ms: took(other, at),
        record_sent: count(record, at, |event| matches!(event, Event::EffectIntended { .. })),
        other_sent: count(other, at, |event| matches!(event, Event::EffectIntended { .. })),
        record_doubts: count(record, at, |event| matches!(event, Event::EffectInDoubt { .. })),
        other_doubts: count(other, at, |event| matches!(event, Event::EffectInDoubt { .. })),
        steps: lines.filter(|line| line.record != line.other).collect(),
    })
}

fn folded(journal: &[Recorded]) -> Result<RunState, Broken> {
    let mut tape = Tape::new(journal.to_vec());
    tape.jump(journal.len())?;
    tape.state().cloned().ok_or_else(|| Broken("there is no run in the record".into()))
}

fn took(journal: &[Recorded], at: Seq) -> u64 {
    let left = journal.iter().rev().find(|recorded| recorded.seq <= at);
    let last = journal.last();
    left.zip(last).map_or(0, |(left, last)| last.at.since_ms(left.at))
}

fn count(journal: &[Recorded], at: Seq, wanted: impl Fn(&Event) -> bool) -> usize {
    journal.iter().filter(|recorded| recorded.seq > at && wanted(&recorded.event)).count()
}
