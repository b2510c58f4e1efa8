//! A store that sees what is appended through it: what the lists and the figures are kept up to date
//! by, without reading the journals again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backout_core::event::Recorded;
use backout_core::id::{Epoch, RunId, Seq};
use backout_core::state::RunState;
use backout_store::journal::{Append, AppendResult, JournalStore, Pending, StoreError};
use tokio::sync::watch;

/// Told of every append that is durable: the append, and how long it took.
pub type Told = dyn Fn(&Append, Duration) + Send + Sync;

/// A store, and what was appended to it through this.
pub struct Witness {
    store: Arc<dyn JournalStore>,
    seen: Arc<Seen>,
}

struct Seen {
    last: Mutex<HashMap<RunId, Seq>>,
    count: watch::Sender<u64>,
    told: Mutex<Vec<Arc<Told>>>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl Witness {
    /// Stands before a store.
    pub fn over(store: Arc<dyn JournalStore>) -> Arc<Self> {
        let seen =
            Seen { last: Mutex::default(), count: watch::Sender::new(0), told: Mutex::default() };
        Arc::new(Self { store, seen: Arc::new(seen) })
    }

    /// The last position of a run that was appended through this; nothing where none was.
    pub fn last(&self, run: &RunId) -> Option<Seq> {
        locked(&self.seen.last).get(run).copied()
    }

    /// Wakes whenever any run was appended to.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.seen.count.subscribe()
    }

    /// Wakes whoever waits for [`Self::changes`]: something changed that no run's events say.
    pub fn stir(&self) {
        self.seen.count.send_modify(|count| *count += 1);
    }

    /// Tells somebody of every append from now on.
    pub fn tell(&self, told: Arc<Told>) {
        locked(&self.seen.told).push(told);
    }
}

impl Seen {
    fn note(&self, run: RunId, last: Seq) {
        let mut known = locked(&self.last);
        let entry = known.entry(run).or_default();
        *entry = last.max(*entry);
        drop(known);
        self.count.send_modify(|count| *count += 1);
    }
}

impl JournalStore for Witness {
    fn id(&self) -> String {
        self.store.id()
    }

    fn append(&self, append: Append) -> Pending {
        let (seen, began, run) = (self.seen.clone(), Instant::now(), append.run.clone());
        // What is appended is kept only where somebody wants to be told of it.
        let told = locked(&seen.told).clone();
        let kept = if told.is_empty() { None } else { Some(append.clone()) };
        let pending = self.store.append(append);
        Box::pin(async move {
            let result = pending.await;
            if let AppendResult::Committed { last, .. } = &result {
                seen.note(run, *last);
                let took = began.elapsed();
                for (told, append) in told.iter().filter_map(|told| Some(told).zip(kept.as_ref())) {
                    told(append, took);
                }
            }
            result
        })
    }

    fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.read(run, from, limit)
    }

    fn keep_fold(&self, run: &RunId, fold: &[u8]) {
        self.store.keep_fold(run, fold);
    }

    fn kept_fold(&self, run: &RunId) -> Option<RunState> {
        self.store.kept_fold(run)
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        self.store.list()
    }

    fn next_epoch(&self, run: &RunId) -> Result<Epoch, StoreError> {
        self.store.next_epoch(run)
    }

    fn watch(&self, run: &RunId) -> watch::Receiver<Seq> {
        self.store.watch(run)
    }

    fn lock_releases(&self) -> watch::Receiver<u64> {
        self.store.lock_releases()
    }
}

/// Locks a mutex. All critical sections of this crate replace values and call nothing that panics.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
