//! A run's events, one line each.

use backout_core::contract::Settled;
use backout_core::event::{Event, Recorded, RunEnd, Sending, SkipCause, StopCause, Wait};
use backout_core::id::StepId;
use backout_core::plan::PlanStep;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::run::alarm_words;
use super::step::held;
use super::{counted, duration, rfc3339};

/// One event: `seq`, `at`, `kind`, who and why, and what the kind carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryLine {
    /// The position.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// What kind of event.
    pub kind: String,
    /// Which engine wrote it.
    pub epoch: u64,
    /// Who.
    pub actor: String,
    /// Whether an authenticating server vouches for who, and for their roles.
    pub verified: bool,
    /// Their roles: the operating-system groups, where nobody vouches for better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the ordinary rules were set aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// What the kind carries.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An event as the line that `history --json` prints.
pub fn history_line(recorded: &Recorded) -> HistoryLine {
    let mut rest = match serde_json::to_value(&recorded.event) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    let kind = match rest.remove("kind") {
        Some(Value::String(kind)) => kind,
        Some(_) | None => "unknown".to_owned(),
    };
    // An event's own `reason` says what went wrong; the person's stands beside it.
    if let Some(own) = rest.remove("reason") {
        rest.insert("because".to_owned(), own);
    }
    if !recorded.grants.is_empty() {
        rest.insert("grants".to_owned(), serde_json::json!(recorded.grants));
    }
    HistoryLine {
        seq: recorded.seq.0,
        at: rfc3339(recorded.at),
        kind,
        epoch: recorded.epoch.0,
        actor: recorded.cause.actor.name.clone(),
        verified: recorded.cause.actor.verified,
        roles: recorded.cause.actor.roles.clone(),
        reason: recorded.cause.reason.clone(),
        break_glass: recorded.cause.break_glass,
        rest,
    }
}

/// An event in words: the step it is about, if any, and what happened.
pub fn sentence(event: &Event) -> (Option<String>, String) {
    run_sentence(event)
        .map(|text| (None, text))
        .or_else(|| step_sentence(event).map(|(step, text)| (Some(step), text)))
        .or_else(|| {
            effect_sentence(event).map(|(sending, text)| (Some(sending.step.to_string()), text))
        })
        .unwrap_or_default()
}

fn run_sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunCreated { plan, .. } => {
            format!("run of {} created, {}", plan.name, counted(plan.steps.len(), "step"))
        }
        Event::EngineAttached { engine } => format!("engine {engine} took the run up"),
        Event::EngineDetached { why } => format!("engine let go: {why}"),
        Event::RunPaused => "run paused".to_owned(),
        Event::RunResumed => "run resumed".to_owned(),
        Event::RunStopping { why: StopCause::Aborted } => {
            "run aborted, finishing what is in flight".to_owned()
        }
        Event::RunStopping { why: StopCause::Halted { step } } => {
            format!("run halted by {step}, finishing what is in flight")
        }
        Event::RunEnded { end, recovered } => ended(*end, *recovered),
        Event::RunClosed => "run closed".to_owned(),
        Event::UndoBegun { undo } => format!("undo {undo} began"),
        Event::StepsInserted { steps, before } => inserted(steps, before),
        Event::StepsHeld { steps } => format!("held back: {}", some(steps)),
        Event::StepsFreed { steps } => format!("no longer held back: {}", some(steps)),
        Event::StepsAdopted { from, steps } => {
            let done = steps.iter().filter(|step| step.outcome.is_some()).count();
            format!("goes on for run {from}: {} adopted", counted(done, "step"))
        }
        Event::RunSuperseded { by } => format!("run {by} goes on in its place"),
        Event::LocksYielded { targets } => format!("let go for others: {}", joined(targets)),
        Event::CommandOffered { to } => format!("command offered to {to}"),
        Event::CommandTaken => "command taken".to_owned(),
        Event::NoteTaken { step: None, text } => format!("note: {text}"),
        _ => return None,
    })
}

fn inserted(steps: &[PlanStep], before: &[StepId]) -> String {
    let new: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
    match before {
        [] => format!("inserted: {}", some(&new)),
        before => format!("inserted: {}, before {}", some(&new), some(before)),
    }
}

