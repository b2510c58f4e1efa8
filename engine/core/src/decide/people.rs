//! What follows from what a person asks.

use serde_json::{Map, Value};

use super::{At, Rejection, commander};
use crate::command::{Ask, Verdict};
use crate::contract::Settled;
use crate::event::{Actor, Cause, Event, RunEnd, SkipCause, StopCause, Wait};
use crate::id::{StepId, StepIx, Timestamp};
use crate::limits::{EVIDENCE_BYTES_MAX, REASON_BYTES_MAX};
use crate::plan::{ApprovalPolicy, PlanStep, Role};
use crate::stage::Stage;
use crate::state::{EffectRun, EffectState, Phase, RunState, StepState};

pub(super) type Decision = Result<Vec<Event>, Rejection>;

pub(super) fn decide(run: &RunState, now: Timestamp, cause: &Cause, ask: &Ask) -> Decision {
    fits(cause, ask)?;
    if run.closed && !matches!(ask, Ask::Note { .. }) {
        let message = format!("run {} is closed; only notes can be added", run.run);
        return Err(Rejection::new(message));
    }
    match ask {
        Ask::Pause => pause(run),
        Ask::Resume => resume(run),
        Ask::Hold { steps } => commander::hold(run, steps),
        Ask::Free { steps } => commander::free(run, steps),
        Ask::Part { steps } => commander::part(run, steps),
        Ask::Yield { targets } => commander::give_way(run, targets),
        Ask::HandOver { to } => commander::hand_over(run, to),
        Ask::TakeCommand => commander::take_command(run, cause),
        Ask::Supersede { by } => commander::supersede(run, by),
        Ask::Approve { step, consent } => approve(&at(run, step, now)?, cause, consent.as_deref()),
        Ask::Reject { step } => reject(&at(run, step, now)?, cause),
        Ask::Retry { step, with } => retry(&at(run, step, now)?, with.as_ref()),
        Ask::Skip { step } => skip(&at(run, step, now)?),
        Ask::Settle { step, effect, verdict, evidence } => {
            settle(&at(run, step, now)?, *effect, verdict, evidence.as_deref())
        }
        Ask::Abort => abort(run),
        Ask::Undo => undo(run),
        Ask::Note { step, text } => note(run, step.as_ref(), text),
        Ask::Close => close(run),
        Ask::Insert { steps, before } => insert(run, steps, before),
    }
}

fn fits(cause: &Cause, ask: &Ask) -> Result<(), Rejection> {
    let reason = cause.reason.as_deref().unwrap_or_default();
    let weighty = matches!(
        ask,
        Ask::Skip { .. }
            | Ask::Settle { .. }
            | Ask::Yield { .. }
            | Ask::Retry { with: Some(_), .. }
    );
    let needs_reason = cause.break_glass || weighty;
    if needs_reason && reason.trim().is_empty() {
        return Err(Rejection::new("this needs a reason").help("say it with --reason TEXT"));
    }
    if reason.len() > REASON_BYTES_MAX {
        let message = format!("the reason is longer than REASON_BYTES_MAX ({REASON_BYTES_MAX})");
        return Err(Rejection::new(message));
    }
    Ok(())
}

fn at<'a>(run: &'a RunState, id: &StepId, now: Timestamp) -> Result<At<'a>, Rejection> {
    At::find(run, id, now)
        .ok_or_else(|| Rejection::new(format!("run {} has no step `{id}`", run.run)))
}

fn over(run: &RunState) -> Option<RunEnd> {
    match run.phase {
        Phase::Ended(end) => Some(end),
        Phase::Forward | Phase::Stopping(_) | Phase::Undoing(_) => None,
    }
}

fn pause(run: &RunState) -> Decision {
    match over(run) {
        Some(_) => Err(Rejection::new(format!("run {} is over", run.run))),
        None if matches!(run.phase, Phase::Stopping(_)) => {
            let message = format!("run {} is stopping: it begins nothing new", run.run);
            Err(Rejection::new(message))
        }
        None if run.paused => Err(Rejection::new(format!("run {} is paused already", run.run))),
        None => Ok(vec![Event::RunPaused]),
    }
}

