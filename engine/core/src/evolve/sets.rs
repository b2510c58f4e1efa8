//! The sets and counts of a run, kept with each change of a step, so that the cost of an event does
//! not depend on the plan's size.

use std::collections::BTreeSet;

use crate::id::{StepIx, Timestamp};
use crate::plan::Role;
use crate::state::{RunState, StepState};
use crate::watch::{EVERY_MS, Watched};

impl RunState {
    /// All step indexes, in plan order.
    pub fn indexes(&self) -> impl Iterator<Item = StepIx> + use<> {
        (0..self.steps.len()).map(StepIx)
    }

    /// Whether a step belongs to an undo.
    pub fn is_undo(&self, ix: StepIx) -> bool {
        self.plan_step(ix).is_some_and(|step| matches!(step.role, Role::Undo { .. }))
    }

    pub(super) fn meets_need(&self, ix: StepIx) -> bool {
        self.step(ix).is_some_and(|step| step.state.meets_need())
    }

    pub(super) fn is_ready(&self, ix: StepIx) -> bool {
        self.step(ix).is_some_and(|step| step.state == StepState::Pending && step.unmet == 0)
    }

    /// The one place where a step's state changes: keeps the sets and counts that make the cost of
    /// an event independent of the plan's size.
    pub(super) fn change(&mut self, ix: StepIx, state: StepState, at: Timestamp) {
        let Some(step) = self.steps.get_mut(ix.0) else { return };
        let before = std::mem::replace(&mut step.state, state);
        step.since = at;
        let after = step.state.clone();
        step.ended = if after.is_rest() { step.ended.or(Some(at)) } else { None };
        self.working += usize::from(after.is_working());
        self.working -= usize::from(before.is_working());
        member(&mut self.active, ix, after.is_active());
        member(&mut self.asking, ix, after.wants_person());
        self.rewatch(ix, &before, at);
        let ready = self.is_ready(ix);
        member(&mut self.ready, ix, ready);
        self.reschedule(ix);
        match (before.meets_need(), after.meets_need()) {
            (false, true) => self.need_changed(ix, true),
            (true, false) => self.need_changed(ix, false),
            (false, false) | (true, true) => {}
        }
    }

    /// A step that comes to be done is watched from there on; one that is no more is not.
    fn rewatch(&mut self, ix: StepIx, before: &StepState, at: Timestamp) {
        let since = self.seq;
        let (Some(plan), Some(step)) = (self.plan.steps.get(ix.0), self.steps.get_mut(ix.0)) else {
            return;
        };
        if !matches!(before, StepState::Succeeded { .. }) {
            let (look, due) = (step.watched.look + 1, at.plus_ms(EVERY_MS));
            step.watched = Watched { look, due, since, ..Watched::default() };
        }
        let watched = step.is_watched(plan);
        if !watched {
            step.watched.alarm = None;
        }
        member(&mut self.watched, ix, watched);
    }

    /// Keeps [`RunState::timed`] as the step says.
    pub(super) fn reschedule(&mut self, ix: StepIx) {
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

fn member(set: &mut BTreeSet<StepIx>, ix: StepIx, is_member: bool) {
    if is_member {
        set.insert(ix);
    } else {
        set.remove(&ix);
    }
}
