//! One process owns a store. Who, stands in `owner.lock`, beside the lock that the system drops
//! with the process.

use std::path::PathBuf;
use std::time::Duration;

use backout_core::id::Timestamp;
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, LockGuard, OpenMode, read_all, write_all};
use crate::home::io_error;
use crate::journal::StoreError;
use crate::layout::Layout;

/// Who owns a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// When it opened the store, RFC 3339.
    pub since: String,
    /// Where it listens for other invocations.
    pub socket: PathBuf,
}

/// How often an owner's lock is tried: a reader that asks whether the store is owned takes it for
/// an instant.
const TRIES: u32 = 5;
/// Milliseconds between two tries.
const PAUSE_MS: u64 = 2;

/// Takes the store for this process, or says who has it.
pub(crate) fn take(
    disk: &dyn Disk,
    layout: &Layout,
    owner: &Owner,
) -> Result<Box<dyn LockGuard>, StoreError> {
    let path = layout.owner();
    let failed = |error| io_error("locking", &path, &error);
    for turn in 0..TRIES {
        if turn > 0 {
            std::thread::sleep(Duration::from_millis(PAUSE_MS));
        }
        if let Some(guard) = disk.lock(&path).map_err(failed)? {
            let text = serde_json::to_vec(owner).unwrap_or_default();
            let file = disk.open(&path, OpenMode::Write).map_err(failed)?;
            write_all(&*file, &text, 0).map_err(failed)?;
            file.set_size(text.len() as u64).map_err(failed)?;
            return Ok(guard);
        }
    }
    let found = read(disk, layout);
    let pid = found.as_ref().map_or(0, |owner| owner.pid);
    let since = found.map_or_else(|| "an unknown time".into(), |owner| owner.since);
    Err(StoreError::Owned { pid, since })
}

/// What the owner file says; also of an owner that is gone.
pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Option<Owner> {
    let file = disk.open(&layout.owner(), OpenMode::Read).ok()?;
    serde_json::from_slice(&read_all(&*file).ok()?).ok()
}

/// The owner, where one lives.
pub(crate) fn living(disk: &dyn Disk, layout: &Layout) -> Option<Owner> {
    if disk.is_locked(&layout.owner()) { read(disk, layout) } else { None }
}

/// A moment as RFC 3339 in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    DateTime::from_timestamp_millis(at.0)
        .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
