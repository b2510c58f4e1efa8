//! A world that begins where a record stands: what was prepared then is what the twins prepare now, what
//! the record shows as made is made, checks see what they saw when the same was made, and what takes time
//! takes as long as it took.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::contract::{Guarantee, Image, Prepared, Satisfied, Settled};
use backout_core::event::{Event, Recorded, Wait};
use backout_core::id::{ActionName, StepId, Timestamp};
use backout_core::state::RunState;
use serde_json::json;

use super::{Change, Takes, World};
use crate::scenario::StepModel;

/// A thing of a record, before and after.
pub(super) const NOT_YET: &str = "not yet";
const MADE: &str = "made";
/// How the name of such a thing begins.
const PREFIX: &str = "record:";

/// What is known from a record.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// By step, what was prepared first.
    prepared: BTreeMap<StepId, Prepared>,
    /// By step that only reads, what it saw, in order.
    looks: BTreeMap<StepId, Vec<Look>>,
}

/// What a step that only reads saw.
#[derive(Clone, Debug)]
struct Look {
    /// What was made by then.
    made: BTreeSet<String>,
    /// How long nothing more had been made, milliseconds.
    since_ms: u64,
    /// By effect what was wrong; where there are fewer, the last one is meant. Nothing wrong: it held.
    wrong: Vec<Vec<String>>,
}

impl World {
    /// Takes over what a record knows of its targets, and what was made up to a state of it. What
    /// the record says later of sendings that were under way then, the world knows already: they
    /// will have reached their targets. Durations are those of the record, where the scenario
    /// declares none.
    pub(crate) fn take_record(
        &mut self,
        journal: &[Recorded],
        state: &RunState,
        declared: &BTreeMap<String, StepModel>,
    ) {
        let mut reader = Reader { began: journal.first().map(|r| r.at), ..Reader::default() };
        for recorded in journal {
            reader.read(recorded);
        }
        for (planned, step) in state.plan.steps.iter().zip(&state.steps) {
            for made in &step.made {
                let thing = thing(&planned.id, made.effect);
                let at = reader.made.get(&thing).copied().unwrap_or(state.last);
                self.put(&thing, MADE, None, at.min(state.last));
                self.made.insert(made.key.clone(), state.last);
            }
        }
        self.take_later(journal, state);
        self.take_durations(&reader, state, declared);
        self.recorded = reader.known;
    }

    fn take_later(&mut self, journal: &[Recorded], state: &RunState) {
        let later = journal.iter().filter(|recorded| recorded.seq > state.seq);
        for recorded in later {
            let (Event::EffectDone { sending, .. }
            | Event::EffectSettled { sending, settled: Settled::Done { .. }, .. }) =
                &recorded.event
            else {
                continue;
            };
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

    /// A step takes what it took; one that never ran what others of its action took.
    fn take_durations(
        &mut self,
        reader: &Reader,
        state: &RunState,
        declared: &BTreeMap<String, StepModel>,
    ) {
        let says = |step: &StepId| {
            declared
                .get(step.as_str())
                .is_some_and(|one| !one.takes.is_empty() || !one.took.is_empty())
        };
        let mut by_action: BTreeMap<&ActionName, Vec<u64>> = BTreeMap::new();
        for planned in &state.plan.steps {
            let took = reader.took.get(&planned.id).into_iter().flatten();
            by_action.entry(&planned.action).or_default().extend(took);
        }
        for planned in state.plan.steps.iter().filter(|planned| !says(&planned.id)) {
            let own = reader.took.get(&planned.id);
            let took = own.or_else(|| by_action.get(&planned.action).filter(|all| !all.is_empty()));
            if let Some(took) = took {
                let model = self.models.entry(planned.id.clone()).or_default();
                model.takes = Takes::Recorded(took.clone());
            }
        }
    }

    /// What was prepared in the record, with what is made by now.
    pub(super) fn as_recorded(&self, step: &StepId, now: Timestamp) -> Option<Prepared> {
        let mut prepared = self.recorded.prepared.get(step)?.clone();
        if prepared.guarantee == Guarantee::ReadOnly {
            self.look_again(step, now, &mut prepared);
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
            effect.before = Image::Plain(json!(NOT_YET));
            effect.data = json!(Change { thing, to: MADE.to_owned(), version });
        }
        Some(prepared)
    }

    /// A check sees what it saw in the record when the same was made.
    fn look_again(&self, step: &StepId, now: Timestamp, prepared: &mut Prepared) {
        let look = self.recorded.looks.get(step).and_then(|looks| self.nearest(looks, now));
        let wrong = look.map(|look| look.wrong.as_slice()).unwrap_or_default();
        for (at, effect) in prepared.effects.iter_mut().enumerate() {
            let wrong = wrong.get(at).or(wrong.last()).cloned().unwrap_or_default();
            effect.satisfied = if wrong.is_empty() { Satisfied::Yes } else { Satisfied::No };
            effect.difference = wrong;
        }
    }

    /// The look of the record that is nearest to what is made now: when just this was made, and for as
    /// long; else when most of it was made and nothing besides; else the first one.
    fn nearest<'a>(&self, looks: &'a [Look], now: Timestamp) -> Option<&'a Look> {
        let made = self
            .things
            .iter()
            .filter(|(name, thing)| name.starts_with(PREFIX) && thing.value == MADE);
        let (made, since): (BTreeSet<String>, Vec<Timestamp>) =
            made.map(|(name, thing)| (name.clone(), thing.since)).unzip();
        let since_ms = now.since_ms(since.into_iter().max().unwrap_or(self.begin));
        let same = || looks.iter().filter(|look| look.made == made);
        let by_now = same().rfind(|look| look.since_ms <= since_ms);
        let less = || looks.iter().filter(|look| look.made.is_subset(&made));
        by_now
            .or_else(|| same().next())
            .or_else(|| less().max_by_key(|look| look.made.len()))
            .or_else(|| looks.first())
    }

