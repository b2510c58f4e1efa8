//! People: what they ask at random moments, and how they answer what is asked of them.

use backout_core::command::{Ask, Verdict};
use backout_core::event::{Actor, Cause, Wait};
use backout_core::id::StepIx;
use backout_core::state::{EffectState, Phase, RunState, StepRun, StepState};
use serde_json::json;

use super::rng::Rng;
use super::scenario::random_step;
use super::world::World;

const NAMES: [&str; 3] = ["ann", "bob", "cleo"];

pub(crate) fn somebody(rng: &mut Rng) -> Cause {
    Cause {
        command: None,
        actor: Actor::unverified(*rng.pick(&NAMES).unwrap()),
        reason: Some("because".into()),
        break_glass: rng.chance(20),
    }
}

pub(crate) fn starter() -> Cause {
    let actor = Actor::unverified("ann");
    Cause { command: None, actor, reason: None, break_glass: false }
}

/// Something that a person asks out of the blue; it may well be refused.
pub(crate) fn whim(rng: &mut Rng, run: &RunState, world: &mut World) -> Ask {
    let at = usize::try_from(rng.below(u64::try_from(run.steps.len().max(1)).unwrap())).unwrap();
    let step = run.plan.steps.get(at).map_or("none".into(), |step| step.id.clone());
    if matches!(run.phase, Phase::Stopping(_)) {
        let note = Ask::Note { step: None, text: "why?".into() };
        let asks = [Ask::Resume, Ask::Abort, Ask::Undo, Ask::Pause, note.clone(), note];
        return rng.pick(&asks).unwrap().clone();
    }
    match rng.below(31) {
        0..=2 => Ask::Pause,
        3..=6 => Ask::Resume,
        7 | 8 => Ask::Retry { step, with: None },
        9 => Ask::Skip { step },
        10 => Ask::Reject { step },
        11 => Ask::Abort,
        12 => Ask::Undo,
        13 => Ask::Close,
        14 => Ask::Note { step: None, text: "hm".into() },
        15 => {
            let at = u64::try_from(run.plan.steps.len()).unwrap();
            Ask::Insert { steps: vec![random_step(rng, run.run.as_str(), at)], before: Vec::new() }
        }
        16 => Ask::Approve { step, consent: None },
        17 => Ask::Hold { steps: vec![step] },
        18 => Ask::Free { steps: vec![step] },
        19 => Ask::Part { steps: vec![step] },
        20 => Ask::HandOver { to: (*rng.pick(&NAMES).unwrap()).into() },
        21 => Ask::TakeCommand,
        22 => Ask::Yield { targets: run.locks.keys().take(1).cloned().collect() },
        23 if rng.chance(100) => Ask::Supersede { by: "r9".into() },
        _ => answer(rng, run, world).unwrap_or(Ask::Note { step: Some(step), text: "ok".into() }),
    }
}

/// An answer to something that waits for a person.
pub(crate) fn answer(rng: &mut Rng, run: &RunState, world: &mut World) -> Option<Ask> {
    let Some(ix) = rng.pick(&run.asking.iter().copied().collect::<Vec<_>>()).copied() else {
        return alarmed(rng, run);
    };
    let step = run.plan_step(ix)?.id.clone();
    let done = Verdict::Done { output: json!({ "k": "by hand" }) };
    let settle = |verdict, effect| Ask::Settle {
        step: step.clone(),
        effect,
        verdict,
        evidence: Some("seen".into()),
    };
    Some(match &run.step(ix)?.state {
        StepState::InDoubt => {
            let (effect, made) = truth(run, &step, run.step(ix)?, world)?;
            settle(if made { done } else { Verdict::NotDone }, Some(effect))
        }
        StepState::Waiting(Wait::Approval { .. }) if rng.chance(900) => {
            Ask::Approve { step, consent: None }
        }
        StepState::Waiting(Wait::Approval { .. }) => Ask::Reject { step },
        StepState::Waiting(Wait::Output { from, .. }) if rng.chance(800) => {
            Ask::Settle { step: from.clone(), effect: None, verdict: done, evidence: None }
        }
        _ => match rng.below(4) {
            0 => Ask::Retry { step, with: None },
            1 => Ask::Skip { step },
            2 => settle(done, None),
            _ => settle(Verdict::NotDone, None),
        },
    })
}

/// What somebody changed is made again, or taken as it is.
fn alarmed(rng: &mut Rng, run: &RunState) -> Option<Ask> {
    let alarms: Vec<_> = run.alarms().map(|(plan, _)| plan.id.clone()).collect();
    let step = rng.pick(&alarms)?.clone();
    let settle =
        |verdict| Ask::Settle { step: step.clone(), effect: None, verdict, evidence: None };
    Some(match rng.below(4) {
        0 | 1 => Ask::Retry { step, with: None },
        2 => settle(Verdict::Done { output: json!(null) }),
        _ => settle(Verdict::NotDone),
    })
}

/// What became of an effect in doubt, looked at so closely that it stays true.
fn truth(
    run: &RunState,
    id: &backout_core::id::StepId,
    step: &StepRun,
    world: &mut World,
) -> Option<(usize, bool)> {
    let doubtful =
        |e: &backout_core::state::EffectRun| matches!(e.state, EffectState::InDoubt { .. });
    let effect = step.effects.iter().position(doubtful)?;
    let key = backout_core::id::EffectKey::new(&run.run, id, step.attempt, effect);
    Some((effect, world.is_made_or_seal(&key)))
}

/// What moves a run on that stands still, once all trouble is over.
pub(crate) fn help(rng: &mut Rng, run: &RunState, world: &mut World) -> Option<Ask> {
    match &run.phase {
        Phase::Ended(_) => None,
        _ if run.paused || run.holds_back() => Some(Ask::Resume),
        // Two runs, each of which holds what the other waits for: a person ends one.
        _ if waits_for_locks(run) => rng.chance(100).then_some(Ask::Abort),
        _ => answer(rng, run, world),
    }
}

fn waits_for_locks(run: &RunState) -> bool {
    let lock = |ix: &StepIx| {
        run.step(*ix).is_some_and(|s| matches!(s.state, StepState::Waiting(Wait::Lock { .. })))
    };
    run.asking.is_empty() && !run.active.is_empty() && run.active.iter().all(lock)
}
