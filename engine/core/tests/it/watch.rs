//! What was made is looked at until the run ends.

use backout_core::command::{Ask, Report, Verdict};
use backout_core::event::{Cause, Event};
use backout_core::id::Timestamp;
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, RunStatus};
use backout_core::watch::{AGAIN_MS, Alarm, EVERY_MS, Found, UNSEEN_MS, Watch};
use backout_core::{Command, Wanted, effects};
use serde_json::json;

use crate::plans::{plan, step};
use crate::world::{Engine, World};

const ENOUGH: usize = 1_000;
/// Answers of one step: a look, one under locks, a sending, a look after it.
const LOOKS_AND_SENDINGS: usize = 4;

fn watched(id: &str, needs: &[&str]) -> PlanStep {
    PlanStep { watch: true, ..step(id, needs) }
}

fn gate(id: &str, needs: &[&str]) -> PlanStep {
    PlanStep { approval: Some(backout_core::plan::ApprovalPolicy::default()), ..step(id, needs) }
}

/// `a` is made and watched; `b` waits for an approval.
fn halfway() -> (Engine, World) {
    let mut engine = Engine::start(plan(vec![watched("a", &[]), gate("b", &["a"])]));
    let mut world = World::new();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Waiting);
    (engine, world)
}

fn watches(state: &RunState) -> Vec<Watch> {
    let watch = |wanted| match wanted {
        Wanted::Watch(watch) => Some(*watch),
        _ => None,
    };
    effects(state).into_iter().filter_map(watch).collect()
}

fn somebody_undoes_a(world: &mut World) {
    world.targets.remove(&("a".to_owned(), 0));
}

fn watch_kinds(engine: &Engine) -> Vec<String> {
    engine.kinds().into_iter().filter(|kind| kind.starts_with("watch")).collect()
}

fn approve_b(engine: &mut Engine, world: &mut World) {
    engine.ask(Ask::Approve { step: "b".into(), consent: None }).unwrap();
    engine.live(world, ENOUGH);
}

#[test]
fn what_stays_as_it_was_left_is_told_once_at_the_end() {
    let (mut engine, mut world) = halfway();
    assert_eq!(watches(engine.state()).len(), 1);
    assert_eq!(watch_kinds(&engine), [""; 0]);
    approve_b(&mut engine, &mut world);
    assert_eq!(watch_kinds(&engine), ["watch-held"]);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
    assert_eq!(watches(engine.state()), []);
}

#[test]
fn only_a_step_that_is_done_and_asks_for_it_is_watched() {
    let mut engine = Engine::start(plan(vec![watched("a", &[]), step("b", &["a"])]));
    assert_eq!(watches(engine.state()), []);
    engine.live(&mut World::new(), LOOKS_AND_SENDINGS);
    assert_eq!(watches(engine.state()).len(), 1);
    assert_eq!(watches(engine.state())[0].not_before, engine.now.plus_ms(EVERY_MS));
}

#[test]
fn a_change_raises_an_alarm_and_calms_by_itself() {
    let (mut engine, mut world) = halfway();
    somebody_undoes_a(&mut world);
    engine.live(&mut world, ENOUGH);
    let (plan, alarm) = engine.state().alarms().next().unwrap();
    assert_eq!((plan.id.as_str(), &alarm.difference), ("a", &vec!["+ a 0".to_owned()]));
    world.targets.insert(("a".to_owned(), 0));
    engine.live(&mut world, ENOUGH);
    assert_eq!(watch_kinds(&engine), ["watch-alarm", "watch-calm"]);
    assert_eq!(engine.state().alarms().count(), 0);
}

#[test]
fn an_alarm_changes_no_state_and_stops_no_step() {
    let (mut engine, mut world) = halfway();
    somebody_undoes_a(&mut world);
    approve_b(&mut engine, &mut world);
    let words: Vec<&str> = engine.state().steps.iter().map(|s| s.state.word()).collect();
    assert_eq!(words, ["succeeded", "succeeded"]);
}

#[test]
fn an_alarm_at_the_end_waits_for_a_person_who_has_it_made_again() {
    let (mut engine, mut world) = halfway();
    somebody_undoes_a(&mut world);
    approve_b(&mut engine, &mut world);
    assert_eq!(engine.state().status(), RunStatus::Waiting);
    assert!(engine.state().waits_for_alarm());
    engine.ask(Ask::Retry { step: "a".into(), with: None }).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
    assert_eq!(world.made.len(), 3, "a twice, each under a key of its own, and b");
}

#[test]
fn an_alarm_at_the_end_can_be_taken_as_it_is() {
    let (mut engine, mut world) = halfway();
    somebody_undoes_a(&mut world);
    approve_b(&mut engine, &mut world);
    let verdict = Verdict::Done { output: json!(null) };
    let settle = Ask::Settle { step: "a".into(), effect: None, verdict, evidence: None };
    engine.ask(settle).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.kinds().last().unwrap(), "run-ended");
    assert!(watch_kinds(&engine).contains(&"watch-accepted".to_owned()));
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
}

#[test]
fn at_the_end_a_target_that_comes_back_lets_the_run_end_by_itself() {
    let (mut engine, mut world) = halfway();
    somebody_undoes_a(&mut world);
    approve_b(&mut engine, &mut world);
    world.targets.insert(("a".to_owned(), 0));
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
}

