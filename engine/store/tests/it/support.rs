//! What the tests share.

use std::path::Path;
use std::sync::Arc;

use backout_core::id::{RunId, Timestamp};
use backout_store::disk::Disk;
use backout_store::{EmbeddedStore, Opened, SEGMENT_BYTES_MIN, StoreOptions};

/// Options with small segments, so that tests meet their ends often.
pub(crate) fn options() -> StoreOptions {
    let mut options = StoreOptions::new(Arc::new(|| Timestamp(1_700_000_000_000)), [7; 32]);
    options.segment_bytes = SEGMENT_BYTES_MIN;
    options.index = false;
    options
}

pub(crate) fn on(disk: &(impl Disk + Clone + 'static)) -> StoreOptions {
    let mut options = options();
    options.disk = Arc::new(disk.clone());
    options
}

pub(crate) fn open(dir: &Path) -> (EmbeddedStore, Opened) {
    EmbeddedStore::open(dir, options()).unwrap()
}

pub(crate) fn run(number: u64) -> RunId {
    RunId::from_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
