//! The folder of a store, and the file that says which store it is.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::{load_checked, with_checksum};
use crate::disk::{Disk, replace};
use crate::frame::STORAGE_FORMAT;
use crate::home::io_error;
use crate::journal::StoreError;
use crate::layout::Layout;
use backout_core::contract::hex;

/// The content of the file `format`, behind a line with its checksum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) format: u32,
    pub(crate) store: String,
}

pub(crate) fn make_folders(disk: &dyn Disk, layout: &Layout) -> Result<(), StoreError> {
    for path in [layout.log(), layout.runs()] {
        disk.create_dir_all(&path).map_err(|error| io_error("making", &path, &error))?;
    }
    Ok(())
}

/// What an owner that died renamed or removed is seen now, but may not be on disk yet. Nothing is
/// built on it before it is.
pub(crate) fn sync_names(disk: &dyn Disk, layout: &Layout) -> Result<(), StoreError> {
    for path in [layout.root.clone(), layout.log(), layout.runs()] {
        disk.sync_dir(&path).map_err(|error| io_error("syncing", &path, &error))?;
    }
    Ok(())
}

/// Reads which store this is; a folder without that is a new one.
pub(crate) fn load_or_make(
    disk: &dyn Disk,
    layout: &Layout,
    entropy: &[u8; 32],
) -> Result<Format, StoreError> {
    if let Some(format) = load(disk, layout)? {
        return Ok(format);
    }
    // Hashed, since the salts come from the same bits and the name is no secret.
    let name: [u8; 32] = Sha256::digest(entropy).into();
    let store = hex(&name[..8]);
    let format = Format { format: STORAGE_FORMAT, store };
    let path = layout.format();
    let failed = |error: io::Error| io_error("making", &path, &error);
    let bytes = with_checksum(&format).map_err(failed)?;
    replace(disk, &path, &bytes).map_err(failed)?;
    if let Some(parent) = layout.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(failed)?;
    }
    Ok(format)
}

pub(crate) fn load(disk: &dyn Disk, layout: &Layout) -> Result<Option<Format>, StoreError> {
    load_checked(disk, &layout.format(), |format: &Format| format.format)
}
