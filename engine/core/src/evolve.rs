//! The fold: what each event makes of the state. It records; it never chooses, and never asks the
//! clock.

mod legal;

use std::sync::Arc;

use serde_json::Value;

use crate::contract::{Guarantee, Prepared, PreparedEffect, Satisfied, Settled};
use crate::event::{Event, Recorded, RunEnd, Sending, Wait};
use crate::id::{Seq, StepId, StepIx, Timestamp};
use crate::plan::{Order, Plan, PlanStep, Role};
use crate::state::{
    Approval, EffectRun, EffectState, Made, Note, Phase, RunState, StepRun, StepState,
};

/// An event that cannot follow the ones before it: a damaged journal, or a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} cannot follow: {why}")]
pub struct IllegalEvent {
    /// Where.
    pub seq: Seq,
    /// Why.
    pub why: String,
}

/// Folds one event into the state; `None` is before the first. After an error the state is of no
/// use.
pub fn evolve(state: &mut Option<RunState>, recorded: &Recorded) -> Result<(), IllegalEvent> {
    let illegal = |why| IllegalEvent { seq: recorded.seq, why };
    match state {
        None => *state = Some(created(recorded).map_err(illegal)?),
        Some(run) => {
            follows(run, recorded).map_err(illegal)?;
            legal::check(run, &recorded.event).map_err(illegal)?;
            run.seq = recorded.seq;
            run.epoch = recorded.epoch;
            run.last = recorded.at;
            run.break_glass |= recorded.cause.break_glass;
            run.locks.extend(recorded.grants.iter().map(|g| (g.target.clone(), g.token)));
            fold(run, recorded).map_err(illegal)?;
        }
    }
    Ok(())
}

