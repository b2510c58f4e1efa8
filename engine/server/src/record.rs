//! One record as a store that takes nothing: what a replay of an exported file is shown from.

use std::sync::Arc;

use backout_core::event::Recorded;
use backout_core::id::{Epoch, RunId, Seq};
use backout_runtime::{Engine, Host, Options, SystemClock};
use backout_store::journal::{Append, AppendResult, JournalStore, Pending, StoreError};
use tokio::sync::watch;

use crate::face::Face;
use crate::witness::Witness;

/// The events of one run.
struct Record {
    run: RunId,
    events: Vec<Recorded>,
    last: watch::Sender<Seq>,
    releases: watch::Sender<u64>,
}

impl JournalStore for Record {
    fn id(&self) -> String {
        "record".to_owned()
    }

    fn append(&self, _: Append) -> Pending {
        let why = "this is a record that is replayed: nothing is added to it".to_owned();
        Box::pin(async { AppendResult::Refused { why } })
    }

    fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        if *run != self.run {
            return Err(StoreError::NoSuchRun(run.clone()));
        }
        let begin = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(self.events.iter().skip(begin).take(limit).cloned().collect())
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        Ok(vec![self.run.clone()])
    }

    fn next_epoch(&self, run: &RunId) -> Result<Epoch, StoreError> {
        Err(StoreError::NoSuchRun(run.clone()))
    }

    fn watch(&self, run: &RunId) -> watch::Receiver<Seq> {
        if *run == self.run { self.last.subscribe() } else { watch::channel(Seq(0)).1 }
    }

    fn lock_releases(&self) -> watch::Receiver<u64> {
        self.releases.subscribe()
    }
}

impl Face {
    /// A face of one record and of nothing else: its engine drives nothing, and cannot.
    pub fn of_record(run: RunId, events: Vec<Recorded>, host: Arc<Host>) -> Self {
        let last = watch::Sender::new(events.last().map_or(Seq(0), |last| last.seq));
        let record = Record { run, events, last, releases: watch::Sender::new(0) };
        let witness = Witness::over(Arc::new(record));
        let options = Options {
            engine: "none".to_owned(),
            scratch: Arc::new(|_| std::env::temp_dir()),
            observer: None,
            captures: None,
            crash: None,
        };
        let engine = Engine::new(witness.clone(), host, Arc::new(SystemClock), options);
        Self::new(engine, witness, String::new())
    }
}
