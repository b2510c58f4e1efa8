//! What the engine does with each answer of `settle`, for each guarantee.

use backout_core::command::{Command, Report};
use backout_core::contract::{Guarantee, Outcome, Settled};
use backout_core::drive::Run;
use backout_core::event::{Cause, Event, Sending};
use backout_core::id::{Epoch, Timestamp};
use backout_core::limits::KEYED_RESENDS_MIN;
use backout_core::plan::Retry;
use backout_core::state::{EffectState, StepState};

use super::effects::all_settled;
use super::steps::{a, intended, is_prepared, sending, started};
use super::{AT, Folded, check_table};
use crate::plans::{plan, step};
use crate::words::settled_word;

const LATE: Timestamp = Timestamp(1_000 + 60_000);

fn unclear(guarantee: Guarantee, max: u32) -> Run {
    let mut first = step("a", &[]);
    first.retry = Retry { max, ..Retry::default() };
    let unclear = Event::EffectUnclear { sending: sending(0), reason: String::new() };
    let folded = Folded::new(plan(vec![first]));
    let folded = folded.with([started(1), is_prepared(guarantee), intended(), unclear]);
    Run { state: folded.0, epoch: Epoch(1) }
}

fn follows(guarantee: Guarantee, settled: &Settled, now: Timestamp, max: u32) -> String {
    let mut run = unclear(guarantee, max);
    let report = Report::Settled { sending: sending(0), settled: settled.clone() };
    run.turn(now, &Cause::engine(), &Command::Report(report)).unwrap();
    let state = run.state.unwrap();
    let (_, _, step) = state.find(&a()).unwrap();
    let word = match (&step.state, &step.effects[0].state) {
        (StepState::InDoubt, _) => "in doubt",
        (StepState::Waiting(_), _) => "waits for a person",
        (_, EffectState::Done) => "done",
        (_, EffectState::Again { .. }) => "sends the same key again",
        (_, EffectState::Unclear { .. }) => "looks again",
        other => panic!("{other:?}"),
    };
    word.into()
}

#[test]
fn what_follows_from_an_answer_is_as_the_page_says() {
    let guarantees = [
        Guarantee::Transactional,
        Guarantee::Conditional,
        Guarantee::Keyed,
        Guarantee::Probed,
        Guarantee::Manual,
    ];
    let mut rows = Vec::new();
    for guarantee in guarantees {
        for settled in all_settled() {
            rows.push(vec![
                guarantee.word().to_owned(),
                settled_word(&settled).to_owned(),
                if matches!(settled, Settled::Failed { .. }) {
                    "a new attempt, by `retry`".into()
                } else {
                    follows(guarantee, &settled, AT, 1)
                },
                follows(guarantee, &settled, AT, 0),
                follows(guarantee, &settled, LATE, 0),
            ]);
        }
    }
    let head = ["guarantee", "answer", "sendings left", "none left", "none left, after `timeout`"];
    check_table("settle", &head, &rows);
}

/// How often an effect of a step without `retry` is sent when no reply ever comes.
#[test]
fn lost_replies_are_asked_for_again_with_waits_and_not_for_ever() {
    let mut run = unclear(Guarantee::Keyed, 0);
    let mut now = AT;
    for dispatch in 1.. {
        let sending = Sending { dispatch, ..sending(0) };
        let settled = Settled::Unknown { evidence: "no reply".into() };
        let report = Report::Settled { sending: sending.clone(), settled };
        run.turn(now, &Cause::engine(), &Command::Report(report)).unwrap();
        let (_, _, step) = run.state.as_ref().unwrap().find(&a()).unwrap();
        assert_eq!(step.tries, 0, "a lost reply is no failed sending");
        let EffectState::Again { due, .. } = step.effects[0].state else {
            assert_eq!(step.state, StepState::InDoubt);
            assert_eq!(dispatch, 1 + KEYED_RESENDS_MIN);
            return;
        };
        assert!(due > now, "sent again without a wait");
        now = due;
        run.turn(now, &Cause::engine(), &Command::Advance).unwrap();
        let sending = Sending { dispatch: dispatch + 1, ..sending };
        let outcome = Outcome::Unclear { reason: "no reply".into() };
        let report = Report::Applied { sending, outcome };
        run.turn(now, &Cause::engine(), &Command::Report(report)).unwrap();
    }
}
