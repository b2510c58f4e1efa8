//! The segment that is written to, and the spare one behind it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenMode, write_all};
use crate::frame::{HEADER, SegmentHeader};
use crate::layout::Layout;

/// A segment with room. Its first `zeroed` bytes were written before, so that a sync after a write
/// there has no metadata to write.
#[derive(Clone, Debug)]
pub(crate) struct OpenSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next frame is written.
    pub(crate) at: u64,
    /// Where the next segment is begun, if there is one.
    pub(crate) zeroed: u64,
    /// Bytes that the disk has promised.
    pub(crate) capacity: u64,
}

impl OpenSegment {
    /// Bytes that can still be written.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.at)
    }

    /// Whether a spare one should be made: early enough that nobody waits for it, and not beside the
    /// first records of a run.
    pub(crate) fn is_half_full(&self) -> bool {
        self.at > self.zeroed / 2
    }

    /// Takes more room from the disk.
    pub(crate) fn grow(&mut self, capacity: u64) -> io::Result<()> {
        self.file.allocate(capacity)?;
        self.file.sync_all()?;
        self.capacity = capacity;
        Ok(())
    }
}

/// Bytes of zeros written at once.
const ZEROS: usize = 256 * 1024;

/// Makes a segment: `content` behind its header, then zeros, all of it durable under its name.
pub(crate) fn create(
    disk: &dyn Disk,
    layout: &Layout,
    header: &SegmentHeader,
    content: &[u8],
    bytes: u64,
) -> io::Result<OpenSegment> {
    let path = layout.segment(header.number);
    let temporary = path.with_extension("new");
    let made = fill(disk, &temporary, header, content, bytes);
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            // Whatever remains of it is removed at the next open.
            let _removed = disk.remove_file(&temporary);
            return Err(error);
        }
    };
    disk.rename(&temporary, &path)?;
    disk.sync_dir(&layout.log())?;
    let at = (HEADER + content.len()) as u64;
    let number = header.number;
    Ok(OpenSegment { number, path, file: file.into(), at, zeroed: bytes, capacity: bytes })
}

fn fill(
    disk: &dyn Disk,
    path: &std::path::Path,
    header: &SegmentHeader,
    content: &[u8],
    bytes: u64,
) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.open(path, OpenMode::Create)?;
    file.allocate(bytes)?;
    write_all(&*file, &header.encode(), 0)?;
    write_all(&*file, content, HEADER as u64)?;
    let zeros = vec![0; ZEROS];
    let mut at = (HEADER + content.len()) as u64;
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(ZEROS).min(ZEROS);
        write_all(&*file, zeros.get(..len).unwrap_or(&zeros), at)?;
        at += len as u64;
    }
    file.sync_all()?;
    Ok(file)
}