fn created(recorded: &Recorded) -> Result<RunState, String> {
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
        closed: false,
        recovered: None,
        undos: 0,
        break_glass: recorded.cause.break_glass,
        locks: recorded.grants.iter().map(|g| (g.target.clone(), g.token)).collect(),
        notes: Vec::new(),
        ready: std::collections::BTreeSet::new(),
        active: std::collections::BTreeSet::new(),
        timed: std::collections::BTreeSet::new(),
        asking: std::collections::BTreeSet::new(),
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

fn follows(run: &RunState, recorded: &Recorded) -> Result<(), String> {
    if recorded.seq != run.seq.next() {
        return Err(format!("the last one was {}", run.seq));
    }
    if recorded.epoch < run.epoch {
        return Err(format!("epoch {} is older than {}", recorded.epoch.0, run.epoch.0));
    }
    Ok(())
}

fn fold(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let at = recorded.at;
    match &recorded.event {
        Event::RunCreated { .. } => return Err("the run exists already".into()),
        Event::EngineAttached { engine } => attached(run, engine, at),
        Event::EngineDetached { .. } => run.attached = false,
        Event::RunPaused => run.paused = true,
        Event::RunResumed => resumed(run, at),
        Event::RunStopping { why } => {
            run.phase = Phase::Stopping(why.clone());
            // Nothing is begun any more, so there is nothing to hold back either.
            run.paused = false;
            cancel_idle(run, at);
        }
        Event::RunEnded { end, recovered } => ended(run, *end, *recovered, at),
        Event::RunClosed => run.closed = true,
        Event::UndoBegun { undo } => {
            run.phase = Phase::Undoing(*undo);
            run.undos = *undo;
            run.undo_planned = false;
            run.ended = None;
            cancel_idle(run, at);
        }
        Event::StepsInserted { steps } => inserted(run, steps)?,
        Event::NoteTaken { step, text } => {
            let by = recorded.cause.actor.clone();
            noted(run, Note { at, by, step: step.clone(), text: text.clone() });
        }
        Event::RevertPlanned { .. }
        | Event::StepStarted { .. }
        | Event::StepPrepared { .. }
        | Event::StepLocked { .. }
        | Event::StepWaits { .. }
        | Event::StepApproved { .. }
        | Event::StepSucceeded { .. }
        | Event::StepLooked { .. }
        | Event::StepUnverified { .. }
        | Event::StepFailed { .. }
        | Event::StepSkipped { .. }
        | Event::StepCancelled { .. }
        | Event::StepUndone { .. }
        | Event::StepReopened { .. } => fold_step(run, recorded)?,
        Event::EffectIntended { .. }
        | Event::EffectDone { .. }
        | Event::EffectRefused { .. }
        | Event::EffectFailed { .. }
        | Event::EffectUnclear { .. }
        | Event::EffectSettled { .. }
        | Event::EffectInDoubt { .. } => fold_effect(run, recorded)?,
    }
    Ok(())
}

fn attached(run: &mut RunState, engine: &str, at: Timestamp) {
    run.attached = true;
    engine.clone_into(&mut run.engine);
    for ix in run.active.clone() {
        orphan(run, ix, at);
    }
    retry_locks(run, at);
}

/// A lock may have come free while nobody listened: the steps that wait for one ask again.
fn retry_locks(run: &mut RunState, at: Timestamp) {
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

fn resumed(run: &mut RunState, at: Timestamp) {
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
fn cancel_idle(run: &mut RunState, at: Timestamp) {
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

fn ended(run: &mut RunState, end: RunEnd, recovered: Option<bool>, at: Timestamp) {
    run.phase = Phase::Ended(end);
    run.recovered = recovered;
    run.ended = Some(at);
    run.locks.clear();
}

fn inserted(run: &mut RunState, steps: &[PlanStep]) -> Result<(), String> {
    run.plan.steps.extend(steps.iter().cloned());
    run.order = Order::of(&run.plan.steps).map_err(|error| error.to_string())?;
    for at in run.steps.len()..run.plan.steps.len() {
        let needs = run.order.needs.get(at).map_or(&[][..], Vec::as_slice);
        let unmet = needs.iter().filter(|need| !run.meets_need(**need)).count();
        run.steps.push(unstarted(unmet));
        if run.is_ready(StepIx(at)) {
            run.ready.insert(StepIx(at));
        }
    }
    run.undo_planned |= steps.iter().any(|step| matches!(step.role, Role::Undo { .. }));
    Ok(())
}

fn noted(run: &mut RunState, note: Note) {
    if run.notes.len() == RunState::NOTES_MAX {
        run.notes.remove(0);
    }
    run.notes.push(note);
}

fn index(run: &RunState, id: &StepId) -> Result<StepIx, String> {
    run.order.find(id).ok_or_else(|| format!("there is no step `{id}`"))
}

fn step_of<'a>(run: &'a mut RunState, id: &StepId) -> Result<(StepIx, &'a mut StepRun), String> {
    let ix = index(run, id)?;
    let step = run.steps.get_mut(ix.0).ok_or_else(|| format!("there is no step `{id}`"))?;
    Ok((ix, step))
}

fn fold_step(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let at = recorded.at;
    match &recorded.event {
        Event::RevertPlanned { step, made, reverted } => {
            let (_, step) = step_of(run, step)?;
            let made = step.made.get_mut(*made).ok_or("it made no such effect")?;
            made.reverted = Some(reverted.clone());
        }
        Event::StepStarted { step, attempt, input } => started(run, step, *attempt, input, at)?,
        Event::StepPrepared { step, prepared } => prepared_(run, step, prepared)?,
        Event::StepLocked { step, .. } => {
            let (ix, step) = step_of(run, step)?;
            step.locked = true;
            step.look += 1;
            run.change(ix, StepState::Preparing, at);
        }
        Event::StepWaits { step, wait } => waits(run, step, wait, at)?,
        Event::StepApproved { step, consent } => {
            let (_, step) = step_of(run, step)?;
            let by = recorded.cause.actor.clone();
            let break_glass = recorded.cause.break_glass;
            step.approvals.push(Approval { by, consent: consent.clone(), at, break_glass });
        }
        Event::StepSucceeded { step, changed, output } => {
            succeeded(run, step, *changed, output, at)?;
        }
        Event::StepLooked { step, due, difference } => {
            let (_, step) = step_of(run, step)?;
            step.look += 1;
            step.verify_looks += 1;
            step.due = Some(*due);
            step.trouble = Some(difference.join("; "));
        }
        Event::StepUnverified { step, difference } => {
            rest(run, step, StepState::Unverified, Some(difference.join("; ")), at)?;
        }
        Event::StepFailed { step, reason, met } => {
            let state = StepState::Failed { reason: reason.clone(), met: *met };
            rest(run, step, state, Some(reason.clone()), at)?;
        }
        Event::StepSkipped { step, by } => rest(run, step, StepState::Skipped(*by), None, at)?,
        Event::StepCancelled { step } => rest(run, step, StepState::Cancelled, None, at)?,
        Event::StepUndone { step } => rest(run, step, StepState::Undone, None, at)?,
        Event::StepReopened { step } => {
            let (ix, step) = step_of(run, step)?;
            step.tries = 0;
            step.due = None;
            step.ended = None;
            run.change(ix, StepState::Pending, at);
        }
        _ => return Err("not an event of a step".into()),
    }
    Ok(())
}

fn rest(
    run: &mut RunState,
    id: &StepId,
    state: StepState,
    trouble: Option<String>,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    step.look += 1;
    if trouble.is_some() {
        step.trouble = trouble;
    }
    run.change(ix, state, at);
    Ok(())
}

fn started(
    run: &mut RunState,
    id: &StepId,
    attempt: u32,
    input: &Value,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    if attempt != step.attempt.saturating_add(1) {
        return Err(format!("attempt {attempt} of `{id}` cannot follow {}", step.attempt));
    }
    step.attempt = attempt;
    step.input = input.clone();
    step.prepared = None;
    step.effects.clear();
    step.locked = false;
    step.look += 1;
    step.due = None;
    step.verifying_since = None;
    step.verify_looks = 0;
    step.started.get_or_insert(at);
    run.change(ix, StepState::Preparing, at);
    Ok(())
}

fn prepared_(run: &mut RunState, id: &StepId, prepared: &Prepared) -> Result<(), String> {
    let (_, step) = step_of(run, id)?;
    let state = |effect| {
        if step.is_there(prepared, effect) { EffectState::Satisfied } else { EffectState::Pending }
    };
    step.effects = prepared
        .effects
        .iter()
        .map(|effect| EffectRun { state: state(effect), ..EffectRun::default() })
        .collect();
    step.prepared = Some(Arc::new(prepared.clone()));
    step.look += 1;
    Ok(())
}

fn waits(run: &mut RunState, id: &StepId, wait: &Wait, at: Timestamp) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    step.look += 1;
    match wait {
        Wait::Retry { why, .. } => {
            step.tries += u32::from(step.state == StepState::Preparing);
            step.trouble = Some(why.clone());
        }
        Wait::Person { why } | Wait::Output { name: why, .. } => step.trouble = Some(why.clone()),
        Wait::Approval { .. } | Wait::Soak { .. } | Wait::Lock { .. } | Wait::Timer { .. } => {}
    }
    run.change(ix, StepState::Waiting(wait.clone()), at);
    Ok(())
}

fn succeeded(
    run: &mut RunState,
    id: &StepId,
    changed: bool,
    output: &Value,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, id)?;
    step.output = output.clone();
    step.trouble = None;
    step.look += 1;
    run.change(ix, StepState::Succeeded { changed }, at);
    Ok(())
}

fn fold_effect(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let (at, seq) = (recorded.at, recorded.seq);
    match &recorded.event {
        Event::EffectIntended { sending } => intended(run, sending, at),
        Event::EffectDone { sending, output } => made(run, sending, output, None, seq, at),
        Event::EffectRefused { sending, reason } => {
            let (_, step) = step_of(run, &sending.step)?;
            step.tries += 1;
            step.trouble = Some(reason.clone());
            to(run, sending, EffectState::Refused, at)
        }
        Event::EffectFailed { sending, reason, output } => {
            made(run, sending, output, Some(reason), seq, at)
        }
        Event::EffectUnclear { sending, reason } => {
            let evidence = reason.clone();
            to(
                run,
                sending,
                EffectState::Unclear { since: at, due: at, evidence, orphaned: false },
                at,
            )
        }
        Event::EffectSettled { sending, settled, due } => {
            settled_(run, sending, settled, *due, seq, at)
        }
        Event::EffectInDoubt { sending, evidence } => {
            to(run, sending, EffectState::InDoubt { evidence: evidence.clone() }, at)
        }
        _ => Err("not an event of an effect".into()),
    }
}

fn effect_of<'a>(step: &'a mut StepRun, sending: &Sending) -> Result<&'a mut EffectRun, String> {
    if sending.attempt != step.attempt {
        return Err(format!("`{}` is at attempt {}", sending.step, step.attempt));
    }
    let missing = || format!("`{}` has no effect {}", sending.step, sending.effect);
    step.effects.get_mut(sending.effect).ok_or_else(missing)
}

