//! What the writer, the keeper and those who read share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use backout_core::id::{Epoch, RunId, Seq};

use crate::disk::{Disk, DiskFile, read_upto};
use crate::home::LogRecords;
use crate::layout::Layout;
use crate::ledger::Ledger;
use crate::segment::OpenSegment;
use crate::watches::{Watches, locked};

/// Where durable records of a run are in the log.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) segment: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
}

/// The state of the spare segment.
#[derive(Debug, Default)]
pub(crate) enum Spare {
    /// Nobody makes one.
    #[default]
    None,
    /// The keeper makes one.
    Coming,
    /// It is there.
    Ready(OpenSegment),
    /// It could not be made.
    Failed(String),
}

/// Shared by the threads of one open store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) store: String,
    pub(crate) boot: u64,
    /// As of the last record written; only the writer changes it.
    pub(crate) ledger: Mutex<Ledger>,
    /// The last epoch handed out for a run; no append may have come under it yet.
    pub(crate) offered: Mutex<HashMap<RunId, Epoch>>,
    pub(crate) extents: Mutex<HashMap<RunId, Vec<Extent>>>,
    /// Runs that a person must look at first, and why.
    pub(crate) held: Mutex<BTreeMap<RunId, String>>,
    pub(crate) watches: Watches,
    pub(crate) spare: Mutex<Spare>,
    pub(crate) spare_changed: Condvar,
    /// Why nothing more can be written.
    pub(crate) stopped: Mutex<Option<String>>,
}

/// How long the writer waits for a spare segment to be made, before it says that the disk is full.
const SPARE_WAIT: Duration = Duration::from_secs(10);

impl Shared {
    /// The durable records of a run that are still in the log. Those before `from` are only named,
    /// not read.
    pub(crate) fn log_records(&self, run: &RunId, from: Seq) -> std::io::Result<Vec<LogRecords>> {
        let (passed, extents) = self.extents_of(run, from);
        let mut records: Vec<LogRecords> = passed.into_iter().collect();
        for Extent { file, offset, len, first, last, .. } in extents {
            let mut bytes = vec![0; len];
            if read_upto(&*file, &mut bytes, offset)? < len {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match records.last_mut() {
                Some(before) if before.last.next() == first && !before.bytes.is_empty() => {
                    before.last = last;
                    before.bytes.extend_from_slice(&bytes);
                }
                _ => records.push(LogRecords { first, last, bytes }),
            }
        }
        Ok(records)
    }

    /// Where the records of a run from `from` on are, and which ones before it are in the log.
    fn extents_of(&self, run: &RunId, from: Seq) -> (Option<LogRecords>, Vec<Extent>) {
        let extents = locked(&self.extents);
        let all = extents.get(run).map(Vec::as_slice).unwrap_or_default();
        let (passed, wanted) = all.split_at(all.partition_point(|extent| extent.last < from));
        let ends = passed.first().zip(passed.last());
        let passed = ends.map(|(first, last)| LogRecords {
            first: first.first,
            last: last.last,
            bytes: Vec::new(),
        });
        (passed, wanted.to_vec())
    }

    /// Forgets where records were that are stored away now.
    pub(crate) fn drop_extents(&self, segment: u64) {
        locked(&self.extents).retain(|_, extents| {
            extents.retain(|extent| extent.segment > segment);
            !extents.is_empty()
        });
    }

    /// Says what became of the spare segment.
    pub(crate) fn set_spare(&self, spare: Spare) {
        *locked(&self.spare) = spare;
        self.spare_changed.notify_all();
    }

    /// Waits while a spare segment is being made.
    pub(crate) fn await_spare(&self) {
        let spare = locked(&self.spare);
        let waited = self
            .spare_changed
            .wait_timeout_while(spare, SPARE_WAIT, |spare| matches!(spare, Spare::Coming))
            .unwrap_or_else(PoisonError::into_inner);
        drop(waited);
    }

    /// Why the writer stopped.
    pub(crate) fn stop_reason(&self) -> Option<String> {
        locked(&self.stopped).clone()
    }
}
