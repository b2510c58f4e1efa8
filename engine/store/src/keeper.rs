//! Two threads behind the writer: one makes spare segments, one stores full segments away.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use crate::archive::Archive;
use crate::disk::Disk;
use crate::frame::SegmentHeader;
use crate::journal::StoreError;
use crate::layout::Layout;
use crate::options::{FIRST_SEGMENT, SEGMENT_BYTES_MIN};
use crate::scan;
use crate::segment;
use crate::shared::{Shared, Spare};
use crate::watches::locked;

/// Store this segment away; nothing more is written to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// Its number.
    pub(crate) segment: u64,
    /// The last frame that was written to it or before it.
    pub(crate) frame: u64,
}

/// Makes a spare segment each time it is asked, until nobody can ask any more. Each is twice as large
/// as the one before it, up to `bytes`: a store that is opened for one small run does not write
/// megabytes of zeros for it.
pub(crate) fn make_spares(shared: &Shared, asked: &Receiver<()>, mut next: u64, bytes: u64) {
    let mut size = FIRST_SEGMENT.min(bytes);
    while asked.recv().is_ok() {
        size = (2 * size).min(bytes);
        let spare = match make_spare(shared, next, size) {
            Ok(spare) => {
                next += 1;
                Spare::Ready(spare)
            }
            Err(error) => Spare::Failed(error.to_string()),
        };
        shared.set_spare(spare);
    }
}

/// Makes a spare segment as large as the disk has room for.
fn make_spare(shared: &Shared, number: u64, bytes: u64) -> std::io::Result<segment::OpenSegment> {
    let header = SegmentHeader { number, replaces: 0, store: shared.store.clone() };
    let mut bytes = bytes;
    loop {
        match segment::create(&*shared.disk, &shared.layout, &header, &[], bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                bytes /= 2;
                if bytes < SEGMENT_BYTES_MIN {
                    return Err(error);
                }
            }
            made => return made,
        }
    }
}

/// Removes files of the log that hold nothing any more. What stays is harmless.
pub(crate) fn remove(disk: &dyn Disk, leftovers: &[PathBuf]) {
    for path in leftovers {
        if let Err(error) = disk.remove_file(path) {
            tracing::debug!(%error, path = %path.display(), "a leftover was not removed");
        }
    }
}

/// Stores segments away in turn, until nobody can ask any more.
pub(crate) fn store_segments(shared: &Shared, asked: &Receiver<Job>, mut archive: Archive) {
    let mut waiting = VecDeque::new();
    while let Ok(job) = asked.recv() {
        waiting.push_back(job);
        while let Some(job) = waiting.front().filter(|_| !archive.broken) {
            if let Err(error) = store_segment(shared, &mut archive, *job) {
                // The log keeps what could not be stored away; it is tried again with the next one,
                // or by the next open.
                tracing::warn!(%error, segment = job.segment, "a segment of the log stays for now");
                break;
            }
            waiting.pop_front();
        }
    }
}

fn store_segment(shared: &Shared, archive: &mut Archive, job: Job) -> Result<(), StoreError> {
    let segment = scan::scan_one(&*shared.disk, &shared.layout, archive.frame, job)?;
    archive.store_away(&segment)?;
    shared.drop_extents(job.segment);
    let damaged = !archive.holds.is_empty();
    locked(&shared.held).extend(archive.holds.drain(..));
    put_aside(&*shared.disk, &shared.layout, job.segment, damaged);
    Ok(())
}

/// Removes a segment that is stored away; one whose records could not all be is kept.
pub(crate) fn put_aside(disk: &dyn Disk, layout: &Layout, number: u64, keep: bool) {
    let path = layout.segment(number);
    let done = if keep {
        let kept = layout.kept().join(format!("{number:012}.log"));
        disk.create_dir_all(&layout.kept()).and_then(|()| disk.rename(&path, &kept))
    } else {
        disk.remove_file(&path)
    };
    if let Err(error) = done {
        // Harmless: the checkpoint says that it is stored away, and the next open removes it.
        tracing::debug!(%error, path = %path.display(), "a stored segment was not removed");
    }
}
