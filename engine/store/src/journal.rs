//! The seam: what the engine asks of a store, whatever keeps it.

use std::future::Future;
use std::pin::Pin;

use backout_core::event::{Cause, Event, Grant, Holder, Recorded};
use backout_core::id::{CommandId, Epoch, RunId, Seq, TargetId, Timestamp};
use backout_core::state::RunState;

/// An event to be appended; the store gives it its place, its links and its digests.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// What happened.
    pub event: Event,
}

/// One atomic append to one run: all of it is on disk, or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// Names this append: sent again with the same name it is made once.
    pub append_id: CommandId,
    /// The run.
    pub run: RunId,
    /// The epoch of the engine that appends; an older one than the store knows is fenced.
    pub epoch: Epoch,
    /// The run's last position before this append.
    pub expected_seq: Seq,
    /// Targets to lock together with it: all or nothing, and nothing is appended where one is held
    /// by another run. One that this run holds already is granted again with its old token.
    pub claims: Vec<TargetId>,
    /// Targets to let go together with it.
    pub releases: Vec<TargetId>,
    /// How many effects may follow from it. Room for their outcomes must be left: such an append is
    /// refused as [`AppendResult::Full`] earlier than others are.
    pub intends: u32,
    /// What happened.
    pub events: Vec<NewEvent>,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq)]
pub enum AppendResult {
    /// On disk: it survives a power cut.
    Committed {
        /// The run's last position now.
        last: Seq,
        /// The locks granted, in the order of the claims. Where the append raises the run's epoch,
        /// the run's other locks follow, each with a new token. In the journal all of them stand
        /// with the first event of the append.
        grants: Vec<Grant>,
    },
    /// Nothing was appended: the run is elsewhere.
    Conflict {
        /// Its last position.
        actual: Seq,
    },
    /// Nothing was appended: another run holds a target.
    Held {
        /// Which, and who.
        holders: Vec<Holder>,
    },
    /// Nothing was appended: a newer engine drives the run.
    Fenced {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Nothing was appended: no room. The store goes on, and the same append may be made later.
    Full {
        /// What was asked, and what stands in the way.
        why: String,
    },
    /// Nothing was appended, and waiting does not help: it is beyond a limit, its run's name is not
    /// safe, or its run is imported and read-only, or held for a person since its journal is
    /// damaged. The store goes on.
    Refused {
        /// What stands in the way.
        why: String,
    },
    /// Nobody knows; the store has stopped for good. Open it again to learn.
    Unknown {
        /// What the disk said, and where.
        why: String,
    },
}

impl Append {
    /// The records that [`JournalStore::read`] gives for this append once it is committed.
    pub fn recorded(&self, grants: &[Grant]) -> Vec<Recorded> {
        let mut seq = self.expected_seq;
        let record = |(index, new): (usize, &NewEvent)| {
            seq = seq.next();
            Recorded {
                seq,
                epoch: self.epoch,
                at: new.at,
                cause: new.cause.clone(),
                grants: if index == 0 { grants.to_vec() } else { Vec::new() },
                event: new.event.clone(),
            }
        };
        self.events.iter().enumerate().map(record).collect()
    }
}

/// The answer to an append, to be awaited or polled.
pub type Pending = Pin<Box<dyn Future<Output = AppendResult> + Send>>;

/// Why something could not be read or done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such run.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The bytes are not what was written.
    #[error("{file} is damaged at byte {offset}: {why}")]
    Damaged {
        /// The file.
        file: String,
        /// Where the first bad byte, or the record that holds it, begins.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// Written by a newer release.
    #[error("{file} has format {found}, this release reads up to {known}")]
    Newer {
        /// The file.
        file: String,
        /// What it says.
        found: u32,
        /// What this release knows.
        known: u32,
    },
    /// Another process owns the store.
    #[error("the store is owned by process {pid} since {since}")]
    Owned {
        /// Its process id.
        pid: u32,
        /// When it opened the store, RFC 3339.
        since: String,
    },
    /// The disk refused.
    #[error("{what}: {why}")]
    Io {
        /// What was tried, on which path.
        what: String,
        /// What the system said.
        why: String,
    },
}

/// A store of journals.
pub trait JournalStore: Send + Sync {
    /// Names the store; lock tokens of two stores say nothing about each other.
    fn id(&self) -> String;

    /// Appends. The call queues at once, in order; the answer comes when it is durable.
    fn append(&self, append: Append) -> Pending;

    /// The durable events of a run from a position on (`Seq(1)` is the first), at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`]; [`StoreError::Damaged`] or [`StoreError::Io`] where one of them
    /// cannot be read.
    fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError>;

    /// Keeps the fold of a run's durable events, so that [`Self::kept_fold`] saves reading them
    /// again. A cache: a store may keep none.
    fn keep_fold(&self, _run: &RunId, _fold: &[u8]) {}

    /// The state that was kept last, of events that all are durable; what follows is read from its
    /// position on.
    fn kept_fold(&self, _run: &RunId) -> Option<RunState> {
        None
    }

    /// All runs, in no order.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk refuses.
    fn list(&self) -> Result<Vec<RunId>, StoreError>;

    /// Takes up a run: gives the epoch one higher than any before. The first append under it makes
    /// it so; then older epochs are fenced. A run that does not exist yet begins with 1.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Io`] where the run cannot be read.
    fn next_epoch(&self, run: &RunId) -> Result<Epoch, StoreError>;

    /// Wakes whenever something of this run became durable; carries its last position.
    fn watch(&self, run: &RunId) -> tokio::sync::watch::Receiver<Seq>;

    /// Wakes whenever a lock was released.
    fn lock_releases(&self) -> tokio::sync::watch::Receiver<u64>;
}
