//! The checkpoint: what is known of the runs that matter at the point up to which the log is stored
//! away, and the storing away itself.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use backout_core::id::{LockToken, RunId, TargetId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, OpenMode, read_all, replace};
use crate::envelope;
use crate::frame::STORAGE_FORMAT;
use crate::home::{self, LogRecords, damaged, io_error};
use crate::journal::StoreError;
use crate::layout::Layout;
use crate::ledger::{Ledger, Lock, RunMeta};
use crate::scan::Segment;

/// The content of the file `checkpoint`: a line with a CRC-32 in hex, and a line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) format: u32,
    /// Segments up to this one are stored away.
    pub(crate) retired: u64,
    /// Frames up to this one are stored away.
    pub(crate) frame: u64,
    /// The last lock token given out; it never goes back.
    pub(crate) token: LockToken,
    /// Runs that are unfinished or hold a lock. All others are at rest.
    pub(crate) runs: BTreeMap<RunId, Kept>,
    pub(crate) locks: BTreeMap<TargetId, Lock>,
}

/// One run in a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub(crate) meta: RunMeta,
    /// Bytes of its journal that are durable.
    pub(crate) bytes: u64,
}

impl Checkpoint {
    /// Reads a store's checkpoint; `None` where there is none.
    pub(crate) fn load(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>, StoreError> {
        load_checked(disk, &layout.checkpoint(), |found: &Self| found.format)
    }

    fn store(&self, disk: &dyn Disk, layout: &Layout) -> Result<(), StoreError> {
        let path = layout.checkpoint();
        let bytes = with_checksum(self).map_err(|error| io_error("writing", &path, &error))?;
        replace(disk, &path, &bytes).map_err(|error| io_error("writing", &path, &error))
    }
}

/// JSON behind a line with its checksum.
pub(crate) fn with_checksum(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(value)?;
    let mut bytes = format!("{:08x}\n", crc32fast::hash(&text)).into_bytes();
    bytes.extend_from_slice(&text);
    bytes.push(b'\n');
    Ok(bytes)
}

/// The JSON behind a line with its checksum.
fn checked_line(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, text) = (bytes.get(..8)?, bytes.get(9..)?);
    let text = text.strip_suffix(b"\n")?;
    (format!("{:08x}", crc32fast::hash(text)).as_bytes() == crc).then_some(text)
}

/// Reads a file of JSON behind a line with its checksum; `None` where there is none. `format_of` says
/// which format the content is of.
pub(crate) fn load_checked<T: DeserializeOwned>(
    disk: &dyn Disk,
    path: &Path,
    format_of: fn(&T) -> u32,
) -> Result<Option<T>, StoreError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening", path, &error)),
    };
    let bytes = read_all(&*file).map_err(|error| io_error("reading", path, &error))?;
    let text = checked_line(&bytes).ok_or_else(|| damaged(path, 0, "its checksum does not fit"))?;
    let content =
        serde_json::from_slice(text).map_err(|error| damaged(path, 9, error.to_string()))?;
    let found = format_of(&content);
    if found > STORAGE_FORMAT {
        let file = path.display().to_string();
        return Err(StoreError::Newer { file, found, known: STORAGE_FORMAT });
    }
    Ok(Some(content))
}

/// Records of one frame or more, by run.
pub(crate) type Grouped = BTreeMap<RunId, LogRecords>;

/// The store as it is at the checkpoint, and the hand that moves it on.
#[derive(Debug)]
pub(crate) struct Archive {
    disk: Arc<dyn Disk>,
    layout: Layout,
    /// As of the checkpoint.
    pub(crate) ledger: Ledger,
    bytes: HashMap<RunId, u64>,
    pub(crate) retired: u64,
    pub(crate) frame: u64,
    /// Runs that were found to be damaged, and why; whoever drives the archive takes them.
    pub(crate) holds: Vec<(RunId, String)>,
    /// Whether the disk refused something else than room: then nothing more is tried.
    pub(crate) broken: bool,
}

