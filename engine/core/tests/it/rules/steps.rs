//! Every state of a step with every event.

use backout_core::contract::{
    Guarantee, Image, Prepared, PreparedEffect, Reversibility, Satisfied,
};
use backout_core::event::{Event, Sending, SkipCause, StopCause, Wait};
use backout_core::id::StepId;
use backout_core::plan::PlanStep;
use serde_json::{Value, json};

use super::{AT, Folded, check_table};
use crate::plans::{plan, step};
use crate::words::{event_word, step_word};

pub(super) fn a() -> StepId {
    "a".into()
}

pub(super) fn sending(effect: usize) -> Sending {
    Sending { step: a(), attempt: 1, effect, dispatch: 1 }
}

pub(super) fn prepared(guarantee: Guarantee) -> Prepared {
    let effect = |at: u32| PreparedEffect {
        title: format!("effect {at}"),
        wave: at,
        satisfied: Satisfied::No,
        before: Image::Absent,
        wanted: Image::Plain(json!(at)),
        difference: Vec::new(),
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Null,
    };
    Prepared {
        data_version: 1,
        guarantee,
        remembered_ms: Some(600_000),
        locks: Vec::new(),
        effects: vec![effect(0)],
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen: Value::Null,
    }
}

pub(super) fn started(attempt: u32) -> Event {
    Event::StepStarted { step: a(), attempt, input: Value::Null }
}

pub(super) fn is_prepared(guarantee: Guarantee) -> Event {
    Event::StepPrepared { step: a(), prepared: Box::new(prepared(guarantee)) }
}

pub(super) fn intended() -> Event {
    Event::EffectIntended { sending: sending(0) }
}

fn alarm() -> Event {
    Event::WatchAlarm { step: a(), difference: vec!["it is on".into()], by: None, unseen: false }
}

fn waits(wait: Wait) -> Event {
    Event::StepWaits { step: a(), wait }
}

fn all_waits() -> Vec<Wait> {
    let consent = prepared(Guarantee::Conditional).consent();
    vec![
        Wait::Approval { consent, why: String::new() },
        Wait::Retry { due: AT, why: String::new() },
        Wait::Soak { covered_ms: 0, sampled: None, due: AT, seen: Value::Null },
        Wait::Lock { holders: Vec::new() },
        Wait::Timer { due: AT },
        Wait::Person { why: String::new() },
        Wait::Output { from: "b".into(), name: "steps.b.output.k".into() },
    ]
}

fn running() -> Vec<Event> {
    vec![started(1), is_prepared(Guarantee::Conditional), intended()]
}

/// A run whose step `a` is in each of the states.
pub(super) fn all_states() -> Vec<Folded> {
    let done = Event::EffectDone { sending: sending(0), output: Value::Null };
    let unclear = Event::EffectUnclear { sending: sending(0), reason: String::new() };
    let doubt = Event::EffectInDoubt { sending: sending(0), evidence: String::new() };
    let succeeded = Event::StepSucceeded { step: a(), changed: true, output: Value::Null };
    let failed = Event::StepFailed { step: a(), reason: String::new(), met: false };
    let unverified = Event::StepUnverified { step: a(), difference: Vec::new() };
    let then = |more: &[Event]| running().into_iter().chain(more.iter().cloned()).collect();
    let mut ways: Vec<Vec<Event>> = vec![vec![], vec![started(1)]];
    for wait in all_waits() {
        let first = if matches!(wait, Wait::Output { .. }) {
            vec![]
        } else {
            vec![started(1), is_prepared(Guarantee::Conditional)]
        };
        ways.push(first.into_iter().chain([waits(wait)]).collect());
    }
    ways.extend([
        // With its effect in flight no event of the step follows: see the effects.
        then(std::slice::from_ref(&done)),
        then(&[unclear, doubt]),
        then(&[done.clone(), succeeded.clone()]),
        then(&[done.clone(), succeeded.clone(), alarm()]),
        then(&[done.clone(), unverified]),
        vec![started(1), failed],
        vec![Event::StepSkipped { step: a(), by: SkipCause::Person }],
        then(&[done, Event::StepCancelled { step: a() }]),
        then(&[
            Event::EffectDone { sending: sending(0), output: Value::Null },
            succeeded,
            Event::StepUndone { step: a() },
        ]),
    ]);
    ways.into_iter().map(|way| run().with(way)).collect()
}

/// A run with `a`, and with `b` that needs it.
pub(super) fn run() -> Folded {
    let a = PlanStep { watch: true, ..step("a", &[]) };
    Folded::new(plan(vec![a, step("b", &["a"])]))
}

fn all_events(attempt: u32) -> Vec<Event> {
    let consent = String::new();
    let mut events = vec![
        started(attempt + 1),
        is_prepared(Guarantee::Conditional),
        Event::StepLocked { step: a(), targets: Vec::new() },
        Event::StepApproved { step: a(), consent },
        Event::StepSucceeded { step: a(), changed: true, output: Value::Null },
        Event::StepLooked { step: a(), due: AT, difference: Vec::new() },
        Event::StepUnverified { step: a(), difference: Vec::new() },
        Event::StepFailed { step: a(), reason: String::new(), met: false },
        Event::StepSkipped { step: a(), by: SkipCause::When },
        Event::StepSkipped { step: a(), by: SkipCause::Person },
        Event::StepCancelled { step: a() },
        Event::StepUndone { step: a() },
        Event::StepReopened { step: a(), with: None },
        alarm(),
        Event::WatchCalm { step: a() },
        Event::WatchHeld { step: a() },
        Event::WatchAccepted { step: a() },
    ];
    events.extend(all_waits().into_iter().map(waits));
    events
}

#[test]
fn every_event_in_every_state_is_as_the_page_says() {
    let mut rows = Vec::new();
    for run in all_states() {
        let before = run.state().steps[0].clone();
        for event in all_events(before.attempt) {
            let mut after = run.clone();
            if after.add(event.clone()).is_ok() {
                let next = step_word(&after.state().steps[0]);
                rows.push(vec![step_word(&before), event_word(&event), next]);
                assert_eq!(backout_core::invariant::check(after.state()), Vec::<String>::new());
            }
        }
    }
    check_table("steps", &["state", "event", "next"], &rows);
}

#[test]
fn no_step_starts_unless_its_run_goes_forward() {
    let stops = [
        vec![Event::RunPaused],
        vec![Event::RunStopping { why: StopCause::Aborted }],
        vec![Event::UndoBegun { undo: 1 }],
    ];
    for stop in stops {
        assert!(run().with(stop).add(started(1)).is_err());
    }
    assert!(run().add(started(1)).is_ok());
}

#[test]
fn a_need_is_met_as_the_page_says() {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let continued = Event::StepFailed { step: a(), reason: String::new(), met: true };
    let continued = run().with([started(1), continued]);
    for run in all_states().into_iter().chain([continued]) {
        let state = &run.state().steps[0].state;
        let word = match state {
            backout_core::state::StepState::Failed { met: true, .. } => "failed, continue".into(),
            _ => step_word(&run.state().steps[0]),
        };
        let met = run.state().steps[1].unmet == 0;
        assert_eq!(met, state.meets_need());
        rows.push(vec![word, if met { "yes" } else { "no" }.into()]);
    }
    check_table("needs", &["state", "meets a need"], &rows);
    let yes: Vec<&str> = rows.iter().filter(|r| r[1] == "yes").map(|r| r[0].as_str()).collect();
    assert_eq!(yes, ["succeeded", "succeeded, alarm", "skipped", "failed, continue"]);
}