fn intended(run: &mut RunState, sending: &Sending, at: Timestamp) -> Result<(), String> {
    let (ix, step) = step_of(run, &sending.step)?;
    let effect = effect_of(step, sending)?;
    effect.dispatch = sending.dispatch;
    effect.state = EffectState::InFlight;
    effect.looks = 0;
    effect.first_sent.get_or_insert(at);
    run.change(ix, StepState::Running, at);
    Ok(())
}

/// An effect that was sent comes to a new state; the step's own follows from its effects.
fn to(
    run: &mut RunState,
    sending: &Sending,
    state: EffectState,
    at: Timestamp,
) -> Result<(), String> {
    let (ix, step) = step_of(run, &sending.step)?;
    effect_of(step, sending)?.state = state;
    let step_state = if step.is_in_doubt() { StepState::InDoubt } else { StepState::Running };
    if step.effects.iter().all(EffectRun::is_made) {
        step.verifying_since = Some(at);
    }
    run.change(ix, step_state, at);
    Ok(())
}

fn made(
    run: &mut RunState,
    sending: &Sending,
    output: &Value,
    failure: Option<&String>,
    seq: Seq,
    at: Timestamp,
) -> Result<(), String> {
    let key = run.key(sending);
    let (_, step) = step_of(run, &sending.step)?;
    let prepared = step.prepared.clone().ok_or("it was never prepared")?;
    effect_of(step, sending)?.output = output.clone();
    if prepared.guarantee != Guarantee::ReadOnly {
        let new = Made {
            seq,
            key,
            prepared,
            effect: sending.effect,
            input: step.input.clone(),
            output: output.clone(),
            whole: failure.is_none(),
            reverted: None,
        };
        match step.made.iter_mut().find(|old| old.is_made_again_by(&new)) {
            // It is put back once, to what was there before its first attempt.
            Some(old) => {
                let (prepared, effect) = (old.prepared.clone(), old.effect);
                *old = Made { prepared, effect, ..new };
            }
            None => step.made.push(new),
        }
    }
    if let Some(reason) = failure {
        step.tries += 1;
        step.trouble = Some(reason.clone());
    }
    let state = if failure.is_some() { EffectState::Failed } else { EffectState::Done };
    to(run, sending, state, at)
}