/// A few names; a count for the rest.
fn some(steps: &[StepId]) -> String {
    const SHOWN: usize = 6;
    let names = joined(steps.get(..SHOWN).unwrap_or(steps));
    match steps.len().saturating_sub(SHOWN) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

fn ended(end: RunEnd, recovered: Option<bool>) -> String {
    let word = match end {
        RunEnd::Succeeded => "succeeded",
        RunEnd::Failed => "failed",
        RunEnd::Aborted => "aborted",
        RunEnd::Undone => "undone",
        RunEnd::Superseded => "superseded",
    };
    match recovered {
        Some(true) => format!("run {word}, recovered"),
        Some(false) => format!("run {word}, not recovered"),
        None => format!("run {word}"),
    }
}

fn step_sentence(event: &Event) -> Option<(String, String)> {
    let (step, text) = match event {
        Event::StepStarted { step, attempt: 1, .. } => (step, "started".to_owned()),
        Event::StepStarted { step, attempt, .. } => (step, format!("started, attempt {attempt}")),
        Event::StepPrepared { step, prepared }
            if prepared.is_satisfied() && prepared.gate.is_none() =>
        {
            (step, "looked: already as wanted".to_owned())
        }
        Event::StepPrepared { step, prepared } => (step, looked(&prepared.difference())),
        Event::StepLocked { step, targets } => (step, format!("locked {}", joined(targets))),
        Event::StepWaits { step, wait } => (step, waits(wait)),
        Event::StepApproved { step, .. } => (step, "approved".to_owned()),
        Event::StepSucceeded { step, changed: true, .. } => (step, "succeeded".to_owned()),
        Event::StepSucceeded { step, changed: false, .. } => (step, "already satisfied".to_owned()),
        Event::StepLooked { step, difference, .. } => {
            (step, format!("not as wanted yet: {}", difference.join("; ")))
        }
        Event::StepUnverified { step, difference } => {
            (step, format!("done, but not seen as wanted: {}", difference.join("; ")))
        }
        Event::StepFailed { step, reason, met: false } => (step, format!("failed: {reason}")),
        Event::StepFailed { step, reason, met: true } => {
            (step, format!("failed, the run goes on all the same: {reason}"))
        }
        Event::StepSkipped { step, by: SkipCause::When } => {
            (step, "skipped, its `when` is false".to_owned())
        }
        Event::StepSkipped { step, by: SkipCause::Person } => {
            (step, "skipped by a person".to_owned())
        }
        Event::StepCancelled { step } => (step, "cancelled".to_owned()),
        Event::StepUndone { step } => (step, "undone".to_owned()),
        Event::StepReopened { step, with: None } => (step, "may be tried again".to_owned()),
        Event::StepReopened { step, with: Some(with) } => {
            (step, format!("may be tried again, with another input: {with}"))
        }
        Event::RevertPlanned { step, made, .. } => {
            (step, format!("how effect {made} is put back is known"))
        }
        Event::WatchAlarm { step, difference, by, unseen } => {
            (step, format!("ALARM: {}", alarm_words(difference, by.as_deref(), *unseen)))
        }
        Event::WatchCalm { step } => (step, "alarm over: it is as it was left".to_owned()),
        Event::WatchHeld { step } => (step, "looked at last: it is as it was left".to_owned()),
        Event::WatchAccepted { step } => (step, "taken as it is, and watched no more".to_owned()),
        Event::NoteTaken { step: Some(step), text } => (step, format!("note: {text}")),
        _ => return None,
    };
    Some((step.to_string(), text))
}

fn looked(difference: &[String]) -> String {
    match difference {
        [] => "looked".to_owned(),
        [one] => format!("looked: {one}"),
        [first, rest @ ..] => format!("looked: {first} (and {} more)", rest.len()),
    }
}

fn joined<T: ToString>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn waits(wait: &Wait) -> String {
    match wait {
        Wait::Approval { why, .. } => format!("waits for approval: {why}"),
        Wait::Retry { due, why } => format!("tried again at {}: {why}", rfc3339(*due)),
        Wait::Soak { covered_ms: 0, .. } => "soaks: must hold from now on".to_owned(),
        Wait::Soak { covered_ms, .. } => format!("soaks, {} covered", duration(*covered_ms)),
        Wait::Lock { holders } => format!("waits for a lock: {}", held(holders)),
        Wait::Timer { due } => format!("waits until {}", rfc3339(*due)),
        Wait::Person { why } => format!("waits for a person: {why}"),
        Wait::Output { from, name } => format!("waits for `{name}`, which {from} did not give"),
    }
}

fn effect_sentence(event: &Event) -> Option<(&Sending, String)> {
    let (sending, text) = match event {
        Event::EffectIntended { sending } => (sending, "sent".to_owned()),
        Event::EffectDone { sending, .. } => (sending, "done".to_owned()),
        Event::EffectRefused { sending, reason } => {
            (sending, format!("refused, not made: {reason}"))
        }
        Event::EffectFailed { sending, reason, .. } => {
            (sending, format!("ended and failed: {reason}"))
        }
        Event::EffectUnclear { sending, reason } => {
            (sending, format!("outcome not known: {reason}"))
        }
        Event::EffectSettled { sending, settled, .. } => (sending, settled_words(settled)),
        Event::EffectInDoubt { sending, evidence } => (sending, format!("in doubt: {evidence}")),
        _ => return None,
    };
    Some((sending, format!("{}: {text}", place(sending))))
}

fn place(sending: &Sending) -> String {
    match (sending.effect, sending.dispatch) {
        (effect, 1) => format!("effect {effect}"),
        (effect, dispatch) => format!("effect {effect}, sending {dispatch}"),
    }
}

fn settled_words(settled: &Settled) -> String {
    match settled {
        Settled::Done { .. } => "settled: it was made".to_owned(),
        Settled::NotDone => "settled: it was not made".to_owned(),
        Settled::Failed { reason, .. } => format!("settled: it failed: {reason}"),
        Settled::Running { evidence } => format!("still being made: {evidence}"),
        Settled::Unknown { evidence } => format!("the target does not tell: {evidence}"),
        Settled::Unreachable { reason } => format!("the target could not be looked at: {reason}"),
    }
}