#[test]
fn without_an_alarm_a_step_that_is_done_is_not_retried() {
    let (mut engine, _) = halfway();
    assert!(engine.ask(Ask::Retry { step: "a".into(), with: None }).is_err());
}

#[test]
fn a_look_before_the_engine_died_does_not_count_for_the_end() {
    let (mut engine, mut world) = halfway();
    approve_b(&mut engine, &mut world);
    let held = engine.kinds().iter().position(|kind| kind == "watch-held").unwrap();
    engine.crash(held + 1);
    assert!(watches(engine.state())[0].last);
    engine.live(&mut world, ENOUGH);
    assert_eq!(watch_kinds(&engine), ["watch-held", "watch-held"]);
}

#[test]
fn nothing_is_watched_while_a_run_is_undone_or_over() {
    let (mut engine, mut world) = halfway();
    engine.ask(Ask::Undo).unwrap();
    assert_eq!(watches(engine.state()), []);
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Undone);
    assert_eq!(watches(engine.state()), []);
}

#[test]
fn a_later_step_of_the_same_run_is_named_as_who_changed_it() {
    let mut b = step("b", &["a"]);
    b.with = json!({ "target": "a" });
    let mut engine = Engine::start(plan(vec![watched("a", &[]), b]));
    let mut world = World::new();
    engine.live(&mut world, LOOKS_AND_SENDINGS);
    // It finds its target changed, so that it makes the same once more; the lock is there already.
    somebody_undoes_a(&mut world);
    engine.live(&mut world, LOOKS_AND_SENDINGS - 1);
    somebody_undoes_a(&mut world);
    engine.live(&mut world, ENOUGH);
    let (_, alarm) = engine.state().alarms().next().unwrap();
    assert_eq!(alarm.by.as_deref(), Some("step `b` of this run"));
}

#[test]
fn a_target_that_knows_who_says_so() {
    let (mut engine, _) = halfway();
    let look = watches(engine.state())[0].look;
    let found = Found::Changed { difference: vec!["on".into()], by: Some("bob".into()) };
    let report = Report::Watched { step: "a".into(), look, found };
    engine.give(&Cause::engine(), &Command::Report(report.clone())).unwrap();
    assert_eq!(engine.state().alarms().next().unwrap().1.by.as_deref(), Some("bob"));
    let told = engine.journal.len();
    engine.give(&Cause::engine(), &Command::Report(report)).unwrap();
    assert_eq!(engine.journal.len(), told, "a report of an earlier watch is ignored");
}

fn watch(last: bool, alarm: Option<Alarm>) -> Watch {
    let (engine, _) = halfway();
    Watch { last, alarm, ..watches(engine.state()).remove(0) }
}

fn alarm(unseen: bool) -> Alarm {
    let difference = vec!["on".to_owned()];
    let at = Timestamp(0);
    Alarm { since: at, told: at, difference, by: None, unseen }
}

fn changed(difference: &str) -> Found {
    Found::Changed { difference: vec![difference.to_owned()], by: None }
}

/// When a look is told: by what was found, the alarm that stands, and whether it is the last one.
#[test]
fn a_look_is_told_only_where_it_says_something_new() {
    let unseen = || Found::Unseen { why: "no answer".into() };
    let (soon, late) = (Timestamp(1), Timestamp(0).plus_ms(AGAIN_MS.max(UNSEEN_MS)));
    let rows = [
        (Found::AsLeft, None, false, soon, false),
        (Found::AsLeft, None, true, soon, true),
        (Found::AsLeft, Some(alarm(false)), false, soon, true),
        (changed("on"), None, false, soon, true),
        (changed("on"), Some(alarm(false)), false, late, false),
        (changed("off"), Some(alarm(false)), false, soon, false),
        (changed("off"), Some(alarm(false)), false, late, true),
        (changed("on"), Some(alarm(false)), true, soon, true),
        (changed("on"), Some(alarm(true)), false, soon, true),
        (unseen(), None, false, soon, false),
        (unseen(), None, false, late, true),
        (unseen(), None, true, soon, false),
        (unseen(), None, true, late, true),
        (unseen(), Some(alarm(true)), false, late, false),
        (unseen(), Some(alarm(false)), false, late, false),
    ];
    for (found, alarm, last, now, tells) in rows {
        let since = matches!(found, Found::Unseen { .. }).then_some(Timestamp(0));
        let said = watch(last, alarm.clone()).tells(&found, now, since);
        assert_eq!(said, tells, "{found:?} {alarm:?} last {last} at {}", now.0);
    }
}

#[test]
fn a_run_that_was_made_before_there_were_alarms_is_read_to_its_end() {
    let (mut engine, mut world) = halfway();
    approve_b(&mut engine, &mut world);
    let mut journal = engine.journal.clone();
    journal.retain(|recorded| !matches!(recorded.event, Event::WatchHeld { .. }));
    for (at, recorded) in journal.iter_mut().enumerate() {
        recorded.seq = backout_core::id::Seq(u64::try_from(at).unwrap() + 1);
    }
    let mut run = backout_core::drive::Run::new(backout_core::id::Epoch(9));
    run.load(&journal).unwrap();
    assert_eq!(run.state.unwrap().status(), RunStatus::Succeeded);
}
