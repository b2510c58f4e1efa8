//! Opening: what the disk holds is found, made durable again, and only then believed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backout_core::id::{LockToken, RunId, Seq};

use crate::archive::{self, Archive, Checkpoint, Kept, fold};
use crate::disk::{Disk, OpenMode, replace};
use crate::frame::{self, FrameHeader, HEADER, SegmentHeader};
use crate::home::{HomeReader, damaged, io_error};
use crate::journal::StoreError;
use crate::keeper::{Job, put_aside};
use crate::layout::{Layout, is_run_name};
use crate::ledger::{Ledger, RunMeta};
use crate::mark::Mark;
use crate::options::FIRST_SEGMENT;
use crate::portable::{self, foreign_until};
use crate::scan::{self, Damage, From, LogScan, Segment, Torn};
use crate::segment::{self, OpenSegment};
use crate::shared::Extent;

/// Added to the highest lock token found when the checkpoint is lost: runs that held higher ones
/// may have been removed since.
const TOKEN_LEAP: u64 = 1_000_000;

/// What was found, ready to go on from.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) archive: Archive,
    pub(crate) ledger: Ledger,
    pub(crate) extents: HashMap<RunId, Vec<Extent>>,
    pub(crate) held: BTreeMap<RunId, String>,
    pub(crate) segment: OpenSegment,
    pub(crate) frame: u64,
    /// Segments to be stored away.
    pub(crate) jobs: Vec<Job>,
    /// Files of the log that hold nothing any more. Removing a large one takes milliseconds, which
    /// nobody should wait for.
    pub(crate) leftovers: Vec<PathBuf>,
    pub(crate) lines: Vec<String>,
}

/// What recovery works with.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) layout: &'a Layout,
    pub(crate) store: &'a str,
    pub(crate) segment_bytes: u64,
}

