//! Captured output: `runs/<id>/out/<sha256>`, one file a piece of output, never changed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use backout_core::contract::hex;
use backout_core::id::RunId;
use sha2::{Digest, Sha256};

use crate::disk::{Disk, DiskFile, OpenMode, read_upto, write_all};
use crate::home::io_error;
use crate::journal::StoreError;
use crate::layout::Layout;

/// What stands at the end of output that was cut at its limit.
pub const CUT_MARK: &str = "\n[cut here: the output went on beyond its limit]\n";

/// A captured output: what an event says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// SHA-256 of the file in lower-case hex; its name too.
    pub sha256: String,
    /// Bytes in the file, the mark included.
    pub len: u64,
    /// Whether the output went on beyond the limit.
    pub cut: bool,
}

/// Output on its way to its file. Dropped before [`Self::finish`], it leaves a file under a
/// temporary name, which views can follow and which the next capture of this name empties.
#[derive(Debug)]
pub struct Capture {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    digest: Sha256,
    len: u64,
    limit: u64,
    cut: bool,
}

impl Capture {
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        layout: &Layout,
        run: &RunId,
        name: &str,
        limit: u64,
    ) -> Result<Self, StoreError> {
        let folder = layout.captures(run);
        let safe: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let path = folder.join(format!("{safe}.part"));
        let failed = |error: io::Error| io_error("capturing output in", &path, &error);
        disk.create_dir_all(&folder).map_err(failed)?;
        let file = disk.open(&path, OpenMode::Create).map_err(failed)?;
        let digest = Sha256::new();
        Ok(Self { disk, folder, path: path.clone(), file, digest, len: 0, limit, cut: false })
    }

    /// The file that grows, for those who follow it.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Adds output. Beyond the limit it is left out.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk refuses.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let room = usize::try_from(self.limit.saturating_sub(self.len)).unwrap_or(usize::MAX);
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.cut |= kept.len() < bytes.len();
        self.put(kept)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let put = write_all(&*self.file, bytes, self.len);
        put.map_err(|error| io_error("capturing output in", &self.path, &error))?;
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes the output durable under its digest. Only then may an event name it.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk refuses; then nothing may name the output.
    pub fn finish(mut self) -> Result<Captured, StoreError> {
        if self.cut {
            self.put(CUT_MARK.as_bytes())?;
        }
        let sha256 = hex(&self.digest.finalize());
        let path = self.folder.join(&sha256);
        let run = self.folder.parent().unwrap_or(&self.folder);
        let runs = run.parent().unwrap_or(run);
        let kept = self
            .file
            .sync_all()
            .and_then(|()| self.disk.rename(&self.path, &path))
            .and_then(|()| self.disk.sync_dir(&self.folder))
            .and_then(|()| self.disk.sync_dir(run))
            .and_then(|()| self.disk.sync_dir(runs));
        kept.map_err(|error| io_error("keeping output in", &path, &error))?;
        Ok(Captured { sha256, len: self.len, cut: self.cut })
    }
}

/// Whether a file's name is a digest, so that its content is final; one that still grows has an
/// ending.
pub(crate) fn is_finished(name: &str) -> bool {
    !name.contains('.')
}

/// Reads captured output from a place on, at most `limit` bytes; nothing at its end.
pub(crate) fn read(
    disk: &dyn Disk,
    layout: &Layout,
    run: &RunId,
    sha256: &str,
    place: (u64, usize),
) -> Result<Vec<u8>, StoreError> {
    let safe = !sha256.is_empty() && sha256.bytes().all(|b| b.is_ascii_alphanumeric());
    let path = layout.captures(run).join(if safe { sha256 } else { "unnamed" });
    let failed = |error: io::Error| io_error("reading", &path, &error);
    let file = disk.open(&path, OpenMode::Read).map_err(failed)?;
    let (offset, limit) = place;
    let left = file.size().map_err(failed)?.saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(limit).min(limit)];
    let read = read_upto(&*file, &mut bytes, offset).map_err(failed)?;
    bytes.truncate(read);
    Ok(bytes)
}