    /// Whether a step was prepared in the record.
    pub(super) fn is_recorded(&self, step: &StepId) -> bool {
        self.recorded.prepared.contains_key(step)
    }

    /// What an effect of such a step does here; at the version at which it was prepared here, else at
    /// any.
    pub(super) fn recorded_change(
        &self,
        step: &StepId,
        effect: usize,
        own: Option<Change>,
    ) -> Change {
        let thing = thing(step, effect);
        let here = own.filter(|own| own.thing == thing);
        let now = self.things.get(&thing).map_or(0, |thing| thing.version);
        let version = here.map_or(now, |own| own.version);
        Change { thing, to: MADE.to_owned(), version }
    }

    /// The moment the world began.
    pub fn begin(&self) -> Timestamp {
        self.begin
    }
}

/// What is read off a record, event by event.
#[derive(Default)]
struct Reader {
    known: Known,
    began: Option<Timestamp>,
    /// What is made by now, and since when.
    made: BTreeMap<String, Timestamp>,
    /// When what is under way was sent.
    sent: BTreeMap<String, Timestamp>,
    /// By step, how long its sendings took, milliseconds.
    took: BTreeMap<StepId, Vec<u64>>,
}

impl Reader {
    fn read(&mut self, recorded: &Recorded) {
        let at = recorded.at;
        match &recorded.event {
            Event::StepPrepared { step, prepared } => {
                self.known.prepared.entry(step.clone()).or_insert_with(|| (**prepared).clone());
                let wrong = prepared.effects.iter().map(|effect| match effect.satisfied {
                    Satisfied::Yes => Vec::new(),
                    Satisfied::No | Satisfied::CannotTell if effect.difference.is_empty() => {
                        vec![effect.title.clone()]
                    }
                    Satisfied::No | Satisfied::CannotTell => effect.difference.clone(),
                });
                self.looked(step, at, wrong.collect());
            }
            Event::StepLooked { step, difference, .. }
            | Event::StepUnverified { step, difference } => {
                self.looked(step, at, vec![difference.clone()]);
            }
            // A sample of a soak that was not good saw nothing.
            Event::StepWaits { step, wait: Wait::Soak { sampled: Some(_), .. } } => {
                self.looked(step, at, Vec::new());
            }
            Event::EffectIntended { sending } => {
                self.sent.insert(thing(&sending.step, sending.effect), at);
            }
            Event::EffectDone { sending, .. } => self.done(&sending.step, sending.effect, at),
            Event::EffectFailed { sending, reason, .. } => {
                self.looked(&sending.step, at, vec![vec![reason.clone()]]);
            }
            Event::EffectSettled { sending, settled: Settled::Done { .. }, .. } => {
                self.sent.remove(&thing(&sending.step, sending.effect));
                self.done(&sending.step, sending.effect, at);
            }
            _ => {}
        }
    }

    fn done(&mut self, step: &StepId, effect: usize, at: Timestamp) {
        let thing = thing(step, effect);
        if let Some(sent) = self.sent.remove(&thing) {
            self.took.entry(step.clone()).or_default().push(at.since_ms(sent));
        }
        if self.reads(step) {
            self.looked(step, at, Vec::new());
        } else {
            self.made.insert(thing, at);
        }
    }

    fn reads(&self, step: &StepId) -> bool {
        let prepared = self.known.prepared.get(step);
        prepared.is_some_and(|prepared| prepared.guarantee == Guarantee::ReadOnly)
    }

    fn looked(&mut self, step: &StepId, at: Timestamp, wrong: Vec<Vec<String>>) {
        if !self.reads(step) {
            return;
        }
        let last = self.made.values().max().copied().or(self.began).unwrap_or(at);
        let (made, since_ms) = (self.made.keys().cloned().collect(), at.since_ms(last));
        self.known.looks.entry(step.clone()).or_default().push(Look { made, since_ms, wrong });
    }
}

fn thing(step: &StepId, effect: usize) -> String {
    format!("{PREFIX}{step}/{effect}")
}
