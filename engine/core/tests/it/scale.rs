//! Large runs: what an event costs must not grow with what is at rest.

use std::collections::VecDeque;

use backout_core::command::Command;
use backout_core::drive::Run;
use backout_core::event::{Cause, Grant};
use backout_core::id::{Epoch, LockToken, StepId, Timestamp};
use backout_core::plan::Plan;
use backout_core::state::RunStatus;
use backout_core::{Wanted, claims, effects_of};

use crate::plans::{plan, step};
use crate::world::{World, person};

/// Drives a run to its end; after each turn only the steps of its events are asked what they want.
/// Gives the number of turns.
fn drive(plan: Plan) -> usize {
    let (mut run, mut world) = (Run::new(Epoch(1)), World::new());
    let mut wanted: VecDeque<Wanted> = VecDeque::new();
    let create = Command::create("r0".into(), plan, String::new());
    give(&mut run, &mut wanted, &create);
    let mut turns = 0;
    while let Some(next) = wanted.pop_front() {
        let report = Command::Report(world.answer(&next));
        give(&mut run, &mut wanted, &report);
        turns += 1;
    }
    assert_eq!(run.state.as_ref().unwrap().status(), RunStatus::Succeeded);
    assert!(world.made.values().all(|times| *times == 1));
    turns
}

fn give(run: &mut Run, wanted: &mut VecDeque<Wanted>, command: &Command) {
    let now = Timestamp(1_000);
    let mut touched: Vec<StepId> = Vec::new();
    let mut turn = run.turn(now, &person("go"), command).unwrap();
    loop {
        touched.extend(turn.recorded.iter().filter_map(|r| r.event.step().cloned()));
        let Some((cause, event)) = turn.claiming.take() else { break };
        let targets = claims(run.state.as_ref(), std::slice::from_ref(&event));
        let grants = targets.into_iter().map(|target| Grant { target, token: LockToken(1) });
        touched.extend(event.step().cloned());
        run.granted(now, &cause, event, grants.collect()).unwrap();
        turn = run.turn(now, &Cause::engine(), &Command::Advance).unwrap();
    }
    touched.sort();
    touched.dedup();
    let state = run.state.as_ref().unwrap();
    wanted.extend(touched.iter().flat_map(|step| effects_of(state, step)));
}

fn many(steps: usize, chained: bool) -> Plan {
    let name = |at: usize| format!("s{at}");
    let all = (0..steps).map(|at| match at.checked_sub(1).filter(|_| chained) {
        Some(before) => step(&name(at), &[&name(before)]),
        None => step(&name(at), &[]),
    });
    Plan { max_parallel: 1_000, ..plan(all.collect()) }
}

#[test]
fn a_thousand_parallel_steps_and_a_chain_of_a_thousand_take_four_answers_a_step() {
    assert_eq!(drive(many(1_000, false)), 4_000);
    assert_eq!(drive(many(1_000, true)), 4_000);
}