impl Recovery<'_> {
    /// Finds what the store holds.
    pub(crate) fn run(&self) -> Result<Recovered, StoreError> {
        let mut lines = Vec::new();
        let mark = Mark::load(&**self.disk, self.layout);
        let (proven, marked) = (mark.frame, mark.of_this_boot());
        let mut archive = self.archive(proven, &mut lines)?;
        let from = From { retired: archive.retired, frame: archive.frame, proven, marked };
        let scan = scan::scan(&**self.disk, self.layout, from)?;
        if let Some(torn) = &scan.torn {
            lines.push(self.keep_torn(torn)?);
        }
        hold_damaged(&mut archive, &scan, &mut lines)?;
        let mut recovered = if scan.damage.is_empty() {
            self.go_on(archive, &scan, lines)?
        } else {
            self.store_all(archive, &scan, lines)?
        };
        recovered.held.extend(self.held_before(&recovered.ledger));
        recovered.leftovers = leftovers(&scan);
        Ok(recovered)
    }

    /// The archive as of the checkpoint; a lost checkpoint is made again from the journals.
    fn archive(&self, proven: u64, lines: &mut Vec<String>) -> Result<Archive, StoreError> {
        let loaded = Checkpoint::load(&**self.disk, self.layout);
        let why = match loaded {
            Ok(Some(checkpoint)) => return Ok(self.archive_of(checkpoint)),
            Ok(None) if self.is_empty() => None,
            Ok(None) => Some("it is missing".to_owned()),
            Err(error @ StoreError::Damaged { .. }) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        let mut archive = match why {
            None => self.archive_of(Checkpoint::default()),
            Some(why) => {
                lines.push(format!("the checkpoint was made again from all journals: {why}"));
                self.rebuild(proven)?
            }
        };
        archive.save()?;
        Ok(archive)
    }

    fn archive_of(&self, checkpoint: Checkpoint) -> Archive {
        Archive::new(self.disk.clone(), self.layout.clone(), checkpoint)
    }

    fn is_empty(&self) -> bool {
        let empty = |path: &Path| self.disk.list(path).is_ok_and(|names| names.is_empty());
        empty(&self.layout.runs()) && empty(&self.layout.log())
    }

    fn rebuild(&self, proven: u64) -> Result<Archive, StoreError> {
        let all = From::default();
        let log = scan::scan(&**self.disk, self.layout, all)?;
        let first = log.segments.iter().flat_map(|s| &s.frames).map(|f| f.number).next();
        let retired = log.segments.first().map_or(log.highest, |segment| segment.number - 1);
        let mut ledger = Ledger::default();
        let mut bytes = BTreeMap::new();
        for run in self.runs()? {
            // Nobody took it over: it is no business of this store's engine.
            if portable::imported(&**self.disk, self.layout, &run).is_some_and(|i| i.read_only) {
                continue;
            }
            let (end, _) = self.fold_home(&mut ledger, &run);
            bytes.insert(run, end);
        }
        let kept = |(run, meta): (RunId, RunMeta)| {
            let bytes = bytes.get(&run).copied().unwrap_or(0);
            (run, Kept { meta, bytes })
        };
        Ok(self.archive_of(Checkpoint {
            format: frame::STORAGE_FORMAT,
            retired,
            frame: first.map_or(proven, |first| first - 1),
            token: LockToken(ledger.token.0 + TOKEN_LEAP),
            locks: ledger.locks,
            runs: ledger.runs.into_iter().map(kept).collect(),
        }))
    }

    fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        let path = self.layout.runs();
        let names = self.disk.list(&path).map_err(|error| io_error("listing", &path, &error))?;
        Ok(names.into_iter().filter(|name| is_run_name(name)).map(RunId::new).collect())
    }

    /// Folds what can be read of a run's journal. Gives where that ends.
    fn fold_home(&self, ledger: &mut Ledger, run: &RunId) -> (u64, Option<StoreError>) {
        let path = self.layout.journal(run);
        let Ok(file) = self.disk.open(&path, OpenMode::Read) else { return (0, None) };
        let foreign = foreign_until(&**self.disk, self.layout, run);
        let mut reader = HomeReader::new(&*file, &path);
        loop {
            let end = reader.at();
            match reader.next(Seq(1)) {
                Ok(Some(frame)) => {
                    let records = frame.records.unwrap_or_default();
                    if let Err(why) = fold_home_lines(ledger, run, records, foreign) {
                        return (end, Some(damaged(&path, end, why)));
                    }
                }
                Ok(None) => return (end, None),
                Err(error) => return (end, Some(error)),
            }
        }
    }

    /// Keeps a torn tail for those who want to look at it.
    fn keep_torn(&self, torn: &Torn) -> Result<String, StoreError> {
        let name = torn.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kept = self.layout.kept().join(format!("{name}-{}.torn", torn.offset));
        let failed = |error: io::Error| io_error("keeping a torn tail in", &kept, &error);
        self.disk.create_dir_all(&self.layout.kept()).map_err(failed)?;
        replace(&**self.disk, &kept, &torn.bytes).map_err(failed)?;
        Ok(format!(
            "a last batch of {} bytes never became durable: cut from {} at byte {}, kept in {}",
            torn.bytes.len(),
            torn.path.display(),
            torn.offset,
            kept.display()
        ))
    }

    /// The ordinary way: the unsealed tail goes into a new segment, sealed ones are stored away
    /// later.
    fn go_on(
        &self,
        mut archive: Archive,
        scan: &LogScan,
        mut lines: Vec<String>,
    ) -> Result<Recovered, StoreError> {
        let mut ledger = archive.ledger.clone();
        let mut gaps = Vec::new();
        for segment in &scan.segments {
            fold(&mut ledger, segment, &mut gaps)?;
        }
        for (run, why) in gaps {
            lines.push(format!("{why}; run {run} is held for a person"));
            archive.hold(&run, &why)?;
        }
        let tail = scan.segments.iter().rposition(|segment| !segment.frames.is_empty());
        let sealed = scan.segments.get(..tail.unwrap_or(0)).unwrap_or_default();
        let mut extents = HashMap::new();
        for segment in sealed.iter().filter(|segment| !segment.frames.is_empty()) {
            let file = self.reopen(&segment.path)?;
            note_extents(&mut extents, segment, &file, &segment.frames);
        }
        let tail = tail.and_then(|tail| scan.segments.get(tail));
        let open = self.first_segment(scan, tail, &ledger)?;
        if let Some(tail) = tail {
            let moved = moved(tail);
            note_extents(
                &mut extents,
                &Segment { number: open.number, ..tail.clone() },
                &open.file,
                &moved,
            );
        }
        let jobs = jobs(archive.frame, sealed);
        let held = archive.holds.drain(..).collect();
        let frame = scan.last_frame;
        let (segment, leftovers) = (open, Vec::new());
        Ok(Recovered { archive, ledger, extents, held, segment, frame, jobs, leftovers, lines })
    }

    fn reopen(&self, path: &Path) -> Result<Arc<dyn crate::disk::DiskFile>, StoreError> {
        let file = self.disk.open(path, OpenMode::Read);
        Ok(file.map_err(|error| io_error("opening", path, &error))?.into())
    }

    /// After damage: all that is whole goes to its runs at once, and the log begins anew.
    fn store_all(
        &self,
        mut archive: Archive,
        scan: &LogScan,
        lines: Vec<String>,
    ) -> Result<Recovered, StoreError> {
        for segment in &scan.segments {
            archive.store_away(segment)?;
        }
        archive.frame = archive.frame.max(scan.last_frame);
        archive.save()?;
        for segment in &scan.segments {
            put_aside(&**self.disk, self.layout, segment.number, true);
        }
        let ledger = archive.ledger.clone();
        let segment = self.first_segment(scan, None, &ledger)?;
        let (extents, jobs) = (HashMap::new(), Vec::new());
        let held = archive.holds.drain(..).collect();
        let frame = scan.last_frame;
        let leftovers = Vec::new();
        Ok(Recovered { archive, ledger, extents, held, segment, frame, jobs, leftovers, lines })
    }

    /// The segment that is written to from now on. It holds the tail's frames again, in pages that
    /// were never believed to be on disk when they were not.
    fn first_segment(
        &self,
        scan: &LogScan,
        tail: Option<&Segment>,
        ledger: &Ledger,
    ) -> Result<OpenSegment, StoreError> {
        let number = scan.highest + 1;
        let replaces =
            tail.map_or(0, |tail| if tail.replaces == 0 { tail.number } else { tail.replaces });
        let header = SegmentHeader { number, replaces, store: self.store.to_owned() };
        let content = tail.map(|tail| copy_frames(tail, number)).unwrap_or_default();
        let bytes = self.segment_bytes.min(FIRST_SEGMENT) + content.len() as u64;
        let path = self.layout.segment(number);
        let mut open = segment::create(&**self.disk, self.layout, &header, &content, bytes)
            .map_err(|error| io_error("making", &path, &error))?;
        let owed = ledger.in_flight().saturating_mul(crate::writer::OUTCOME_RESERVE);
        if owed > open.room()
            && let Err(error) = open.grow(open.at + owed)
        {
            tracing::warn!(%error, "no room is left for all outcomes of what is in flight");
        }
        Ok(open)
    }

    fn held_before(&self, ledger: &Ledger) -> Vec<(RunId, String)> {
        let held = |run: &RunId| archive::held(&**self.disk, self.layout, run);
        ledger.runs.keys().filter_map(|run| Some((run.clone(), held(run)?))).collect()
    }
}

