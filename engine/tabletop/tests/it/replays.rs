//! Records, walked through and left.

use backout_core::event::Event;
use backout_core::id::Seq;
use backout_tabletop::drill::Drill;
use backout_tabletop::replay::{Tape, compare, verify};

use crate::support::{APPROVED, RUNBOOK, played, setup, shop};

fn record() -> Drill {
    let scenario = shop(
        r#"injects: [
        (id: "kill", on: (step: "schema_down", is: "running"), what: (kill_engine: (lasts: "2m"))),
    ],"#,
    );
    played(setup(RUNBOOK, &scenario, APPROVED))
}

#[test]
fn every_state_and_decision_of_a_record_is_reproduced() {
    let drill = record();
    let verified = verify(drill.journal());
    assert!(verified.is_sound(), "{verified:#?}");
    assert_eq!(verified.folded, drill.journal().len());
    assert!(verified.given <= 3, "looks that left no event: {verified:#?}");
}

#[test]
fn a_decision_that_was_changed_is_found() {
    let mut journal = record().journal().to_vec();
    let at = journal.iter().position(|r| matches!(r.event, Event::StepLocked { .. })).unwrap();
    journal[at - 1].at = journal[at - 1].at.plus_ms(1);
    let Event::StepLocked { targets, .. } = &mut journal[at].event else { unreachable!() };
    targets.push("another".into());
    let verified = verify(&journal);
    assert!(!verified.is_sound(), "{verified:#?}");
}

#[test]
fn an_event_that_is_missing_is_found() {
    let mut journal = record().journal().to_vec();
    journal.remove(5);
    let verified = verify(&journal);
    assert!(verified.broken.is_some(), "{verified:#?}");
}

#[test]
fn what_comes_later_is_not_known_before() {
    let drill = record();
    let mut tape = Tape::new(drill.journal().to_vec());
    assert!(tape.next_decision().unwrap());
    assert!(matches!(tape.last().unwrap().event, Event::StepApproved { .. }));
    let there = tape.state().unwrap().clone();
    let at = tape.at();
    tape.jump(drill.journal().len()).unwrap();
    tape.jump(at).unwrap();
    assert_eq!(tape.state().unwrap(), &there);
    assert!(!there.status().is_end());
}

#[test]
fn a_record_left_at_a_moment_goes_on_with_other_decisions() {
    let drill = record();
    let waits = |event: &Event| {
        matches!(event, Event::StepWaits { wait: backout_core::event::Wait::Approval { .. }, .. })
    };
    let at = drill.journal().iter().find(|r| waits(&r.event)).unwrap().seq;
    let decided = r#"Decisions(format: 1, decisions: [
        (at: "1m", by: "ana", ask: (ask: "undo"), reason: "the old release is worse"),
    ])"#;
    let setup = setup(RUNBOOK, &shop(""), decided);
    let mut other = Drill::leave(setup, drill.journal(), at).unwrap();
    other.play().unwrap();
    let compared = compare(drill.journal(), other.journal(), at).unwrap();
    assert_eq!((compared.record.as_str(), compared.other.as_str()), ("succeeded", "undone"));
    assert!(compared.steps.iter().any(|line| line.step == "cart_back" && line.other == "undone"));
    assert_eq!(other.journal()[..3], drill.journal()[..3]);
    assert!(
        Drill::leave(crate::support::setup(RUNBOOK, &shop(""), APPROVED), drill.journal(), Seq(0))
            .is_err()
    );
}
