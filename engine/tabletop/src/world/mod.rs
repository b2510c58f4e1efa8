//! The simulated world: plain data and functions over it. It is all that an exercise can touch.
//!
//! Everything that can be changed is a *thing* with a value: `flag:new_checkout` is `on`,
//! `container:shop/cart` runs an image, `schema:shop/42` is `applied`. What an action would do to
//! which things is said in `twin`; making it, losing it and asking for it afterwards is the same for
//! all.

mod fate;
mod look;
mod recorded;
mod takes;
mod twin;

pub use fate::{Fate, Kind, Reply, Trouble};
pub use look::Health;
pub use takes::Takes;

use std::collections::{BTreeMap, BTreeSet};

use backout_core::Dispatch;
use backout_core::contract::{
    Guarantee, Hazard, Outcome, PrepareFailure, Prepared, Reversibility, Reverted, Satisfied,
    Settled,
};
use backout_core::event::Sending;
use backout_core::id::{ActionName, EffectKey, StepId, Timestamp};
use backout_core::plan::Plan;
use backout_core::state::Made;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rng::Rng;
use crate::scenario::{FlagStart, Migration, Scenario, ServiceStart};

/// The version of the data that a twin keeps in an effect.
pub const DATA_VERSION: u32 = 1;
/// The field of an input that a twin gives for putting an effect back.
const PUT_BACK: &str = "put_back";

/// Something that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thing {
    value: String,
    /// Rises with each change.
    version: u64,
    /// Who changed it last, where it was not the engine.
    by: Option<String>,
    since: Timestamp,
}

/// What a twin keeps in an effect: which thing becomes what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) thing: String,
    pub(crate) to: String,
    version: u64,
}

/// How the twin of one step behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) takes: Takes,
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) reversibility: Option<Reversibility>,
    pub(crate) hazards: Vec<Hazard>,
    pub(crate) output: Value,
    pub(crate) service: Option<String>,
}

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) rng: Rng,
    pub(crate) begin: Timestamp,
    things: BTreeMap<String, Thing>,
    /// What the things were at the start.
    flags: BTreeMap<String, FlagStart>,
    schemas: BTreeMap<String, Vec<Migration>>,
    services: BTreeMap<String, ServiceStart>,
    sick: BTreeSet<(String, String)>,
    models: BTreeMap<StepId, Model>,
    troubles: BTreeMap<StepId, Vec<Trouble>>,
    unreachable: BTreeMap<StepId, Timestamp>,
    /// Where it goes on from a record: what is known from that.
    recorded: recorded::Known,
    made: BTreeMap<EffectKey, Timestamp>,
    /// By key, the highest sending that will not be made any more: a later one may.
    sealed: BTreeMap<EffectKey, u32>,
    /// By key, the highest sending so far.
    sent: BTreeMap<EffectKey, u32>,
    flying: BTreeMap<EffectKey, u32>,
    /// How many of a thousand sendings meet trouble by chance; 0 in a drill by a scenario.
    pub(crate) chaos: u64,
    /// What must never be: an effect made twice.
    pub(crate) broken: Vec<String>,
}

/// What is asked of a twin.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The step.
    pub step: &'a StepId,
    /// The action.
    pub action: &'a ActionName,
    /// Its input.
    pub input: &'a Value,
    /// The time.
    pub now: Timestamp,
}

impl World {
    /// The world at the start of a scenario. `guarantees` are those that the real actions give for
    /// the steps' inputs.
    pub fn new(
        scenario: &Scenario,
        plan: &Plan,
        guarantees: &BTreeMap<StepId, Guarantee>,
        seed: u64,
        begin: Timestamp,
    ) -> Self {
        let start = &scenario.world;
        let schemas = start.schemas.iter().map(|(name, one)| (name.clone(), one.ledger.clone()));
        let sick = |(name, one): (&String, &crate::scenario::ContainerStart)| {
            let pair = |image: &String| (format!("container:{name}"), image.clone());
            one.sick_with.iter().map(pair).collect::<Vec<_>>()
        };
        let mut world = Self {
            rng: Rng::new(seed),
            begin,
            things: BTreeMap::new(),
            flags: start.flags.clone(),
            schemas: schemas.collect(),
            services: start.services.clone(),
            sick: start.containers.iter().flat_map(sick).collect(),
            models: takes::models(scenario, plan, guarantees),
            troubles: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            recorded: recorded::Known::default(),
            made: BTreeMap::new(),
            sealed: BTreeMap::new(),
            sent: BTreeMap::new(),
            flying: BTreeMap::new(),
            chaos: 0,
            broken: Vec::new(),
        };
        for (name, flag) in &start.flags {
            world.put(&format!("flag:{name}"), &flag.value, None, begin);
        }
        for (name, container) in &start.containers {
            world.put(&format!("container:{name}"), &container.image, None, begin);
        }
        for (name, schema) in &start.schemas {
            for migration in &schema.ledger {
                let thing = format!("schema:{name}/{}", migration.version);
                world.put(&thing, twin::APPLIED, None, begin);
            }
        }
        world
    }

