//! Reads a store without owning it: beside its owner, on a full or read-only file system, without
//! sled.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq};
use backout_core::state::RunState;

use crate::archive::{self, Checkpoint};
use crate::capture;
use crate::disk::{Disk, DiskFile, OpenMode, RealDisk};
use crate::format;
use crate::home::{self, LogRecords, io_error};
use crate::journal::StoreError;
use crate::kept;
use crate::layout::{Layout, is_run_name};
use crate::mark::{Mark, this_boot};
use crate::owner::{self, Owner};
use crate::portable::{self, Imported};
use crate::scan::{self, Damage, From, LogScan};
use crate::summary::RunSummary;

/// How often a reading is begun again when the owner moves records meanwhile.
const TRIES: usize = 20;

/// Reads a store without owning it.
#[derive(Debug)]
pub struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    store: String,
}

/// The log as one moment shows it: durable records only.
#[derive(Debug, Default)]
pub(crate) struct LogView {
    pub(crate) runs: HashMap<RunId, Vec<LogRecords>>,
    pub(crate) damage: Vec<Damage>,
    /// Runs that were unfinished at the checkpoint.
    pub(crate) unfinished: Vec<RunId>,
}

impl Reader {
    /// Looks at the store in a folder. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`] where there is no store; [`StoreError::Newer`] where a newer release
    /// wrote it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::on(Arc::new(RealDisk), dir)
    }

    /// Looks at a store on some disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        let Some(format) = format::load(&*disk, &layout)? else {
            let what = format!("reading {}", dir.display());
            return Err(StoreError::Io { what, why: "there is no store".into() });
        };
        Ok(Self { disk, layout, store: format.store })
    }

    /// Names the store.
    pub fn id(&self) -> &str {
        &self.store
    }

    /// All runs, by name.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk refuses.
    pub fn list(&self) -> Result<Vec<RunId>, StoreError> {
        let log = self.log()?;
        let path = self.layout.runs();
        let names = match self.disk.list(&path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error("listing", &path, &error)),
        };
        let mut runs: Vec<RunId> =
            names.into_iter().filter(|name| is_run_name(name)).map(RunId::new).collect();
        runs.retain(|run| self.home(run).is_some());
        runs.extend(log.runs.into_keys());
        runs.sort_unstable();
        runs.dedup();
        Ok(runs)
    }

    /// The durable events of a run from a position on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`]; [`StoreError::Damaged`] where one of them cannot be read, see
    /// [`Self::readable`].
    pub fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let (records, damage) = self.attempt(run, from, limit)?;
        damage.map_or(Ok(records), Err)
    }

    /// What can be read of a run, up to the first damage, and that damage.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`], [`StoreError::Io`].
    pub fn readable(&self, run: &RunId) -> Result<(Vec<Recorded>, Option<StoreError>), StoreError> {
        self.attempt(run, Seq(1), usize::MAX)
    }

    /// Reads again while the owner may be moving the run's records home: what looks like damage in
    /// the middle of that is none.
    fn attempt(&self, run: &RunId, from: Seq, limit: usize) -> Result<Read, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let log = self.log()?;
            let records = log.runs.get(run).map(Vec::as_slice).unwrap_or_default();
            let read = self.read_with(run, records, from, limit)?;
            if read.1.is_none() || tries >= TRIES || self.owner().is_none() {
                return Ok(read);
            }
            std::thread::yield_now();
        }
    }

    fn read_with(
        &self,
        run: &RunId,
        log: &[LogRecords],
        from: Seq,
        limit: usize,
    ) -> Result<Read, StoreError> {
        let path = self.layout.journal(run);
        let file = self.home(run);
        if file.is_none() && log.is_empty() {
            return Err(StoreError::NoSuchRun(run.clone()));
        }
        let home = file.as_deref().map(|file| (file, path.as_path()));
        Ok(home::read_part(home, log, from, limit))
    }

    /// The folder in which the actions of a run keep records of their own; it may not exist.
    pub fn scratch(&self, run: &RunId) -> std::path::PathBuf {
        self.layout.scratch(run)
    }

    /// The state that an engine kept last, of durable events: see [`Self::readable_from`].
    pub fn kept_fold(&self, run: &RunId) -> Option<RunState> {
        kept::load(&*self.disk, &self.layout, run)
    }

    /// What of a run can be read from a position on, and the damage that ends it.
    pub fn readable_from(
        &self,
        snapshot: &Snapshot,
        run: &RunId,
        from: Seq,
    ) -> Result<(Vec<Recorded>, Option<StoreError>), StoreError> {
        let records = snapshot.0.runs.get(run).map(Vec::as_slice).unwrap_or_default();
        self.read_with(run, records, from, usize::MAX)
    }

    /// The process that owns the store now.
    pub fn owner(&self) -> Option<Owner> {
        owner::living(&*self.disk, &self.layout)
    }

    /// Why a run is held for a person, if it is. Nothing goes on with it before it is released.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the log cannot be read.
    pub fn held(&self, run: &RunId) -> Result<Option<String>, StoreError> {
        if let Some(why) = archive::held(&*self.disk, &self.layout, run) {
            return Ok(Some(why));
        }
        let log = self.log()?;
        let touches = |damage: &&Damage| match &damage.entries {
            Some(entries) => entries.iter().any(|entry| entry.run == *run),
            None => log.unfinished.contains(run) || log.runs.contains_key(run),
        };
        let place = |damage: &Damage| {
            home::damaged(&damage.path, damage.offset, damage.why.clone()).to_string()
        };
        Ok(log.damage.iter().find(touches).map(place))
    }

    /// Where a run came from, if it was made in another store.
    pub fn imported(&self, run: &RunId) -> Option<Imported> {
        portable::imported(&*self.disk, &self.layout, run)
    }

    /// What a list shows of a run.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        let mut summary = RunSummary::default();
        for recorded in self.read(run, Seq(1), usize::MAX)? {
            summary.apply(run, recorded.seq, recorded.at, &recorded.event);
        }
        Ok(summary)
    }

    /// Reads captured output from `offset` on, at most `limit` bytes; nothing at its end.
    ///
    /// # Errors
    /// [`StoreError::Io`] where it is not there or cannot be read.
    pub fn read_capture(
        &self,
        run: &RunId,
        sha256: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, StoreError> {
        capture::read(&*self.disk, &self.layout, run, sha256, (offset, limit))
    }

    pub(crate) fn home(&self, run: &RunId) -> Option<Box<dyn DiskFile>> {
        if !is_run_name(run.as_str()) {
            return None;
        }
        self.disk.open(&self.layout.journal(run), OpenMode::Read).ok()
    }

    /// Reads the log. It is read before any run's journal, so that no record can slip from one to
    /// the other in between.
    ///
    /// A segment that its owner stores away meanwhile may leave a gap between two others, with its
    /// records at home: then the log is read again, from what is stored away by then.
    pub(crate) fn log(&self) -> Result<LogView, StoreError> {
        for _ in 1..TRIES {
            let (view, vanished) = self.log_once()?;
            if !vanished {
                return Ok(view);
            }
        }
        self.log_once().map(|(view, _)| view)
    }

    fn log_once(&self) -> Result<(LogView, bool), StoreError> {
        let mark = Mark::load(&*self.disk, &self.layout);
        let checkpoint = match Checkpoint::load(&*self.disk, &self.layout) {
            Ok(checkpoint) => checkpoint.unwrap_or_default(),
            // The next open makes it again; here it only means to read more of the log.
            Err(StoreError::Damaged { .. }) => Checkpoint::default(),
            Err(error) => return Err(error),
        };
        let Checkpoint { retired, frame, runs, .. } = checkpoint;
        let from = From { retired, frame, proven: 0, marked: mark.of_this_boot() };
        let scan = scan::scan(&*self.disk, &self.layout, from)?;
        let unfinished = runs.iter().filter(|(_, kept)| kept.meta.is_unfinished());
        let unfinished = unfinished.map(|(run, _)| run.clone()).collect();
        let vanished = scan.vanished;
        Ok((view(scan, mark, unfinished), vanished))
    }
}

