//! Watching: what a step with `watch` has made is looked at again until its run ends.
//!
//! A look that finds all as it was left is not journaled, so the shell goes on looking by itself
//! ([`Watch`]) and reports only what [`Watch::tells`]. What follows from it is decided like all else.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::{PrepareFailure, Prepared, PreparedEffect, Satisfied};
use crate::id::{ActionName, Seq, StepId, StepIx, Timestamp};
use crate::plan::PlanStep;
use crate::state::{Phase, RunState, StepRun, StepState};

/// Milliseconds between two looks at a watched step: a colleague who switches a flag back on is
/// noticed while they still remember why, and a hundred watched steps ask their targets three times
/// a second.
pub const EVERY_MS: u64 = 30_000;
/// Milliseconds between two looks at a target that did not answer.
pub const UNSEEN_EVERY_MS: u64 = 5_000;
/// Milliseconds without an answer after which a watch says that it sees nothing: longer than a
/// server takes to start again.
pub const UNSEEN_MS: u64 = 60_000;
/// Milliseconds after which an alarm that stands is told again where something else differs: a
/// difference may hold a number that is never twice the same.
pub const AGAIN_MS: u64 = 600_000;
/// Milliseconds that one look may take, whatever the step's `timeout` allows for its effects.
pub const LOOK_TIMEOUT_MS: u64 = 15_000;

/// What a look at a watched step found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Nothing that can be seen is missing.
    AsLeft,
    /// It is not as it was left.
    Changed {
        /// What differs.
        difference: Vec<String>,
        /// Who changed it, where the target knows.
        by: Option<String>,
    },
    /// The target did not answer.
    Unseen {
        /// What was tried.
        why: String,
    },
}

impl Found {
    /// What an answer of `prepare` means. A target that answers and is refused was changed: the
    /// same input was accepted when the step was done.
    pub fn of(answer: &Result<Box<Prepared>, PrepareFailure>) -> Self {
        match answer {
            Ok(seen) => Self::seen(seen),
            Err(PrepareFailure::Refused { reason }) => {
                Self::Changed { difference: vec![reason.clone()], by: None }
            }
            Err(PrepareFailure::Unreachable { reason }) => Self::Unseen { why: reason.clone() },
        }
    }

    fn seen(seen: &Prepared) -> Self {
        let missing = seen.effects.iter().filter(|effect| effect.satisfied == Satisfied::No);
        let difference: Vec<String> = missing.flat_map(lines).collect();
        if difference.is_empty() {
            return Self::AsLeft;
        }
        Self::Changed { difference, by: seen.changed_by().map(str::to_owned) }
    }
}

fn lines(effect: &PreparedEffect) -> Vec<String> {
    if effect.difference.is_empty() {
        vec![effect.title.clone()]
    } else {
        effect.difference.clone()
    }
}

/// What a watched step has made is not as it was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Since when it stands.
    pub since: Timestamp,
    /// When it was last told.
    pub told: Timestamp,
    /// What differs; where it is not seen, why.
    pub difference: Vec<String>,
    /// Who changed it, where that is known.
    pub by: Option<String>,
    /// Whether the target does not answer, so that nobody knows how it is.
    pub unseen: bool,
}

/// How a step is watched; of no meaning for one that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Names one watch and tells it from the one before it: it rises with everything told.
    pub look: u32,
    /// The next look.
    pub due: Timestamp,
    /// Where the journal says that the step was done.
    pub since: Seq,
    /// Where the journal last says what a look found.
    pub looked: Seq,
    /// Whether a person has accepted what was found: it is watched no more.
    pub accepted: bool,
    /// The alarm that stands.
    pub alarm: Option<Box<Alarm>>,
}

/// A watch that the shell should have under way: look, wait, look again, until there is something
/// to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The step.
    pub step: StepId,
    /// The attempt that made it.
    pub attempt: u32,
    /// See [`Watched::look`].
    pub look: u32,
    /// Whether all is done, and only this look is wanted before the run ends: what it finds is told
    /// in any case.
    pub last: bool,
    /// The action.
    pub action: ActionName,
    /// Its input.
    pub input: Value,
    /// How long one look may take.
    pub timeout_ms: u64,
    /// The first look is not before this moment.
    pub not_before: Timestamp,
    /// The alarm that stands.
    pub alarm: Option<Alarm>,
}