    /// Somebody gives a thing a value.
    pub fn put(&mut self, thing: &str, value: &str, by: Option<&str>, now: Timestamp) {
        let thing = self.things.entry(thing.to_owned()).or_default();
        value.clone_into(&mut thing.value);
        thing.version += 1;
        thing.by = by.map(str::to_owned);
        thing.since = now;
    }

    /// The value of a thing; absent where nothing ever gave it one.
    pub fn value(&self, thing: &str) -> Option<&str> {
        self.things.get(thing).map(|thing| thing.value.as_str())
    }

    /// All things and their values, for a person who looks.
    pub fn things(&self) -> impl Iterator<Item = (&str, &str)> {
        self.things.iter().map(|(name, thing)| (name.as_str(), thing.value.as_str()))
    }

    pub(crate) fn model(&self, step: &StepId) -> Model {
        // What an undo puts back behaves like what it undoes.
        let own = step.as_str().split('/').next().unwrap_or_default();
        let model = self.models.get(step).or_else(|| self.models.get(&StepId::new(own)));
        model.cloned().unwrap_or_default()
    }

    /// What a look at the target of a step gives.
    ///
    /// # Errors
    /// The target does not answer, or refuses.
    pub fn prepare(&mut self, asked: &Asked<'_>) -> Result<Box<Prepared>, PrepareFailure> {
        if let Some(until) = self.unreachable.get(asked.step)
            && asked.now < *until
        {
            let reason = "the target does not answer (simulated)".to_owned();
            return Err(PrepareFailure::Unreachable { reason });
        }
        self.twin(asked).map(Box::new)
    }

    /// The target of a step does not answer until then.
    pub fn unreachable_until(&mut self, step: &StepId, until: Timestamp) {
        self.unreachable.insert(step.clone(), until);
    }

    /// Whether two prepares of a keyed target know this key.
    fn knows(&self, dispatch: &Dispatch, now: Timestamp) -> bool {
        let made = self.made.get(&dispatch.key);
        match dispatch.prepared.guarantee {
            Guarantee::Transactional => made.is_some(),
            Guarantee::Keyed => {
                let memory_ms = dispatch.prepared.remembered_ms.unwrap_or(u64::MAX);
                made.is_some_and(|at| now.since_ms(*at) < memory_ms)
            }
            Guarantee::Manual
            | Guarantee::Probed
            | Guarantee::Conditional
            | Guarantee::ReadOnly => false,
        }
    }

    /// A sending reaches its target.
    pub fn land(&mut self, dispatch: &Dispatch, now: Timestamp) {
        if let Some(count) = self.flying.get_mut(&dispatch.key) {
            *count = count.saturating_sub(1);
        }
        let guarantee = dispatch.prepared.guarantee;
        let sealed =
            self.sealed.get(&dispatch.key).is_some_and(|to| dispatch.sending.dispatch <= *to);
        let late = sealed || self.knows(dispatch, now);
        if guarantee == Guarantee::ReadOnly || late {
            return;
        }
        let Sending { step, effect, .. } = &dispatch.sending;
        let Some(change) = self.change_of(step, &dispatch.prepared, *effect) else { return };
        let version = self.things.get(&change.thing).map_or(0, |thing| thing.version);
        if guarantee == Guarantee::Conditional && version != change.version {
            return;
        }
        self.put(&change.thing, &change.to, None, now);
        self.mark_step(&dispatch.sending.step, now);
        if self.made.insert(dispatch.key.clone(), now).is_some() {
            self.broken.push(format!("{} was made twice", dispatch.key));
        }
    }

    /// What an effect of a step does here. In a record it was prepared by whatever action it was of.
    fn change_of(&self, step: &StepId, prepared: &Prepared, effect: usize) -> Option<Change> {
        let own = change(prepared, effect);
        if self.is_recorded(step) { Some(self.recorded_change(step, effect, own)) } else { own }
    }