fn resume(run: &RunState) -> Decision {
    match &run.phase {
        Phase::Ended(RunEnd::Succeeded | RunEnd::Undone) => {
            Err(Rejection::new(format!("run {} is done; nothing is left to resume", run.run)))
        }
        Phase::Ended(RunEnd::Superseded) => Err(commander::superseded(run)),
        Phase::Ended(RunEnd::Failed | RunEnd::Aborted) | Phase::Stopping(_) => {
            Ok(vec![Event::RunResumed])
        }
        Phase::Forward | Phase::Undoing(_) => {
            let resumed = run.paused.then_some(Event::RunResumed);
            Ok(resumed.into_iter().chain(commander::free_all(run)).collect())
        }
    }
}

fn approve(at: &At<'_>, cause: &Cause, shown: Option<&str>) -> Decision {
    let (StepState::Waiting(Wait::Approval { consent, .. }), Some(prepared)) =
        (&at.step.state, &at.step.prepared)
    else {
        return Err(not_asked(at));
    };
    if shown.is_some_and(|shown| shown != consent) {
        let message = format!("what `{}` would do changed since it was shown", at.plan.id);
        return Err(Rejection::new(message).help("look at it again with status, then approve"));
    }
    let policy = at.plan.approval.clone().unwrap_or_default();
    if !cause.break_glass {
        may_approve(at, &policy, &cause.actor)?;
    }
    let twice = |approval: &&crate::state::Approval| {
        approval.by.person() == cause.actor.person() && approval.consent == *consent
    };
    if !cause.break_glass && at.step.approvals.iter().any(|approval| twice(&approval)) {
        let message = format!("{} has approved `{}` already", cause.actor.name, at.plan.id);
        return Err(Rejection::new(message).help("another person must"));
    }
    let mut events = vec![Event::StepApproved { step: at.id(), consent: consent.clone() }];
    let mut step = at.step.clone();
    step.approvals.push(crate::state::Approval {
        by: cause.actor.clone(),
        consent: consent.clone(),
        at: at.now,
        break_glass: cause.break_glass,
    });
    let after = At { step: &step, ..*at };
    if after.is_approved(prepared, consent) {
        events.extend(after.approved(prepared));
    }
    Ok(events)
}

fn may_approve(at: &At<'_>, policy: &ApprovalPolicy, actor: &Actor) -> Result<(), Rejection> {
    let listed = policy.by.is_empty()
        || policy.by.iter().any(|by| *by == actor.name || actor.roles.contains(by));
    if !listed {
        let message = format!(
            "`{}` is approved by {}, and {} is none of them",
            at.plan.id,
            policy.by.join(" or "),
            actor.name
        );
        return Err(Rejection::new(message)
            .help("if nobody of them can be reached: --break-glass --reason TEXT"));
    }
    if !policy.starter_may && actor.person() == at.run.starter.person() {
        let message =
            format!("{} started the run and may not approve `{}`", actor.name, at.plan.id);
        return Err(Rejection::new(message).help("another person must"));
    }
    Ok(())
}

fn not_asked(at: &At<'_>) -> Rejection {
    let message = format!("`{}` is {} and waits for no approval", at.plan.id, at.step.state.word());
    Rejection::new(message)
}

fn reject(at: &At<'_>, cause: &Cause) -> Decision {
    if !matches!(at.step.state, StepState::Waiting(Wait::Approval { .. })) {
        return Err(not_asked(at));
    }
    let why = cause.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let reason = format!("rejected by {}{why}", cause.actor.name);
    Ok(vec![Event::StepFailed { step: at.id(), reason, met: false }])
}

fn retry(at: &At<'_>, with: Option<&Value>) -> Decision {
    match &at.step.state {
        StepState::InDoubt => {
            return Err(Rejection::new(format!(
                "`{}` is in doubt: sending it again could make its effect twice",
                at.plan.id
            ))
            .help("look at the target, then settle it with --done or --not-done"));
        }
        StepState::Failed { .. }
        | StepState::Unverified
        | StepState::Cancelled
        | StepState::Waiting(Wait::Person { .. } | Wait::Output { .. } | Wait::Retry { .. }) => {}
        // It was done, and somebody changed what it made.
        StepState::Succeeded { .. } if at.is_alarmed() => {}
        StepState::Pending
        | StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Running
        | StepState::Succeeded { .. }
        | StepState::Skipped(_)
        | StepState::Undone => {
            let word = at.step.state.word();
            let message = format!("`{}` is {word}; there is nothing to retry", at.plan.id);
            return Err(Rejection::new(message));
        }
    }
    in_phase(at)?;
    not_done(at.run)?;
    let mut events = reopened(at.run);
    // A run that is reopened makes its cancelled steps pending by itself.
    let again = Event::StepReopened { step: at.id(), with: with.cloned() };
    if events.is_empty() || at.step.state != StepState::Cancelled {
        events.push(again);
    } else if with.is_some() {
        events.insert(0, again);
    }
    Ok(events)
}

