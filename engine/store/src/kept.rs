//! The fold of a run kept beside its journal: a cache. It is not synced, and whatever is odd about
//! it, the journal is folded instead.

use backout_core::id::RunId;
use backout_core::snapshot;
use backout_core::state::RunState;

use crate::disk::{Disk, OpenMode, read_all, write_all};
use crate::layout::Layout;

/// Characters of the checksum and the line end before the content.
const HEAD: usize = 9;

/// Keeps a fold. Where the disk refuses, none is kept.
pub(crate) fn save(disk: &dyn Disk, layout: &Layout, run: &RunId, fold: &[u8]) {
    // A folder that holds only a cache would look like a run.
    if disk.open(&layout.journal(run), OpenMode::Read).is_err() {
        return;
    }
    let path = layout.fold(run);
    let temporary = path.with_extension("new");
    let mut bytes = format!("{:08x}\n", crc32fast::hash(fold)).into_bytes();
    bytes.extend_from_slice(fold);
    let written = disk
        .open(&temporary, OpenMode::Create)
        .and_then(|file| write_all(&*file, &bytes, 0))
        .and_then(|()| disk.rename(&temporary, &path));
    if let Err(error) = written {
        tracing::debug!(%error, run = %run, "the fold is not kept");
    }
}

/// The fold that was kept last.
pub(crate) fn load(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Option<RunState> {
    let file = disk.open(&layout.fold(run), OpenMode::Read).ok()?;
    let bytes = read_all(&*file).ok()?;
    let (head, fold) = bytes.split_at_checked(HEAD)?;
    let sum = std::str::from_utf8(head).ok()?.strip_suffix('\n')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(fold);
    snapshot::find(fold.get(..).filter(|_| is_whole)?).filter(|state| state.run == *run)
}