/// The log as it was at one moment, for reading many runs without reading it again for each.
#[derive(Debug)]
pub struct Snapshot(LogView);

impl Reader {
    /// The log as it is now.
    ///
    /// # Errors
    /// [`StoreError::Io`] where it cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.log().map(Snapshot)
    }

    /// At most `limit` events of a run as of a snapshot, up to the first damage, and that damage.
    ///
    /// # Errors
    /// As [`Self::readable`].
    pub fn readable_at(
        &self,
        snapshot: &Snapshot,
        run: &RunId,
        limit: usize,
    ) -> Result<(Vec<Recorded>, Option<StoreError>), StoreError> {
        let records = snapshot.0.runs.get(run).map(Vec::as_slice).unwrap_or_default();
        let read = self.read_with(run, records, Seq(1), limit)?;
        // What looks like damage may be the owner at work since then.
        if read.1.is_none() { Ok(read) } else { self.attempt(run, Seq(1), limit) }
    }
}

type Read = (Vec<Recorded>, Option<StoreError>);

/// The durable records of a scan, by run. Every frame but the last is proven by the one after it.
fn view(scan: LogScan, mark: Mark, unfinished: Vec<RunId>) -> LogView {
    let trusted = mark.boot != this_boot() || mark.boot == 0;
    let durable =
        if trusted { scan.last_frame } else { mark.frame.max(scan.last_frame.max(1) - 1) };
    let mut runs: HashMap<RunId, Vec<LogRecords>> = HashMap::new();
    for segment in &scan.segments {
        for frame in segment.frames.iter().filter(|frame| frame.number <= durable) {
            for entry in &frame.entries {
                let bytes = segment.records(frame, entry);
                add(runs.entry(entry.run.clone()).or_default(), entry.first, entry.last, bytes);
            }
        }
    }
    LogView { runs, damage: scan.damage, unfinished }
}

fn add(records: &mut Vec<LogRecords>, first: Seq, last: Seq, bytes: &[u8]) {
    match records.last_mut() {
        Some(before) if before.last.next() == first => {
            before.last = last;
            before.bytes.extend_from_slice(bytes);
        }
        _ => records.push(LogRecords { first, last, bytes: bytes.to_vec() }),
    }
}