/// A step of the way forward cannot be tried while the run is being undone, or after.
fn in_phase(at: &At<'_>) -> Result<(), Rejection> {
    let undoing = at.run.undos > 0;
    if undoing == at.run.is_undo(at.ix) {
        Ok(())
    } else {
        Err(Rejection::new(format!("run {} is being undone", at.run.run)))
    }
}

/// A run that is done is reopened by nothing.
fn not_done(run: &RunState) -> Result<(), Rejection> {
    match over(run) {
        Some(RunEnd::Succeeded | RunEnd::Undone) => {
            Err(Rejection::new(format!("run {} is done", run.run)))
        }
        Some(RunEnd::Superseded) => Err(commander::superseded(run)),
        Some(RunEnd::Failed | RunEnd::Aborted) | None => Ok(()),
    }
}

fn reopened(run: &RunState) -> Vec<Event> {
    match run.phase {
        Phase::Ended(RunEnd::Failed | RunEnd::Aborted) | Phase::Stopping(_) => {
            vec![Event::RunResumed]
        }
        Phase::Ended(RunEnd::Succeeded | RunEnd::Undone | RunEnd::Superseded)
        | Phase::Forward
        | Phase::Undoing(_) => Vec::new(),
    }
}

fn skip(at: &At<'_>) -> Decision {
    match &at.step.state {
        StepState::Pending
        | StepState::Waiting(_)
        | StepState::Failed { .. }
        | StepState::Unverified
        | StepState::Cancelled => {
            not_done(at.run)?;
            Ok(vec![Event::StepSkipped { step: at.id(), by: SkipCause::Person }])
        }
        StepState::InDoubt => Err(Rejection::new(format!("`{}` is in doubt", at.plan.id))
            .help("settle it with --done or --not-done first; a settled step can be skipped")),
        StepState::Preparing
        | StepState::Running
        | StepState::Succeeded { .. }
        | StepState::Skipped(_)
        | StepState::Undone => {
            let word = at.step.state.word();
            Err(Rejection::new(format!("`{}` is {word} and cannot be skipped", at.plan.id)))
        }
    }
}

fn settle(
    at: &At<'_>,
    effect: Option<usize>,
    verdict: &Verdict,
    evidence: Option<&str>,
) -> Decision {
    if evidence.is_some_and(|evidence| evidence.len() > EVIDENCE_BYTES_MAX) {
        let message =
            format!("the evidence is larger than EVIDENCE_BYTES_MAX ({EVIDENCE_BYTES_MAX})");
        return Err(Rejection::new(message));
    }
    let mut events = match &at.step.state {
        StepState::InDoubt | StepState::Running => settle_effects(at, effect, verdict)?,
        StepState::Unverified
        | StepState::Failed { .. }
        | StepState::Waiting(Wait::Person { .. } | Wait::Output { .. }) => match verdict {
            Verdict::Done { output } => {
                let mut events = at.succeed(true, output.clone());
                events.extend(waiting_for_output(at.run, &at.plan.id));
                events
            }
            Verdict::NotDone => retry(at, None)?,
        },
        StepState::Succeeded { .. } if at.is_alarmed() && !gives_output(verdict) => match verdict {
            Verdict::Done { .. } => vec![Event::WatchAccepted { step: at.id() }],
            Verdict::NotDone => retry(at, None)?,
        },
        StepState::Succeeded { changed } => supply(at, *changed, verdict)?,
        StepState::Skipped(_) => supply(at, false, verdict)?,
        StepState::Pending
        | StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Cancelled
        | StepState::Undone => return Err(nothing_in_doubt(at)),
    };
    if let Some(evidence) = evidence {
        let text = format!("evidence: {evidence}");
        events.push(Event::NoteTaken { step: Some(at.id()), text });
    }
    Ok(events)
}

