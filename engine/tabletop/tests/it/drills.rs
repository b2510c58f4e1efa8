//! Drills that play by themselves.

use std::sync::Arc;

use backout_core::event::{Event, Recorded};
use backout_core::exercise::is_drilled;
use backout_core::id::Seq;
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use backout_tabletop::drill::Drill;
use backout_tabletop::judge::Verdict;
use backout_tabletop::log::Rating;
use backout_tabletop::record::Recorder;
use backout_tabletop::report::without_names;

use crate::support::{APPROVED, RUNBOOK, played, reported, setup, shop, state, verdicts};

fn has(drill: &Drill, wanted: impl Fn(&Event) -> bool) -> bool {
    drill.journal().iter().any(|recorded| wanted(&recorded.event))
}

#[test]
fn a_drill_without_trouble_succeeds_and_services_answer_to_it() {
    let scenario = shop(
        r#"expected: [
        (id: "approved", ask: "approve", step: "schema_down", on: (step: "schema_down", is: "approval"), within: "2m", objective: "decide"),
        (id: "well", end: "succeeded", within: "30m", objective: "decide"),
        (id: "told", ask: "note", within: "15m", objective: "tell"),
    ],"#,
    );
    let drill = played(setup(RUNBOOK, &scenario, APPROVED));
    assert_eq!(state(&drill, "schema_down"), "succeeded");
    let health = drill.world().health("checkout").unwrap();
    assert!(health.wrong.is_empty(), "{health:?}");
    assert_eq!(drill.world().value("schema:env:DB/43"), Some("absent"));
    assert_eq!(drill.world().value("schema:env:DB/41"), Some("applied"));
    let found = verdicts(&drill);
    assert_eq!((found["approved"], found["well"]), (Verdict::Met, Verdict::Met));
    assert_eq!(found["told"], Verdict::Missed, "nobody wrote an update");
    let report = reported(&drill);
    let ratings: Vec<_> = report.objectives.iter().map(|one| one.rating).collect();
    assert_eq!(ratings, [Some(Rating::P), Some(Rating::U)]);
    assert!(report.decisions[0].took_ms.is_some_and(|ms| (90_000..95_000).contains(&ms)));
}

#[test]
fn every_record_of_a_drill_says_that_it_is_one() {
    let drill = played(setup(RUNBOOK, &shop(""), APPROVED));
    let state = drill.state().unwrap();
    assert_eq!(state.plan.title, "DRILL: The shop back");
    assert_eq!(state.plan.labels["drill"], "shop-down");
    let environment = state.plan.environment.as_ref().unwrap();
    assert_eq!((environment.name.as_str(), environment.protected), ("drill of production", false));
    assert_eq!(state.plan.labels["drill-title"], "Customers cannot pay");
    assert!(drill.journal().iter().all(is_drilled), "each line of it");
}

#[test]
fn the_same_seed_and_decisions_give_the_same_bytes() {
    let bytes = |seed| {
        let mut setup = setup(RUNBOOK, &shop(""), APPROVED);
        setup.seed = seed;
        let drill = played(setup);
        serde_json::to_vec(&(drill.journal(), drill.exercise(), reported(&drill))).unwrap()
    };
    assert!(bytes(3) == bytes(3));
    assert!(bytes(3) != bytes(4));
}

#[test]
fn an_engine_that_is_killed_settles_what_was_in_flight() {
    let scenario = shop(
        r#"injects: [
        (id: "kill", on: (step: "schema_down", is: "running"), what: (kill_engine: (lasts: "2m"))),
    ], expected: [
        (id: "well", end: "succeeded", on: (inject: "kill"), within: "10m"),
    ],"#,
    );
    let drill = played(setup(RUNBOOK, &scenario, APPROVED));
    assert_eq!(verdicts(&drill)["well"], Verdict::Met);
    let attached =
        drill.journal().iter().filter(|r| matches!(r.event, Event::EngineAttached { .. }));
    assert_eq!(attached.count(), 2);
    assert!(has(&drill, |event| matches!(event, Event::EffectSettled { .. })));
}

#[test]
fn a_lie_is_seen_and_a_lost_reply_is_settled() {
    let scenario = shop(
        r#"injects: [
        (id: "lost", at: "0s", what: (lose_reply: (step: "cart_back"))),
        (id: "lie", at: "0s", what: (lie: (step: "flag_off"))),
    ],"#,
    );
    let decided = r#"Decisions(format: 1, decisions: [
        (on: (step: "flag_off", is: "unverified"), by: "ana", ask: (ask: "retry", step: "flag_off")),
        (on: (step: "schema_down", is: "approval"), by: "bea", ask: (ask: "approve", step: "schema_down")),
    ])"#;
    let drill = played(setup(RUNBOOK, &scenario, decided));
    assert!(has(&drill, |event| matches!(event, Event::StepUnverified { .. })));
    assert!(has(&drill, |event| matches!(event, Event::EffectUnclear { .. })));
    assert_eq!(state(&drill, "schema_down"), "succeeded");
}

