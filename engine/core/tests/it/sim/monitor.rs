//! Watches every event: what must never happen, and what was seen to happen.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::contract::{Guarantee, Settled};
use backout_core::event::{Event, Recorded, RunEnd, Sending};
use backout_core::id::{EffectKey, StepId};
use backout_core::state::RunState;
use backout_core::{evolve, invariant};

use crate::words::{event_word, phase_word, step_word};

/// What is known of a key from its events alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Open,
    /// The target was looked at and does not tell.
    Untold,
    Closed,
    NotDone,
}

/// What was seen over all runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) steps: BTreeMap<(String, String), u64>,
    pub(crate) runs: BTreeMap<(String, String), u64>,
    pub(crate) wanted: BTreeMap<String, u64>,
    pub(crate) asks: BTreeMap<String, u64>,
    pub(crate) ends: BTreeMap<String, u64>,
}

impl Coverage {
    pub(crate) fn add(&mut self, other: Self) {
        sum(&mut self.steps, other.steps);
        sum(&mut self.runs, other.runs);
        sum(&mut self.wanted, other.wanted);
        sum(&mut self.asks, other.asks);
        sum(&mut self.ends, other.ends);
    }
}

fn sum<K: Ord>(all: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (key, count) in more {
        *all.entry(key).or_default() += count;
    }
}

/// Folds a whole journal once more, event by event, and looks at each.
pub(crate) fn watch(journal: &[Recorded], seen: &mut Coverage) -> Result<Option<RunState>, String> {
    let mut state: Option<RunState> = None;
    let mut keys: BTreeMap<EffectKey, (Sending, Known)> = BTreeMap::new();
    for recorded in journal {
        let before = state.as_ref().map(|run| {
            let step = recorded.event.step().and_then(|id| run.find(id));
            (phase_word(run), step.map(|(_, _, step)| step_word(step)))
        });
        let working = state.as_ref().map_or(0, |run| run.working);
        if let Some(run) = &state {
            rules(run, recorded, &mut keys)?;
        }
        evolve(&mut state, recorded).map_err(|error| error.to_string())?;
        let run = state.as_ref().unwrap();
        let broken = invariant::check(run);
        if !broken.is_empty() {
            return Err(format!("after {}: {}", recorded.seq, broken.join("; ")));
        }
        // Only who comes to work is bound: one that a person settles may be one too many.
        if usize::try_from(run.plan.max_parallel).unwrap() < run.working
            && run.working > working
            && matches!(recorded.event, Event::StepStarted { .. } | Event::StepLocked { .. })
        {
            return Err(format!("after {}: more than max_parallel work", recorded.seq));
        }
        count(before, recorded, seen);
    }
    Ok(state)
}

fn count(before: Option<(String, Option<String>)>, recorded: &Recorded, seen: &mut Coverage) {
    let word = event_word(&recorded.event);
    match before {
        Some((_, Some(step))) => *seen.steps.entry((step, word)).or_default() += 1,
        Some((phase, None)) => *seen.runs.entry((phase, word)).or_default() += 1,
        None => {}
    }
}

type Keys = BTreeMap<EffectKey, (Sending, Known)>;

fn rules(run: &RunState, recorded: &Recorded, keys: &mut Keys) -> Result<(), String> {
    let at = recorded.seq;
    match &recorded.event {
        Event::StepStarted { step, .. } => {
            starts(run, step, keys).map_err(|e| format!("{at}: {e}"))
        }
        Event::EffectIntended { sending } => {
            sends(run, recorded, sending, keys).map_err(|e| format!("{at}: {e}"))
        }
        Event::RunEnded { end: RunEnd::Succeeded, .. } if run.alarms().next().is_some() => {
            Err(format!("{at}: it succeeds while an alarm stands"))
        }
        event => {
            told(run, event, keys);
            Ok(())
        }
    }
}

fn starts(run: &RunState, id: &StepId, keys: &Keys) -> Result<(), String> {
    let (ix, _, step) = run.find(id).unwrap();
    let mut needs = run.order.needs[ix.0].iter();
    if !needs.all(|need| run.steps[need.0].state.meets_need()) {
        return Err(format!("`{id}` starts before its needs"));
    }
    let read_only = step.guarantee() == Some(Guarantee::ReadOnly);
    let open = |(sending, known): &&(Sending, Known)| {
        sending.step == *id && matches!(known, Known::Open | Known::Untold)
    };
    match keys.values().find(open).filter(|_| !read_only) {
        Some((sending, _)) => Err(format!("a second key while {sending:?} is unclear")),
        None => Ok(()),
    }
}

fn sends(
    run: &RunState,
    recorded: &Recorded,
    sending: &Sending,
    keys: &mut Keys,
) -> Result<(), String> {
    let (_, plan, step) = run.find(&sending.step).unwrap();
    let prepared = step.prepared.as_ref().unwrap();
    let key = run.key(sending);
    let known = keys.get(&key).map(|(_, known)| *known);
    let first = step.effects[sending.effect].first_sent.unwrap_or(recorded.at);
    let memory_ms = prepared.remembered_ms.unwrap_or(0);
    let may = match (prepared.guarantee, known) {
        (Guarantee::ReadOnly, _) | (_, None | Some(Known::NotDone)) => true,
        (Guarantee::Keyed, Some(Known::Untold)) => {
            recorded.at.since_ms(first) + plan.timeout_ms < memory_ms
        }
        _ => false,
    };
    if !may {
        return Err(format!("{key} is sent again while it is {known:?}"));
    }
    let locks = prepared.locks.iter().chain(&plan.locks);
    if prepared.guarantee != Guarantee::ReadOnly {
        let free: BTreeSet<_> = locks.filter(|lock| !run.locks.contains_key(lock)).collect();
        if !free.is_empty() {
            return Err(format!("{key} is sent without {free:?}"));
        }
    }
    keys.insert(key, (sending.clone(), Known::Open));
    Ok(())
}

fn told(run: &RunState, event: &Event, keys: &mut Keys) {
    let (sending, known) = match event {
        Event::EffectDone { sending, .. }
        | Event::EffectRefused { sending, .. }
        | Event::EffectFailed { sending, .. } => (sending, Known::Closed),
        Event::EffectUnclear { sending, .. } | Event::EffectInDoubt { sending, .. } => {
            (sending, Known::Open)
        }
        Event::EffectSettled { sending, settled, .. } => {
            let known = match settled {
                Settled::Done { .. } | Settled::Failed { .. } => Known::Closed,
                Settled::NotDone => Known::NotDone,
                Settled::Unknown { .. } => Known::Untold,
                Settled::Running { .. } | Settled::Unreachable { .. } => Known::Open,
            };
            (sending, known)
        }
        _ => return,
    };
    keys.insert(run.key(sending), (sending.clone(), known));
}
