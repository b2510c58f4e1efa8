//! An exercise in a store of its own: its run is kept as any run is, apart from the real ones.

use std::sync::Arc;

use backout_core::event::{Event, Recorded};
use backout_core::id::{CommandId, RunId, Seq};
use backout_core::state::RunState;
use backout_core::{claims, evolve, releases};
use backout_store::journal::{Append, AppendResult, JournalStore, NewEvent};

/// Writes a drill's journal into a store as it grows.
pub struct Recorder {
    store: Arc<dyn JournalStore>,
    run: RunId,
    state: Option<RunState>,
    written: usize,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder of a run that the store does not have yet.
    pub fn new(store: Arc<dyn JournalStore>, run: RunId) -> Self {
        Self { store, run, state: None, written: 0 }
    }

    /// Appends what is new, and waits until it is durable.
    ///
    /// # Errors
    /// Why the store did not take it.
    pub fn write(&mut self, journal: &[Recorded]) -> Result<(), String> {
        let mut batch: Vec<&Recorded> = Vec::new();
        let mut waiting = Vec::new();
        for recorded in journal.iter().skip(self.written) {
            let alone = !self.claims(recorded).is_empty() || self.begins_epoch(recorded);
            if alone || releases_locks(recorded) {
                waiting.extend(self.append(&std::mem::take(&mut batch)));
            }
            batch.push(recorded);
            if alone || releases_locks(recorded) {
                waiting.extend(self.append(&std::mem::take(&mut batch)));
            } else {
                evolve(&mut self.state, recorded).map_err(|error| error.to_string())?;
            }
        }
        waiting.extend(self.append(&batch));
        self.written = journal.len();
        waiting.into_iter().try_for_each(|pending| committed(&futures::executor::block_on(pending)))
    }

    fn claims(&self, recorded: &Recorded) -> Vec<backout_core::id::TargetId> {
        claims(self.state.as_ref(), std::slice::from_ref(&recorded.event))
    }

    fn begins_epoch(&self, recorded: &Recorded) -> bool {
        self.state.as_ref().is_some_and(|state| state.epoch != recorded.epoch)
    }

    fn append(&mut self, batch: &[&Recorded]) -> Option<backout_store::journal::Pending> {
        let first = batch.first()?;
        let events: Vec<Event> = batch.iter().map(|recorded| recorded.event.clone()).collect();
        let new =
            |r: &&Recorded| NewEvent { at: r.at, cause: r.cause.clone(), event: r.event.clone() };
        let append = Append {
            append_id: CommandId::new(format!("{}.drill.{}", self.run, first.seq)),
            run: self.run.clone(),
            epoch: first.epoch,
            expected_seq: Seq(first.seq.0.saturating_sub(1)),
            claims: claims(self.state.as_ref(), &events),
            releases: releases(self.state.as_ref(), &events),
            intends: 0,
            events: batch.iter().map(new).collect(),
        };
        let behind = self.state.as_ref().map_or(Seq(0), |state| state.seq) < first.seq;
        if behind {
            // A record that does not fold is refused where it is read; here it is only written.
            let fold = |recorded: &&Recorded| evolve(&mut self.state, recorded);
            drop(batch.iter().try_for_each(fold));
        }
        Some(self.store.append(append))
    }
}

/// Whether locks are let go with it: it is appended by itself.
fn releases_locks(recorded: &Recorded) -> bool {
    matches!(recorded.event, Event::RunEnded { .. } | Event::LocksYielded { .. })
}

fn committed(result: &AppendResult) -> Result<(), String> {
    match result {
        AppendResult::Committed { .. } => Ok(()),
        other => Err(format!("the store did not take the record: {other:?}")),
    }
}
