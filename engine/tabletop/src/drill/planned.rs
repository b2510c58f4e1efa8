//! What is planned: injects and decisions, at a time or after something, and when the time of an
//! expected action begins.

use backout_core::event::Wait;
use backout_core::id::StepId;
use backout_core::state::{StepRun, StepState};

use super::{Broken, Drill, Happening};
use crate::decisions::{Decision, words};
use crate::log::Logged;
use crate::scenario::{Inject, On, Scenario, Timed};

/// What is planned.
#[derive(Clone, Debug)]
pub(super) enum What {
    Inject(Inject),
    Decision(Decision),
    Awaited(String),
}

/// Something planned, and whether its moment has come.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    what: What,
    at: Option<String>,
    on: Option<On>,
    /// Whether it has come, or stands in the queue.
    begun: bool,
}

impl Planned {
    pub(super) fn all(scenario: &Scenario, decisions: &[Decision]) -> Vec<Self> {
        let injects = scenario.injects.iter().map(|inject| Self {
            what: What::Inject(inject.clone()),
            at: inject.at.clone(),
            on: inject.on.clone(),
            begun: false,
        });
        let awaited = scenario.expected.iter().filter(|one| one.on.is_some()).map(|one| Self {
            what: What::Awaited(one.id.clone()),
            at: None,
            on: one.on.clone(),
            begun: false,
        });
        let decisions = decisions.iter().map(|decision| Self {
            what: What::Decision(decision.clone()),
            at: decision.at.clone(),
            on: decision.on.clone(),
            begun: false,
        });
        injects.chain(awaited).chain(decisions).collect()
    }
}

impl Drill {
    /// Puts what has a time into the queue.
    pub(super) fn schedule_planned(&mut self) {
        for at in 0..self.planned.len() {
            let Some(time) = self.planned.get(at).and_then(|one| one.at.clone()) else { continue };
            self.begin_planned(at, time.ms());
        }
    }

    fn begin_planned(&mut self, at: usize, ms: u64) {
        if let Some(planned) = self.planned.get_mut(at) {
            planned.begun = true;
        }
        self.after(ms, Happening::Planned { at });
    }

    /// Puts into the queue what waits for something that is so now.
    pub(super) fn look_at_planned(&mut self) {
        for at in 0..self.planned.len() {
            let Some(planned) = self.planned.get(at).filter(|one| !one.begun) else { continue };
            let Some(on) = planned.on.clone() else { continue };
            if self.holds(&on) {
                self.begin_planned(at, on.after.ms());
            }
        }
    }

    /// Whether what `on` names is so.
    fn holds(&self, on: &On) -> bool {
        let inject = on.inject.as_ref().is_none_or(|inject| self.fired.contains(inject));
        let decided = on.decision.as_ref().is_none_or(|word| self.was_decided(word, on));
        let state =
            on.decision.is_some() || on.step.as_ref().is_none_or(|step| self.is_in(step, on));
        inject && decided && state
    }

    fn was_decided(&self, wanted: &str, on: &On) -> bool {
        self.log.iter().any(|entry| match &entry.what {
            Logged::Decision { ask, refused: None, .. } => {
                let (word, step) = words(ask);
                word == wanted && (on.step.is_none() || on.step.as_deref() == step)
            }
            _ => false,
        })
    }

    fn is_in(&self, step: &str, on: &On) -> bool {
        let wanted = on.is.as_deref().unwrap_or("running");
        let state = self.state();
        let found = state.and_then(|state| state.find(&StepId::new(step)));
        found.is_some_and(|(_, _, step)| state_words(step).contains(&wanted))
    }

    pub(super) fn planned_now(&mut self, at: usize) -> Result<(), Broken> {
        let Some(planned) = self.planned.get(at).cloned() else { return Ok(()) };
        match planned.what {
            What::Inject(inject) => self.inject(&inject),
            What::Decision(decision) => self.decide_planned(at, &decision),
            What::Awaited(id) => {
                self.note(Logged::Awaited { id });
                Ok(())
            }
        }
    }
}

/// The words that fit the state of a step: its own, and what it waits for.
pub(crate) fn state_words(step: &StepRun) -> Vec<&'static str> {
    let mut words = vec![step.state.word()];
    if let StepState::Waiting(wait) = &step.state {
        words.push(match wait {
            Wait::Approval { .. } => "approval",
            Wait::Retry { .. } => "retry",
            Wait::Soak { .. } => "soak",
            Wait::Lock { .. } => "lock",
            Wait::Timer { .. } => "timer",
            Wait::Person { .. } => "person",
            Wait::Output { .. } => "output",
        });
    }
    words
}
