//! The targets: what is there, which keys were made, which are sealed, and what still comes.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::Dispatch;
use backout_core::contract::{
    Gate, Guarantee, Image, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted,
    Satisfied, Settled,
};
use backout_core::id::{EffectKey, LockToken, Timestamp};
use backout_core::state::Made;
use serde_json::{Value, json};

use super::rng::Rng;

/// One thing at a target that an effect makes or takes away.
#[derive(Clone, Debug, Default)]
struct Item {
    present: bool,
    version: u64,
    /// Real effects in this direction since somebody else changed it.
    made_since: u32,
    last: Option<bool>,
}

/// What really happens to a sending, and what is answered.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// When it lands at the target; absent is never.
    pub(crate) lands: Option<u64>,
    /// When it is answered, and how; absent is never within the time.
    pub(crate) answers: Option<(u64, Answer)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Truth,
    Lie,
    Refused,
    Failed,
    Unclear,
}

/// All targets of all runs.
#[derive(Default)]
pub(crate) struct World {
    items: BTreeMap<String, Item>,
    /// When a key was first made.
    made: BTreeMap<EffectKey, Timestamp>,
    sealed: BTreeSet<EffectKey>,
    /// Sendings under way to the target, by key.
    flying: BTreeMap<EffectKey, u32>,
    tokens: BTreeMap<String, LockToken>,
    pub(crate) broken: Vec<String>,
    pub(crate) calm: bool,
}

fn text<'a>(input: &'a Value, field: &str) -> &'a str {
    input[field].as_str().unwrap_or_default()
}

pub(crate) fn guarantee(word: &str) -> Guarantee {
    match word {
        "manual" => Guarantee::Manual,
        "probed" => Guarantee::Probed,
        "keyed" => Guarantee::Keyed,
        "transactional" => Guarantee::Transactional,
        "read-only" => Guarantee::ReadOnly,
        _ => Guarantee::Conditional,
    }
}

fn item_of(input: &Value, effect: usize) -> String {
    format!("{}/{}", text(input, "item"), input["items"][effect])
}

impl World {
    pub(crate) fn prepare(
        &mut self,
        rng: &mut Rng,
        action: &str,
        input: &Value,
    ) -> Result<Box<Prepared>, PrepareFailure> {
        if !self.calm && rng.chance(30) {
            return Err(PrepareFailure::Unreachable { reason: "no answer".into() });
        }
        if !self.calm && rng.chance(20) {
            return Err(PrepareFailure::Refused { reason: "not like this".into() });
        }
        let effects = input["items"].as_array().map_or(0, Vec::len);
        let gate = match (action, text(input, "kind")) {
            ("wait.approval", _) => Some(Gate::Approval { text: "done by hand?".into() }),
            (_, "gate") => Some(Gate::Approval { text: "all well?".into() }),
            (_, "timer") => Some(Gate::Timer { ms: 5_000 }),
            _ => None,
        };
        Ok(Box::new(Prepared {
            data_version: 1,
            guarantee: guarantee(text(input, "kind")),
            remembered_ms: input["remembered_ms"].as_u64(),
            locks: input["target"]
                .as_str()
                .map(|t| format!("sim:{t}").as_str().into())
                .into_iter()
                .collect(),
            effects: (0..effects).map(|at| self.effect(input, at)).collect(),
            hazards: Vec::new(),
            gate,
            converge_ms: input["converge_ms"].as_u64().unwrap_or(0),
            seen: json!({ "k": "seen" }),
        }))
    }

    fn effect(&self, input: &Value, at: usize) -> PreparedEffect {
        let name = item_of(input, at);
        let item = self.items.get(&name).cloned().unwrap_or_default();
        let want = input["want"].as_bool().unwrap_or(true);
        let satisfied = match (input["blind"].as_bool(), item.present == want) {
            (Some(true), _) => Satisfied::CannotTell,
            (_, true) => Satisfied::Yes,
            (_, false) => Satisfied::No,
        };
        PreparedEffect {
            title: name.clone(),
            wave: if input["waves"].as_bool() == Some(true) {
                u32::try_from(at).unwrap()
            } else {
                0
            },
            satisfied,
            before: Image::Plain(json!(item.present)),
            wanted: Image::Plain(json!(want)),
            difference: if satisfied == Satisfied::No { vec![name] } else { Vec::new() },
            reversibility: Reversibility::Exact,
            hazards: Vec::new(),
            data: json!({ "version": item.version }),
        }
    }

    /// Chooses what becomes of a sending.
    pub(crate) fn fate(&self, rng: &mut Rng, timeout_ms: u64) -> Fate {
        let lands = rng.between(1, 200);
        let answers = lands + rng.between(0, 50);
        let fate = |lands, answers, answer| Fate { lands, answers: Some((answers, answer)) };
        if self.calm {
            return fate(Some(lands), answers, Answer::Truth);
        }
        match rng.below(100) {
            0..=59 => fate(Some(lands), answers, Answer::Truth),
            60..=65 => fate(None, answers, Answer::Refused),
            66..=70 => fate(None, answers, Answer::Failed),
            71..=76 => fate(Some(lands), answers, Answer::Unclear),
            77..=82 => fate(Some(lands + rng.between(0, 2 * timeout_ms)), answers, Answer::Unclear),
            83..=87 => fate(None, answers, Answer::Unclear),
            88..=91 => fate(None, answers, Answer::Lie),
            92..=95 => Fate { lands: Some(lands), answers: None },
            _ => Fate { lands: None, answers: None },
        }
    }

