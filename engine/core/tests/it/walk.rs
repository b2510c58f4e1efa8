//! Whole runs, and runs cut at every event.

use backout_core::command::{Ask, Verdict};
use backout_core::state::RunStatus;

use crate::plans::{plan, step};
use crate::world::{Engine, World};

const ENOUGH: usize = 1_000;

fn diamond() -> backout_core::plan::Plan {
    plan(vec![step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b", "c"])])
}

#[test]
fn a_run_goes_to_its_end() {
    let mut world = World::new();
    let mut engine = Engine::start(diamond());
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded, "{:#?}", engine.kinds());
    assert_eq!(world.made.len(), 4);
    assert!(world.made.values().all(|times| *times == 1));
}

#[test]
fn cut_after_every_event_it_ends_the_same_and_makes_each_effect_once() {
    for effects_per_step in [1, 3] {
        let mut whole = Engine::start(diamond());
        let mut world = World { effects_per_step, ..World::new() };
        whole.live(&mut world, ENOUGH);
        for rounds in 0..ENOUGH {
            let mut world = World { effects_per_step, ..World::new() };
            let mut engine = Engine::start(diamond());
            let lived = engine.live(&mut world, rounds);
            // An answer that came and was not recorded: the effect is made, the record is not.
            if let Some(wanted) = backout_core::effects(engine.state()).first() {
                world.answer(wanted);
            }
            let kept = engine.journal.len();
            engine.crash(kept);
            engine.live(&mut world, ENOUGH);
            assert_eq!(engine.state().status(), RunStatus::Succeeded, "cut after {rounds}");
            assert_eq!(world.made.len(), 4 * effects_per_step);
            assert!(world.made.values().all(|times| *times == 1), "{:?}", world.made);
            if lived < rounds {
                break;
            }
        }
    }
}

#[test]
fn an_undo_puts_back_what_was_made_last_made_first_and_survives_cuts() {
    for rounds in 0..200 {
        let mut world = World::new();
        let mut engine = Engine::start(diamond());
        engine.live(&mut world, ENOUGH);
        engine.ask(Ask::Undo).unwrap();
        engine.live(&mut world, rounds);
        if let Some(wanted) = backout_core::effects(engine.state()).first() {
            world.answer(wanted);
        }
        let kept = engine.journal.len();
        engine.crash(kept);
        let lived = engine.live(&mut world, ENOUGH);
        assert_eq!(engine.state().status(), RunStatus::Undone, "{:#?}", engine.kinds());
        let back: Vec<&str> = world
            .made
            .keys()
            .map(backout_core::id::EffectKey::as_str)
            .filter(|key| key.contains("undo"))
            .collect();
        assert_eq!(back.len(), 4, "{back:?}");
        assert!(world.made.values().all(|times| *times == 1));
        let states: Vec<&str> =
            engine.state().steps.iter().take(4).map(|step| step.state.word()).collect();
        assert_eq!(states, ["undone"; 4]);
        if lived == 0 {
            break;
        }
    }
}

#[test]
fn an_unknown_outcome_waits_for_a_person_and_is_never_repeated() {
    let mut world =
        World { guarantee: Some(backout_core::contract::Guarantee::Manual), ..World::new() };
    let mut engine = Engine::start(plan(vec![step("a", &[]), step("b", &["a"])]));
    while world.made.is_empty() {
        let wanted = backout_core::effects(engine.state()).remove(0);
        let report = world.answer(&wanted);
        if world.made.is_empty() {
            let report = backout_core::Command::Report(report);
            engine.give(&backout_core::event::Cause::engine(), &report).unwrap();
        }
    }
    let kept = engine.journal.len();
    engine.crash(kept);
    let wanted = backout_core::effects(engine.state()).remove(0);
    let backout_core::Wanted::Settle(dispatch) = wanted else { panic!("{wanted:?}") };
    let report = backout_core::Command::Report(backout_core::command::Report::Settled {
        sending: dispatch.sending,
        settled: backout_core::contract::Settled::Unknown { evidence: "nothing tells".into() },
    });
    engine.give(&backout_core::event::Cause::engine(), &report).unwrap();
    assert_eq!(engine.state().steps[0].state.word(), "in-doubt");
    assert_eq!(engine.state().status(), RunStatus::Waiting);
    assert_eq!(engine.live(&mut world, ENOUGH), 0);
    assert!(engine.ask(Ask::Retry { step: "a".into(), with: None }).is_err());
    assert!(engine.ask(Ask::Skip { step: "a".into() }).is_err());
    let verdict = Verdict::Done { output: serde_json::json!(null) };
    let settle = Ask::Settle { step: "a".into(), effect: None, verdict, evidence: None };
    engine.ask(settle).unwrap();
    engine.live(&mut world, ENOUGH);
    assert_eq!(engine.state().status(), RunStatus::Succeeded);
    assert!(world.made.values().all(|times| *times == 1));
}

#[test]
fn a_kept_fold_is_the_fold() {
    let mut world = World { effects_per_step: 2, ..World::new() };
    let mut engine = Engine::start(diamond());
    while engine.live(&mut world, 1) == 1 {
        let kept = backout_core::snapshot::keep(engine.state());
        assert_eq!(backout_core::snapshot::find(&kept).as_ref(), Some(engine.state()));
    }
    engine.ask(Ask::Undo).unwrap();
    engine.live(&mut world, ENOUGH);
    let kept = backout_core::snapshot::keep(engine.state());
    assert_eq!(backout_core::snapshot::find(&kept).as_ref(), Some(engine.state()));
    assert_eq!(backout_core::snapshot::find(&kept[..kept.len() - 1]), None);
    assert_eq!(backout_core::snapshot::find(b""), None);
    for at in 0..engine.journal.len() {
        let mut early = None;
        for recorded in &engine.journal[..=at] {
            backout_core::evolve(&mut early, recorded).unwrap();
        }
        let early = early.unwrap();
        let since = &engine.journal[at..];
        let late = backout_core::snapshot::catch_up(early.clone(), since);
        assert_eq!(late.as_ref(), Some(engine.state()));
        assert_eq!(backout_core::snapshot::catch_up(early, &engine.journal[at + 1..]), None);
    }
}
