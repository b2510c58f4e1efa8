//! How long things took, and how much of that was waiting for people.

use std::collections::BTreeMap;

use backout_core::event::{Event, Recorded, Wait};
use backout_core::id::{StepId, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, StepRun};
use backout_server::view::rfc3339;

use crate::{Asked, Took};

/// The approvals that were asked for, with their answers.
pub(crate) fn approvals(events: &[Recorded]) -> Vec<Asked> {
    let mut all: Vec<(&StepId, &Recorded, Asked)> = Vec::new();
    for recorded in events {
        if let Event::StepWaits { step, wait: Wait::Approval { why, .. } } = &recorded.event {
            let answers = Vec::new();
            let at = rfc3339(recorded.at);
            let step_name = step.to_string();
            let asked = Asked { step: step_name, at, why: why.clone(), answers, waited_ms: None };
            all.push((step, recorded, asked));
            continue;
        }
        let Some((step, words)) = answer(recorded) else { continue };
        if let Some((_, since, asked)) = all.iter_mut().rfind(|(of, ..)| *of == step) {
            asked.answers.push(words);
            asked.waited_ms = Some(recorded.at.since_ms(since.at));
        }
    }
    all.into_iter().map(|(_, _, asked)| asked).collect()
}

/// What a person answered to an approval.
fn answer(recorded: &Recorded) -> Option<(&StepId, String)> {
    let cause = &recorded.cause;
    if !crate::gather::is_persons(recorded) {
        return None;
    }
    let (step, word) = match &recorded.event {
        Event::StepApproved { step, .. } if cause.break_glass => {
            (step, "approved, breaking the glass")
        }
        Event::StepApproved { step, .. } => (step, "approved"),
        Event::StepFailed { step, .. } => (step, "rejected"),
        Event::StepSkipped { step, .. } => (step, "skipped"),
        _ => return None,
    };
    let why = cause.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some((step, format!("{word} by {}{why}", cause.actor.name)))
}

/// The step of an event, and whether from then on the step waits for people; nothing where the
/// event does not change that.
fn waits(event: &Event) -> Option<(&StepId, bool)> {
    Some(match event {
        Event::StepWaits { step, wait } => {
            let people =
                matches!(wait, Wait::Approval { .. } | Wait::Person { .. } | Wait::Output { .. });
            (step, people)
        }
        Event::EffectInDoubt { sending, .. } => (&sending.step, true),
        Event::StepUnverified { step, .. } => (step, true),
        Event::EffectSettled { sending, .. } | Event::EffectIntended { sending } => {
            (&sending.step, false)
        }
        Event::StepStarted { step, .. }
        | Event::StepPrepared { step, .. }
        | Event::StepLocked { step, .. }
        | Event::StepReopened { step, .. }
        | Event::StepSucceeded { step, .. }
        | Event::StepFailed { step, .. }
        | Event::StepSkipped { step, .. }
        | Event::StepCancelled { step } => (step, false),
        _ => return None,
    })
}

/// How long each step waited for people, milliseconds.
fn people(events: &[Recorded], now: Timestamp) -> BTreeMap<StepId, u64> {
    let mut open: BTreeMap<&StepId, Timestamp> = BTreeMap::new();
    let mut sums: BTreeMap<StepId, u64> = BTreeMap::new();
    for recorded in events {
        let Some((step, waiting)) = waits(&recorded.event) else { continue };
        if waiting {
            open.entry(step).or_insert(recorded.at);
        } else if let Some(since) = open.remove(step) {
            *sums.entry(step.clone()).or_default() += recorded.at.since_ms(since);
        }
    }
    for (step, since) in open {
        *sums.entry(step.clone()).or_default() += now.since_ms(since);
    }
    sums
}

/// How long each step took, in plan order.
pub(crate) fn took(events: &[Recorded], state: &RunState, now: Timestamp) -> Vec<Took> {
    let until = state.ended.unwrap_or(now);
    let people = people(events, until);
    let took = |(planned, step): (&PlanStep, &StepRun)| Took {
        step: planned.id.to_string(),
        title: planned.title.clone(),
        state: step.state.word().to_owned(),
        expect_ms: planned.expect_ms,
        took_ms: step.started.map(|begun| step.ended.unwrap_or(until).since_ms(begun)),
        people_ms: people.get(&planned.id).copied().unwrap_or_default(),
        attempts: step.attempt,
    };
    state.plan.steps.iter().zip(&state.steps).map(took).collect()
}
