//! The mark in the file `durable`: up to which frame the log is on disk. Written after each sync
//! and not synced itself, so after a power cut it may be older than the truth, never newer.

use std::path::Path;

use crate::disk::{Disk, DiskFile, OpenMode, read_upto};
use crate::layout::Layout;

/// Bytes of the mark: frame, boot and checksum.
const LEN: usize = 32;

/// What the mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Frames up to this one are on disk.
    pub(crate) frame: u64,
    /// The boot during which it was written: what was read from the disk after a later boot is on
    /// the disk, whatever the mark says.
    pub(crate) boot: u64,
}

impl Mark {
    fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.frame.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.boot.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..16]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let number = |at: usize| {
            bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        let whole = bytes[16..20] == crc32fast::hash(&bytes[..16]).to_le_bytes();
        whole.then(|| Self { frame: number(0), boot: number(8) })
    }

    /// Reads a store's mark; an unreadable one says nothing.
    pub(crate) fn load(disk: &dyn Disk, layout: &Layout) -> Self {
        /// A reader may meet the writer in the middle of a mark.
        const TRIES: usize = 3;
        let Ok(file) = disk.open(&layout.durable(), OpenMode::Read) else { return Self::default() };
        let once = || {
            let mut bytes = [0; LEN];
            read_upto(&*file, &mut bytes, 0).ok()?;
            Self::decode(&bytes)
        };
        (0..TRIES).find_map(|_| once()).unwrap_or_default()
    }

    /// The frame, where the mark was written since the machine was started.
    pub(crate) fn of_this_boot(self) -> Option<u64> {
        (self.boot != 0 && self.boot == this_boot()).then_some(self.frame)
    }

    /// Writes the mark. It saves a reader from showing less than it could, so a failure is nothing.
    pub(crate) fn put(self, file: &dyn DiskFile) {
        if let Err(error) = file.write_at(&self.encode(), 0) {
            tracing::debug!(%error, "the mark of what is durable was not written");
        }
    }
}

/// A number for this boot of the machine; 0 where the system does not tell.
pub(crate) fn this_boot() -> u64 {
    let text = std::fs::read(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    let digits: String = String::from_utf8_lossy(&text).replace('-', "").chars().take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}
