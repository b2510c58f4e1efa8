//! What is true of every state. Asserted after every event in tests, and when a journal is loaded.

use std::collections::BTreeSet;

use crate::id::StepIx;
use crate::state::{EffectRun, EffectState, Phase, RunState, StepRun, StepState};

/// What does not hold, in words; empty is good.
pub fn check(run: &RunState) -> Vec<String> {
    let mut broken = Vec::new();
    sets(run, &mut broken);
    for ix in run.indexes() {
        if let (Some(plan), Some(step)) = (run.plan_step(ix), run.step(ix)) {
            let mut say = |what: &str| broken.push(format!("`{}`: {what}", plan.id));
            of_step(step, &mut say);
            let unmet = run
                .order
                .needs
                .get(ix.0)
                .into_iter()
                .flatten()
                .filter(|need| !run.step(**need).is_some_and(|step| step.state.meets_need()));
            if unmet.count() != step.unmet {
                say("its count of unmet needs is wrong");
            }
        }
    }
    broken
}

fn sets(run: &RunState, broken: &mut Vec<String>) {
    let of = |test: fn(&StepRun) -> bool| -> BTreeSet<StepIx> {
        run.indexes().filter(|ix| run.step(*ix).is_some_and(test)).collect()
    };
    let mut same = |name: &str, kept: bool| {
        if !kept {
            broken.push(format!("the set of {name} steps is wrong"));
        }
    };
    same("active", run.active == of(|step| step.state.is_active()));
    let timed = run.indexes().filter_map(|ix| Some((run.step(ix)?.goes_on()?, ix)));
    same("timed", run.timed == timed.collect());
    same("asking", run.asking == of(|step| step.state.wants_person()));
    let watched = |ix: &StepIx| {
        run.plan_step(*ix).zip(run.step(*ix)).is_some_and(|(plan, step)| step.is_watched(plan))
    };
    same("watched", run.watched == run.indexes().filter(watched).collect());
    same("ready", run.ready == of(|s| s.state == StepState::Pending && s.unmet == 0));
    same("working", run.working == of(|step| step.state.is_working()).len());
    same("met", run.met == of(|step| step.state.meets_need()).len());
    if matches!(run.phase, Phase::Ended(_)) {
        if run.active.iter().filter_map(|ix| run.step(*ix)).any(|step| !is_settling(step)) {
            broken.push("the run ended with a step under way".into());
        }
        if !run.locks.is_empty() {
            broken.push("the run ended and holds locks".into());
        }
    }
}

/// A run that is over may hold a step in doubt; while a person settles it, event by event, it moves.
fn is_settling(step: &StepRun) -> bool {
    let open =
        |e: &EffectRun| matches!(e.state, EffectState::InFlight | EffectState::Unclear { .. });
    step.state == StepState::Running && !step.effects.iter().any(open)
}

fn of_step(step: &StepRun, say: &mut impl FnMut(&str)) {
    let flying = |effect: &&EffectRun| {
        matches!(effect.state, EffectState::InFlight | EffectState::Unclear { .. })
    };
    if step.effects.iter().filter(flying).count() > 0 && step.state != StepState::Running {
        say("an effect is in flight and the step is not running");
    }
    if step.effects.iter().any(|effect| effect.dispatch == 0 && flying(&effect)) {
        say("an effect is in flight and was never sent");
    }
    if step.state == StepState::InDoubt
        && !step.effects.iter().any(|e| matches!(e.state, EffectState::InDoubt { .. }))
    {
        say("it is in doubt and none of its effects is");
    }
    if step.watched.alarm.is_some() && !matches!(step.state, StepState::Succeeded { .. }) {
        say("it has an alarm and is not done");
    }
    if step.attempt == 0 && !step.adopted && !step.made.is_empty() {
        say("it made something before its first attempt");
    }
}
