//! Runs that go from one store to another: one file that holds a journal and captured outputs.

use backout_core::id::{RunId, Seq};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, OpenMode, read_all};
use crate::layout::Layout;

/// Where a run came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The store that it was exported from.
    pub store: String,
    /// Records up to this one were written there. Locks granted in them are nothing here.
    pub until: Seq,
    /// Whether the run may only be read: nobody took it over yet.
    pub read_only: bool,
}

/// Where a run came from; `None` where it was made here.
pub(crate) fn imported(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Option<Imported> {
    let file = disk.open(&layout.imported(run), OpenMode::Read).ok()?;
    serde_json::from_slice(&read_all(&*file).ok()?).ok()
}

/// Up to which record a run's journal was written elsewhere; 0 where it was not.
pub(crate) fn foreign_until(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Seq {
    imported(disk, layout, run).map_or(Seq(0), |imported| imported.until)
}
