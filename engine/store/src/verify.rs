//! Checks every checksum and every chain of a store, and names the first bad byte.

use std::io;
use std::path::Path;

use backout_core::contract::hex;
use backout_core::id::{RunId, Seq};
use sha2::{Digest, Sha256};

use crate::capture;
use crate::disk::{DiskFile, OpenMode, read_all};
use crate::envelope::{self, GENESIS, Hash};
use crate::frame::{ENTRY, HEADER};
use crate::home::{HomeReader, LogRecords, io_error};
use crate::journal::StoreError;
use crate::reader::{LogView, Reader};

/// Something that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The run, where it is one run's.
    pub run: Option<RunId>,
    /// The file.
    pub file: String,
    /// Where the first bad byte, or the record that holds it, begins.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// Checks a store, or one run of it. Nothing found is all well. A chain detects edits only against
/// a head that was kept elsewhere, see [`head`].
///
/// # Errors
/// [`StoreError::NoSuchRun`]; [`StoreError::Io`] where something cannot be read at all.
pub fn verify(dir: &Path, run: Option<&RunId>) -> Result<Vec<Finding>, StoreError> {
    let reader = Reader::open(dir)?;
    let log = reader.log()?;
    let mut findings: Vec<Finding> = log
        .damage
        .iter()
        .map(|damage| Finding {
            run: None,
            file: damage.path.display().to_string(),
            offset: damage.offset,
            what: damage.why.clone(),
        })
        .collect();
    let runs = match run {
        Some(run) => vec![run.clone()],
        None => reader.list()?,
    };
    for run in &runs {
        let (_, found) = chain(&reader, &log, run)?;
        findings.extend(found);
        findings.extend(captures(&reader, run)?);
    }
    Ok(findings)
}

/// The head of a run's chain in hex: kept elsewhere, it shows later whether anything before it was
/// changed.
///
/// # Errors
/// [`StoreError::NoSuchRun`]; [`StoreError::Damaged`] where the chain is broken.
pub fn head(reader: &Reader, run: &RunId) -> Result<String, StoreError> {
    let (state, finding) = chain(reader, &reader.log()?, run)?;
    match finding {
        None => Ok(hex(&state.link)),
        Some(Finding { file, offset, what, .. }) => {
            Err(StoreError::Damaged { file, offset, why: what })
        }
    }
}

/// Whether a run's chain passes through this head: nothing up to it was changed since. Gives the
/// position of the record that has it.
///
/// # Errors
/// As [`head`].
pub fn find_head(reader: &Reader, run: &RunId, head: &str) -> Result<Option<Seq>, StoreError> {
    let log = reader.log()?;
    let mut walk = Walk { wanted: Some(head.to_owned()), ..Walk::default() };
    match walk_run(reader, &log, run, &mut walk)? {
        None => Ok(walk.found),
        Some(Finding { file, offset, what, .. }) => {
            Err(StoreError::Damaged { file, offset, why: what })
        }
    }
}

/// How far a chain was followed.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) last: Seq,
    pub(crate) link: Hash,
    /// Whether bodies were taken out of the records, so that they are checked by their heads alone.
    redacted: bool,
    wanted: Option<String>,
    pub(crate) found: Option<Seq>,
}

impl Walk {
    /// Says on the way which record has this head.
    pub(crate) fn looking_for(self, head: Option<&str>) -> Self {
        Self { wanted: head.map(str::to_ascii_lowercase), ..self }
    }

    /// Follows a chain whose bodies were taken out.
    pub(crate) fn redacted() -> Self {
        Self { redacted: true, ..Self::default() }
    }

