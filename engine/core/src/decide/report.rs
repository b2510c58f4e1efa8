//! What follows from what the world answered. A report that no longer fits gives nothing.

use super::At;
use crate::command::Report;
use crate::contract::{Guarantee, Outcome, PrepareFailure, Prepared, Satisfied, Settled};
use crate::event::{Event, Holder, Sending, Wait};
use crate::id::{StepId, Timestamp};
use crate::limits::KEYED_RESENDS_MIN;
use crate::retry;
use crate::state::{EffectRun, EffectState, RunState, StepState};
use crate::watch::Found;

pub(super) fn decide(run: &RunState, now: Timestamp, report: &Report) -> Vec<Event> {
    match report {
        Report::Prepared { step, attempt, look, result } => At::find(run, step, now)
            .filter(|at| at.step.attempt == *attempt && at.step.look == *look)
            .map(|at| at.prepared(result))
            .unwrap_or_default(),
        Report::Watched { step, look, found } => At::find(run, step, now)
            .filter(|at| run.watch(at.ix).is_some_and(|watch| watch.look == *look))
            .map(|at| vec![at.found(found)])
            .unwrap_or_default(),
        Report::Applied { sending, outcome } => At::find(run, &sending.step, now)
            .filter(|at| at.sent(sending).is_some_and(|e| e.state == EffectState::InFlight))
            .map(|at| at.applied(sending, outcome))
            .unwrap_or_default(),
        Report::Settled { sending, settled } => At::find(run, &sending.step, now)
            .map(|at| at.settled(sending, settled))
            .unwrap_or_default(),
        Report::Reverted { step, made, reverted } => {
            let open = run.is_planning_undo()
                && run
                    .find(step)
                    .and_then(|(_, _, run)| run.made.get(*made))
                    .is_some_and(|made| made.reverted.is_none());
            let planned = || Event::RevertPlanned {
                step: step.clone(),
                made: *made,
                reverted: reverted.clone(),
            };
            open.then(planned).into_iter().collect()
        }
        Report::LocksHeld { step, holders } => locks_held(run, step, holders),
        Report::TryLocks { step } => try_locks(run, now, step),
    }
}

fn locks_held(run: &RunState, step: &StepId, holders: &[Holder]) -> Vec<Event> {
    let wait = Wait::Lock { holders: holders.to_vec() };
    let asked = run.find(step).is_some_and(|(_, _, run)| match &run.state {
        StepState::Preparing | StepState::Waiting(Wait::Approval { .. }) => true,
        StepState::Waiting(known @ Wait::Lock { .. }) => *known != wait,
        _ => false,
    });
    if asked { vec![Event::StepWaits { step: step.clone(), wait }] } else { Vec::new() }
}

fn try_locks(run: &RunState, now: Timestamp, step: &StepId) -> Vec<Event> {
    let Some(at) = At::find(run, step, now) else { return Vec::new() };
    let Some(prepared) = at.step.prepared.as_ref().filter(|_| run.may_start(at.ix)) else {
        return Vec::new();
    };
    match &at.step.state {
        StepState::Waiting(Wait::Lock { .. }) => at.lock(prepared),
        // Approved while no engine drove the run.
        StepState::Waiting(Wait::Approval { consent, .. }) if at.is_approved(prepared, consent) => {
            at.approved(prepared)
        }
        _ => Vec::new(),
    }
}