#[test]
fn a_flag_that_comes_back_raises_the_alarm_and_names_who() {
    let scenario = shop(
        r#"injects: [
        (id: "again", on: (step: "schema_down", is: "approval"), what: (flag: (flag: "new_checkout", value: "on", by: "marketing"))),
    ],"#,
    );
    let decided = r#"Decisions(format: 1, decisions: [
        (on: (step: "schema_down", is: "approval", after: "5m"), by: "ana", ask: (ask: "retry", step: "flag_off")),
        (on: (step: "schema_down", is: "approval", after: "6m"), by: "bea", ask: (ask: "approve", step: "schema_down")),
    ])"#;
    let drill = played(setup(RUNBOOK, &scenario, decided));
    let by_marketing = |event: &Event| matches!(event, Event::WatchAlarm { by: Some(by), .. } if by == "marketing");
    assert!(has(&drill, by_marketing));
    assert_eq!(drill.world().value("flag:new_checkout"), Some("off"));
    assert_eq!(reported(&drill).outcome, "succeeded");
}

#[test]
fn trouble_of_every_kind_happens() {
    let scenario = shop(
        r#"injects: [
        (id: "silent", at: "0s", what: (silent: (who: "bea", lasts: "12m"))),
        (id: "second", at: "0s", what: (second_rollback: (step: "cart_back", lasts: "4m"))),
        (id: "gone", at: "0s", what: (unreachable: (step: "flag_off", lasts: "1m"))),
        (id: "fails", at: "0s", what: (fail: (step: "orders"))),
        (id: "behind", at: "0s", what: (long_transaction: (step: "schema_down", lasts: "20m"))),
        (id: "full", on: (step: "cart_back", is: "lock"), what: (full_disk: (lasts: "3m"))),
        (id: "customer", at: "2m", from: "support", to: "ana", by: "phone", text: "Nobody can pay"),
    ],"#,
    );
    let decided = r#"Decisions(format: 1, decisions: [
        (on: (step: "flag_off", is: "person", after: "2m"), by: "ana", ask: (ask: "retry", step: "flag_off")),
        (on: (step: "schema_down", is: "approval"), by: "bea", ask: (ask: "approve", step: "schema_down")),
        (at: "30m", by: "ana", ask: (ask: "retry", step: "schema_down")),
        (at: "31m", by: "ana", ask: (ask: "retry", step: "nothing")),
    ])"#;
    let drill = played(setup(RUNBOOK, &scenario, decided));
    let report = reported(&drill);
    assert_eq!(report.outcome, "succeeded", "{:#?}", report.timeline);
    assert!(has(&drill, |e| matches!(
        e,
        Event::StepWaits { wait: backout_core::event::Wait::Lock { .. }, .. }
    )));
    assert!(has(
        &drill,
        |e| matches!(e, Event::EngineDetached { why } if why.contains("no space left"))
    ));
    assert!(report.timeline.iter().any(|line| line.who == "bea" && line.text == "does not answer"));
    assert!(
        report.findings.iter().any(|one| one.contains("retry nothing")),
        "{:?}",
        report.findings
    );
    assert_eq!(report.missed_updates.len(), 3, "every ten minutes of a half hour");
    let nameless = serde_json::to_string(&without_names(&report, &drill.exercise())).unwrap();
    for name in ["\"ana\"", "\"bea\"", " ana", " bea"] {
        assert!(!nameless.contains(name), "{name}: {nameless}");
    }
}

#[test]
fn a_store_keeps_the_record_as_it_was() {
    let scenario = shop(
        r#"injects: [
        (id: "kill", on: (step: "schema_down", is: "running"), what: (kill_engine: (lasts: "2m"))),
    ],"#,
    );
    let drill = played(setup(RUNBOOK, &scenario, APPROVED));
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let run = drill.state().unwrap().run.clone();
    let mut recorder = Recorder::new(store.clone(), run.clone());
    for end in [3, 17, drill.journal().len()] {
        recorder.write(&drill.journal()[..end]).unwrap();
    }
    let kept: Vec<Recorded> = store.read(&run, Seq(1), usize::MAX).unwrap();
    assert_eq!(kept, drill.journal());
}

#[test]
fn what_was_lost_with_the_engine_is_sent_again_and_made() {
    let scenario = shop(
        r#"injects: [
        (id: "kill", on: (step: "schema_down", is: "running"), what: (kill_engine: (lasts: "2m", lost: true))),
    ],"#,
    );
    let drill = played(setup(RUNBOOK, &scenario, APPROVED));
    assert!(has(&drill, |event| matches!(
        event,
        Event::EffectSettled { settled: backout_core::contract::Settled::NotDone, .. }
    )));
    assert_eq!(state(&drill, "schema_down"), "succeeded");
    assert_eq!(reported(&drill).outcome, "succeeded");
}
