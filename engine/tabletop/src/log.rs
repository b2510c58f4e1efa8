//! What was done in an exercise besides its run: the record that a report is made of.

use backout_core::event::{Event, Recorded};
use backout_core::exercise::{DRILL_LABEL, DRILL_TITLE_LABEL};
use backout_core::id::{RunId, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scenario::Scenario;

/// A note of a run as one of its exercise.
fn noted(recorded: &Recorded) -> Option<Entry> {
    let Event::NoteTaken { text, .. } = &recorded.event else { return None };
    let actor = &recorded.cause.actor;
    let role = actor.roles.iter().find(|role| *role != DRILL_LABEL).cloned().unwrap_or_default();
    let what = Logged::Note { by: actor.name.clone(), role, text: text.clone() };
    Some(Entry { at: recorded.at, seq: recorded.seq, what })
}

/// The version of the record's format.
pub const EXERCISE_FORMAT: u32 = 1;

/// How an objective was met, after HSEEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rating {
    /// Performed without challenges.
    P,
    /// Performed with some challenges.
    S,
    /// Performed with major challenges.
    M,
    /// Unable to be performed.
    U,
}

impl Rating {
    /// The rating of a letter.
    pub fn of(letter: &str) -> Option<Self> {
        match letter {
            "P" | "p" => Some(Self::P),
            "S" | "s" => Some(Self::S),
            "M" | "m" => Some(Self::M),
            "U" | "u" => Some(Self::U),
            _ => None,
        }
    }

    /// What it means.
    pub fn words(self) -> &'static str {
        match self {
            Self::P => "performed without challenges",
            Self::S => "performed with some challenges",
            Self::M => "performed with major challenges",
            Self::U => "unable to be performed",
        }
    }
}

/// The kinds of exercise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A runbook is run in a simulated world.
    #[default]
    Drill,
    /// A team says what it would do.
    Discussion,
    /// A record was left at one moment, and went on in a simulated world.
    WhatIf,
}

/// Something that was done or happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Logged {
    /// An inject was fired.
    Inject {
        /// Its name; empty for one that was typed live.
        id: String,
        /// Who said it.
        from: String,
        /// To whom.
        to: String,
        /// By what means.
        by: String,
        /// What they read.
        text: String,
        /// What happened in the world, in words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        what: String,
    },
    /// A person decided.
    Decision {
        /// Who.
        by: String,
        /// What was asked, as the engine reads it.
        ask: Value,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Why the engine did not take it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// Somebody was to decide and did not answer.
    Silence {
        /// Who.
        who: String,
    },
    /// The engine was lost, or came back.
    Engine {
        /// What happened to it.
        what: String,
    },
    /// The time of an expected action began.
    Awaited {
        /// The expected action.
        id: String,
    },
    /// A person noted something.
    Note {
        /// Who.
        by: String,
        /// Their role.
        role: String,
        /// What.
        text: String,
    },
    /// An evaluator rated an objective.
    Rated {
        /// Who.
        by: String,
        /// Which.
        objective: String,
        /// How.
        rating: Rating,
        /// Why.
        text: String,
    },
    /// The team answered a question.
    Answered {
        /// The question.
        question: String,
        /// What was said or chosen.
        answer: String,
        /// Who said it, where it was not the team as a whole.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// What the runbook's plan would do, where it has a say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<String>,
    },
    /// The facilitator stopped the clock.
    ClockStopped,
    /// The clock went on.
    ClockWentOn,
    /// The facilitator jumped forward.
    Jumped {
        /// Milliseconds.
        ms: u64,
    },
    /// An improvement was agreed on.
    Improvement {
        /// The capability.
        capability: String,
        /// What is to be done.
        action: String,
        /// By whom.
        owner: String,
        /// Until when, `YYYY-MM-DD`.
        due: String,
    },
    /// A discussion came to a question.
    Asked {
        /// The question.
        question: String,
    },
    /// What the runbook's plan would do was shown.
    Shown {
        /// The question.
        question: String,
        /// What that is; absent where the plan has no say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<String>,
    },
    /// A real emergency ended the exercise.
    Emergency {
        /// Who called it.
        by: String,
        /// In what words, where there were more.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
    },
    /// The hotwash was closed.
    Closed {
        /// Who closed it.
        by: String,
    },
    /// The exercise is over.
    Ended {
        /// Why.
        why: String,
    },
}

/// An entry with its moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, by the clock of the exercise.
    pub at: Timestamp,
    /// Where the run's journal was.
    pub seq: Seq,
    /// What.
    #[serde(flatten)]
    pub what: Logged,
}

/// The record of an exercise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exercise {
    /// [`EXERCISE_FORMAT`].
    pub format: u32,
    /// What kind of exercise it is; no real run has one.
    pub exercise: Kind,
    /// The scenario, whole.
    pub scenario: Scenario,
    /// The runbook's name.
    pub runbook: String,
    /// The run; absent for a discussion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What decided every chance.
    pub seed: u64,
    /// When it began, by its own clock.
    pub begin: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Milliseconds between two updates that are due; 0 is never.
    #[serde(default)]
    pub updates_ms: u64,
    /// All that was done.
    pub log: Vec<Entry>,
}

impl Exercise {
    /// Why it is over; absent while it is not.
    pub fn over(&self) -> Option<&str> {
        self.log.iter().rev().find_map(|entry| match &entry.what {
            Logged::Ended { why } => Some(why.as_str()),
            _ => None,
        })
    }

    /// Whether the hotwash was closed: nothing more is waited for.
    pub fn is_closed(&self) -> bool {
        self.log.iter().any(|entry| matches!(entry.what, Logged::Closed { .. }))
    }

    /// A moment since the start: `+03:20`.
    pub fn clock(&self, at: Timestamp) -> String {
        crate::scenario::clock(at.since_ms(self.begin))
    }

    /// As much of a drill's record as the journal of its run tells: what people noted. Who rated what
    /// stands in the record alone.
    pub fn of_journal(journal: &[Recorded]) -> Option<Self> {
        let first = journal.first()?;
        let Event::RunCreated { run, plan, .. } = &first.event else { return None };
        let label = |name: &str| plan.labels.get(name).cloned();
        let (name, title) = (label(DRILL_LABEL)?, label(DRILL_TITLE_LABEL).unwrap_or_default());
        Some(Self {
            format: EXERCISE_FORMAT,
            exercise: Kind::Drill,
            scenario: Scenario { name, title, ..Scenario::default() },
            runbook: plan.name.clone(),
            run: Some(run.clone()),
            seed: 0,
            begin: first.at,
            end: None,
            updates_ms: 0,
            log: journal.iter().filter_map(noted).collect(),
        })
    }

    /// The record of an exercise that nobody ended: whoever led it was lost at this moment.
    #[must_use]
    pub fn broken_off(mut self, at: Timestamp) -> Self {
        if self.end.is_none() {
            let why = format!("broken off after {}: whoever led it was lost", self.clock(at));
            let seq = self.log.last().map_or(Seq(0), |entry| entry.seq);
            self.log.push(Entry { at, seq, what: Logged::Ended { why } });
            self.end = Some(at);
        }
        self
    }
}
