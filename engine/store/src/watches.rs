//! Wakes those who wait for something to become durable.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use backout_core::id::{RunId, Seq};
use tokio::sync::watch;

/// One channel a run that somebody watches, and one for all lock releases.
#[derive(Debug)]
pub(crate) struct Watches {
    runs: Mutex<HashMap<RunId, watch::Sender<Seq>>>,
    releases: watch::Sender<u64>,
}

impl Default for Watches {
    fn default() -> Self {
        Self { runs: Mutex::default(), releases: watch::Sender::new(0) }
    }
}

impl Watches {
    /// A receiver for a run whose last durable position is `last`.
    pub(crate) fn of(&self, run: &RunId, last: Seq) -> watch::Receiver<Seq> {
        let mut runs = locked(&self.runs);
        runs.retain(|_, sender| sender.receiver_count() > 0);
        runs.entry(run.clone()).or_insert_with(|| watch::Sender::new(last)).subscribe()
    }

    /// Says that a run is durable up to `last`.
    pub(crate) fn durable(&self, run: &RunId, last: Seq) {
        if let Some(sender) = locked(&self.runs).get(run) {
            sender.send_if_modified(|seen| {
                let newer = last > *seen;
                *seen = last.max(*seen);
                newer
            });
        }
    }

    pub(crate) fn releases(&self) -> watch::Receiver<u64> {
        self.releases.subscribe()
    }

    /// Says that locks were released.
    pub(crate) fn released(&self) {
        self.releases.send_modify(|count| *count += 1);
    }
}

/// Locks a mutex. A thread that panicked while it held one left data that is whole: all our
/// critical sections replace values and call nothing that panics.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
