//! What a driver decides becomes durable: events are folded as soon as they are decided, gathered
//! into a batch, and appended; what waits for them goes on when the store says so.

use backout_core::drive::Turn;
use backout_core::event::{Cause, Event, Recorded};
use backout_core::id::{CommandId, Seq, TargetId};
use backout_core::{Command, claims, snapshot};
use backout_store::journal::{Append, AppendResult, NewEvent};
use futures::StreamExt;
use std::collections::BTreeSet;

use super::{Driver, End, TurnEnd, failed};
use crate::crash::{CrashPoint, Window};

/// Events between two kept folds of a run: reading so many takes a few milliseconds.
const FOLD_EVERY: u64 = 2_000;

impl Driver {
    /// One turn of the core; its events join the batch. While the run is let go, nothing new
    /// follows from it.
    pub(super) async fn turn(&mut self, cause: &Cause, command: &Command) -> Result<(), TurnEnd> {
        let now = self.clock.now();
        if self.progress.letting_go.is_some() {
            let recorded =
                self.run.record(now, cause, command).map_err(TurnEnd::from_turn(&self.id))?;
            self.push(recorded);
            return Ok(());
        }
        let mut turn = self.run.turn(now, cause, command).map_err(TurnEnd::from_turn(&self.id))?;
        loop {
            self.push(std::mem::take(&mut turn.recorded));
            let Some((cause, event)) = turn.claiming.take() else { return Ok(()) };
            turn = self.claim(cause, event).await?;
        }
    }

    /// An event that needs locks is appended by itself, and awaited: only then is it known.
    pub(super) async fn claim(&mut self, cause: Cause, event: Event) -> Result<Turn, TurnEnd> {
        self.flush();
        let now = self.clock.now();
        let wanted = claims(self.run.state.as_ref(), std::slice::from_ref(&event));
        let new = NewEvent { at: now, cause: cause.clone(), event: event.clone() };
        let append = self.append(vec![new], wanted.clone(), Vec::new(), 0);
        let result = self.store.append(append).await;
        let fit = TurnEnd::from_turn(&self.id);
        match (result, &event) {
            (AppendResult::Committed { last, grants }, _) => {
                self.run.granted(now, &cause, event, grants).map_err(|e| fit(e.into()))?;
                self.progress.durable = last;
                self.progress.held.extend(wanted);
                self.run.turn(now, &Cause::engine(), &Command::Advance).map_err(fit)
            }
            (AppendResult::Held { holders }, Event::StepLocked { step, .. }) => {
                self.run.held(now, step, holders).map_err(fit)
            }
            (other, _) => Err(TurnEnd::End(failed(&self.id, &other))),
        }
    }

    pub(super) fn append(
        &mut self,
        events: Vec<NewEvent>,
        claims: Vec<TargetId>,
        releases: Vec<TargetId>,
        intends: u32,
    ) -> Append {
        self.progress.appends_made += 1;
        let epoch = self.run.epoch;
        let made = self.progress.appends_made;
        let queued: u64 = if claims.is_empty() { events.len().try_into().unwrap_or(0) } else { 0 };
        Append {
            append_id: CommandId::new(format!("{}.{}.{made}", self.id, epoch.0)),
            run: self.id.clone(),
            epoch,
            // The state is ahead by the events of this append, except for one that claims.
            expected_seq: Seq(self.run.seq().0.saturating_sub(queued)),
            claims,
            releases,
            intends,
            events,
        }
    }

    pub(super) fn push(&mut self, recorded: Vec<Recorded>) {
        for recorded in &recorded {
            if let Event::EffectIntended { sending } = &recorded.event {
                self.progress.intents.insert(sending.clone(), recorded.seq);
            }
        }
        self.progress.batch.extend(recorded);
    }

    /// Queues the batch as one append.
    pub(super) fn flush(&mut self) {
        if self.progress.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.progress.batch);
        CrashPoint::at_events(self.crash.as_ref(), Window::BeforeIntent, &batch);
        let releases = self.releases(&batch);
        let intends = batch.iter().filter(|r| matches!(r.event, Event::EffectIntended { .. }));
        let intends = u32::try_from(intends.count()).unwrap_or(u32::MAX);
        let kept = if self.crash.is_some() { batch.clone() } else { Vec::new() };
        let new = |r: Recorded| NewEvent { at: r.at, cause: r.cause, event: r.event };
        let events = batch.into_iter().map(new).collect();
        let append = self.append(events, Vec::new(), releases.into_iter().collect(), intends);
        self.progress.appends.push_back(self.store.append(append));
        self.progress.appended.push_back(kept);
    }

    /// The locks that a batch lets go: all of them at the run's end.
    fn releases(&mut self, batch: &[Recorded]) -> BTreeSet<TargetId> {
        let mut released = BTreeSet::new();
        for recorded in batch {
            match &recorded.event {
                Event::RunEnded { .. } | Event::RunSuperseded { .. } => {
                    released.append(&mut self.progress.held);
                }
                Event::LocksYielded { targets } => {
                    self.progress.held.retain(|held| !targets.contains(held));
                    released.extend(targets.iter().cloned());
                }
                _ => {}
            }
        }
        released
    }

    pub(super) fn appended(&mut self, result: &AppendResult) -> Result<(), End> {
        let events = self.progress.appended.pop_front().unwrap_or_default();
        let AppendResult::Committed { last, .. } = result else {
            return Err(failed(&self.id, result));
        };
        self.progress.durable = self.progress.durable.max(*last);
        self.keep_fold();
        CrashPoint::at_events(self.crash.as_ref(), Window::AfterOutcome, &events);
        while let Some((seq, _)) = self.progress.acks.front() {
            if *seq > self.progress.durable {
                break;
            }
            if let Some((seq, reply)) = self.progress.acks.pop_front() {
                // The asker may have gone; the command stands.
                drop(reply.send(Ok(seq)));
            }
        }
        Ok(())
    }

    /// Now and then, while all of the state is durable, it is kept for the next engine.
    pub(super) fn keep_fold(&mut self) {
        let Some(state) = &self.run.state else { return };
        let behind = state.seq.0.saturating_sub(self.progress.kept.0);
        let is_durable = state.seq == self.progress.durable && self.progress.batch.is_empty();
        // A large plan is kept more seldom: its fold costs as much as its first events did.
        let every = FOLD_EVERY.max(4 * state.steps.len() as u64);
        if behind < every || !is_durable {
            return;
        }
        self.progress.kept = state.seq;
        let (store, run, state) = (self.store.clone(), self.id.clone(), state.clone());
        // Nobody waits for it: it is a cache.
        drop(tokio::task::spawn_blocking(move || store.keep_fold(&run, &snapshot::keep(&state))));
    }

    pub(super) async fn all_durable(&mut self) -> Result<(), End> {
        while let Some(result) = self.progress.appends.next().await {
            self.appended(&result)?;
        }
        Ok(())
    }

    /// Records what follows from a command and nothing else, and waits until it is durable.
    pub(super) async fn record_only(&mut self, command: &Command) -> Result<(), End> {
        let recorded = self
            .run
            .record(self.clock.now(), &Cause::engine(), command)
            .map_err(|error| self.broken(error))?;
        self.push(recorded);
        self.flush();
        self.all_durable().await
    }
}