impl Watch {
    /// Whether what was found is to be reported. `unseen_since` is when the first of the looks
    /// began that the target did not answer, one after the other.
    pub fn tells(&self, found: &Found, now: Timestamp, unseen_since: Option<Timestamp>) -> bool {
        let blind = unseen_since.is_some_and(|since| now.since_ms(since) >= UNSEEN_MS);
        match (found, &self.alarm) {
            (Found::AsLeft, alarm) => self.last || alarm.is_some(),
            (Found::Unseen { .. }, alarm) => blind && (self.last || alarm.is_none()),
            (Found::Changed { difference, .. }, Some(alarm)) if !alarm.unseen => {
                let old = now.since_ms(alarm.told) >= AGAIN_MS;
                self.last || old && alarm.difference != *difference
            }
            (Found::Changed { .. }, _) => true,
        }
    }

    /// Milliseconds until the next look.
    pub fn wait_ms(found: &Found) -> u64 {
        match found {
            Found::Unseen { .. } => UNSEEN_EVERY_MS,
            Found::AsLeft | Found::Changed { .. } => EVERY_MS,
        }
    }
}

impl StepRun {
    /// Whether its target is looked at until the run ends.
    pub(crate) fn is_watched(&self, plan: &PlanStep) -> bool {
        plan.watch && !self.watched.accepted && matches!(self.state, StepState::Succeeded { .. })
    }
}

impl RunState {
    /// Whether all is done, and only the last look at the watched steps keeps the run from its end.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase == Phase::Forward
            && !self.paused
            && self.met == self.steps.len()
            && !self.is_as_left()
    }

    /// Whether every watched step was looked at since anything last moved, and is as it was left.
    pub(crate) fn is_as_left(&self) -> bool {
        self.watches().all(|step| step.watched.looked > self.moved && step.watched.alarm.is_none())
    }

    /// Whether all is done and looked at, and an alarm keeps the run from its end: only a person,
    /// or whoever raised it, can move it on.
    pub fn waits_for_alarm(&self) -> bool {
        self.is_closing() && self.watches().all(|step| step.watched.looked > self.moved)
    }

    fn watches(&self) -> impl Iterator<Item = &StepRun> {
        self.watched.iter().filter_map(|ix| self.step(*ix))
    }

    /// The steps that are watched and not as they were left, with what differs.
    pub fn alarms(&self) -> impl Iterator<Item = (&PlanStep, &Alarm)> {
        self.watched.iter().filter_map(|ix| {
            let alarm = self.step(*ix)?.watched.alarm.as_deref()?;
            Some((self.plan_step(*ix)?, alarm))
        })
    }

    /// The watch of a step that should be under way now.
    pub(crate) fn watch(&self, ix: StepIx) -> Option<Watch> {
        if self.phase != Phase::Forward || !self.watched.contains(&ix) {
            return None;
        }
        let (plan, step) = (self.plan_step(ix)?, self.step(ix)?);
        let last = self.is_closing() && step.watched.looked <= self.moved;
        Some(Watch {
            step: plan.id.clone(),
            attempt: step.attempt,
            look: step.watched.look,
            last,
            action: plan.action.clone(),
            input: step.input.clone(),
            timeout_ms: plan.timeout_ms.min(LOOK_TIMEOUT_MS),
            not_before: if last { Timestamp::default() } else { step.watched.due },
            alarm: step.watched.alarm.as_deref().cloned(),
        })
    }

    /// The last step of this run, besides this one, that made something on one of its targets after
    /// it was done.
    pub(crate) fn changed_by_us(&self, ix: StepIx) -> Option<&StepId> {
        let step = self.step(ix)?;
        let targets = &step.prepared.as_ref()?.locks;
        let others = self.plan.steps.iter().zip(&self.steps).enumerate();
        let made = others
            .filter(|(at, _)| *at != ix.0)
            .flat_map(|(_, (plan, other))| other.made.iter().map(move |made| (made, &plan.id)));
        let ours = made.filter(|(made, _)| {
            !made.adopted
                && made.seq > step.watched.since
                && made.prepared.locks.iter().any(|lock| targets.contains(lock))
        });
        ours.max_by_key(|(made, _)| made.seq).map(|(_, id)| id)
    }
}
