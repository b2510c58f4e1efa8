//! What a commander may do with a run as a whole.

use backout_core::adopt::compare;
use backout_core::command::Ask;
use backout_core::event::{Actor, Cause, Event, RunEnd};
use backout_core::id::{RunId, StepId, TargetId};
use backout_core::plan::Plan;
use backout_core::state::{Phase, RunStatus};
use backout_core::{Command, effects, releases};
use serde_json::json;

use crate::plans::{plan, step};
use crate::world::{Engine, World};

const ENOUGH: usize = 1_000;

fn diamond() -> Plan {
    plan(vec![step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b", "c"])])
}

fn states(engine: &Engine) -> Vec<&'static str> {
    engine.state().steps.iter().map(|step| step.state.word()).collect()
}

fn started(part: &[&str]) -> Engine {
    let part = part.iter().map(|id| StepId::from(*id)).collect();
    let plan = Box::new(diamond());
    let text = String::new();
    Engine::begin(&Command::Create { run: "r0".into(), plan, text, part, adopt: None })
}

fn by(name: &str, break_glass: bool) -> Cause {
    let reason = Some("because".into());
    Cause { command: None, actor: Actor::unverified(name), reason, break_glass }
}

#[test]
fn a_part_is_done_with_what_it_needs_and_the_rest_when_it_is_resumed() {
    let mut world = World::new();
    let mut engine = started(&["b"]);
    engine.live(&mut world, ENOUGH);
    assert_eq!(states(&engine), ["succeeded", "succeeded", "pending", "pending"]);
    assert_eq!(engine.state().status(), RunStatus::Paused);
    let kept = engine.journal.len();
    engine.crash(kept);
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Paused, "a crash frees nothing");
    engine.ask(Ask::Resume).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
    assert!(world.made.values().all(|times| *times == 1));
}

#[test]
fn a_part_can_be_widened_and_freed_branch_by_branch() {
    let mut world = World::new();
    let mut engine = started(&["a"]);
    engine.live(&mut world, ENOUGH);
    engine.ask(Ask::Part { steps: vec!["c".into()] }).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(states(&engine), ["succeeded", "pending", "succeeded", "pending"]);
    engine.ask(Ask::Free { steps: vec!["d".into()] }).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
}

#[test]
fn a_branch_that_is_held_back_lets_the_others_go_on() {
    let mut world = World::new();
    let mut engine = Engine::start(diamond());
    engine.ask(Ask::Hold { steps: vec!["b".into()] }).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(states(&engine), ["succeeded", "pending", "succeeded", "pending"]);
    assert!(engine.ask(Ask::Hold { steps: vec!["d".into()] }).is_err(), "held already");
    engine.ask(Ask::Free { steps: vec!["b".into()] }).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
}

#[test]
fn what_is_held_back_is_aborted_and_undone_like_all_else() {
    let mut world = World::new();
    let mut engine = started(&["b"]);
    engine.live(&mut world, ENOUGH);
    engine.ask(Ask::Undo).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Undone);
    let mut engine = started(&["b"]);
    engine.live(&mut World::new(), ENOUGH);
    engine.ask(Ask::Abort).unwrap();
    assert_eq!(engine.state().status(), RunStatus::Aborted);
    engine.ask(Ask::Resume).unwrap();
    engine.live(&mut World::new(), ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded, "resume means all of it");
}

#[test]
fn a_step_of_a_person_comes_before_what_has_not_begun() {
    let mut world = World::new();
    let mut engine = started(&["a"]);
    engine.live(&mut world, ENOUGH);
    let drain = || vec![step("drain", &["a"])];
    let late = Ask::Insert { steps: drain(), before: vec!["a".into()] };
    assert!(engine.ask(late).is_err(), "a has begun");
    let before = vec![StepId::from("b"), "c".into()];
    engine.ask(Ask::Insert { steps: drain(), before }).unwrap();
    engine.ask(Ask::Resume).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
    let done = engine.journal.iter().filter_map(|recorded| match &recorded.event {
        Event::StepSucceeded { step, .. } => Some(step.clone()),
        _ => None,
    });
    let order: Vec<StepId> = done.collect();
    assert_eq!(order[..2], [StepId::from("a"), "drain".into()]);
}

#[test]
fn a_step_is_tried_again_with_another_input_and_the_record_says_who() {
    let mut world = World::new();
    let mut engine = Engine::start(plan(vec![step("a", &[]), step("b", &["a"])]));
    engine.ask(Ask::Abort).unwrap();
    let with = Some(json!({ "target": "${params.other}" }));
    let ask = Ask::Retry { step: "b".into(), with };
    let unsaid = Cause { reason: None, ..by("ann", false) };
    assert!(engine.give(&unsaid, &Command::Ask(ask.clone())).is_err(), "why, must be said");
    engine.ask(ask).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
    let (_, _, b) = engine.state().find(&"b".into()).unwrap();
    assert_eq!(b.input, json!({ "target": "${params.other}" }), "a value, not an expression");
    assert_eq!(b.edited.as_ref().unwrap().name, "ann");
}

