//! What follows by itself, from the state and the time.

use serde_json::Value;

use super::At;
use super::step::Stage;
use crate::contract::Reverted;
use crate::event::{Event, RunEnd, SkipCause, StopCause, Wait};
use crate::expr::{self, ExprError, Scope};
use crate::id::{ActionName, StepId, Timestamp};
use crate::plan::{BY_HAND_ACTION, OnExhausted, PlanStep, Retry, Role};
use crate::state::{EffectState, Made, Phase, RunState, StepState};

pub(super) fn advance(run: &RunState, now: Timestamp) -> Vec<Event> {
    if matches!(run.phase, Phase::Ended(_)) {
        return Vec::new();
    }
    let mut events: Vec<Event> = Vec::new();
    for at in run.active.iter().filter_map(|ix| At::new(run, *ix, now)) {
        events.extend(at.advance());
        // A halt or an undo changes what may follow: the next round sees it.
        if events.last().is_some_and(changes_phase) {
            return events;
        }
    }
    events.extend(start_ready(run, now, retrying(&events)));
    if events.is_empty() { over(run) } else { events }
}

fn changes_phase(event: &Event) -> bool {
    matches!(event, Event::RunStopping { .. } | Event::UndoBegun { .. })
}

fn retrying(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::StepStarted { .. })).count()
}

impl At<'_> {
    fn advance(&self) -> Vec<Event> {
        match &self.step.state {
            StepState::Waiting(Wait::Timer { due }) if *due <= self.now => {
                self.finish(true, &Value::Null)
            }
            StepState::Waiting(Wait::Retry { due, .. })
                if *due <= self.now && self.run.may_start(self.ix) =>
            {
                self.start()
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
        match self.stage() {
            Stage::Busy => Vec::new(),
            Stage::Fallen => self.failed_attempt(&self.trouble(), self.step.tries),
            Stage::Made if self.step.is_verifying() => Vec::new(),
            Stage::Made => {
                let (changed, output) = self.outcome();
                self.finish(changed, &output)
            }
            Stage::Send(effects) if self.run.may_start(self.ix) => self.send(&effects),
            Stage::Send(_) if self.run.paused => Vec::new(),
            Stage::Send(_) => vec![Event::StepCancelled { step: self.id() }],
        }
    }

    fn trouble(&self) -> String {
        self.step.trouble.clone().unwrap_or_else(|| "it failed".into())
    }

    fn send(&self, effects: &[usize]) -> Vec<Event> {
        if self.step.tries > self.plan.retry.max {
            return self.failed_attempt(&self.trouble(), self.step.tries);
        }
        let is_due = |at: &&usize| {
            self.step.effects.get(**at).is_some_and(|effect| match &effect.state {
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
        };
        let sent = |at: usize| self.step.effects.get(at).map_or(0, |effect| effect.dispatch);
        effects.iter().filter(is_due).map(|at| self.intent(*at, sent(*at) + 1)).collect()
    }

    /// Fixes the input of a new attempt, or says why it has none.
    pub(super) fn start(&self) -> Vec<Event> {
        match self.input() {
            Ok(None) => {
                let skipped = Event::StepSkipped { step: self.id(), by: SkipCause::When };
                std::iter::once(skipped).chain(self.undone()).collect()
            }
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

fn start_ready(run: &RunState, now: Timestamp, starting: usize) -> Vec<Event> {
    let max = usize::try_from(run.plan.max_parallel).unwrap_or(usize::MAX);
    let mut room = max.saturating_sub(run.working + starting);
    let mut events = Vec::new();
    for at in run.ready.iter().filter_map(|ix| At::new(run, *ix, now)) {
        if room == 0 {
            break;
        }
        if run.may_start(at.ix) {
            events.extend(at.start());
            room -= 1;
        }
    }
    events
}

/// Nothing is under way and nothing may start: whether the run is over.
fn over(run: &RunState) -> Vec<Event> {
    if !run.active.is_empty() {
        return Vec::new();
    }
    match &run.phase {
        Phase::Forward if run.paused || !run.asking.is_empty() => Vec::new(),
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
    } else if run.paused || undo_steps().any(|ix| run.asking.contains(&ix)) {
        Vec::new()
    } else {
        ended(RunEnd::Failed)
    }
}

/// Once it is known of every effect how it is put back: the steps that do it, last made first.
fn plan_undo(run: &RunState, undo: u32) -> Vec<Event> {
    if !run.is_planning_undo() {
        return Vec::new();
    }
    let mut made: Vec<(&PlanStep, usize, &Made)> = run
        .plan
        .steps
        .iter()
        .zip(&run.steps)
        .filter(|(plan, _)| !matches!(plan.role, Role::Undo { .. }))
        .flat_map(|(plan, step)| step.made.iter().enumerate().map(move |(at, m)| (plan, at, m)))
        .collect();
    if made.iter().any(|(_, _, made)| made.reverted.is_none()) {
        return Vec::new();
    }
    made.sort_by_key(|(_, _, made)| std::cmp::Reverse(made.seq));
    let mut steps: Vec<PlanStep> = Vec::new();
    for (plan, at, made) in &made {
        let several = run.find(&plan.id).is_some_and(|(_, _, step)| step.made.len() > 1);
        let before = steps.last().map(|step| step.id.clone());
        steps.extend(undo_step(plan, undo, *at, several, made, before));
    }
    let nothing_to_do = |plan: &PlanStep| !steps.iter().any(|step| undoes(step, &plan.id));
    let mut of: Vec<&PlanStep> = made.iter().map(|(plan, _, _)| *plan).collect();
    of.dedup_by_key(|plan| &plan.id);
    let mut events: Vec<Event> = of
        .into_iter()
        .filter(|plan| nothing_to_do(plan))
        .map(|plan| Event::StepUndone { step: plan.id.clone() })
        .collect();
    if steps.is_empty() {
        events.extend(ended(RunEnd::Undone));
    } else {
        events.push(Event::StepsInserted { steps });
    }
    events
}

fn undoes(step: &PlanStep, id: &StepId) -> bool {
    matches!(&step.role, Role::Undo { of, .. } if of == id)
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
    let effect = if several { format!(".{at}") } else { String::new() };
    Some(PlanStep {
        id: StepId::new(format!("{}/undo-{undo}{effect}", plan.id)),
        title: format!("put back: {title}"),
        role: Role::Undo { undo, of: plan.id.clone(), made: at },
        needs: before.into_iter().collect(),
        when: None,
        item: None,
        action,
        with: expr::literal(&with),
        pure: false,
        timeout_ms: plan.timeout_ms,
        retry: Retry { ..plan.retry.clone() },
        on_exhausted: OnExhausted::Wait,
        approval: None,
        accept: Vec::new(),
        soak_ms: None,
        expect_ms: None,
        locks: plan.locks.clone(),
        watch: false,
        owner: plan.owner.clone(),
        runbook_url: plan.runbook_url.clone(),
        note: None,
    })
}