fn gives_output(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Done { output: Value::Object(given) } if !given.is_empty())
}

fn nothing_in_doubt(at: &At<'_>) -> Rejection {
    let word = at.step.state.word();
    Rejection::new(format!("`{}` is {word}; nothing of it is in doubt", at.plan.id))
}

fn settle_effects(at: &At<'_>, effect: Option<usize>, verdict: &Verdict) -> Decision {
    let doubtful = at.step.effects.iter().enumerate().filter(|(index, run)| {
        matches!(run.state, EffectState::InDoubt { .. }) && effect.is_none_or(|e| e == *index)
    });
    let settled = match verdict {
        Verdict::Done { output } => Settled::Done { output: output.clone() },
        Verdict::NotDone => Settled::NotDone,
    };
    let events: Vec<Event> = doubtful
        .map(|(index, run)| Event::EffectSettled {
            sending: at.sending(index, run.dispatch),
            settled: settled.clone(),
            due: matches!(verdict, Verdict::NotDone).then_some(at.now),
        })
        .collect();
    if events.is_empty() {
        return Err(nothing_in_doubt(at));
    }
    let rest = if over(at.run).is_some() { laid_to_rest(at, &events) } else { Vec::new() };
    Ok(events.into_iter().chain(rest).collect())
}

/// In a run that is over nothing verifies or sends: once no effect is in doubt any more the step is
/// done, or will be tried afresh when the run is reopened.
fn laid_to_rest(at: &At<'_>, settled: &[Event]) -> Vec<Event> {
    let mut step = at.step.clone();
    for event in settled {
        let Event::EffectSettled { sending, settled, due } = event else { continue };
        let Some(effect) = step.effects.get_mut(sending.effect) else { continue };
        effect.state = if let Settled::Done { output } = settled {
            effect.output = output.clone();
            EffectState::Done
        } else {
            effect.doubtful = false;
            EffectState::Again { due: due.unwrap_or(at.now), why: String::new() }
        };
    }
    if step.effects.iter().any(|effect| matches!(effect.state, EffectState::InDoubt { .. })) {
        return Vec::new();
    }
    let after = At { step: &step, ..*at };
    if let Stage::Ask(effects) = step.stage() {
        return effects.iter().map(|effect| after.doubt(*effect)).collect();
    }
    vec![if step.effects.iter().all(EffectRun::is_made) {
        let (changed, output) = after.outcome();
        Event::StepSucceeded { step: at.id(), changed, output }
    } else {
        Event::StepCancelled { step: at.id() }
    }]
}

/// A step that is done is given an output that a later one names; those that wait for it go on.
fn supply(at: &At<'_>, changed: bool, verdict: &Verdict) -> Decision {
    let Verdict::Done { output: Value::Object(given) } = verdict else {
        return Err(nothing_in_doubt(at));
    };
    if given.is_empty() {
        return Err(nothing_in_doubt(at));
    }
    let mut output: Map<String, Value> = at.step.output.as_object().cloned().unwrap_or_default();
    output.extend(given.clone());
    let supplied = Event::StepSucceeded { step: at.id(), changed, output: Value::Object(output) };
    Ok(std::iter::once(supplied).chain(waiting_for_output(at.run, &at.plan.id)).collect())
}

fn waiting_for_output<'a>(run: &'a RunState, id: &'a StepId) -> impl Iterator<Item = Event> + 'a {
    run.asking.iter().filter_map(|ix| Some((run.plan_step(*ix)?, run.step(*ix)?))).filter_map(
        move |(plan, step)| match &step.state {
            StepState::Waiting(Wait::Output { from, .. }) if from == id => {
                Some(Event::StepReopened { step: plan.id.clone(), with: None })
            }
            _ => None,
        },
    )
}

fn abort(run: &RunState) -> Decision {
    match &run.phase {
        Phase::Ended(_) => Err(Rejection::new(format!("run {} is over", run.run))),
        Phase::Stopping(StopCause::Aborted) => {
            Err(Rejection::new(format!("run {} is being aborted already", run.run)))
        }
        Phase::Forward | Phase::Undoing(_) | Phase::Stopping(StopCause::Halted { .. }) => {
            Ok(vec![Event::RunStopping { why: StopCause::Aborted }])
        }
    }
}

