//! What should be happening now: read from the state alone, never from a transition, so that after
//! a crash it is the same question.

use std::sync::Arc;

use serde_json::Value;

use crate::contract::{Guarantee, Prepared, Satisfied};
use crate::event::{Sending, Wait};
use crate::id::{ActionName, EffectKey, LockToken, StepId, StepIx, Timestamp};
use crate::plan::PlanStep;
use crate::state::{EffectRun, EffectState, Made, Phase, RunState, StepRun, StepState};
use crate::watch::Watch;

/// One thing that the shell should have under way. Its report carries the same names back.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Read the target. May start from state that is not yet durable.
    Prepare {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// Which look of this attempt.
        look: u32,
        /// The action.
        action: ActionName,
        /// Its input.
        input: Value,
        /// How long it may take.
        timeout_ms: u64,
        /// Whether it computes only.
        pure: bool,
        /// Not before this moment.
        not_before: Timestamp,
    },
    /// Look at what a step made, again and again, until there is something to tell.
    Watch(Box<Watch>),
    /// Make an effect. Starts when its intent is durable; a read-only one at once.
    Apply(Box<Dispatch>),
    /// Find out what became of a sending.
    Settle(Box<Dispatch>),
    /// Find out how an effect is put back.
    Revert {
        /// The step that made it.
        step: StepId,
        /// The index into what it made.
        made: usize,
        /// The action that made it.
        action: ActionName,
        /// What it made.
        effect: Box<Made>,
        /// How long it may take.
        timeout_ms: u64,
    },
}

/// Names something wanted, so that what is under way is told from what is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A look before an attempt: the step, the attempt, which look.
    Prepare(StepId, u32, u32),
    /// A look at what a step made: which look, and whether it is the last.
    Watch(StepId, u32, bool),
    /// A sending.
    Apply(Sending),
    /// A look at what became of a sending, and which.
    Settle(Sending, u32),
    /// How something that a step made is put back.
    Revert(StepId, usize),
}

impl Wanted {
    /// Its name.
    pub fn name(&self) -> Name {
        match self {
            Self::Prepare { step, attempt, look, .. } => {
                Name::Prepare(step.clone(), *attempt, *look)
            }
            Self::Watch(watch) => Name::Watch(watch.step.clone(), watch.look, watch.last),
            Self::Apply(dispatch) => Name::Apply(dispatch.sending.clone()),
            Self::Settle(dispatch) => Name::Settle(dispatch.sending.clone(), dispatch.look),
            Self::Revert { step, made, .. } => Name::Revert(step.clone(), *made),
        }
    }

    /// When it may begin.
    pub fn not_before(&self) -> Timestamp {
        match self {
            Self::Prepare { not_before, .. } => *not_before,
            Self::Watch(watch) => watch.not_before,
            Self::Apply(dispatch) | Self::Settle(dispatch) => dispatch.not_before,
            Self::Revert { .. } => Timestamp::default(),
        }
    }
}

/// All that `apply` and `settle` need.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// Which.
    pub sending: Sending,
    /// Its key.
    pub key: EffectKey,
    /// The highest token of the step's locks.
    pub token: LockToken,
    /// The action.
    pub action: ActionName,
    /// Its input.
    pub input: Value,
    /// The step as prepared.
    pub prepared: Arc<Prepared>,
    /// How long it may take.
    pub timeout_ms: u64,
    /// How often this sending was settled before: a look is named by it.
    pub look: u32,
    /// Not before this moment.
    pub not_before: Timestamp,
}

/// What should be happening now, in step order. Walks only the steps that are not at rest, and those
/// that are watched.
pub fn effects(state: &RunState) -> Vec<Wanted> {
    if matches!(state.phase, Phase::Ended(_)) {
        return Vec::new();
    }
    let mut wanted = Vec::new();
    for ix in &state.active {
        of_index(state, *ix, &mut wanted);
    }
    wanted.extend(watches(state));
    if state.is_planning_undo() {
        reverts(state, &mut wanted);
    }
    wanted
}

/// The part of [`effects`] that is of one step. After an event of a step only its own part changes;
/// an event of the run may change all of them. What is watched is asked of [`watches`]: the end of the
/// last step changes the watches of all others.
pub fn effects_of(state: &RunState, step: &StepId) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let active = state.order.find(step).filter(|ix| state.active.contains(ix));
    if let Some(ix) = active.filter(|_| !matches!(state.phase, Phase::Ended(_))) {
        of_index(state, ix, &mut wanted);
    }
    wanted
}

/// The part of [`effects`] that is of the watched steps.
pub fn watches(state: &RunState) -> impl Iterator<Item = Wanted> {
    let watches = state.watched.iter().filter_map(|ix| state.watch(*ix));
    watches.map(|watch| Wanted::Watch(Box::new(watch)))
}

fn of_index(state: &RunState, ix: StepIx, wanted: &mut Vec<Wanted>) {
    if let (Some(plan), Some(step)) = (state.plan_step(ix), state.step(ix)) {
        of_step(state, ix, plan, step, wanted);
    }
}

fn of_step(
    state: &RunState,
    ix: StepIx,
    plan: &PlanStep,
    step: &StepRun,
    wanted: &mut Vec<Wanted>,
) {
    match &step.state {
        StepState::Preparing if state.may_start(ix) => wanted.push(prepare(plan, step, None)),
        StepState::Waiting(Wait::Soak { due, .. }) => wanted.push(prepare(plan, step, Some(*due))),
        StepState::Running if step.is_verifying() => wanted.push(prepare(plan, step, step.due)),
        StepState::Running => sendings(state, plan, step, wanted),
        StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Pending
        | StepState::InDoubt
        | StepState::Succeeded { .. }
        | StepState::Unverified
        | StepState::Failed { .. }
        | StepState::Skipped(_)
        | StepState::Cancelled
        | StepState::Undone => {}
    }
}

