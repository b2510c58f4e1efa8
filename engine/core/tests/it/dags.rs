//! Random plans: what holds for all of them.

use std::collections::BTreeMap;

use backout_core::command::Command;
use backout_core::event::{Cause, Event};
use backout_core::plan::{OnExhausted, Order, Plan, PlanStep};
use backout_core::state::{RunStatus, StepState};
use backout_core::{Wanted, effects};
use proptest::prelude::*;

use crate::plans::{plan, step};
use crate::world::{Engine, World};

const STEPS_MAX: usize = 14;

/// What becomes of a step that does not simply succeed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Well,
    Never,
    Fails,
    FailsAndGoesOn,
}

#[derive(Clone, Debug)]
struct Dag {
    needs: Vec<Vec<usize>>,
    turns: Vec<Turn>,
    max_parallel: u32,
    order: Vec<usize>,
}

fn dags() -> impl Strategy<Value = Dag> {
    (0..STEPS_MAX).prop_flat_map(|steps| {
        let needs = (0..steps).map(|at| proptest::collection::vec(0..at.max(1), 0..=at.min(3)));
        let turn = prop_oneof![
            6 => Just(Turn::Well), 1 => Just(Turn::Never),
            1 => Just(Turn::Fails), 1 => Just(Turn::FailsAndGoesOn)
        ];
        let turns = proptest::collection::vec(turn, steps);
        let order = proptest::collection::vec(0_usize..64, 400);
        (needs.collect::<Vec<_>>(), turns, 1_u32..5, order).prop_map(
            |(needs, turns, max_parallel, order)| Dag { needs, turns, max_parallel, order },
        )
    })
}

fn plan_of(dag: &Dag) -> Plan {
    let name = |at: usize| format!("s{at}");
    let steps = dag.needs.iter().zip(&dag.turns).enumerate().map(|(at, (needs, turn))| {
        let needs: Vec<String> =
            if at == 0 { vec![] } else { needs.iter().map(|n| name(*n)).collect() };
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let mut step = step(&name(at), &needs);
        step.when = (*turn == Turn::Never).then(|| "false".into());
        if *turn == Turn::FailsAndGoesOn {
            step.on_exhausted = OnExhausted::Continue;
        }
        step
    });
    Plan { max_parallel: dag.max_parallel, ..plan(steps.collect()) }
}

fn turn_of<'a>(dag: &'a Dag, step: &str) -> &'a Turn {
    &dag.turns[step.trim_start_matches('s').parse::<usize>().unwrap()]
}

/// Answers what is wanted, in the order that chance says, and looks at the state after each.
fn live(dag: &Dag) -> Result<(Engine, World), TestCaseError> {
    let mut engine = Engine::start(plan_of(dag));
    let mut world = World { effects_per_step: 2, ..World::new() };
    for at in 0.. {
        let wanted = effects(engine.state());
        prop_assert!(engine.state().working <= usize::try_from(dag.max_parallel).unwrap());
        let Some(wanted) = wanted.get(dag.order[at % dag.order.len()] % wanted.len().max(1)) else {
            break;
        };
        let report = match wanted {
            Wanted::Apply(dispatch) if fails(dag, dispatch.sending.step.as_str()) => {
                backout_core::command::Report::Applied {
                    sending: dispatch.sending.clone(),
                    outcome: backout_core::contract::Outcome::Refused { reason: "no".into() },
                }
            }
            wanted => world.answer(wanted),
        };
        engine.give(&Cause::engine(), &Command::Report(report)).unwrap();
    }
    Ok((engine, world))
}

fn fails(dag: &Dag, step: &str) -> bool {
    matches!(turn_of(dag, step), Turn::Fails | Turn::FailsAndGoesOn)
}

/// Whether a step is reached: all its needs are met.
fn reached(dag: &Dag) -> Vec<bool> {
    let mut reached = vec![true; dag.needs.len()];
    for at in 1..dag.needs.len() {
        reached[at] =
            dag.needs[at].iter().all(|need| reached[*need] && dag.turns[*need] != Turn::Fails);
    }
    reached
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn every_reached_step_is_done_in_order_and_its_effects_are_made_once(dag in dags()) {
        let (engine, world) = live(&dag)?;
        prop_assert!(world.made.values().all(|times| *times == 1));
        let mut met: BTreeMap<&str, bool> = BTreeMap::new();
        for recorded in &engine.journal {
            match &recorded.event {
                Event::StepStarted { step, .. } => {
                    let (ix, ..) = engine.state().find(step).unwrap();
                    let needs = &engine.state().order.needs[ix.0];
                    let ids = needs.iter().map(|n| engine.state().plan.steps[n.0].id.as_str());
                    prop_assert!(ids.into_iter().all(|id| met.get(id).copied().unwrap_or(false)));
                }
                Event::StepSucceeded { step, .. } | Event::StepSkipped { step, .. }
                | Event::StepFailed { step, met: true, .. } => {
                    met.insert(step.as_str(), true);
                }
                _ => {}
            }
        }
        let reached = reached(&dag);
        for (at, step) in engine.state().steps.iter().enumerate() {
            let fits = match (reached[at], dag.turns[at], &step.state) {
                (false, _, state) => *state == StepState::Pending,
                (true, Turn::Well, state) => matches!(state, StepState::Succeeded { .. }),
                (true, Turn::Never, state) => matches!(state, StepState::Skipped(_)),
                (true, Turn::Fails, state) => matches!(state, StepState::Waiting(_)),
                (true, Turn::FailsAndGoesOn, state) => {
                    matches!(state, StepState::Failed { met: true, .. })
                }
            };
            prop_assert!(fits, "s{at} is {:?}", step.state);
        }
        let stuck = dag.turns.iter().zip(&reached).any(|(t, r)| *t == Turn::Fails && *r);
        let end = if stuck { RunStatus::Waiting } else { RunStatus::Succeeded };
        prop_assert_eq!(engine.state().status(), end);
    }

    #[test]
    fn waves_are_as_deep_as_the_longest_way(dag in dags()) {
        let order = Order::of(&plan_of(&dag).steps).unwrap();
        for (at, needs) in order.needs.iter().enumerate() {
            let deepest = needs.iter().map(|need| order.wave[need.0] + 1).max().unwrap_or(0);
            prop_assert_eq!(order.wave[at], deepest);
        }
    }
}

/// Many steps, most of them at rest or all at work: an event costs the same.
#[test]
fn the_cost_of_an_event_does_not_grow_with_the_plan() {
    let chain = |steps: usize| {
        let name = |at: usize| format!("s{at}");
        let all = (0..steps).map(|at| match at.checked_sub(1) {
            Some(before) => step(&name(at), &[&name(before)]),
            None => step(&name(at), &[]),
        });
        plan(all.collect::<Vec<PlanStep>>())
    };
    let looked_at = |steps: usize| {
        let engine = Engine::start(chain(steps));
        (engine.state().active.len(), engine.state().timed.len(), engine.state().ready.len())
    };
    assert_eq!(looked_at(100), looked_at(5_000));
}
