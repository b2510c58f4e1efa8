//! Looks into the journal of a run that memory does not know, or not far enough back.

use std::io;

use backout_core::event::Grant;
use backout_core::id::{RunId, Seq};

use crate::disk::OpenMode;
use crate::envelope;
use crate::home;
use crate::journal::{Append, AppendResult, StoreError};
use crate::ledger::RunMeta;
use crate::shared::Shared;

/// Reads where a run is that is at rest; `None` where there is none.
pub(crate) fn load_meta(shared: &Shared, run: &RunId) -> Result<Option<RunMeta>, StoreError> {
    let path = shared.layout.journal(run);
    let file = match shared.disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(home::io_error("opening", &path, &error)),
    };
    let mut meta = RunMeta::default();
    home::visit(Some((&*file, &path)), &[], Seq(1), &mut |_, records| {
        fold_lines(&mut meta, records).map_err(|why| home::damaged(&path, 0, why))?;
        Ok(true)
    })?;
    Ok(Some(meta))
}

/// Folds records into what is known of their run.
pub(crate) fn fold_lines(meta: &mut RunMeta, records: &[u8]) -> Result<(), String> {
    for line in envelope::lines(records) {
        let (head, link) = envelope::read_head(line)?;
        meta.apply(&head, &link);
    }
    Ok(())
}

/// Looks for an append in its run's journal.
pub(crate) fn find_append(shared: &Shared, append: &Append) -> Option<AppendResult> {
    let path = shared.layout.journal(&append.run);
    let log = shared.log_records(&append.run, append.expected_seq.next()).ok()?;
    let file = shared.disk.open(&path, OpenMode::Read).ok();
    let home = file.as_deref().map(|file| (file, path.as_path()));
    let mut found: Option<(Seq, Vec<Grant>)> = None;
    let from = append.expected_seq.next();
    let visited = home::visit(home, &log, from, &mut |_, records| {
        for line in envelope::lines(records) {
            let Ok((head, _)) = envelope::read_head(line) else { return Ok(false) };
            if head.seq < from {
                continue;
            }
            if head.append != append.append_id.as_str() {
                return Ok(false);
            }
            let grants = found.take().map_or_else(|| head.grants.clone(), |(_, grants)| grants);
            found = Some((head.seq, grants));
        }
        Ok(true)
    });
    visited.ok()?;
    found.map(|(last, grants)| AppendResult::Committed { last, grants })
}
