//! A store in memory, with the same rules. For tests, exercises and simulation.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use backout_core::event::Recorded;
use backout_core::id::{CommandId, Epoch, RunId, Seq};
use backout_core::limits::EVENT_BYTES_MAX;
use tokio::sync::watch;

use crate::envelope::{GENESIS, Hash, Place, Sealed, seal, write};
use crate::journal::{Append, AppendResult, JournalStore, Pending, StoreError};
use crate::layout::is_run_name;
use crate::ledger::{Ledger, Refusal, flight_change};
use crate::watches::{Watches, locked};

/// A store in memory. What it keeps ends with it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    watches: Watches,
}

#[derive(Debug, Default)]
struct Kept {
    ledger: Ledger,
    journals: HashMap<RunId, Journal>,
    offered: HashMap<RunId, Epoch>,
}

#[derive(Debug, Default)]
struct Journal {
    records: Vec<Recorded>,
    /// The append that wrote each record.
    appends: Vec<CommandId>,
    held: HashSet<CommandId>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn make(&self, append: &Append) -> AppendResult {
        if let Some(why) = never(append) {
            return AppendResult::Refused { why };
        }
        let mut kept = locked(&self.kept);
        let result = kept.make(append);
        drop(kept);
        if let AppendResult::Committed { last, .. } = &result {
            self.watches.durable(&append.run, *last);
            if !append.releases.is_empty() {
                self.watches.released();
            }
        }
        result
    }
}

impl Kept {
    fn make(&mut self, append: &Append) -> AppendResult {
        let grants = match self.ledger.admit(append) {
            Ok(grants) => grants,
            Err(Refusal::Answer(answer)) => return answer,
            Err(Refusal::Behind { actual }) => return self.made_before(append, actual),
        };
        let sealed: Result<Vec<Sealed>, _> =
            append.events.iter().map(|new| seal(new.at, &new.cause, &new.event, [0; 16])).collect();
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => return AppendResult::Refused { why: error.to_string() },
        };
        if let Some(why) = sealed.iter().find_map(|sealed| too_large(sealed.body.len())) {
            return AppendResult::Refused { why };
        }
        let mut prev: Hash = self.ledger.runs.get(&append.run).map_or(GENESIS, |meta| meta.head);
        let mut seq = append.expected_seq;
        let mut text = Vec::new();
        for (index, sealed) in sealed.iter().enumerate() {
            seq = seq.next();
            let (run, epoch) = (append.run.as_str(), append.epoch);
            let place = Place { run, seq, epoch, append: &append.append_id, prev: &prev };
            let mut head = place.head(sealed);
            if index == 0 {
                head.grants.clone_from(&grants);
                head.releases.clone_from(&append.releases);
                head.flight = flight_change(append);
            }
            text.clear();
            let Ok(link) = write(&head, sealed, &mut text) else {
                return AppendResult::Refused { why: "a record that cannot be written".into() };
            };
            self.ledger.apply(&append.run, &head, &link);
            prev = link;
        }
        self.ledger.remember(append, seq, &grants);
        let journal = self.journals.entry(append.run.clone()).or_default();
        journal.records.extend(append.recorded(&grants));
        journal.appends.resize(journal.records.len(), append.append_id.clone());
        journal.held.insert(append.append_id.clone());
        AppendResult::Committed { last: seq, grants }
    }

    fn made_before(&self, append: &Append, actual: Seq) -> AppendResult {
        let conflict = AppendResult::Conflict { actual };
        let Some(journal) = self.journals.get(&append.run) else { return conflict };
        if !journal.held.contains(&append.append_id) {
            return conflict;
        }
        let mine = || {
            journal.appends.iter().zip(&journal.records).filter(|(id, _)| **id == append.append_id)
        };
        match (mine().next(), mine().next_back()) {
            (Some((_, first)), Some((_, last))) => {
                AppendResult::Committed { last: last.seq, grants: first.grants.clone() }
            }
            _ => conflict,
        }
    }
}

/// Why an append can never be made, whatever room there is.
pub(crate) fn never(append: &Append) -> Option<String> {
    if append.events.is_empty() {
        return Some("an append without events cannot be recorded".into());
    }
    if !is_run_name(append.run.as_str()) {
        return Some(format!("{:?} is not the name of a run", append.run));
    }
    None
}

/// Why an event is too large.
pub(crate) fn too_large(bytes: usize) -> Option<String> {
    (bytes > EVENT_BYTES_MAX)
        .then(|| format!("an event of {bytes} bytes is beyond EVENT_BYTES_MAX, {EVENT_BYTES_MAX}"))
}

impl JournalStore for MemoryStore {
    fn id(&self) -> String {
        "memory".into()
    }

    fn append(&self, append: Append) -> Pending {
        let result = self.make(&append);
        Box::pin(std::future::ready(result))
    }

    fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let kept = locked(&self.kept);
        let journal = kept.journals.get(run).ok_or_else(|| StoreError::NoSuchRun(run.clone()))?;
        let skip = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(journal.records.iter().skip(skip).take(limit).cloned().collect())
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        Ok(locked(&self.kept).journals.keys().cloned().collect())
    }

    fn next_epoch(&self, run: &RunId) -> Result<Epoch, StoreError> {
        let mut kept = locked(&self.kept);
        let known = kept.ledger.runs.get(run).map_or(Epoch(0), |meta| meta.epoch);
        let offered = kept.offered.entry(run.clone()).or_default();
        *offered = Epoch(known.max(*offered).0 + 1);
        Ok(*offered)
    }

    fn watch(&self, run: &RunId) -> watch::Receiver<Seq> {
        let last = locked(&self.kept).ledger.runs.get(run).map_or(Seq(0), |meta| meta.last);
        self.watches.of(run, last)
    }

    fn lock_releases(&self) -> watch::Receiver<u64> {
        self.watches.releases()
    }
}