    pub(crate) fn depart(&mut self, dispatch: &Dispatch) {
        *self.flying.entry(dispatch.key.clone()).or_default() += 1;
    }

    /// A sending ends: it lands, unless its target refuses it or has it already.
    pub(crate) fn land(&mut self, dispatch: &Dispatch, now: Timestamp) {
        if let Some(count) = self.flying.get_mut(&dispatch.key) {
            *count = count.saturating_sub(1);
        }
        let kind = dispatch.prepared.guarantee;
        if kind == Guarantee::ReadOnly
            || self.sealed.contains(&dispatch.key)
            || self.knows(dispatch, now)
        {
            return;
        }
        let name = item_of(&dispatch.input, dispatch.sending.effect);
        let version = self.items.get(&name).map_or(0, |item| item.version);
        let data = dispatch.prepared.effects.get(dispatch.sending.effect).map(|e| &e.data);
        let expected = data.and_then(|d| d["version"].as_u64());
        if kind == Guarantee::Conditional && expected != Some(version) {
            return;
        }
        if kind == Guarantee::Transactional && self.is_older(dispatch) {
            return;
        }
        self.make(&name, dispatch, now);
    }

    fn knows(&self, dispatch: &Dispatch, now: Timestamp) -> bool {
        let made = self.made.get(&dispatch.key);
        match dispatch.prepared.guarantee {
            Guarantee::Transactional => made.is_some(),
            Guarantee::Keyed => {
                let memory_ms = dispatch.prepared.remembered_ms.unwrap_or(0);
                made.is_some_and(|at| now.since_ms(*at) < memory_ms)
            }
            _ => false,
        }
    }

    fn is_older(&mut self, dispatch: &Dispatch) -> bool {
        let seen = self.tokens.entry(text(&dispatch.input, "target").to_owned()).or_default();
        let older = dispatch.token < *seen;
        *seen = dispatch.token.max(*seen);
        older
    }

    fn make(&mut self, name: &str, dispatch: &Dispatch, now: Timestamp) {
        let item = self.items.entry(name.to_owned()).or_default();
        let want = dispatch.input["want"].as_bool().unwrap_or(true);
        item.made_since = if item.last == Some(want) { item.made_since + 1 } else { 1 };
        item.last = Some(want);
        item.present = want;
        item.version += 1;
        if item.made_since > 1 {
            self.broken.push(format!("{name} was made twice, last by {}", dispatch.key));
        }
        if self.made.insert(dispatch.key.clone(), now).is_some() {
            self.broken.push(format!("{} was made twice", dispatch.key));
        }
    }

    /// It was lost on the way.
    pub(crate) fn vanish(&mut self, key: &EffectKey) {
        if let Some(count) = self.flying.get_mut(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether a sending that landed made it, or found it made.
    pub(crate) fn is_there(&self, dispatch: &Dispatch) -> bool {
        dispatch.prepared.guarantee == Guarantee::ReadOnly || self.made.contains_key(&dispatch.key)
    }

    fn is_flying(&self, key: &EffectKey) -> bool {
        self.flying.get(key).is_some_and(|count| *count > 0)
    }

    /// Tells what it can, and promises only what it keeps.
    pub(crate) fn settle(&mut self, rng: &mut Rng, dispatch: &Dispatch) -> Settled {
        if !self.calm && rng.chance(100) {
            return Settled::Unreachable { reason: "no answer".into() };
        }
        let unknown = || Settled::Unknown { evidence: "it does not tell".into() };
        let knows = match dispatch.prepared.guarantee {
            Guarantee::Keyed => 0,
            Guarantee::Manual => 200,
            Guarantee::Conditional | Guarantee::Probed => 850,
            Guarantee::Transactional | Guarantee::ReadOnly => 950,
        };
        if !rng.chance(knows) {
            return unknown();
        }
        if self.is_flying(&dispatch.key) && rng.chance(500) {
            return Settled::Running { evidence: "it is under way".into() };
        }
        if !self.calm && rng.chance(40) && !self.made.contains_key(&dispatch.key) {
            self.sealed.insert(dispatch.key.clone());
            return Settled::Failed { reason: "it ended badly".into(), output: json!(1) };
        }
        if self.is_made_or_seal(&dispatch.key) {
            return Settled::Done { output: json!({ "k": "settled" }) };
        }
        Settled::NotDone
    }

    /// The truth about a key, made final: what a person finds who looks closely.
    pub(crate) fn is_made_or_seal(&mut self, key: &EffectKey) -> bool {
        let made = self.made.contains_key(key);
        if !made {
            self.sealed.insert(key.clone());
        }
        made
    }

    pub(crate) fn revert(rng: &mut Rng, made: &Made) -> Reverted {
        match rng.below(10) {
            0 => Reverted::Nothing,
            1 => Reverted::NotPossible { why: "it is gone".into() },
            _ => {
                let mut input = made.input.clone();
                input["want"] = json!(false);
                input["items"] = json!([made.input["items"][made.effect]]);
                Reverted::By { action: "fake.back".into(), input }
            }
        }
    }

    /// Another one changes something.
    pub(crate) fn drift(&mut self, rng: &mut Rng) {
        let names: Vec<String> = self.items.keys().cloned().collect();
        if let Some(item) = rng.pick(&names).and_then(|name| self.items.get_mut(name)) {
            item.present = !item.present;
            item.version += 1;
            item.made_since = 0;
        }
    }
}