fn prepare(plan: &PlanStep, step: &StepRun, due: Option<Timestamp>) -> Wanted {
    Wanted::Prepare {
        step: plan.id.clone(),
        attempt: step.attempt,
        look: step.look,
        action: plan.action.clone(),
        input: step.input.clone(),
        timeout_ms: plan.timeout_ms,
        pure: plan.pure,
        not_before: due.unwrap_or_default(),
    }
}

fn sendings(state: &RunState, plan: &PlanStep, step: &StepRun, wanted: &mut Vec<Wanted>) {
    for (at, effect) in step.effects.iter().enumerate() {
        match &effect.state {
            EffectState::InFlight => {
                let dispatch = dispatch(state, plan, step, at, effect, Timestamp::default());
                wanted.extend(dispatch.map(|dispatch| Wanted::Apply(Box::new(dispatch))));
            }
            EffectState::Unclear { due, .. } => {
                let dispatch = dispatch(state, plan, step, at, effect, *due);
                wanted.extend(dispatch.map(|dispatch| Wanted::Settle(Box::new(dispatch))));
            }
            EffectState::Pending
            | EffectState::Satisfied
            | EffectState::Done
            | EffectState::Again { .. }
            | EffectState::Refused
            | EffectState::Failed
            | EffectState::InDoubt { .. } => {}
        }
    }
}

fn dispatch(
    state: &RunState,
    plan: &PlanStep,
    step: &StepRun,
    at: usize,
    effect: &EffectRun,
    not_before: Timestamp,
) -> Option<Dispatch> {
    let prepared = step.prepared.clone()?;
    let sending = Sending {
        step: plan.id.clone(),
        attempt: step.attempt,
        effect: at,
        dispatch: effect.dispatch,
    };
    let locks = prepared.locks.iter().chain(&plan.locks);
    Some(Dispatch {
        key: state.key(&sending),
        token: locks.filter_map(|lock| state.locks.get(lock)).max().copied().unwrap_or_default(),
        sending,
        action: plan.action.clone(),
        input: step.input.clone(),
        prepared,
        timeout_ms: plan.timeout_ms,
        look: effect.looks,
        not_before,
    })
}

/// As many at once as steps may work: a large run has thousands, and each event asks again.
fn reverts(state: &RunState, wanted: &mut Vec<Wanted>) {
    let end = wanted.len() + state.room();
    for (plan, step) in state.plan.steps.iter().zip(&state.steps) {
        for (at, made) in step.made.iter().enumerate().filter(|(_, m)| m.reverted.is_none()) {
            if matches!(plan.role, crate::plan::Role::Undo { .. }) {
                continue;
            }
            if wanted.len() == end {
                return;
            }
            wanted.push(Wanted::Revert {
                step: plan.id.clone(),
                made: at,
                action: plan.action.clone(),
                effect: Box::new(made.clone()),
                timeout_ms: plan.timeout_ms,
            });
        }
    }
}

/// The earliest moment at which [`crate::Command::Advance`] will find something to do. What
/// [`effects`] wants later carries its own moment.
pub fn next_due(state: &RunState) -> Option<Timestamp> {
    if matches!(state.phase, Phase::Ended(_)) {
        return None;
    }
    let has_room = state.room() > 0;
    let moves = |ix: &StepIx| {
        state.step(*ix).is_some_and(|step| match &step.state {
            StepState::Waiting(Wait::Retry { .. }) => has_room && state.may_start(*ix),
            StepState::Running => state.may_start(*ix) || !state.admits(*ix),
            _ => true,
        })
    };
    state.timed.iter().find(|(_, ix)| moves(ix)).map(|(due, _)| *due)
}

impl StepRun {
    /// Whether all its effects are made and its target is looked at until it is as wanted.
    pub(crate) fn is_verifying(&self) -> bool {
        self.state == StepState::Running
            && self.verifying_since.is_some()
            && self.effects.iter().all(EffectRun::is_made)
            && self.prepared.as_ref().is_some_and(|prepared| is_visible(prepared))
    }
}

/// Whether a fresh `prepare` can tell that the effects are there.
fn is_visible(prepared: &Prepared) -> bool {
    prepared.guarantee != Guarantee::ReadOnly
        && prepared.effects.iter().any(|effect| effect.satisfied != Satisfied::CannotTell)
}

impl RunState {
    /// Whether this step may begin something new now: nothing is paused, stopping or over, and an
    /// undo begins only its own steps.
    pub(crate) fn may_start(&self, ix: StepIx) -> bool {
        !self.paused && !self.held.contains(&ix) && self.admits(ix)
    }

    /// Whether this step belongs to what the run is about: a pause only holds it back.
    pub(crate) fn admits(&self, ix: StepIx) -> bool {
        match self.phase {
            Phase::Forward => !self.is_undo(ix),
            Phase::Undoing(_) => self.is_undo(ix),
            Phase::Stopping(_) | Phase::Ended(_) => false,
        }
    }

    /// How many more steps may come to work now.
    pub(crate) fn room(&self) -> usize {
        let max = usize::try_from(self.plan.max_parallel.max(1)).unwrap_or(usize::MAX);
        max.saturating_sub(self.working)
    }

    /// Whether an undo is under way, all that went forward is at rest, and its steps are not yet
    /// in the plan.
    pub(crate) fn is_planning_undo(&self) -> bool {
        matches!(self.phase, Phase::Undoing(_))
            && !self.undo_planned
            && self.active.is_empty()
            && !self
                .asking
                .iter()
                .any(|ix| self.step(*ix).is_some_and(|step| step.state == StepState::InDoubt))
    }
}
