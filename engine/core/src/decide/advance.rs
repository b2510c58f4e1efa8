//! What follows by itself, from the state and the time.

use std::collections::BTreeSet;

use serde_json::Value;

use super::At;
use crate::contract::Reverted;
use crate::event::{Event, RunEnd, SkipCause, StopCause, Wait};
use crate::expr::{self, ExprError, Scope};
use crate::id::{ActionName, StepId, StepIx, Timestamp};
use crate::plan::{BY_HAND_ACTION, PlanStep, Retry, Role};
use crate::stage::Stage;
use crate::state::{EffectState, Made, Phase, RunState, StepState};

pub(super) fn advance(run: &RunState, now: Timestamp) -> Vec<Event> {
    if matches!(run.phase, Phase::Ended(_)) {
        return Vec::new();
    }
    if let Some(events) = approved(run, now) {
        return events;
    }
    let mut events: Vec<Event> = Vec::new();
    let mut retries: Vec<StepIx> = Vec::new();
    // Only what moves by itself is looked at. A run that goes another way ends what is not due yet.
    let until = if run.phase == Phase::Forward { now } else { Timestamp(i64::MAX) };
    for (_, ix) in run.timed.range(..=(until, StepIx(usize::MAX))) {
        let Some(at) = At::new(run, *ix, now) else { continue };
        if at.is_retry() {
            retries.push(*ix);
        }
        events.extend(at.advance());
        // A halt or an undo changes what may follow: the next round sees it.
        if events.last().is_some_and(changes_phase) {
            return events;
        }
    }
    events.extend(start(run, now, &retries));
    if events.is_empty() { over(run) } else { events }
}

/// A step that was approved while no engine drove the run, or whose engine died before it asked for
/// the locks. One at a time: what asks for locks comes last in a turn.
fn approved(run: &RunState, now: Timestamp) -> Option<Vec<Event>> {
    let waits = run.asking.iter().filter(|ix| run.may_start(**ix));
    waits.filter_map(|ix| At::new(run, *ix, now)).find_map(|at| {
        let StepState::Waiting(Wait::Approval { consent, .. }) = &at.step.state else {
            return None;
        };
        let prepared = at.step.prepared.as_ref()?;
        let given = !at.step.approvals.is_empty() && at.is_approved(prepared, consent);
        given.then(|| at.approved(prepared))
    })
}

fn changes_phase(event: &Event) -> bool {
    matches!(event, Event::RunStopping { .. } | Event::UndoBegun { .. })
}