/// Segments to be stored away in turn; frames up to `frame` are stored away already.
fn jobs(mut frame: u64, sealed: &[Segment]) -> Vec<Job> {
    let job = |segment: &Segment| {
        frame = segment.frames.last().map_or(frame, |last| last.number);
        Job { segment: segment.number, frame }
    };
    sealed.iter().map(job).collect()
}

/// What is not needed any more. What of it stays is harmless.
fn leftovers(scan: &LogScan) -> Vec<PathBuf> {
    let tail = scan.segments.iter().rposition(|segment| !segment.frames.is_empty());
    let rest = scan.segments.get(tail.unwrap_or(0)..).unwrap_or_default();
    scan.leftovers.iter().chain(rest.iter().map(|segment| &segment.path)).cloned().collect()
}

/// Folds records at home. Locks that were granted by another store are nothing here.
fn fold_home_lines(
    ledger: &mut Ledger,
    run: &RunId,
    records: &[u8],
    foreign: Seq,
) -> Result<(), String> {
    for line in crate::envelope::lines(records) {
        let (mut head, link) = crate::envelope::read_head(line)?;
        if head.seq <= foreign {
            head.grants.clear();
        }
        ledger.apply(run, &head, &link);
    }
    Ok(())
}

/// Notes the runs that damage may have touched.
fn hold_damaged(
    archive: &mut Archive,
    scan: &LogScan,
    lines: &mut Vec<String>,
) -> Result<(), StoreError> {
    for damage in &scan.damage {
        let place = damaged(&damage.path, damage.offset, damage.why.clone()).to_string();
        let runs = touched(&archive.ledger, scan, damage);
        lines.push(format!("{place}; held for a person: {}", words(&runs)));
        for run in runs {
            archive.hold(&run, &place)?;
        }
    }
    Ok(())
}

