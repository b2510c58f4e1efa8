//! Records, walked through and left.

use std::path::Path;

use backout_core::contract::Settled;
use backout_core::event::{CORE_VERSION, Event, Recorded, Wait};
use backout_core::id::Seq;
use backout_core::redact::{Redactor, Rule};
use backout_tabletop::drill::Drill;
use backout_tabletop::replay::{Tape, compare, verify};

use crate::support::{APPROVED, RUNBOOK, played, setup, shop, state};

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
    let verified = verify(drill.journal(), false);
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
    let verified = verify(&journal, false);
    assert!(!verified.is_sound(), "{verified:#?}");
}

#[test]
fn an_event_that_is_missing_is_found() {
    let mut journal = record().journal().to_vec();
    journal.remove(5);
    let verified = verify(&journal, false);
    assert!(verified.broken.is_some(), "{verified:#?}");
}

#[test]
fn a_redacted_record_is_replayed_and_its_decisions_are_not_compared() {
    let mut redactor = Redactor::new(Rule::USUAL);
    let journal: Vec<Recorded> =
        record().journal().iter().cloned().map(|one| redactor.redact(one)).collect();
    let verified = verify(&journal, true);
    assert!(verified.is_sound() && !verified.compared, "{verified:#?}");
    assert_eq!(verified.folded, journal.len());
}

/// Records of runs by each version of the rules, one event a line. They never change: where a rule
/// does, `CORE_VERSION` rises, and `BACKOUT_BLESS=1` writes one more.
#[test]
fn records_of_every_version_are_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    let newest = folder.join(format!("core-{CORE_VERSION}.jsonl"));
    if std::env::var_os("BACKOUT_BLESS").is_some() && !newest.exists() {
        let drill = record();
        let lines = drill.journal().iter().map(|one| serde_json::to_string(one).unwrap() + "\n");
        std::fs::write(&newest, lines.collect::<String>()).unwrap();
    }
    assert!(newest.exists(), "BACKOUT_BLESS=1 writes {}", newest.display());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let journal: Vec<Recorded> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let verified = verify(&journal, false);
        assert!(verified.is_sound(), "{}: {verified:#?}", path.display());
        assert!(verified.folded > 30 && verified.folded == journal.len(), "{verified:#?}");
        assert_eq!(verified.compared, path == newest, "{}", path.display());
    }
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

/// A rollback in which the check is tried while the container is still on its way back.
const AT_ONCE: &str = r#"
Runbook(
    format: 1,
    name: "shop",
    steps: [
        (id: "flag_off", action: "flags.off", with: (flags: ["new_checkout"]), needs: []),
        (
            id: "cart_back", needs: [], approval: true, action: "containers.rollback",
            with: (compose: (project: "shop", service: "cart"), image: "cart@1"),
        ),
        (
            id: "orders", needs: ["flag_off"], action: "checks.http", with: (url: "x"),
            retry: (max: 3, backoff: "30s"),
        ),
    ],
)
"#;

/// Somebody says yes or leaves it out, as soon as that is asked.
fn cart(ask: &str) -> String {
    format!(
        r#"Decisions(format: 1, decisions: [
        (on: (step: "cart_back", is: "approval"), by: "ana", ask: (ask: "{ask}", step: "cart_back"), reason: "so"),
    ])"#
    )
}

fn durations(journal: &[Recorded], of: &str) -> Vec<u64> {
    let mut sent = None;
    let mut took = Vec::new();
    for recorded in journal {
        match &recorded.event {
            Event::EffectIntended { sending } if sending.step.as_str() == of => {
                sent = Some(recorded.at);
            }
            Event::EffectDone { sending, .. } if sending.step.as_str() == of => {
                took.extend(sent.take().map(|sent| recorded.at.since_ms(sent)));
            }
            _ => {}
        }
    }
    took
}

/// The record, left when its engine took it up, with these decisions, and a scenario that declares
/// nothing.
fn left(runbook: &str, record: &[Recorded], decided: &str) -> Drill {
    let at = record.iter().find(|r| matches!(r.event, Event::EngineAttached { .. })).unwrap().seq;
    left_at(runbook, record, at, decided)
}

