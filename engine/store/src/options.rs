//! What a store is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use backout_core::id::Timestamp;

use crate::disk::{Disk, RealDisk};

/// Bytes of a log segment: large enough that storing it away is rare beside the work that fills it,
/// small enough that copying an unfinished one at open takes a few milliseconds.
pub const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of the first segment of an opened store, at the most: it is made while somebody waits for
/// the first effect. Larger ones follow.
pub(crate) const FIRST_SEGMENT: u64 = 1024 * 1024;
/// The smallest segment, bytes: room for a few records, for small disks and tests.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// What a store is opened with: everything that it does not find on its disk.
#[derive(Clone)]
pub struct StoreOptions {
    /// The clock; it stamps the owner file and nothing that the engine decides by.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Random bits: the store's name when it is made, and the seed of the salts.
    pub entropy: [u8; 32],
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Where the owner listens, for the owner file; absent is `control.sock` in the store's folder.
    pub socket: Option<PathBuf>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Whether the sled index is kept.
    pub index: bool,
}

impl StoreOptions {
    /// The ordinary options.
    pub fn new(now: Arc<dyn Fn() -> Timestamp + Send + Sync>, entropy: [u8; 32]) -> Self {
        Self {
            now,
            entropy,
            segment_bytes: SEGMENT_BYTES,
            socket: None,
            disk: Arc::new(RealDisk),
            index: true,
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("socket", &self.socket)
            .field("disk", &self.disk)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
