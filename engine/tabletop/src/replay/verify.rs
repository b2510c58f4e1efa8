//! The pure core over a record: whether every state is reproduced, and every decision.
//!
//! A journal holds what was decided, and not what it was decided on: a look that found what was
//! there before, for instance, leaves no event. So an event is *decided alike* where the core, asked
//! anew in the state before it, gives it; it is *given* where it came from outside and nothing in
//! the record says more; it *differs* where the core began to decide something and the record goes
//! on otherwise.

use std::collections::VecDeque;

use backout_core::command::{Ask, Command, Report, Verdict};
use backout_core::contract::{Outcome, Settled};
use backout_core::event::{CORE_VERSION, Event, Recorded, Wait};
use backout_core::id::Seq;
use backout_core::state::RunState;
use backout_core::watch::Found;
use backout_core::{decide, evolve, invariant};
use serde::{Deserialize, Serialize};

/// An event that the core would not decide so today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// Where.
    pub seq: Seq,
    /// What the record says.
    pub recorded: String,
    /// What the core decides.
    pub decided: String,
}

/// What a record shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How many events there are.
    pub events: usize,
    /// Whether decisions were compared: the version is the same, and nothing was taken out of the
    /// record.
    pub compared: bool,
    /// How many were folded: all of them, where every state is reproduced.
    pub folded: usize,
    /// Why the next one was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// The version of the core that made the run.
    pub core: u32,
    /// The version of this one. Decisions are compared where both are the same.
    pub core_now: u32,
    /// Events that were decided alike.
    pub decided: usize,
    /// Events that came from outside.
    pub given: usize,
    /// Events that would be decided otherwise.
    pub differs: Vec<Differs>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.broken.is_none() && self.differs.is_empty()
    }
}

/// Runs the core over a record. Of one that is redacted the states are reproduced alone: what was
/// decided hung on what was taken out.
pub fn verify(journal: &[Recorded], redacted: bool) -> Verified {
    let core = match journal.first().map(|recorded| &recorded.event) {
        Some(Event::RunCreated { core, .. }) => *core,
        _ => 0,
    };
    let mut verified = Verified {
        events: journal.len(),
        core,
        core_now: CORE_VERSION,
        compared: core == CORE_VERSION && !redacted,
        ..Verified::default()
    };
    let mut state: Option<RunState> = None;
    let mut ahead: VecDeque<Event> = VecDeque::new();
    for recorded in journal {
        if verified.compared
            && let Some(state) = &state
        {
            compare(state, recorded, &mut ahead, &mut verified);
        }
        if let Err(error) = evolve(&mut state, recorded) {
            verified.broken = Some(format!("event {}: {error}", recorded.seq));
            return verified;
        }
        if let Some(wrong) = state.as_ref().and_then(wrong) {
            verified.broken = Some(format!("event {}: {wrong}", recorded.seq));
            return verified;
        }
        verified.folded += 1;
    }
    verified
}

/// What is not true of a state. The check walks all steps, so that of a very large plan it is left
/// to the fold alone.
fn wrong(state: &RunState) -> Option<String> {
    /// Steps of a plan that is checked after every event.
    const CHECKED_MAX: usize = 500;
    let small = state.steps.len() <= CHECKED_MAX;
    small.then(|| invariant::check(state).into_iter().next()).flatten()
}

fn compare(
    state: &RunState,
    recorded: &Recorded,
    ahead: &mut VecDeque<Event>,
    verified: &mut Verified,
) {
    let event = &recorded.event;
    if breaks_off(event, ahead.front()) {
        ahead.clear();
    }
    if let Some(expected) = ahead.pop_front() {
        if expected == *event {
            verified.decided += 1;
        } else {
            ahead.clear();
            verified.differs.push(Differs {
                seq: recorded.seq,
                recorded: shown(event),
                decided: shown(&expected),
            });
        }
        return;
    }
    for command in candidates(state, recorded) {
        let Ok(events) = decide(Some(state), recorded.at, &recorded.cause, &command) else {
            continue;
        };
        if events.first() == Some(event) {
            ahead.extend(events.into_iter().skip(1));
            verified.decided += 1;
            return;
        }
    }
    verified.given += 1;
}

/// Whether the record may go on otherwise than the core began: another engine took the run up, the
/// store refused the locks, or this one let go.
fn breaks_off(event: &Event, expected: Option<&Event>) -> bool {
    match event {
        Event::EngineAttached { .. } | Event::EngineDetached { .. } => true,
        Event::StepWaits { wait: Wait::Lock { .. }, .. } => {
            matches!(expected, Some(Event::StepLocked { .. }))
        }
        _ => false,
    }
}

fn shown(event: &Event) -> String {
    /// Characters of an event that are shown.
    const SHOWN_MAX: usize = 200;
    let text = serde_json::to_string(event).unwrap_or_default();
    text.chars().take(SHOWN_MAX).collect()
}