impl Archive {
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: Layout, checkpoint: Checkpoint) -> Self {
        let Checkpoint { retired, frame, token, runs, locks, .. } = checkpoint;
        let bytes = runs.iter().map(|(run, kept)| (run.clone(), kept.bytes)).collect();
        let runs = runs.into_iter().map(|(run, kept)| (run, kept.meta)).collect();
        Self {
            disk,
            layout,
            ledger: Ledger { runs, locks, token },
            bytes,
            retired,
            frame,
            holds: Vec::new(),
            broken: false,
        }
    }

    /// Copies a segment's records to their runs, makes that durable, and says so in the checkpoint.
    /// Records that do not follow on what the run has are left out: they lie behind damage.
    pub(crate) fn store_away(&mut self, segment: &Segment) -> Result<(), StoreError> {
        let mut ledger = self.ledger.clone();
        let grouped = fold(&mut ledger, segment, &mut self.holds)?;
        self.write_home(&grouped)?;
        self.ledger = ledger;
        if let Some(frame) = segment.frames.last() {
            self.frame = self.frame.max(frame.number);
        }
        self.retired = self.retired.max(segment.number);
        self.save()
    }

    /// Writes the checkpoint.
    pub(crate) fn save(&mut self) -> Result<(), StoreError> {
        let resting: Vec<RunId> =
            self.ledger.runs.keys().filter(|run| !self.ledger.matters(run)).cloned().collect();
        for run in resting {
            self.ledger.runs.remove(&run);
            self.bytes.remove(&run);
        }
        let kept = |(run, meta): (&RunId, &RunMeta)| {
            let bytes = self.bytes.get(run).copied().unwrap_or(0);
            (run.clone(), Kept { meta: meta.clone(), bytes })
        };
        let checkpoint = Checkpoint {
            format: STORAGE_FORMAT,
            retired: self.retired,
            frame: self.frame,
            token: self.ledger.token,
            runs: self.ledger.runs.iter().map(kept).collect(),
            locks: self.ledger.locks.clone(),
        };
        checkpoint.store(&*self.disk, &self.layout)
    }

    fn write_home(&mut self, grouped: &Grouped) -> Result<(), StoreError> {
        let mut fresh = false;
        for (run, records) in grouped {
            let path = self.layout.journal(run);
            let begin = match self.bytes.get(run) {
                Some(bytes) => Ok(*bytes),
                None => home::end_before(&*self.disk, &path, records.first),
            };
            match begin {
                Ok(at) => {
                    fresh |= at == 0;
                    let wrote = self.write_run(run, at, records);
                    wrote.map_err(|error| self.failed("writing", &path, &error))?;
                }
                // Damage stays inside the run: the others go on.
                Err(error @ StoreError::Damaged { .. }) => self.hold(run, &error.to_string())?,
                Err(error) => return Err(error),
            }
        }
        let runs = self.layout.runs();
        if fresh {
            let synced = self.disk.sync_dir(&runs);
            synced.map_err(|error| self.failed("syncing", &runs, &error))?;
        }
        Ok(())
    }

    fn write_run(&mut self, run: &RunId, at: u64, records: &LogRecords) -> io::Result<()> {
        let folder = self.layout.run(run);
        if at == 0 {
            self.disk.create_dir_all(&folder)?;
        }
        let end = home::append(&*self.disk, &self.layout.journal(run), run, at, records)?;
        if at == 0 {
            self.disk.sync_dir(&folder)?;
        }
        self.bytes.insert(run.clone(), end);
        Ok(())
    }

    fn failed(&mut self, what: &str, path: &Path, error: &io::Error) -> StoreError {
        let full =
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        self.broken |= !full;
        io_error(what, path, error)
    }

    /// Notes on disk that a person must look at a run first.
    pub(crate) fn hold(&mut self, run: &RunId, why: &str) -> Result<(), StoreError> {
        let path = self.layout.held(run);
        let folder = self.layout.run(run);
        let text = serde_json::to_vec(&Held { why: why.to_owned() }).unwrap_or_default();
        let noted = self
            .disk
            .create_dir_all(&folder)
            .and_then(|()| replace(&*self.disk, &path, &text))
            .and_then(|()| self.disk.sync_dir(&self.layout.runs()));
        noted.map_err(|error| self.failed("writing", &path, &error))?;
        self.holds.push((run.clone(), why.to_owned()));
        Ok(())
    }
}

/// The content of the file `held` of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    why: String,
}

/// Why a run is held for a person.
pub(crate) fn held(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Option<String> {
    let file = disk.open(&layout.held(run), OpenMode::Read).ok()?;
    let bytes = read_all(&*file).unwrap_or_default();
    let held: Option<Held> = serde_json::from_slice(&bytes).ok();
    Some(held.map_or_else(|| "its note cannot be read".into(), |held| held.why))
}

/// Folds a segment's records into a ledger and sorts them by run. Runs with a gap are noted.
pub(crate) fn fold(
    ledger: &mut Ledger,
    segment: &Segment,
    gaps: &mut Vec<(RunId, String)>,
) -> Result<Grouped, StoreError> {
    let mut grouped = Grouped::new();
    for frame in &segment.frames {
        for entry in &frame.entries {
            let records = segment.records(frame, entry);
            let gap = fold_entry(ledger, &entry.run, records, &mut grouped)
                .map_err(|why| damaged(&segment.path, frame.offset, why))?;
            if let Some(missing) = gap
                && gaps.iter().all(|(run, _)| *run != entry.run)
            {
                let place = damaged(&segment.path, frame.offset, missing);
                gaps.push((entry.run.clone(), place.to_string()));
            }
        }
    }
    Ok(grouped)
}

/// Folds the records of one run; says what is missing before them, if so.
fn fold_entry(
    ledger: &mut Ledger,
    run: &RunId,
    records: &[u8],
    grouped: &mut Grouped,
) -> Result<Option<String>, String> {
    for line in envelope::lines(records) {
        let (head, link) = envelope::read_head(line)?;
        // A run at rest is not in the ledger: it is taken up where the log goes on with it.
        if let Some(meta) = ledger.runs.get(run)
            && head.seq != meta.last.next()
        {
            if head.seq <= meta.last {
                continue;
            }
            let (first, last) = (meta.last.next(), head.seq.0 - 1);
            return Ok(Some(format!("records {first} to {last} of run {run} are missing")));
        }
        ledger.apply(run, &head, &link);
        let empty = LogRecords { first: head.seq, last: head.seq, bytes: Vec::new() };
        let kept = grouped.entry(run.clone()).or_insert(empty);
        kept.last = head.seq;
        kept.bytes.extend_from_slice(line);
        kept.bytes.push(b'\n');
    }
    Ok(None)
}
