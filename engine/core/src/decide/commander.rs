//! What follows from what a commander asks of the run as a whole: a part of it, a branch, a lock,
//! the command itself, another run in its place.

use std::collections::BTreeSet;

use super::Rejection;
use super::people::Decision;
use crate::event::{Cause, Event};
use crate::id::{RunId, StepId, StepIx, TargetId};
use crate::limits::NAME_BYTES_MAX;
use crate::plan::{Order, Plan};
use crate::state::{Phase, RunState, StepRun, StepState};

pub(super) fn hold(run: &RunState, steps: &[StepId]) -> Decision {
    goes_on(run)?;
    let mut branch = BTreeSet::new();
    for ix in indexes(run, steps)? {
        branch.extend(run.order.branch(ix));
    }
    let fresh = names(run, branch.difference(&run.held).filter(|ix| is_open(run, **ix)));
    if fresh.is_empty() {
        return Err(Rejection::new("nothing of this is left to hold back"));
    }
    Ok(vec![Event::StepsHeld { steps: fresh }])
}

pub(super) fn free(run: &RunState, steps: &[StepId]) -> Decision {
    goes_on(run)?;
    let mut branch = BTreeSet::new();
    for ix in indexes(run, steps)? {
        branch.extend(run.order.branch(ix));
        // What it needs cannot stay behind, or it would never begin.
        branch.extend(run.order.way_to(ix));
    }
    let freed = names(run, branch.intersection(&run.held));
    if freed.is_empty() {
        return Err(Rejection::new("nothing of this is held back"));
    }
    Ok(vec![Event::StepsFreed { steps: freed }])
}

/// These and what they need go on; all else that is open is held back.
pub(super) fn part(run: &RunState, steps: &[StepId]) -> Decision {
    goes_on(run)?;
    let mut part = BTreeSet::new();
    for ix in indexes(run, steps)? {
        part.extend(run.order.way_to(ix));
    }
    let all: BTreeSet<StepIx> = run.indexes().filter(|ix| is_open(run, *ix)).collect();
    let mut events = Vec::new();
    let freed = names(run, part.intersection(&run.held));
    if !freed.is_empty() {
        events.push(Event::StepsFreed { steps: freed });
    }
    let held = names(run, all.difference(&part).filter(|ix| !run.held.contains(ix)));
    if !held.is_empty() {
        events.push(Event::StepsHeld { steps: held });
    }
    Ok(events)
}

/// The same for a run that is about to be made.
pub(super) fn all_but(plan: &Plan, part: &[StepId]) -> Result<Option<Event>, Rejection> {
    if part.is_empty() {
        return Ok(None);
    }
    let order = Order::of(&plan.steps).map_err(|error| Rejection::new(error.to_string()))?;
    let mut chosen = BTreeSet::new();
    for id in part {
        let none = || Rejection::new(format!("the runbook has no step `{id}`"));
        chosen.extend(order.way_to(order.find(id).ok_or_else(none)?));
    }
    let steps = plan.steps.iter().enumerate().filter(|(at, _)| !chosen.contains(&StepIx(*at)));
    let steps: Vec<StepId> = steps.map(|(_, step)| step.id.clone()).collect();
    Ok((!steps.is_empty()).then_some(Event::StepsHeld { steps }))
}

/// All that is held back goes on.
pub(super) fn free_all(run: &RunState) -> Option<Event> {
    let steps = names(run, run.held.iter());
    (!steps.is_empty()).then_some(Event::StepsFreed { steps })
}

pub(super) fn give_way(run: &RunState, targets: &[TargetId]) -> Decision {
    if targets.is_empty() {
        return Err(Rejection::new("no lock is named"));
    }
    for target in targets {
        if !run.locks.contains_key(target) {
            let message = format!("run {} does not hold `{target}`", run.run);
            return Err(Rejection::new(message).help("`backout lock list` shows who does"));
        }
        if let Some(step) = run.uses(target) {
            let message = format!(
                "`{step}` of run {} is changing `{target}` right now, and what it does may still \
                 come through",
                run.run
            );
            return Err(Rejection::new(message)
                .help(format!("backout pause {}, and try again when it has answered", run.run)));
        }
    }
    Ok(vec![Event::LocksYielded { targets: targets.to_vec() }])
}

pub(super) fn hand_over(run: &RunState, to: &str) -> Decision {
    goes_on(run)?;
    if to.trim().is_empty() || to.len() > NAME_BYTES_MAX {
        return Err(Rejection::new("nobody is named").help("backout handover RUN --to NAME"));
    }
    if run.commander.name == to {
        return Err(Rejection::new(format!("{to} commands run {} already", run.run)));
    }
    Ok(vec![Event::CommandOffered { to: to.to_owned() }])
}