fn settled_(
    run: &mut RunState,
    sending: &Sending,
    settled: &Settled,
    due: Option<Timestamp>,
    seq: Seq,
    at: Timestamp,
) -> Result<(), String> {
    let (_, step) = step_of(run, &sending.step)?;
    let keyed = step.guarantee() == Some(Guarantee::Keyed);
    let effect = effect_of(step, sending)?;
    effect.looks += 1;
    let by_person = matches!(effect.state, EffectState::InDoubt { .. });
    let (since, orphaned) = effect.state.unclear_since().unwrap_or((at, false));
    let due = due.unwrap_or(at);
    let again = |why: &str| EffectState::Again { due, why: why.into() };
    let unclear =
        |why: &String| EffectState::Unclear { since, due, evidence: why.clone(), orphaned };
    let state = match settled {
        Settled::Done { output } => return made(run, sending, output, None, seq, at),
        Settled::Failed { reason, output } => {
            return made(run, sending, output, Some(reason), seq, at);
        }
        Settled::NotDone => again("it was not made"),
        Settled::Unknown { evidence } if keyed => again(evidence),
        Settled::Running { evidence } | Settled::Unknown { evidence } => unclear(evidence),
        Settled::Unreachable { reason } => unclear(reason),
    };
    if matches!(state, EffectState::Again { .. }) {
        let lost = *settled != Settled::NotDone;
        effect.doubtful = lost;
        // A lost reply, what an engine's death cut off, and what a person has decided, is no failed
        // sending.
        step.tries += u32::from(!lost && !orphaned && !by_person);
        let trouble =
            if lost { "nobody knows whether it was made" } else { "a sending was not made" };
        step.trouble = Some(trouble.into());
    }
    to(run, sending, state, at)
}

impl EffectState {
    fn unclear_since(&self) -> Option<(Timestamp, bool)> {
        match self {
            Self::Unclear { since, orphaned, .. } => Some((*since, *orphaned)),
            Self::Pending
            | Self::Satisfied
            | Self::InFlight
            | Self::Done
            | Self::Again { .. }
            | Self::Refused
            | Self::Failed
            | Self::InDoubt { .. } => None,
        }
    }
}

impl Made {
    /// Whether it made just this.
    fn is_same(&self, input: &Value, effect: &PreparedEffect) -> bool {
        let same =
            |made: &PreparedEffect| made.title == effect.title && made.wanted == effect.wanted;
        self.input == *input && self.effect().is_some_and(same)
    }

    /// Whether a later attempt made the same again: the earlier one failed on the way, or somebody
    /// took it back.
    fn is_made_again_by(&self, new: &Self) -> bool {
        !Arc::ptr_eq(&self.prepared, &new.prepared)
            && self.reverted.is_none()
            && new.effect().is_some_and(|effect| self.is_same(&new.input, effect))
    }
}