/// The runs that damage may have touched: those in the table, or all that were unfinished there.
fn touched(ledger: &Ledger, scan: &LogScan, damage: &Damage) -> Vec<RunId> {
    if let Some(entries) = &damage.entries {
        return entries.iter().map(|entry| entry.run.clone()).collect();
    }
    let mut ledger = ledger.clone();
    for segment in &scan.segments {
        let mut before = segment.clone();
        before.frames.retain(|frame| frame.number < damage.frame);
        // What cannot be folded is noted when the records are stored away.
        let _folded = fold(&mut ledger, &before, &mut Vec::new());
    }
    let unfinished = |(run, meta): (&RunId, &RunMeta)| meta.is_unfinished().then(|| run.clone());
    ledger.runs.iter().filter_map(unfinished).collect()
}

fn words(runs: &[RunId]) -> String {
    if runs.is_empty() {
        return "no run, none was unfinished".into();
    }
    let names: Vec<&str> = runs.iter().map(RunId::as_str).collect();
    names.join(", ")
}

/// A segment's frames behind each other, as they stand in a segment of another number.
fn copy_frames(tail: &Segment, number: u64) -> Vec<u8> {
    let (mut content, mut bytes) = (Vec::new(), Vec::new());
    for frame in &tail.frames {
        let body = tail.bytes.get(frame.body.clone()).unwrap_or_default();
        let header = FrameHeader {
            number: frame.number,
            segment: number,
            durable: frame.number - 1,
            entries: u32::try_from(frame.entries.len()).unwrap_or(u32::MAX),
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_crc: crc32fast::hash(body),
        };
        frame::encode(&header, &frame.entries, body, &mut bytes);
        content.extend_from_slice(&bytes);
    }
    content
}

/// Where [`copy_frames`] puts the frames.
fn moved(tail: &Segment) -> Vec<scan::LogFrame> {
    let mut at = HEADER;
    let mut place = |frame: &scan::LogFrame| {
        let body = at + HEADER + frame.entries.len() * frame::ENTRY;
        let end = body + frame.body.len();
        let moved = scan::LogFrame { offset: at as u64, body: body..end, ..frame.clone() };
        at = end.next_multiple_of(frame::ALIGN);
        moved
    };
    tail.frames.iter().map(&mut place).collect()
}

fn note_extents(
    extents: &mut HashMap<RunId, Vec<Extent>>,
    segment: &Segment,
    file: &Arc<dyn crate::disk::DiskFile>,
    frames: &[scan::LogFrame],
) {
    for frame in frames {
        for entry in &frame.entries {
            extents.entry(entry.run.clone()).or_default().push(Extent {
                segment: segment.number,
                file: file.clone(),
                offset: (frame.body.start as u64) + u64::from(entry.offset),
                len: entry.len as usize,
                first: entry.first,
                last: entry.last,
            });
        }
    }
}

/// Whether a run's journal stands at home.
pub(crate) fn has_home(disk: &dyn Disk, layout: &Layout, run: &RunId) -> bool {
    disk.open(&layout.journal(run), OpenMode::Read).is_ok()
}