pub(super) fn take_command(run: &RunState, cause: &Cause) -> Decision {
    let Some(offer) = &run.offer else {
        let message = format!("the command of run {} is not offered", run.run);
        return Err(Rejection::new(message).help(format!(
            "{} commands it, and offers it by: backout handover {} --to {}",
            run.commander.name, run.run, cause.actor.name
        )));
    };
    if offer.to != cause.actor.person() && !cause.break_glass {
        let message = format!("the command is offered to {}, not to you", offer.to);
        return Err(
            Rejection::new(message).help("if neither can be reached: --break-glass --reason TEXT")
        );
    }
    Ok(vec![Event::CommandTaken])
}

pub(super) fn supersede(run: &RunState, by: &RunId) -> Decision {
    if by == &run.run {
        return Err(Rejection::new("a run cannot go on in its own place"));
    }
    if run.phase == Phase::Ended(crate::event::RunEnd::Superseded) {
        return Err(superseded(run));
    }
    if run.may_be_superseded() {
        return Ok(vec![Event::RunSuperseded { by: by.clone() }]);
    }
    Err(match run.unsettled() {
        Some(step) => Rejection::new(format!(
            "`{step}` of run {} is under way or in doubt: nobody can say yet what to adopt of it",
            run.run
        ))
        .help(format!(
            "backout pause {0}, let it come to an answer or settle it, and try again",
            run.run
        )),
        None => Rejection::new(format!("run {} is {}", run.run, run.status().word())),
    })
}

pub(super) fn superseded(run: &RunState) -> Rejection {
    let by = run.superseded_by.as_ref().map_or_else(String::new, ToString::to_string);
    Rejection::new(format!("run {by} goes on in the place of run {}", run.run))
        .help(format!("backout status {by}"))
}

fn goes_on(run: &RunState) -> Result<(), Rejection> {
    match run.phase {
        Phase::Forward | Phase::Undoing(_) => Ok(()),
        Phase::Stopping(_) | Phase::Ended(_) => {
            Err(Rejection::new(format!("run {} is {}", run.run, run.status().word())))
        }
    }
}

fn indexes(run: &RunState, steps: &[StepId]) -> Result<Vec<StepIx>, Rejection> {
    if steps.is_empty() {
        return Err(Rejection::new("no step is named"));
    }
    let find = |id| run.order.find(id).ok_or(id);
    steps
        .iter()
        .map(find)
        .collect::<Result<_, _>>()
        .map_err(|id| Rejection::new(format!("run {} has no step `{id}`", run.run)))
}

fn is_open(run: &RunState, ix: StepIx) -> bool {
    run.step(ix).is_some_and(|step| !step.state.is_rest())
}

fn names<'a>(run: &RunState, steps: impl Iterator<Item = &'a StepIx>) -> Vec<StepId> {
    steps.filter_map(|ix| run.plan_step(*ix)).map(|step| step.id.clone()).collect()
}

impl RunState {
    /// A step with something in flight, unclear or in doubt.
    pub(crate) fn unsettled(&self) -> Option<&StepId> {
        let open = |step: &StepRun| step.is_busy() || step.state == StepState::InDoubt;
        let mut steps = self.plan.steps.iter().zip(&self.steps);
        steps.find(|(_, step)| open(step)).map(|(plan, _)| &plan.id)
    }

    /// Whether another run may go on in its place: nothing of it can still happen, and of all that
    /// it did the outcome is known.
    pub(crate) fn may_be_superseded(&self) -> bool {
        use crate::event::RunEnd;
        let open =
            matches!(self.phase, Phase::Forward | Phase::Ended(RunEnd::Failed | RunEnd::Aborted));
        open && self.undos == 0 && self.unsettled().is_none()
    }

    /// The step that is changing a target right now, or may be.
    pub(crate) fn uses(&self, target: &TargetId) -> Option<&StepId> {
        let locks = |plan: &crate::plan::PlanStep, step: &StepRun| {
            plan.locks.contains(target)
                || step.prepared.as_ref().is_some_and(|prepared| prepared.locks.contains(target))
        };
        let open = |step: &StepRun| {
            step.is_busy() || step.state == StepState::InDoubt || step.locked && step.is_preparing()
        };
        let mut steps = self.plan.steps.iter().zip(&self.steps);
        steps.find(|(plan, step)| open(step) && locks(plan, step)).map(|(plan, _)| &plan.id)
    }

    /// Whether a lock that it holds may go to another run.
    pub(crate) fn may_yield(&self, target: &TargetId) -> bool {
        self.locks.contains_key(target) && self.uses(target).is_none()
    }

    /// Whether any step has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.steps.iter().any(|step| step.attempt > 0 || step.adopted)
    }
}

impl StepRun {
    fn is_preparing(&self) -> bool {
        self.state == StepState::Preparing
    }
}
