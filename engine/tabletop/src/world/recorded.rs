//! A world that begins where a record stands: what was prepared then is what the twins prepare now,
//! and what the record shows as made is made.

use backout_core::contract::{Prepared, Satisfied};
use backout_core::event::{Event, Recorded};
use backout_core::id::{StepId, Timestamp};
use backout_core::state::RunState;
use serde_json::json;

use super::{Change, World};

/// A thing of a record, before and after.
const NOT_YET: &str = "not yet";
const MADE: &str = "made";

impl World {
    /// Takes over what a record knows of its targets, and what was made up to a state of it. What
    /// the record says later of sendings that were under way then, the world knows already: they
    /// will have reached their targets.
    pub(crate) fn take_record(&mut self, journal: &[Recorded], state: &RunState) {
        for recorded in journal {
            if let Event::StepPrepared { step, prepared } = &recorded.event {
                self.recorded.entry(step.clone()).or_insert_with(|| (**prepared).clone());
            }
        }
        for (planned, step) in state.plan.steps.iter().zip(&state.steps) {
            for made in &step.made {
                self.put(&thing(&planned.id, made.effect), MADE, None, state.last);
                self.made.insert(made.key.clone(), state.last);
            }
        }
        self.take_later(journal, state);
    }

    fn take_later(&mut self, journal: &[Recorded], state: &RunState) {
        let later = journal.iter().filter(|recorded| recorded.seq > state.seq);
        for recorded in later {
            let Event::EffectDone { sending, .. } = &recorded.event else { continue };
            let under_way = state.find(&sending.step).is_some_and(|(_, _, step)| {
                step.attempt == sending.attempt
                    && step.effects.get(sending.effect).is_some_and(|e| e.dispatch > 0)
            });
            if under_way {
                self.put(&thing(&sending.step, sending.effect), MADE, None, state.last);
                self.made.insert(state.key(sending), state.last);
            }
        }
    }

    /// What was prepared in the record, with what is made by now.
    pub(super) fn as_recorded(&self, step: &StepId) -> Option<Prepared> {
        let mut prepared = self.recorded.get(step)?.clone();
        if prepared.guarantee == backout_core::contract::Guarantee::ReadOnly {
            // What the record saw last is not known now: a look holds.
            for effect in &mut prepared.effects {
                effect.satisfied = Satisfied::Yes;
                effect.difference.clear();
            }
            return Some(prepared);
        }
        for (at, effect) in prepared.effects.iter_mut().enumerate() {
            let thing = thing(step, at);
            let now = self.things.get(&thing);
            let made = now.is_some_and(|thing| thing.value == MADE);
            if effect.satisfied != Satisfied::CannotTell {
                effect.satisfied = if made { Satisfied::Yes } else { Satisfied::No };
            }
            if made {
                effect.difference.clear();
            }
            let version = now.map_or(0, |thing| thing.version);
            effect.before = backout_core::contract::Image::Plain(json!(NOT_YET));
            effect.data = json!(Change { thing, to: MADE.to_owned(), version });
        }
        Some(prepared)
    }

    /// The moment the world began.
    pub fn begin(&self) -> Timestamp {
        self.begin
    }
}

fn thing(step: &StepId, effect: usize) -> String {
    format!("record:{step}/{effect}")
}