impl At<'_> {
    fn prepared(&self, result: &Result<Box<Prepared>, PrepareFailure>) -> Vec<Event> {
        match &self.step.state {
            StepState::Preparing if self.run.may_start(self.ix) => match result {
                Ok(prepared) => {
                    let found = Event::StepPrepared { step: self.id(), prepared: prepared.clone() };
                    std::iter::once(found).chain(self.go_on(prepared)).collect()
                }
                Err(failure) => self.failed_attempt(failure.reason(), self.step.tries + 1),
            },
            StepState::Running if self.step.is_verifying() => self.verified(result),
            StepState::Waiting(Wait::Soak { covered_ms, sampled, .. }) => {
                self.sampled(*covered_ms, *sampled, result)
            }
            StepState::Preparing
            | StepState::Running
            | StepState::Waiting(_)
            | StepState::Pending
            | StepState::InDoubt
            | StepState::Succeeded { .. }
            | StepState::Unverified
            | StepState::Failed { .. }
            | StepState::Skipped(_)
            | StepState::Cancelled
            | StepState::Undone => Vec::new(),
        }
    }

    /// What a look at what it made found.
    fn found(&self, found: &Found) -> Event {
        let step = self.id();
        match found {
            Found::AsLeft if self.step.watched.alarm.is_some() => Event::WatchCalm { step },
            Found::AsLeft => Event::WatchHeld { step },
            Found::Changed { difference, by } => {
                let ours = self.run.changed_by_us(self.ix);
                let by = ours.map(|id| format!("step `{id}` of this run")).or_else(|| by.clone());
                Event::WatchAlarm { step, difference: difference.clone(), by, unseen: false }
            }
            Found::Unseen { why } => {
                Event::WatchAlarm { step, difference: vec![why.clone()], by: None, unseen: true }
            }
        }
    }

    /// All effects are made: is the target as wanted?
    fn verified(&self, result: &Result<Box<Prepared>, PrepareFailure>) -> Vec<Event> {
        let (difference, patience_ms) = match result {
            Ok(seen) if is_good(seen) => {
                let (changed, output) = self.outcome();
                return self.finish(changed, &output);
            }
            Ok(seen) => (seen.difference(), self.converge_ms()),
            // Not seen is not wrong: it gets the time that the whole verb would.
            Err(failure) => {
                (vec![failure.reason().to_owned()], self.plan.timeout_ms.max(self.converge_ms()))
            }
        };
        let since = self.step.verifying_since.unwrap_or(self.now);
        if self.now.since_ms(since) >= patience_ms {
            return vec![Event::StepUnverified { step: self.id(), difference }];
        }
        let due = self.now.plus_ms(retry::verify_wait_ms(self.step.verify_looks));
        vec![Event::StepLooked { step: self.id(), due, difference }]
    }

    fn converge_ms(&self) -> u64 {
        self.step.prepared.as_ref().map_or(0, |prepared| prepared.converge_ms)
    }

    /// One sample of a soak: only time between two good samples that are not far apart counts.
    fn sampled(
        &self,
        covered_ms: u64,
        sampled: Option<Timestamp>,
        result: &Result<Box<Prepared>, PrepareFailure>,
    ) -> Vec<Event> {
        let soak_ms = self.plan.soak_ms.unwrap_or(0);
        let sample_ms = retry::sample_ms(soak_ms);
        let (good, seen) = match result {
            Ok(looked) if is_good(looked) => (true, looked.seen.clone()),
            Ok(looked) => {
                let difference = looked.difference();
                return vec![Event::StepUnverified { step: self.id(), difference }];
            }
            Err(failure) => (false, serde_json::json!({ "unknown": failure.reason() })),
        };
        let gap_ms = sampled.map_or(u64::MAX, |sampled| self.now.since_ms(sampled));
        let counts = good && gap_ms <= sample_ms.saturating_mul(2);
        let covered_ms = covered_ms + if counts { gap_ms } else { 0 };
        if covered_ms >= soak_ms {
            let (changed, output) = self.outcome();
            return self.succeed(changed, output);
        }
        let wait = Wait::Soak {
            covered_ms,
            sampled: good.then_some(self.now),
            due: self.now.plus_ms(sample_ms),
            seen,
        };
        vec![Event::StepWaits { step: self.id(), wait }]
    }

    /// The effect of a sending, where it is the last one.
    fn sent(&self, sending: &Sending) -> Option<&EffectRun> {
        let effect = self.step.effects.get(sending.effect)?;
        let fits = self.step.attempt == sending.attempt && effect.dispatch == sending.dispatch;
        fits.then_some(effect)
    }

    fn applied(&self, sending: &Sending, outcome: &Outcome) -> Vec<Event> {
        let sending = sending.clone();
        let read_only = self.step.guarantee() == Some(Guarantee::ReadOnly);
        vec![match outcome.clone() {
            Outcome::Done { output } => Event::EffectDone { sending, output },
            // Refused or failed on a repeat: an earlier sending may have made it, or still will.
            Outcome::Refused { reason } | Outcome::Failed { reason, .. }
                if self.is_doubtful(&sending) =>
            {
                Event::EffectUnclear { sending, reason }
            }
            Outcome::Refused { reason } => Event::EffectRefused { sending, reason },
            Outcome::Failed { reason, output } => Event::EffectFailed { sending, reason, output },
            Outcome::Unclear { reason } if read_only => Event::EffectRefused { sending, reason },
            Outcome::Unclear { reason } => Event::EffectUnclear { sending, reason },
        }]
    }

    fn is_doubtful(&self, sending: &Sending) -> bool {
        self.sent(sending).is_some_and(|effect| effect.doubtful)
    }

    fn settled(&self, sending: &Sending, settled: &Settled) -> Vec<Event> {
        let Some(effect) = self.sent(sending) else { return Vec::new() };
        let EffectState::Unclear { since, orphaned, .. } = &effect.state else {
            return Vec::new();
        };
        let waited_ms = self.now.since_ms(*since);
        let patient = waited_ms < self.plan.timeout_ms;
        let again = Some(self.now.plus_ms(retry::settle_wait_ms(effect.looks)));
        let due = match settled {
            Settled::Done { .. } | Settled::Failed { .. } => None,
            Settled::NotDone => Some(self.resend_due(*orphaned)),
            Settled::Unreachable { .. } => again,
            Settled::Running { .. } if patient => again,
            Settled::Unknown { .. } if self.may_repeat(effect, *orphaned) => {
                Some(self.repeat_due(effect, *orphaned))
            }
            Settled::Unknown { .. } if patient && self.is_transactional() => again,
            Settled::Running { evidence } | Settled::Unknown { evidence } => {
                let evidence = evidence.clone();
                return vec![Event::EffectInDoubt { sending: sending.clone(), evidence }];
            }
        };
        vec![Event::EffectSettled { sending: sending.clone(), settled: settled.clone(), due }]
    }

    /// When the same key is sent again: at once where only an engine's death cut it off, or where no
    /// sending is left and a person is asked.
    fn resend_due(&self, orphaned: bool) -> Timestamp {
        if orphaned || self.step.tries >= self.plan.retry.max {
            return self.now;
        }
        self.now.plus_ms(self.retry_wait_ms(self.step.tries + 1))
    }

    /// Whether the target still knows the key, and may be sent it once more though nobody knows what
    /// became of the last sending.
    fn may_repeat(&self, effect: &EffectRun, orphaned: bool) -> bool {
        let repeats_max = self.plan.retry.max.max(KEYED_RESENDS_MIN);
        self.is_known(effect) && (orphaned || effect.dispatch <= repeats_max)
    }

    fn repeat_due(&self, effect: &EffectRun, orphaned: bool) -> Timestamp {
        if orphaned { self.now } else { self.now.plus_ms(self.retry_wait_ms(effect.dispatch)) }
    }

    /// Whether the target will still know the key when one more sending arrives.
    pub(super) fn is_known(&self, effect: &EffectRun) -> bool {
        let Some(prepared) = &self.step.prepared else { return false };
        let remembered_ms = prepared.remembered_ms.unwrap_or(0);
        let first = effect.first_sent.unwrap_or(self.now);
        // A sending may arrive as late as its timeout, and must still find the key there.
        let arrives_ms = self.now.since_ms(first).saturating_add(self.plan.timeout_ms);
        prepared.guarantee == Guarantee::Keyed && arrives_ms < remembered_ms
    }

    fn is_transactional(&self) -> bool {
        self.step.guarantee() == Some(Guarantee::Transactional)
    }
}

/// Whether nothing that can be seen is missing.
fn is_good(seen: &Prepared) -> bool {
    seen.effects.iter().all(|effect| effect.satisfied != Satisfied::No)
}