#[test]
fn a_lock_goes_to_another_run_unless_its_target_is_being_changed() {
    let mut world = World::new();
    let mut engine = Engine::start(plan(vec![step("a", &[]), step("b", &["a"])]));
    let target = TargetId::from("fake:a");
    let ask = || Ask::Yield { targets: vec![target.clone()] };
    assert!(engine.ask(ask()).is_err(), "not held yet");
    while !engine.state().locks.contains_key(&target) {
        engine.live(&mut world, 1);
    }
    let error = engine.ask(ask()).unwrap_err().to_string();
    assert!(error.contains("`a` of run r0 is changing"), "{error}");
    while engine.state().find(&"a".into()).unwrap().2.state.word() != "succeeded" {
        engine.live(&mut world, 1);
    }
    let before = engine.state().clone();
    engine.ask(ask()).unwrap();
    assert!(!engine.state().locks.contains_key(&target));
    let event = Event::LocksYielded { targets: vec![target.clone()] };
    assert_eq!(releases(Some(&before), &[event]), [target]);
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
}

#[test]
fn the_command_stays_where_it_is_until_it_is_taken() {
    let mut engine = Engine::start(diamond());
    let take = Command::Ask(Ask::TakeCommand);
    assert!(engine.give(&by("bob", false), &take).is_err(), "not offered");
    engine.ask(Ask::HandOver { to: "bob".into() }).unwrap();
    assert_eq!(engine.state().commander.name, "ann");
    assert!(engine.give(&by("eve", false), &take).is_err(), "offered to bob");
    engine.give(&by("bob", false), &take).unwrap();
    assert_eq!(engine.state().commander.name, "bob");
    engine.ask(Ask::HandOver { to: "ann".into() }).unwrap();
    engine.give(&by("eve", true), &take).unwrap();
    assert_eq!(engine.state().commander.name, "eve", "nobody else could be reached");
}

/// The runbook is wrong at step c: the run stands, and a corrected one goes on in its place.
fn superseded(world: &mut World) -> Engine {
    let mut engine = started(&["b"]);
    engine.live(world, ENOUGH);
    engine
}

#[test]
fn a_corrected_runbook_adopts_what_stayed_the_same() {
    let mut world = World::new();
    let old = superseded(&mut world);
    let mut other = step("b", &["a"]);
    other.with = json!({ "target": "other" });
    let steps = vec![step("a", &[]), other, step("new", &["b"])];
    let found = compare(old.state(), &plan(steps));
    assert_eq!(found.adopted, [StepId::from("a")]);
    assert_eq!(found.again, [(StepId::from("b"), "its input is another".to_owned())]);
    assert_eq!(found.anew, [StepId::from("new")]);
    let found = compare(old.state(), &plan(vec![step("a", &[])]));
    assert_eq!(found.left_behind, [StepId::from("b")]);
}

#[test]
fn the_new_run_goes_on_and_its_undo_puts_back_the_work_of_both() {
    let mut world = World::new();
    let mut old = superseded(&mut world);
    let corrected = diamond();
    let adopt = Some(Box::new(compare(old.state(), &corrected).adoption));
    old.ask(Ask::Supersede { by: "r1".into() }).unwrap();
    assert_eq!(old.state().phase, Phase::Ended(RunEnd::Superseded));
    assert!(old.state().locks.is_empty());
    for ask in [Ask::Resume, Ask::Undo, Ask::Retry { step: "c".into(), with: None }] {
        let error = old.ask(ask).unwrap_err().to_string();
        assert!(error.contains("r1 goes on"), "{error}");
    }
    let (plan, text) = (Box::new(corrected), String::new());
    let create = Command::Create { run: RunId::from("r1"), plan, text, part: Vec::new(), adopt };
    let mut new = Engine::begin(&create);
    new.live(&mut world, ENOUGH);
    assert_eq!(new.state().status(), RunStatus::Succeeded);
    assert_eq!(world.made.len(), 4, "nothing twice: {:?}", world.made);
    new.ask(Ask::Undo).unwrap();
    new.live(&mut world, ENOUGH);
    assert_eq!(new.state().status(), RunStatus::Undone);
    let back = new.journal.iter().filter_map(|recorded| match &recorded.event {
        Event::StepStarted { step, .. } if step.as_str().contains("undo") => Some(step.clone()),
        _ => None,
    });
    let back: Vec<String> = back.map(|id| id.as_str()[..1].to_owned()).collect();
    assert_eq!(back[2..], ["b", "a"], "what was there first goes last: {back:?}");
}

#[test]
fn a_run_with_something_under_way_is_not_superseded() {
    let mut world = World::new();
    let mut engine = Engine::start(diamond());
    let flying = |engine: &Engine| {
        effects(engine.state()).iter().any(|w| matches!(w, backout_core::Wanted::Apply(_)))
    };
    while !flying(&engine) {
        engine.live(&mut world, 1);
    }
    let error = engine.ask(Ask::Supersede { by: "r1".into() }).unwrap_err().to_string();
    assert!(error.contains("under way or in doubt"), "{error}");
}