/// What may have led to an event: time, what the world answered, or what a person asked.
fn candidates(state: &RunState, recorded: &Recorded) -> Vec<Command> {
    let mut all = vec![Command::Advance];
    all.extend(attachments(&recorded.event));
    all.extend(reports(state, &recorded.event).into_iter().map(Command::Report));
    all.extend(asks(recorded).into_iter().map(Command::Ask));
    all
}

fn attachments(event: &Event) -> Option<Command> {
    match event {
        Event::EngineAttached { engine } => Some(Command::Attach { engine: engine.clone() }),
        Event::EngineDetached { why } => Some(Command::Detach { why: why.clone() }),
        _ => None,
    }
}

fn reports(state: &RunState, event: &Event) -> Vec<Report> {
    let applied = |sending: &backout_core::event::Sending, outcome| Report::Applied {
        sending: sending.clone(),
        outcome,
    };
    match event {
        Event::StepPrepared { step, prepared } => state
            .find(step)
            .map(|(_, _, run)| Report::Prepared {
                step: step.clone(),
                attempt: run.attempt,
                look: run.look,
                result: Ok(prepared.clone()),
            })
            .into_iter()
            .collect(),
        Event::EffectDone { sending, output } => {
            vec![applied(sending, Outcome::Done { output: output.clone() })]
        }
        Event::EffectRefused { sending, reason } => {
            vec![applied(sending, Outcome::Refused { reason: reason.clone() })]
        }
        Event::EffectFailed { sending, reason, output } => {
            let outcome = Outcome::Failed { reason: reason.clone(), output: output.clone() };
            vec![applied(sending, outcome)]
        }
        Event::EffectUnclear { sending, reason } => {
            vec![applied(sending, Outcome::Unclear { reason: reason.clone() })]
        }
        Event::EffectSettled { sending, settled, .. } => {
            vec![Report::Settled { sending: sending.clone(), settled: settled.clone() }]
        }
        Event::EffectInDoubt { sending, evidence } => vec![Report::Settled {
            sending: sending.clone(),
            settled: Settled::Unknown { evidence: evidence.clone() },
        }],
        Event::RevertPlanned { step, made, reverted } => {
            vec![Report::Reverted { step: step.clone(), made: *made, reverted: reverted.clone() }]
        }
        Event::StepWaits { step, wait: Wait::Lock { holders } } => {
            vec![Report::LocksHeld { step: step.clone(), holders: holders.clone() }]
        }
        Event::StepLocked { step, .. } => vec![Report::TryLocks { step: step.clone() }],
        other => watched(state, other).into_iter().collect(),
    }
}

fn watched(state: &RunState, event: &Event) -> Option<Report> {
    let (step, found) = match event {
        Event::WatchAlarm { step, difference, by, unseen: false } => {
            (step, Found::Changed { difference: difference.clone(), by: by.clone() })
        }
        Event::WatchAlarm { step, difference, unseen: true, .. } => {
            (step, Found::Unseen { why: difference.join("; ") })
        }
        Event::WatchCalm { step } | Event::WatchHeld { step } => (step, Found::AsLeft),
        _ => return None,
    };
    let (_, _, run) = state.find(step)?;
    Some(Report::Watched { step: step.clone(), look: run.watched.look, found })
}

fn asks(recorded: &Recorded) -> Vec<Ask> {
    match &recorded.event {
        Event::RunPaused => vec![Ask::Pause],
        Event::RunResumed => vec![Ask::Resume],
        Event::StepApproved { step, consent } => {
            vec![Ask::Approve { step: step.clone(), consent: Some(consent.clone()) }]
        }
        Event::StepReopened { step, with } => {
            vec![Ask::Retry { step: step.clone(), with: with.clone() }]
        }
        Event::StepSkipped { step, .. } => vec![Ask::Skip { step: step.clone() }],
        Event::StepFailed { step, .. } => vec![Ask::Reject { step: step.clone() }],
        Event::RunStopping { .. } => vec![Ask::Abort],
        Event::UndoBegun { .. } => vec![Ask::Undo],
        Event::RunClosed => vec![Ask::Close],
        Event::NoteTaken { step, text } => {
            vec![Ask::Note { step: step.clone(), text: text.clone() }]
        }
        Event::StepsInserted { steps, before } => {
            vec![Ask::Insert { steps: steps.clone(), before: before.clone() }]
        }
        Event::StepsHeld { steps } => {
            vec![Ask::Hold { steps: steps.clone() }, Ask::Part { steps: steps.clone() }]
        }
        Event::StepsFreed { steps } => vec![Ask::Free { steps: steps.clone() }, Ask::Resume],
        Event::LocksYielded { targets } => vec![Ask::Yield { targets: targets.clone() }],
        Event::RunSuperseded { by } => vec![Ask::Supersede { by: by.clone() }],
        Event::WatchAccepted { step } => vec![Ask::Settle {
            step: step.clone(),
            effect: None,
            verdict: Verdict::Done { output: serde_json::Value::Null },
            evidence: None,
        }],
        _ => Vec::new(),
    }
}