fn left_at(runbook: &str, record: &[Recorded], at: Seq, decided: &str) -> Drill {
    let mut setup = setup(runbook, "Scenario(format: 1, name: \"other\", title: \"x\")", decided);
    setup.seed = 5;
    let mut other = Drill::leave(setup, record, at).unwrap();
    other.play().unwrap();
    other
}

#[test]
fn what_a_check_sees_in_a_what_if_answers_to_what_was_made_in_the_record() {
    let scenario = r#"steps: {"cart_back": (takes: ["15s"]), "flag_off": (takes: ["1s"])},"#;
    let record = played(setup(AT_ONCE, &shop(scenario), &cart("approve")));
    assert_eq!(state(&record, "orders"), "succeeded");
    let failed = |drill: &Drill| {
        let is_it =
            |event: &Event| matches!(event, Event::StepFailed { .. } | Event::EffectFailed { .. });
        drill.journal().iter().filter(|r| is_it(&r.event)).count()
    };
    assert!(failed(&record) > 0, "it was tried too early");
    let other = left(AT_ONCE, record.journal(), &cart("skip"));
    assert_eq!(state(&other, "cart_back"), "skipped");
    assert_ne!(state(&other, "orders"), "succeeded", "it fails as it did with no more made");
    assert!(failed(&other) > failed(&record));
    let same = left(AT_ONCE, record.journal(), &cart("approve"));
    assert_eq!(state(&same, "orders"), "succeeded");
}

#[test]
fn what_takes_time_in_a_what_if_takes_what_it_took_in_the_record() {
    let scenario = shop(r#"steps: {"cart_back": (takes: ["41s"]), "flag_off": (takes: ["7s"])},"#);
    let record = played(setup(RUNBOOK, &scenario, APPROVED));
    let other = left(RUNBOOK, record.journal(), APPROVED);
    for (step, ms) in [("cart_back", 41_000), ("flag_off", 7_000)] {
        assert_eq!(durations(record.journal(), step), [ms], "{step}");
        assert_eq!(durations(other.journal(), step), [ms], "{step}");
    }
}

#[test]
fn what_reached_its_target_in_the_record_has_reached_it_in_a_what_if() {
    let drill = record();
    let lost =
        |event: &Event| matches!(event, Event::EffectSettled { settled: Settled::Done { .. }, .. });
    let at = drill.journal().iter().find(|r| lost(&r.event)).unwrap().seq;
    let before = Seq(at.0 - 2);
    let other = left_at(RUNBOOK, drill.journal(), before, APPROVED);
    assert_eq!(state(&other, "schema_down"), "succeeded");
    let sent = |journal: &[Recorded]| {
        let sent = journal.iter().filter(|r| matches!(r.event, Event::EffectIntended { .. }));
        sent.count()
    };
    assert_eq!(sent(other.journal()), sent(drill.journal()), "nothing is sent again");
}

#[test]
fn a_record_of_real_actions_goes_on_and_is_undone_like_one_of_twins() {
    // What a real action keeps in its effects is its own.
    let real = |mut recorded: Recorded| {
        if let Event::StepPrepared { prepared, .. } = &mut recorded.event {
            for effect in &mut prepared.effects {
                effect.data = serde_json::json!({ "path": "/srv/flags.yaml" });
            }
        }
        recorded
    };
    let journal: Vec<Recorded> = record().journal().iter().cloned().map(real).collect();
    let down = |event: &Event| matches!(event, Event::EffectIntended { sending } if sending.step.as_str() == "schema_down");
    let at = journal.iter().find(|r| down(&r.event)).unwrap().seq;
    let other = left_at(RUNBOOK, &journal, at, APPROVED);
    assert_eq!(state(&other, "schema_down"), "succeeded", "also what was under way");
    let undo = r#"Decisions(format: 1, decisions: [
        (at: "10m", by: "ana", ask: (ask: "undo"), reason: "the old one is worse"),
    ])"#;
    let asked =
        |event: &Event| matches!(event, Event::StepWaits { wait: Wait::Approval { .. }, .. });
    let at = journal.iter().find(|r| asked(&r.event)).unwrap().seq;
    let other = left_at(RUNBOOK, &journal, at, undo);
    assert_eq!(state(&other, "cart_back"), "undone");
    let things: Vec<(&str, &str)> = other.world().things().collect();
    assert!(things.contains(&("record:cart_back/0", "not yet")), "{things:?}");
}
