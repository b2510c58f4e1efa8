//! Expected against actual: what was to be done, and when it was.

use backout_core::event::{Event, Recorded, RunEnd};
use backout_core::id::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decisions::words;
use crate::log::{Entry, Exercise, Logged};
use crate::scenario::{Expected, Timed};

/// What became of something expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Done in time; or not done, where it was to be left alone.
    Met,
    /// Done too late.
    Late,
    /// Not done.
    Missed,
    /// Done, though it was to be left alone.
    Violated,
    /// Its moment never came.
    NotDue,
}

impl Verdict {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Late => "late",
            Self::Missed => "missed",
            Self::Violated => "violated",
            Self::NotDue => "not due",
        }
    }

    /// Whether an automatic drill may end well with it.
    pub fn is_well(self) -> bool {
        matches!(self, Self::Met | Self::NotDue)
    }
}

/// Something expected, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The expected action's name.
    pub id: String,
    /// It in words.
    pub expected: String,
    /// The objective that it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// When its time began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// By when it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
}

/// Judges all that a scenario expects.
pub fn judge(exercise: &Exercise, journal: &[Recorded]) -> Vec<Judged> {
    let judged = |expected| judge_one(expected, exercise, journal);
    exercise.scenario.expected.iter().map(judged).collect()
}

fn judge_one(expected: &Expected, exercise: &Exercise, journal: &[Recorded]) -> Judged {
    let from = began(expected, exercise);
    let due = from.zip(expected.within.as_ref()).map(|(from, within)| from.plus_ms(within.ms()));
    let done = from.and_then(|from| match &expected.end {
        Some(end) => ended(end, journal),
        None => decided(expected, exercise, from),
    });
    let cut = cut_short(exercise, journal);
    let never_came = done.is_none() && due.zip(cut).is_some_and(|(due, cut)| due > cut);
    let verdict = match (from, done) {
        (None, _) => Verdict::NotDue,
        (Some(_), None) if never_came && !expected.never => Verdict::NotDue,
        (Some(_), Some(_)) if expected.never => Verdict::Violated,
        (Some(_), None) if expected.never => Verdict::Met,
        (Some(_), None) => Verdict::Missed,
        (Some(_), Some(done)) if due.is_some_and(|due| done > due) => Verdict::Late,
        (Some(_), Some(_)) => Verdict::Met,
    };
    Judged {
        id: expected.id.clone(),
        expected: expected.sentence(),
        objective: expected.objective.clone(),
        verdict,
        from,
        due,
        done,
    }
}

/// When the exercise ended, where its run did not: by hand, or since something real happened. What was
/// due later was not missed.
fn cut_short(exercise: &Exercise, journal: &[Recorded]) -> Option<Timestamp> {
    let run_ended = journal.iter().any(|recorded| matches!(recorded.event, Event::RunEnded { .. }));
    let ended = |entry: &&Entry| matches!(entry.what, Logged::Ended { .. });
    exercise.log.iter().find(ended).map(|entry| entry.at).filter(|_| !run_ended)
}

fn began(expected: &Expected, exercise: &Exercise) -> Option<Timestamp> {
    if expected.on.is_none() {
        return Some(exercise.begin);
    }
    let is_it = |what: &Logged| matches!(what, Logged::Awaited { id } if *id == expected.id);
    exercise.log.iter().find(|entry| is_it(&entry.what)).map(|entry| entry.at)
}

fn decided(expected: &Expected, exercise: &Exercise, from: Timestamp) -> Option<Timestamp> {
    let wanted = expected.ask.as_deref()?;
    let is_it = |what: &Logged| {
        let Logged::Decision { ask, refused: None, .. } = what else { return false };
        let (word, step) = words(ask);
        word == wanted && (expected.step.is_none() || expected.step.as_deref() == step)
    };
    let found = exercise.log.iter().find(|entry| entry.at >= from && is_it(&entry.what));
    found.map(|entry| entry.at)
}

/// When the run came to its last end, where that is the wanted one.
fn ended(wanted: &str, journal: &[Recorded]) -> Option<Timestamp> {
    let last = journal.iter().rev().find_map(|recorded| match &recorded.event {
        Event::RunEnded { end, .. } => Some((recorded.at, *end)),
        _ => None,
    });
    last.filter(|(_, end)| end_word(*end) == wanted).map(|(at, _)| at)
}

/// The word for the end of a run.
pub fn end_word(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "succeeded",
        RunEnd::Failed => "failed",
        RunEnd::Aborted => "aborted",
        RunEnd::Undone => "undone",
        RunEnd::Superseded => "superseded",
    }
}

/// The moments at which an update was due and none had come.
pub fn missed_updates(exercise: &Exercise) -> Vec<Timestamp> {
    let every = exercise.updates_ms;
    let Some(end) = exercise.end.filter(|_| every > 0) else { return Vec::new() };
    let is_update = |what: &Logged| matches!(what, Logged::Decision { ask, refused: None, .. } if words(ask).0 == "note");
    let given = exercise.log.iter().filter(|entry| is_update(&entry.what)).map(|entry| entry.at);
    let mut missed = Vec::new();
    let mut last = exercise.begin;
    for at in given.chain([end]) {
        while at.since_ms(last) > every {
            last = last.plus_ms(every);
            missed.push(last);
        }
        last = at;
    }
    missed
}