impl At<'_> {
    fn advance(&self) -> Vec<Event> {
        match &self.step.state {
            StepState::Waiting(Wait::Timer { due }) if *due <= self.now => {
                self.finish(true, &Value::Null)
            }
            StepState::Running => self.advance_running(),
            StepState::Waiting(_)
            | StepState::Pending
            | StepState::Preparing
            | StepState::InDoubt
            | StepState::Succeeded { .. }
            | StepState::Unverified
            | StepState::Failed { .. }
            | StepState::Skipped(_)
            | StepState::Cancelled
            | StepState::Undone => Vec::new(),
        }
    }

    fn advance_running(&self) -> Vec<Event> {
        match self.step.stage() {
            Stage::Busy => Vec::new(),
            Stage::Fallen => self.failed_attempt(&self.trouble(), self.step.tries),
            Stage::Made if self.step.is_verifying() => Vec::new(),
            Stage::Made => {
                let (changed, output) = self.outcome();
                self.finish(changed, &output)
            }
            Stage::Ask(effects) if self.run.may_start(self.ix) => self.ask_again(&effects),
            Stage::Send(effects) if self.run.may_start(self.ix) => self.send(&effects),
            Stage::Ask(_) | Stage::Send(_) if self.run.admits(self.ix) => Vec::new(),
            Stage::Ask(effects) => effects.iter().map(|at| self.doubt(*at)).collect(),
            Stage::Send(_) => vec![Event::StepCancelled { step: self.id() }],
        }
    }

    fn is_retry(&self) -> bool {
        matches!(self.step.state, StepState::Waiting(Wait::Retry { due, .. }) if due <= self.now)
    }

    /// Sends again under the same key what may be made already, as long as its target knows the
    /// key; later only a person can say.
    fn ask_again(&self, effects: &[usize]) -> Vec<Event> {
        let due = effects.iter().filter(|at| self.is_due(**at));
        due.map(|at| match self.step.effects.get(*at) {
            Some(effect) if self.is_known(effect) && self.holds_locks() => {
                self.intent(*at, effect.dispatch + 1)
            }
            _ => self.doubt(*at),
        })
        .collect()
    }

    fn holds_locks(&self) -> bool {
        self.step.prepared.as_ref().is_some_and(|prepared| self.missing_locks(prepared).is_empty())
    }

    pub(super) fn doubt(&self, at: usize) -> Event {
        let effect = self.step.effects.get(at);
        let found = effect.map(|effect| match &effect.state {
            EffectState::Again { why, .. } => why.as_str(),
            _ => "",
        });
        let evidence = format!(
            "{}; it is not sent again: the target may have forgotten its key, or the run goes \
             another way",
            found.unwrap_or_default()
        );
        let dispatch = effect.map_or(0, |effect| effect.dispatch);
        Event::EffectInDoubt { sending: self.sending(at, dispatch), evidence }
    }

    fn is_due(&self, at: usize) -> bool {
        self.step.effects.get(at).is_some_and(|effect| match &effect.state {
            EffectState::Pending => true,
            EffectState::Again { due, .. } => *due <= self.now,
            EffectState::Satisfied
            | EffectState::InFlight
            | EffectState::Unclear { .. }
            | EffectState::Done
            | EffectState::Refused
            | EffectState::Failed
            | EffectState::InDoubt { .. } => false,
        })
    }

    fn trouble(&self) -> String {
        self.step.trouble.clone().unwrap_or_else(|| "it failed".into())
    }

    fn send(&self, effects: &[usize]) -> Vec<Event> {
        if self.step.tries > self.plan.retry.max {
            return self.failed_attempt(&self.trouble(), self.step.tries);
        }
        if !self.holds_locks() {
            // The run was over in between: its locks were let go, and what was read is old.
            let why = "its locks were let go; it is prepared afresh".into();
            let wait = Wait::Retry { due: self.now, why };
            return vec![Event::StepWaits { step: self.id(), wait }];
        }
        let sent = |at: usize| self.step.effects.get(at).map_or(0, |effect| effect.dispatch);
        let due = effects.iter().filter(|at| self.is_due(**at));
        due.map(|at| self.intent(*at, sent(*at) + 1)).collect()
    }

    /// Fixes the input of a new attempt, or says why it has none.
    pub(super) fn start(&self) -> Vec<Event> {
        if self.step.unmet > 0 {
            // It waited to be tried again, and meanwhile a person reopened a step that it needs.
            return vec![Event::StepReopened { step: self.id(), with: None }];
        }
        match self.input() {
            Ok(None) => vec![Event::StepSkipped { step: self.id(), by: SkipCause::When }],
            Ok(Some(input)) => {
                let attempt = self.step.attempt + 1;
                vec![Event::StepStarted { step: self.id(), attempt, input }]
            }
            Err(error) => {
                let wait = self.input_wait(&error);
                vec![Event::StepWaits { step: self.id(), wait }]
            }
        }
    }

    fn input_wait(&self, error: &ExprError) -> Wait {
        let from = match error {
            ExprError::Absent { name } => name
                .strip_prefix("steps.")
                .and_then(|rest| rest.split(['.', '[']).next())
                .map(StepId::from)
                .filter(|id| self.run.order.find(id).is_some()),
            ExprError::Syntax { .. } | ExprError::Eval { .. } => None,
        };
        match (from, error) {
            (Some(from), ExprError::Absent { name }) => Wait::Output { from, name: name.clone() },
            (_, error) => Wait::Person { why: format!("its input cannot be computed: {error}") },
        }
    }

    /// The input with every expression filled in; `None` where its `when` is false.
    fn input(&self) -> Result<Option<Value>, ExprError> {
        let scope = Scope {
            params: &self.run.plan.params,
            item: self.plan.item.as_ref(),
            outputs: self.run,
        };
        if let Some(when) = &self.plan.when
            && !expr::truth(when, &scope)?
        {
            return Ok(None);
        }
        expr::resolve(&self.plan.with, &scope).map(Some)
    }
}

/// Starts what may start, as far as there is room: first what is tried again, then what is new.
fn start(run: &RunState, now: Timestamp, retries: &[StepIx]) -> Vec<Event> {
    if run.paused {
        return Vec::new();
    }
    let waiting = retries.iter().chain(&run.ready).filter(|ix| run.may_start(**ix));
    let first = waiting.take(run.room()).filter_map(|ix| At::new(run, *ix, now));
    first.flat_map(|at| at.start()).collect()
}