    /// Follows the chain through records; an error names the place in them.
    pub(crate) fn follow(&mut self, run: &RunId, records: &[u8]) -> Result<(), (u64, String)> {
        let mut at = 0;
        for line in records.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            self.record(run, text).map_err(|why| (at, why))?;
            at += line.len() as u64;
        }
        Ok(())
    }

    fn record(&mut self, run: &RunId, line: &[u8]) -> Result<(), String> {
        let check = if self.redacted { envelope::check_redacted } else { envelope::check };
        let checked = check(line, run.as_str(), &self.link)?;
        if checked.seq != self.last.next() {
            return Err(format!("record {} stands where {} should", checked.seq, self.last.next()));
        }
        (self.last, self.link) = (checked.seq, checked.link);
        if self.wanted.as_deref() == Some(&hex(&checked.link)) {
            self.found = Some(checked.seq);
        }
        Ok(())
    }
}

fn chain(
    reader: &Reader,
    log: &LogView,
    run: &RunId,
) -> Result<(Walk, Option<Finding>), StoreError> {
    let mut walk = Walk { link: GENESIS, ..Walk::default() };
    let finding = walk_run(reader, log, run, &mut walk)?;
    Ok((walk, finding))
}

fn walk_run(
    reader: &Reader,
    log: &LogView,
    run: &RunId,
    walk: &mut Walk,
) -> Result<Option<Finding>, StoreError> {
    let in_log = log.runs.get(run).map(Vec::as_slice).unwrap_or_default();
    let home = reader.home(run);
    if home.is_none() && in_log.is_empty() {
        return Err(StoreError::NoSuchRun(run.clone()));
    }
    let path = reader.layout.journal(run);
    let until = in_log.first().map(|records| records.first);
    if let Some(file) = &home
        && let Some(finding) = walk_home(&**file, &path, run, until, walk)?
    {
        return Ok(Some(finding));
    }
    let file = reader.layout.log().display().to_string();
    for records in in_log {
        if let Err((_, what)) = walk_log(records, run, walk) {
            return Ok(Some(Finding { run: Some(run.clone()), file, offset: 0, what }));
        }
    }
    Ok(None)
}

fn walk_home(
    file: &dyn DiskFile,
    path: &Path,
    run: &RunId,
    until: Option<Seq>,
    walk: &mut Walk,
) -> Result<Option<Finding>, StoreError> {
    let finding = |offset, what| {
        let file = path.display().to_string();
        Ok(Some(Finding { run: Some(run.clone()), file, offset, what }))
    };
    let mut reader = HomeReader::new(file, path);
    while until.is_none_or(|first| walk.last.next() < first) {
        match reader.next(Seq(1)) {
            Ok(None) => break,
            Ok(Some(frame)) => {
                let begin = frame.offset + (HEADER + ENTRY) as u64;
                if let Err((at, why)) = walk.follow(run, frame.records.unwrap_or_default()) {
                    return finding(begin + at, why);
                }
            }
            Err(StoreError::Damaged { offset, why, .. }) => return finding(offset, why),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Follows the chain through records of the log, of which some may stand at home already.
fn walk_log(records: &LogRecords, run: &RunId, walk: &mut Walk) -> Result<(), (u64, String)> {
    let known = walk.last.0.saturating_sub(records.first.0.saturating_sub(1));
    let skip = usize::try_from(known).unwrap_or(usize::MAX);
    let rest: Vec<u8> = records
        .bytes
        .split_inclusive(|byte| *byte == b'\n')
        .skip(skip)
        .flatten()
        .copied()
        .collect();
    walk.follow(run, &rest)
}

/// Captured outputs that are not what their names say.
fn captures(reader: &Reader, run: &RunId) -> Result<Vec<Finding>, StoreError> {
    let folder = reader.layout.captures(run);
    let names = match reader.disk.list(&folder) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("listing", &folder, &error)),
    };
    let mut findings = Vec::new();
    for name in names.iter().filter(|name| capture::is_finished(name)) {
        let path = folder.join(name);
        let read = reader.disk.open(&path, OpenMode::Read).and_then(|file| read_all(&*file));
        let what = match read {
            Ok(bytes) if hex(&Sha256::digest(&bytes)) == *name => continue,
            Ok(_) => "the output is not what its name says".to_owned(),
            Err(error) => error.to_string(),
        };
        let file = path.display().to_string();
        findings.push(Finding { run: Some(run.clone()), file, offset: 0, what });
    }
    Ok(findings)
}
