//! A journal cut after every event, and what is left of it resumed.

use std::collections::BTreeMap;

use backout_core::command::Ask;
use backout_core::drive::Run;
use backout_core::event::Event;
use backout_core::id::Epoch;
use backout_core::plan::{ApprovalPolicy, Plan, Retry};
use backout_core::state::RunStatus;
use serde_json::json;

use crate::plans::{plan, step};
use crate::world::{Engine, World};

const ENOUGH: usize = 1_000;

/// Steps of several kinds: chained, parallel, with approval, `when`, and an output of another.
fn mixed() -> Plan {
    let mut c = step("c", &["a"]);
    c.approval = Some(ApprovalPolicy::default());
    let mut d = step("d", &["b", "c"]);
    d.with = json!({ "target": "d", "from": "${steps.b.output.made}" });
    let mut e = step("e", &["a"]);
    e.when = Some("false".into());
    let mut steps = vec![step("a", &[]), step("b", &["a"]), c, d, e, step("f", &["e", "d"])];
    for step in &mut steps {
        step.retry = Retry { max: 3, ..Retry::default() };
    }
    plan(steps)
}

fn live(engine: &mut Engine, world: &mut World) {
    for _ in 0..10 {
        engine.live(world, ENOUGH);
        let Some(ix) = engine.state().asking.first().copied() else { return };
        let step = engine.state().plan_step(ix).unwrap().id.clone();
        engine.ask(Ask::Approve { step, consent: None }).unwrap();
    }
}

fn whole(undo: bool) -> Engine {
    let mut engine = Engine::start(mixed());
    let mut world = World::new();
    live(&mut engine, &mut world);
    if undo {
        engine.ask(Ask::Undo).unwrap();
        live(&mut engine, &mut world);
    }
    engine
}

/// What the world looks like when just these events are durable: an effect whose intent is cut off
/// was never sent; one whose outcome is cut off may be made or not.
fn world_at(engine: &Engine, kept: usize, made: bool) -> World {
    let mut world = World::new();
    let mut inputs = BTreeMap::new();
    for recorded in &engine.journal[..kept] {
        match &recorded.event {
            Event::StepStarted { step, input, .. } => {
                inputs.insert(step.clone(), input["target"].as_str().unwrap().to_owned());
            }
            Event::EffectIntended { sending } if made || is_answered(engine, kept, sending) => {
                let key = engine.state().key(sending);
                world.made.insert(key, 1);
                world.targets.insert((inputs[&sending.step].clone(), sending.effect));
            }
            _ => {}
        }
    }
    world
}

fn is_answered(engine: &Engine, kept: usize, of: &backout_core::event::Sending) -> bool {
    engine.journal[..kept].iter().any(
        |recorded| matches!(&recorded.event, Event::EffectDone { sending, .. } if sending == of),
    )
}

#[test]
fn cut_after_every_event_it_is_finished_with_every_effect_once() {
    for undo in [false, true] {
        let uncut = whole(undo);
        let end = if undo { RunStatus::Undone } else { RunStatus::Succeeded };
        assert_eq!(uncut.state().status(), end, "{:#?}", uncut.kinds());
        for kept in 1..=uncut.journal.len() {
            for made in [false, true] {
                let mut world = world_at(&uncut, kept, made);
                let mut engine = whole(undo);
                engine.crash(kept);
                live(&mut engine, &mut world);
                let asked = uncut.journal[..kept]
                    .iter()
                    .any(|recorded| matches!(recorded.event, Event::UndoBegun { .. }));
                if undo && !asked {
                    engine.ask(Ask::Undo).unwrap();
                    live(&mut engine, &mut world);
                }
                assert_eq!(engine.state().status(), end, "cut after {kept}, made {made}");
                assert_eq!(world.made.len(), if undo { 10 } else { 5 }, "cut after {kept}");
                assert!(world.made.values().all(|times| *times == 1), "cut after {kept}");
            }
        }
    }
}

#[test]
fn every_prefix_of_a_journal_folds_to_a_sound_state_and_back_from_its_text() {
    let uncut = whole(true);
    for kept in 1..=uncut.journal.len() {
        let text = serde_json::to_string(&uncut.journal[..kept]).unwrap();
        let read: Vec<backout_core::event::Recorded> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, uncut.journal[..kept]);
        let mut run = Run::new(Epoch(9));
        run.load(&read).unwrap();
        assert_eq!(backout_core::invariant::check(run.state.as_ref().unwrap()), [""; 0]);
    }
}