    /// What services answer to: whether something of a step is done.
    fn mark_step(&mut self, step: &StepId, now: Timestamp) {
        match step.as_str().split_once("/undo-") {
            Some((of, _)) => self.put(&format!("step:{of}"), "undone", None, now),
            None => self.put(&format!("step:{step}"), "done", None, now),
        }
    }

    /// A sending never reaches its target.
    pub fn vanish(&mut self, key: &EffectKey) {
        if let Some(count) = self.flying.get_mut(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// A sending that has not arrived by now never will.
    pub(crate) fn seal(&mut self, key: &EffectKey) {
        if !self.is_made(key) {
            let to = self.sent.get(key).copied().unwrap_or_default();
            self.sealed.insert(key.clone(), to);
        }
    }

    pub(crate) fn is_made(&self, key: &EffectKey) -> bool {
        self.made.contains_key(key)
    }

    /// What became of a sending, as far as its target tells.
    pub fn settle(&mut self, dispatch: &Dispatch, now: Timestamp) -> Settled {
        if self.unreachable.get(&dispatch.sending.step).is_some_and(|until| now < *until) {
            return Settled::Unreachable {
                reason: "the target does not answer (simulated)".into(),
            };
        }
        if dispatch.prepared.guarantee == Guarantee::Manual {
            return Settled::Unknown { evidence: "nothing at the target tells (simulated)".into() };
        }
        if self.flying.get(&dispatch.key).is_some_and(|count| *count > 0) {
            return Settled::Running { evidence: "it is under way at the target".into() };
        }
        if self.is_made(&dispatch.key) || dispatch.prepared.guarantee == Guarantee::ReadOnly {
            return Settled::Done { output: self.output(dispatch) };
        }
        self.sealed.insert(dispatch.key.clone(), dispatch.sending.dispatch);
        Settled::NotDone
    }

    /// How an effect is put back.
    pub fn revert(&self, step: &StepId, action: &ActionName, made: &Made) -> Reverted {
        let change = self.change_of(step, &made.prepared, made.effect);
        let (Some(effect), Some(change)) = (made.effect(), change) else {
            return Reverted::Nothing;
        };
        if made.prepared.guarantee == Guarantee::ReadOnly {
            return Reverted::Nothing;
        }
        if effect.reversibility == Reversibility::None {
            return Reverted::NotPossible { why: "its author gives no way back".into() };
        }
        let before = match &effect.before {
            _ if self.is_recorded(step) => recorded::NOT_YET.to_owned(),
            backout_core::contract::Image::Plain(Value::String(before)) => before.clone(),
            _ => "as before".to_owned(),
        };
        let input = json!({ PUT_BACK: { "thing": change.thing, "value": before } });
        Reverted::By { action: action.clone(), input }
    }

    pub(crate) fn output(&self, dispatch: &Dispatch) -> Value {
        let model = self.model(&dispatch.sending.step);
        if model.output.is_null() { json!({ "simulated": true }) } else { model.output }
    }

    /// The answer of a target, as its fate says.
    pub fn outcome(&self, dispatch: &Dispatch, reply: &Reply) -> Outcome {
        match reply {
            Reply::Truth if dispatch.prepared.guarantee == Guarantee::ReadOnly => {
                looked(&dispatch.prepared, self.output(dispatch))
            }
            Reply::Truth if self.is_made(&dispatch.key) => {
                Outcome::Done { output: self.output(dispatch) }
            }
            Reply::Truth => Outcome::Refused {
                reason: "it is not as it was prepared any more (simulated)".into(),
            },
            Reply::Lie => Outcome::Done { output: self.output(dispatch) },
            Reply::Failed(reason) => {
                Outcome::Failed { reason: reason.clone(), output: Value::Null }
            }
            Reply::Refused(reason) => Outcome::Refused { reason: reason.clone() },
            Reply::Lost(reason) => Outcome::Unclear { reason: reason.clone() },
        }
    }
}

/// What a look that is the effect itself says.
fn looked(prepared: &Prepared, output: Value) -> Outcome {
    if prepared.effects.iter().any(|effect| effect.satisfied == Satisfied::No) {
        return Outcome::Failed { reason: prepared.difference().join("; "), output };
    }
    Outcome::Done { output }
}

pub(crate) fn change(prepared: &Prepared, effect: usize) -> Option<Change> {
    Change::deserialize(&prepared.effects.get(effect)?.data).ok()
}
