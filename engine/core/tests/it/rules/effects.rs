//! Every state of an effect with every event.

use backout_core::contract::{Guarantee, Satisfied, Settled};
use backout_core::event::{Event, Sending};
use backout_core::state::{EffectRun, EffectState};
use serde_json::Value;

use super::steps::{a, intended, is_prepared, prepared, run, sending, started};
use super::{AT, Folded, check_table};
use crate::words::event_word;

fn word(effect: &EffectRun) -> &'static str {
    match &effect.state {
        EffectState::Pending => "pending",
        EffectState::Satisfied => "satisfied",
        EffectState::InFlight => "in-flight",
        EffectState::Unclear { .. } => "unclear",
        EffectState::Done => "done",
        EffectState::Again { .. } if effect.doubtful => "again, doubtful",
        EffectState::Again { .. } => "again",
        EffectState::Refused => "refused",
        EffectState::Failed => "failed",
        EffectState::InDoubt { .. } => "in-doubt",
    }
}

pub(super) fn all_settled() -> Vec<Settled> {
    vec![
        Settled::Done { output: Value::Null },
        Settled::NotDone,
        Settled::Failed { reason: String::new(), output: Value::Null },
        Settled::Running { evidence: String::new() },
        Settled::Unknown { evidence: String::new() },
        Settled::Unreachable { reason: String::new() },
    ]
}

fn answers(sending: &Sending) -> Vec<Event> {
    let sending = || sending.clone();
    let mut events = vec![
        Event::EffectDone { sending: sending(), output: Value::Null },
        Event::EffectRefused { sending: sending(), reason: String::new() },
        Event::EffectFailed { sending: sending(), reason: String::new(), output: Value::Null },
        Event::EffectUnclear { sending: sending(), reason: String::new() },
        Event::EffectInDoubt { sending: sending(), evidence: String::new() },
    ];
    events.extend(all_settled().into_iter().map(|settled| Event::EffectSettled {
        sending: sending(),
        settled,
        due: Some(AT),
    }));
    events
}

/// A run whose step `a` has its effect in each of the states.
fn all_states() -> Vec<Folded> {
    let unclear = || Event::EffectUnclear { sending: sending(0), reason: String::new() };
    let settled = |settled| Event::EffectSettled { sending: sending(0), settled, due: Some(AT) };
    let doubt = Event::EffectInDoubt { sending: sending(0), evidence: String::new() };
    let mut satisfied = prepared(Guarantee::Keyed);
    satisfied.effects[0].satisfied = Satisfied::Yes;
    let satisfied = Event::StepPrepared { step: a(), prepared: Box::new(satisfied) };
    let flying = || run().with([started(1), is_prepared(Guarantee::Keyed), intended()]);
    let answer = |at: usize| flying().with([answers(&sending(0)).remove(at)]);
    vec![
        run().with([started(1), is_prepared(Guarantee::Keyed)]),
        run().with([started(1), satisfied]),
        flying(),
        flying().with([unclear()]),
        answer(0),
        flying().with([unclear(), settled(Settled::NotDone)]),
        flying().with([unclear(), settled(Settled::Unknown { evidence: String::new() })]),
        answer(1),
        answer(2),
        flying().with([unclear(), doubt]),
    ]
}

#[test]
fn every_event_of_an_effect_is_as_the_page_says() {
    let mut rows = Vec::new();
    for run in all_states() {
        let before = run.state().steps[0].effects[0].clone();
        let of = |dispatch| Sending { dispatch, ..sending(0) };
        let again = Event::EffectIntended { sending: of(before.dispatch + 1) };
        for event in std::iter::once(again).chain(answers(&of(before.dispatch))) {
            let mut after = run.clone();
            if after.add(event.clone()).is_ok() {
                let next = word(&after.state().steps[0].effects[0]).to_owned();
                rows.push(vec![word(&before).to_owned(), event_word(&event), next]);
                assert_eq!(backout_core::invariant::check(after.state()), Vec::<String>::new());
            }
        }
    }
    check_table("effects", &["effect", "event", "next"], &rows);
}

#[test]
fn an_event_of_another_attempt_sending_or_effect_is_illegal() {
    let flying = run().with([started(1), is_prepared(Guarantee::Keyed), intended()]);
    let strangers = [
        Sending { attempt: 2, ..sending(0) },
        Sending { dispatch: 2, ..sending(0) },
        Sending { effect: 1, ..sending(0) },
        Sending { step: "none".into(), ..sending(0) },
        Sending { dispatch: u32::MAX, attempt: u32::MAX, ..sending(usize::MAX) },
    ];
    for stranger in strangers {
        for event in answers(&stranger) {
            assert!(flying.clone().add(event).is_err());
        }
        assert!(flying.clone().add(Event::EffectIntended { sending: stranger }).is_err());
    }
}