/// Nothing is under way and nothing may start: whether the run is over.
fn over(run: &RunState) -> Vec<Event> {
    if !run.active.is_empty() || run.paused || run.holds_back() {
        return Vec::new();
    }
    match &run.phase {
        Phase::Forward if !run.asking.is_empty() => Vec::new(),
        Phase::Forward if run.is_closing() => Vec::new(),
        Phase::Forward if run.met == run.steps.len() => {
            let recovered = run.plan.success.as_ref().map(|_| true);
            vec![Event::RunEnded { end: RunEnd::Succeeded, recovered }]
        }
        Phase::Forward | Phase::Stopping(StopCause::Halted { .. }) => ended(RunEnd::Failed),
        Phase::Stopping(StopCause::Aborted) => ended(RunEnd::Aborted),
        Phase::Undoing(undo) => undoing(run, *undo),
        Phase::Ended(_) => Vec::new(),
    }
}

fn ended(end: RunEnd) -> Vec<Event> {
    vec![Event::RunEnded { end, recovered: None }]
}

fn undoing(run: &RunState, undo: u32) -> Vec<Event> {
    if !run.undo_planned {
        return plan_undo(run, undo);
    }
    let undo_steps = || run.indexes().filter(|ix| run.is_undo(*ix));
    let met = |ix| run.step(ix).is_some_and(|step| step.state.meets_need());
    if undo_steps().all(met) {
        ended(RunEnd::Undone)
    } else if undo_steps().any(|ix| run.asking.contains(&ix)) {
        Vec::new()
    } else {
        ended(RunEnd::Failed)
    }
}

/// Once it is known of every effect how it is put back: the steps that do it, last made first.
fn plan_undo(run: &RunState, undo: u32) -> Vec<Event> {
    let open = |made: &Made| made.reverted.is_none();
    let forward = || run.plan.steps.iter().zip(&run.steps).filter(|(plan, _)| !is_undo(plan));
    if !run.is_planning_undo() || forward().any(|(_, step)| step.made.iter().any(open)) {
        return Vec::new();
    }
    let mut made: Vec<(&PlanStep, usize, &Made)> = forward()
        .flat_map(|(plan, step)| step.made.iter().enumerate().map(move |(at, m)| (plan, at, m)))
        .collect();
    // What an earlier run made was there before all else.
    made.sort_by_key(|(_, _, made)| std::cmp::Reverse((!made.adopted, made.seq)));
    let mut steps: Vec<PlanStep> = Vec::new();
    for (plan, at, made) in &made {
        let several = run.find(&plan.id).is_some_and(|(_, _, step)| step.made.len() > 1);
        let before = steps.last().map(|step| step.id.clone());
        steps.extend(undo_step(plan, undo, *at, several, made, before));
    }
    let to_do: BTreeSet<&StepId> = steps.iter().filter_map(undoes).collect();
    let of: BTreeSet<&StepId> = made.iter().map(|(plan, _, _)| &plan.id).collect();
    let mut events: Vec<Event> =
        of.difference(&to_do).map(|id| Event::StepUndone { step: StepId::clone(id) }).collect();
    if steps.is_empty() {
        events.extend(ended(RunEnd::Undone));
    } else {
        events.push(Event::StepsInserted { steps, before: Vec::new() });
    }
    events
}

fn is_undo(plan: &PlanStep) -> bool {
    undoes(plan).is_some()
}

fn undoes(plan: &PlanStep) -> Option<&StepId> {
    match &plan.role {
        Role::Undo { of, .. } => Some(of),
        Role::Step | Role::Success => None,
    }
}

/// The step of undo `undo` that puts back what `of` made as number `at`.
pub(super) fn undo_id(of: &StepId, undo: u32, at: usize, several: bool) -> StepId {
    let effect = if several { format!(".{at}") } else { String::new() };
    StepId::new(format!("{of}/undo-{undo}{effect}"))
}

fn undo_step(
    plan: &PlanStep,
    undo: u32,
    at: usize,
    several: bool,
    made: &Made,
    before: Option<StepId>,
) -> Option<PlanStep> {
    let title = made.effect().map_or(plan.title.as_str(), |effect| effect.title.as_str());
    let (action, with) = match made.reverted.as_ref()? {
        Reverted::By { action, input } => (action.clone(), input.clone()),
        Reverted::Nothing => return None,
        Reverted::NotPossible { why } => {
            let text = format!(
                "{} cannot be put back: {why}. Do what can be done by hand, then approve; or skip",
                plan.id
            );
            (ActionName::from(BY_HAND_ACTION), serde_json::json!({ "text": text }))
        }
    };
    Some(PlanStep {
        title: format!("put back: {title}"),
        role: Role::Undo { undo, of: plan.id.clone(), made: at },
        needs: before.into_iter().collect(),
        timeout_ms: plan.timeout_ms,
        retry: Retry { ..plan.retry.clone() },
        locks: plan.locks.clone(),
        owner: plan.owner.clone(),
        runbook_url: plan.runbook_url.clone(),
        ..PlanStep::new(undo_id(&plan.id, undo, at, several), action, expr::literal(&with))
    })
}
