//! What the events of the run as a whole make of it.

use std::collections::BTreeSet;

use crate::contract::Guarantee;
use crate::event::{Event, Recorded, RunEnd, Wait};
use crate::id::{Seq, StepId, StepIx, Timestamp};
use crate::plan::{Order, Plan, PlanStep, Role};
use crate::state::{EffectState, Note, Phase, RunState, StepRun, StepState};

pub(super) fn created(recorded: &Recorded) -> Result<RunState, String> {
    let Event::RunCreated { run, plan, .. } = &recorded.event else {
        return Err("the first event must make the run".into());
    };
    if recorded.seq != Seq(1) {
        return Err(format!("the first event is number 1, not {}", recorded.seq));
    }
    let order = Order::of(&plan.steps).map_err(|error| error.to_string())?;
    let mut state = RunState {
        run: run.clone(),
        plan: Plan::clone(plan),
        steps: order.needs.iter().map(|needs| unstarted(needs.len())).collect(),
        order,
        seq: recorded.seq,
        epoch: recorded.epoch,
        attached: false,
        engine: String::new(),
        starter: recorded.cause.actor.clone(),
        created: recorded.at,
        last: recorded.at,
        ended: None,
        phase: Phase::Forward,
        paused: false,
        held: BTreeSet::new(),
        commander: recorded.cause.actor.clone(),
        offer: None,
        superseded_by: None,
        continues: None,
        closed: false,
        recovered: None,
        undos: 0,
        break_glass: recorded.cause.break_glass,
        locks: recorded.grants.iter().map(|g| (g.target.clone(), g.token)).collect(),
        notes: Vec::new(),
        ready: BTreeSet::new(),
        active: BTreeSet::new(),
        timed: BTreeSet::new(),
        asking: BTreeSet::new(),
        watched: BTreeSet::new(),
        moved: recorded.seq,
        working: 0,
        met: 0,
        undo_planned: false,
    };
    state.ready = state.indexes().filter(|ix| state.is_ready(*ix)).collect();
    Ok(state)
}

fn unstarted(unmet: usize) -> StepRun {
    StepRun { unmet, ..StepRun::default() }
}

pub(super) fn attached(run: &mut RunState, engine: &str, at: Timestamp) {
    run.attached = true;
    engine.clone_into(&mut run.engine);
    for ix in run.active.clone() {
        orphan(run, ix, at);
    }
    for ix in run.watched.clone() {
        if let Some(step) = run.steps.get_mut(ix.0) {
            // Nobody looked while no engine drove the run.
            step.watched.due = at;
        }
    }
    retry_locks(run, at);
}

/// A lock may have come free while nobody listened: the steps that wait for one ask again.
pub(super) fn retry_locks(run: &mut RunState, at: Timestamp) {
    let waits = |ix: &StepIx| {
        matches!(run.step(*ix).map(|s| &s.state), Some(StepState::Waiting(Wait::Lock { .. })))
    };
    let waiting: Vec<StepIx> = run.active.iter().copied().filter(waits).collect();
    for ix in waiting {
        let why = "asks for its locks again".into();
        run.change(ix, StepState::Waiting(Wait::Retry { due: at, why }), at);
    }
}

/// What was in flight when the last engine died is unclear now; reads are simply asked again.
fn orphan(run: &mut RunState, ix: StepIx, at: Timestamp) {
    let Some(step) = run.steps.get_mut(ix.0) else { return };
    step.look += 1;
    // The time in which nobody looked is not time in which it was seen to be wrong.
    step.verifying_since = step.verifying_since.map(|_| at);
    let read_only = step.guarantee() == Some(Guarantee::ReadOnly);
    for effect in step.effects.iter_mut().filter(|e| e.state == EffectState::InFlight) {
        effect.state = if read_only {
            EffectState::Pending
        } else {
            let evidence = "the engine stopped while it was in flight".into();
            EffectState::Unclear { since: at, due: at, evidence, orphaned: true }
        };
    }
    run.reschedule(ix);
}

pub(super) fn resumed(run: &mut RunState, at: Timestamp) {
    run.paused = false;
    if matches!(run.phase, Phase::Forward | Phase::Undoing(_)) {
        retry_locks(run, at);
        return;
    }
    run.phase = if run.undos > 0 { Phase::Undoing(run.undos) } else { Phase::Forward };
    run.ended = None;
    let undoing = run.undos > 0;
    let reopened: Vec<StepIx> = run
        .indexes()
        .filter(|ix| run.step(*ix).is_some_and(|step| step.state == StepState::Cancelled))
        .filter(|ix| run.is_undo(*ix) == undoing)
        .collect();
    for ix in reopened {
        run.change(ix, StepState::Pending, at);
    }
}

/// Steps that have nothing in flight will not go on.
pub(super) fn cancel_idle(run: &mut RunState, at: Timestamp) {
    let idle: Vec<StepIx> = run
        .indexes()
        .filter(|ix| {
            run.step(*ix).is_some_and(|step| {
                matches!(
                    step.state,
                    StepState::Pending | StepState::Preparing | StepState::Waiting(_)
                )
            })
        })
        .collect();
    for ix in idle {
        run.change(ix, StepState::Cancelled, at);
    }
}

pub(super) fn ended(run: &mut RunState, end: RunEnd, recovered: Option<bool>, at: Timestamp) {
    run.phase = Phase::Ended(end);
    run.held.clear();
    run.recovered = recovered;
    run.ended = Some(at);
    run.locks.clear();
}

pub(super) fn inserted(
    run: &mut RunState,
    steps: &[PlanStep],
    before: &[StepId],
) -> Result<(), String> {
    run.plan.steps.extend(steps.iter().cloned());
    for later in run.plan.steps.iter_mut().filter(|step| before.contains(&step.id)) {
        later.needs.extend(steps.iter().map(|step| step.id.clone()));
    }
    run.order = Order::of(&run.plan.steps).map_err(|error| error.to_string())?;
    for at in run.steps.len()..run.plan.steps.len() {
        let needs = run.order.needs.get(at).map_or(&[][..], Vec::as_slice);
        let unmet = needs.iter().filter(|need| !run.meets_need(**need)).count();
        run.steps.push(unstarted(unmet));
        if run.is_ready(StepIx(at)) {
            run.ready.insert(StepIx(at));
        }
    }
    for id in before {
        wait_for(run, id, steps.len())?;
    }
    run.undo_planned |= steps.iter().any(|step| matches!(step.role, Role::Undo { .. }));
    Ok(())
}

/// A step that has not begun needs so many more.
fn wait_for(run: &mut RunState, id: &StepId, more: usize) -> Result<(), String> {
    let (ix, step) = super::step::step_of(run, id)?;
    step.unmet += more;
    run.ready.remove(&ix);
    Ok(())
}

pub(super) fn noted(run: &mut RunState, note: Note) {
    if run.notes.len() == RunState::NOTES_MAX {
        run.notes.remove(0);
    }
    run.notes.push(note);
}