fn undo(run: &RunState) -> Decision {
    match &run.phase {
        Phase::Undoing(_) => Err(Rejection::new(format!("run {} is being undone", run.run))),
        Phase::Ended(RunEnd::Undone) => {
            Err(Rejection::new(format!("run {} is undone already", run.run)))
        }
        Phase::Ended(RunEnd::Superseded) => Err(commander::superseded(run)),
        _ if run.undos > 0 => {
            Err(Rejection::new(format!("run {} has an undo that is not finished", run.run))
                .help("go on with it by resume"))
        }
        Phase::Forward | Phase::Stopping(_) | Phase::Ended(_) => {
            let mut events = vec![Event::UndoBegun { undo: run.undos + 1 }];
            if run.paused {
                events.insert(0, Event::RunResumed);
            }
            Ok(events)
        }
    }
}

fn note(run: &RunState, step: Option<&StepId>, text: &str) -> Decision {
    if text.trim().is_empty() {
        return Err(Rejection::new("the note is empty"));
    }
    if text.len() > REASON_BYTES_MAX {
        let message = format!("the note is longer than REASON_BYTES_MAX ({REASON_BYTES_MAX})");
        return Err(Rejection::new(message));
    }
    if let Some(step) = step.filter(|step| run.order.find(step).is_none()) {
        return Err(Rejection::new(format!("run {} has no step `{step}`", run.run)));
    }
    Ok(vec![Event::NoteTaken { step: step.cloned(), text: text.to_owned() }])
}

fn close(run: &RunState) -> Decision {
    if over(run).is_none() {
        let message = format!("run {} is {} and not over", run.run, run.status().word());
        return Err(Rejection::new(message).help("abort it first, or let it end"));
    }
    Ok(vec![Event::RunClosed])
}

fn insert(run: &RunState, steps: &[PlanStep], before: &[StepId]) -> Decision {
    if run.phase != Phase::Forward {
        let message = format!("run {} takes no more steps", run.run);
        return Err(Rejection::new(message));
    }
    if steps.iter().any(|step| matches!(step.role, Role::Undo { .. })) {
        return Err(Rejection::new("only an undo inserts its own steps"));
    }
    if let Some(step) = steps.iter().find(|step| step.id.as_str().contains('/')) {
        return Err(Rejection::new(format!("`{}` is no name for a step", step.id)));
    }
    for id in before {
        let (_, _, step) = run
            .find(id)
            .ok_or_else(|| Rejection::new(format!("run {} has no step `{id}`", run.run)))?;
        if step.state != StepState::Pending || step.attempt > 0 {
            let message = format!("`{id}` is {}: it has begun, and cannot wait", step.state.word());
            return Err(Rejection::new(message));
        }
    }
    let mut all: Vec<PlanStep> = run.plan.steps.iter().chain(steps).cloned().collect();
    for later in all.iter_mut().filter(|step| before.contains(&step.id)) {
        later.needs.extend(steps.iter().map(|step| step.id.clone()));
    }
    crate::plan::Order::of(&all).map_err(|error| Rejection::new(error.to_string()))?;
    Ok(vec![Event::StepsInserted { steps: steps.to_vec(), before: before.to_vec() }])
}

/// The steps that could go on if `id` were skipped now: what a person is shown before they skip it.
pub fn freed_by_skip(run: &RunState, id: &StepId) -> Vec<StepId> {
    let Some(start) = run.order.find(id) else { return Vec::new() };
    let mut met = vec![start];
    let mut freed = Vec::new();
    let mut at = 0;
    while let Some(ix) = met.get(at).copied() {
        at += 1;
        for next in run.order.dependents.get(ix.0).into_iter().flatten() {
            let open = run.step(*next).is_some_and(|step| step.state == StepState::Pending);
            if open && !met.contains(next) && needs_met(run, *next, &met) {
                met.push(*next);
                freed.extend(run.plan_step(*next).map(|step| step.id.clone()));
            }
        }
    }
    freed
}

fn needs_met(run: &RunState, ix: StepIx, met: &[StepIx]) -> bool {
    run.order.needs.get(ix.0).into_iter().flatten().all(|need| {
        met.contains(need) || run.step(*need).is_some_and(|step| step.state.meets_need())
    })
}