impl EffectRun {
    /// Whether there is nothing left to do for it.
    pub fn is_made(&self) -> bool {
        matches!(self.state, EffectState::Done | EffectState::Satisfied)
    }
}

impl StepRun {
    /// Whether an effect is in doubt and no other has still to answer.
    fn is_in_doubt(&self) -> bool {
        !self.is_busy()
            && self.effects.iter().any(|e| matches!(e.state, EffectState::InDoubt { .. }))
    }

    /// Whether nothing is to be made for this effect: it is as wanted, or this step made it in an
    /// earlier attempt and the action cannot see it. A read is never there already: its answer is
    /// its output.
    pub(crate) fn is_there(&self, prepared: &Prepared, effect: &PreparedEffect) -> bool {
        let made = |made: &Made| made.whole && made.is_same(&self.input, effect);
        prepared.guarantee != Guarantee::ReadOnly
            && match effect.satisfied {
                Satisfied::Yes => true,
                Satisfied::No => false,
                Satisfied::CannotTell => self.made.iter().any(made),
            }
    }

    /// When it goes on without an answer.
    pub(crate) fn goes_on(&self) -> Option<Timestamp> {
        match &self.state {
            StepState::Waiting(Wait::Retry { due, .. } | Wait::Timer { due }) => Some(*due),
            StepState::Running => self.effects_due(),
            StepState::Pending
            | StepState::Preparing
            | StepState::Waiting(_)
            | StepState::InDoubt
            | StepState::Succeeded { .. }
            | StepState::Unverified
            | StepState::Failed { .. }
            | StepState::Skipped(_)
            | StepState::Cancelled
            | StepState::Undone => None,
        }
    }
}

impl RunState {
    /// All step indexes, in plan order.
    pub fn indexes(&self) -> impl Iterator<Item = StepIx> + use<> {
        (0..self.steps.len()).map(StepIx)
    }

    /// Whether a step belongs to an undo.
    pub fn is_undo(&self, ix: StepIx) -> bool {
        self.plan_step(ix).is_some_and(|step| matches!(step.role, Role::Undo { .. }))
    }

    fn meets_need(&self, ix: StepIx) -> bool {
        self.step(ix).is_some_and(|step| step.state.meets_need())
    }

    fn is_ready(&self, ix: StepIx) -> bool {
        self.step(ix).is_some_and(|step| step.state == StepState::Pending && step.unmet == 0)
    }

    /// The one place where a step's state changes: keeps the sets and counts that make the cost of
    /// an event independent of the plan's size.
    fn change(&mut self, ix: StepIx, state: StepState, at: Timestamp) {
        let Some(step) = self.steps.get_mut(ix.0) else { return };
        let before = std::mem::replace(&mut step.state, state);
        let after = step.state.clone();
        step.ended = if after.is_rest() { step.ended.or(Some(at)) } else { None };
        self.working += usize::from(after.is_working());
        self.working -= usize::from(before.is_working());
        member(&mut self.active, ix, after.is_active());
        member(&mut self.asking, ix, after.wants_person());
        let ready = self.is_ready(ix);
        member(&mut self.ready, ix, ready);
        self.reschedule(ix);
        match (before.meets_need(), after.meets_need()) {
            (false, true) => self.need_changed(ix, true),
            (true, false) => self.need_changed(ix, false),
            (false, false) | (true, true) => {}
        }
    }

    /// Keeps [`RunState::timed`] as the step says.
    fn reschedule(&mut self, ix: StepIx) {
        let Some(step) = self.steps.get_mut(ix.0) else { return };
        let after = step.goes_on();
        let before = std::mem::replace(&mut step.next, after);
        self.timed.extend(after.map(|due| (due, ix)));
        if let Some(due) = before.filter(|_| before != after) {
            self.timed.remove(&(due, ix));
        }
    }

    fn need_changed(&mut self, ix: StepIx, met: bool) {
        self.met = if met { self.met + 1 } else { self.met.saturating_sub(1) };
        for dependent in self.order.dependents.get(ix.0).cloned().unwrap_or_default() {
            if let Some(step) = self.steps.get_mut(dependent.0) {
                step.unmet = if met { step.unmet.saturating_sub(1) } else { step.unmet + 1 };
            }
            let ready = self.is_ready(dependent);
            member(&mut self.ready, dependent, ready);
        }
    }
}

fn member(set: &mut std::collections::BTreeSet<StepIx>, ix: StepIx, is_member: bool) {
    if is_member {
        set.insert(ix);
    } else {
        set.remove(&ix);
    }
}
