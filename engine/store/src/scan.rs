//! Reads the log: tells whole frames, damage and a torn tail apart.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::disk::{Disk, DiskFile, OpenMode, read_upto};
use crate::frame::{
    self, BadHeader, Entry, FrameHeader, HEADER, Parsed, STORAGE_FORMAT, SegmentHeader,
};
use crate::home::{damaged, io_error};
use crate::journal::StoreError;
use crate::keeper::Job;
use crate::layout::{Layout, segment_number};

/// Bytes of a segment that are read at first: those of a few thousand records.
const FIRST_READ: usize = 1024 * 1024;

/// A whole frame of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogFrame {
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) entries: Vec<Entry>,
    /// Where its body is in the segment's bytes.
    pub(crate) body: Range<usize>,
}

/// A segment of the log as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// This segment holds again what segments from this number on to itself held; 0 is none.
    pub(crate) replaces: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<LogFrame>,
}

impl Segment {
    /// The records of one entry of a frame.
    pub(crate) fn records<'a>(&'a self, frame: &LogFrame, entry: &Entry) -> &'a [u8] {
        entry.slice(self.bytes.get(frame.body.clone()).unwrap_or_default())
    }
}

/// Bytes in the log that are not what was written, although they were durable.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) why: String,
    /// The frame that is lost, or the first of several.
    pub(crate) frame: u64,
    /// What was in it; absent where not even that can be read.
    pub(crate) entries: Option<Vec<Entry>>,
}

/// A last batch that never became durable.
#[derive(Clone, Debug)]
pub(crate) struct Torn {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogScan {
    pub(crate) segments: Vec<Segment>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) torn: Option<Torn>,
    /// The last whole frame, or the one that the scan began after.
    pub(crate) last_frame: u64,
    /// The highest number of any segment, read or left over.
    pub(crate) highest: u64,
    /// Segments that another one replaced, or that were stored away before.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Whether a segment went while the log was read: its owner stored it away. What it held may
    /// belong between what was read.
    pub(crate) vanished: bool,
}

/// Where a scan begins, and what is known to have been durable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct From {
    /// Segments up to this one are stored away.
    pub(crate) retired: u64,
    /// Frames up to this one are stored away.
    pub(crate) frame: u64,
    /// Frames up to this one were durable.
    pub(crate) proven: u64,
    /// The frame that the writer marked last, where it did so since the machine was started: behind
    /// it at most one batch was written, and that begins where it ends. Without it the whole file
    /// is looked through.
    pub(crate) marked: Option<u64>,
}

/// One thing found in a segment.
#[derive(Debug)]
enum Item {
    Frame(usize),
    Bad { offset: u64, number: Option<u64>, entries: Option<Vec<Entry>> },
}

/// Reads the log of a store. A segment that vanishes meanwhile was stored away by its owner.
pub(crate) fn scan(disk: &dyn Disk, layout: &Layout, from: From) -> Result<LogScan, StoreError> {
    let mut scan = LogScan { last_frame: from.frame, highest: from.retired, ..LogScan::default() };
    let mut found = Vec::new();
    let mut replaced: Vec<Range<u64>> = Vec::new();
    let mut last = from.frame;
    for number in numbers(disk, layout)? {
        scan.highest = scan.highest.max(number);
        if number <= from.retired {
            scan.leftovers.push(layout.segment(number));
            continue;
        }
        let marked = from.marked.map(|marked| Marked { frame: marked, last });
        let Some((segment, items)) = load(disk, layout, number, marked)? else {
            scan.vanished = true;
            continue;
        };
        last = segment.frames.last().map_or(last, |frame| frame.number);
        if segment.replaces != 0 {
            replaced.push(segment.replaces..number);
        }
        found.push((segment, items));
    }
    let is_replaced = |number| replaced.iter().any(|range| range.contains(&number));
    let (gone, kept): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(segment, _)| is_replaced(segment.number));
    scan.leftovers.extend(gone.into_iter().map(|(segment, _)| segment.path));
    judge(&mut scan, kept, from.proven);
    Ok(scan)
}

/// Reads one segment that nothing more is written to, behind frame `frame`. Anything but all of its
/// frames, each whole, is an error: the next open of the store says what it means.
pub(crate) fn scan_one(
    disk: &dyn Disk,
    layout: &Layout,
    frame: u64,
    job: Job,
) -> Result<Segment, StoreError> {
    let number = job.segment;
    let path = layout.segment(number);
    let mut scan = LogScan { last_frame: frame, ..LogScan::default() };
    let gone = || damaged(&path, 0, "the segment is missing");
    let marked = Marked { frame: job.frame, last: frame };
    let (segment, items) = load(disk, layout, number, Some(marked))?.ok_or_else(gone)?;
    judge(&mut scan, vec![(segment, items)], job.frame);
    if let Some(damage) = scan.damage.first() {
        return Err(damaged(&damage.path, damage.offset, damage.why.clone()));
    }
    if let Some(torn) = &scan.torn {
        return Err(damaged(&torn.path, torn.offset, "a batch's checksum does not fit"));
    }
    scan.segments.pop().ok_or_else(gone)
}

fn numbers(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u64>, StoreError> {
    let names = match disk.list(&layout.log()) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io_error("listing", &layout.log(), &error)),
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

type Loaded = Option<(Segment, Vec<Item>)>;

fn load(
    disk: &dyn Disk,
    layout: &Layout,
    number: u64,
    marked: Option<Marked>,
) -> Result<Loaded, StoreError> {
    let path = layout.segment(number);
    let file = match disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening", &path, &error)),
    };
    let mut source = Source { file, bytes: Vec::new(), end: 0, marked };
    source.begin().map_err(|error| io_error("reading", &path, &error))?;
    let header = match SegmentHeader::decode(&source.bytes) {
        Ok(header) => Some(header).filter(|header| header.number == number),
        Err(BadHeader::Damaged) => None,
        Err(BadHeader::Newer(found)) => {
            let file = path.display().to_string();
            return Err(StoreError::Newer { file, found, known: STORAGE_FORMAT });
        }
    };
    let replaces = header.as_ref().map_or(0, |header| header.replaces);
    let mut found = Found { number, frames: Vec::new(), items: Vec::new() };
    if header.is_none() {
        found.items.push(Item::Bad { offset: 0, number: None, entries: None });
    }
    found.walk(&mut source).map_err(|error| io_error("reading", &path, &error))?;
    let Found { frames, items, .. } = found;
    Ok(Some((Segment { number, replaces, path, bytes: source.bytes, frames }, items)))
}

/// The frame that was marked last, and the last one before this segment.
#[derive(Clone, Copy)]
struct Marked {
    frame: u64,
    last: u64,
}

/// A segment's file, read as far as it is needed: behind what was written there may be hundreds of
/// megabytes of room for outcomes.
struct Source {
    file: Box<dyn DiskFile>,
    bytes: Vec<u8>,
    /// Where what was ever written ends.
    end: usize,
    marked: Option<Marked>,
}

impl Source {
    fn begin(&mut self) -> io::Result<()> {
        self.end = usize::try_from(self.file.written()?).map_err(io::Error::other)?;
        self.read_on()
    }

    /// Reads as much again as was read so far.
    fn read_on(&mut self) -> io::Result<()> {
        let from = self.bytes.len();
        let to = (2 * from).max(FIRST_READ).min(self.end);
        self.bytes.resize(to, 0);
        let rest = self.bytes.get_mut(from..).unwrap_or_default();
        let read = read_upto(&*self.file, rest, from as u64)?;
        if read < to - from {
            self.bytes.truncate(from + read);
            self.end = from + read;
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() >= self.end
    }

    /// Whether it is known that nothing was written from `at` on, behind the frame `last`.
    fn ends(&self, at: usize, last: Option<u64>) -> bool {
        let passed = self.marked.is_some_and(|marked| last.unwrap_or(marked.last) >= marked.frame);
        let next = self.bytes.get(at..at + HEADER);
        passed && next.is_some_and(|next| next.iter().all(|byte| *byte == 0))
    }
}

/// Whether nothing was written here. In pieces without early ends, which the compiler does many
/// bytes at a time: a segment may hold tens of megabytes of room.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

/// What was found in a segment so far.
struct Found {
    number: u64,
    frames: Vec<LogFrame>,
    items: Vec<Item>,
}

impl Found {
    /// Finds the frames of a segment, and what stands between them.
    fn walk(&mut self, source: &mut Source) -> io::Result<()> {
        let mut at = HEADER;
        loop {
            if let Some(next) = self.whole_frame(source.bytes.get(at..).unwrap_or_default(), at) {
                at = next;
            } else if source.ends(at, self.frames.last().map(|frame| frame.number)) {
                return Ok(());
            } else if !source.is_whole() {
                source.read_on()?;
            } else if let Some(next) = self.bad(&source.bytes, at) {
                at = next;
            } else {
                return Ok(());
            }
        }
    }

    /// The whole frame that begins `rest`, if one does. Gives where the next one would begin.
    fn whole_frame(&mut self, rest: &[u8], at: usize) -> Option<usize> {
        let Parsed::Whole(frame) = frame::parse(rest) else { return None };
        if frame.header.segment != self.number {
            return None;
        }
        let begin = at + frame.header.body_at();
        let body = begin..begin + frame.body.len();
        self.items.push(Item::Frame(self.frames.len()));
        self.frames.push(LogFrame {
            number: frame.header.number,
            offset: at as u64,
            entries: frame.entries,
            body,
        });
        Some(at + frame.header.len())
    }

    /// Notes what stands at `at` instead of a whole frame, and gives where to look next.
    fn bad(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let offset = at as u64;
        match frame::parse(rest) {
            Parsed::BadBody(header, entries) if header.segment == self.number => {
                let entries = Some(entries);
                self.items.push(Item::Bad { offset, number: Some(header.number), entries });
                Some(at + header.len())
            }
            Parsed::Whole(_) | Parsed::BadBody(..) | Parsed::Bad if is_zero(rest) => None,
            Parsed::Whole(_) | Parsed::BadBody(..) | Parsed::Bad => {
                self.items.push(Item::Bad { offset, number: None, entries: None });
                next_frame(bytes, at, self.number)
            }
        }
    }
}

/// The next place behind `at` where a frame of this segment begins.
fn next_frame(bytes: &[u8], at: usize, segment: u64) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let place = frame::find_magic(bytes, from)?;
        let header = bytes.get(place..).and_then(FrameHeader::decode);
        if header.is_some_and(|(header, _)| header.segment == segment) {
            return Some(place);
        }
        from = place + 1;
    }
}

/// Goes through all that was found, in order. Bad bytes are damage where a later frame, or what is
/// known otherwise, proves that they were durable; else they are the torn tail.
fn judge(scan: &mut LogScan, found: Vec<(Segment, Vec<Item>)>, proven: u64) {
    let mut pending: Vec<(usize, Damage)> = Vec::new();
    for (mut segment, items) in found {
        let mut accepted = Vec::new();
        for item in items {
            match item {
                Item::Bad { offset, number, entries } => {
                    let frame = number.unwrap_or(scan.last_frame + 1);
                    let why = "a batch's checksum does not fit".to_owned();
                    let path = segment.path.clone();
                    let damage = Damage { path, offset, why, frame, entries };
                    pending.push((scan.segments.len(), damage));
                }
                Item::Frame(index) => {
                    let Some(frame) = segment.frames.get(index) else { continue };
                    if frame.number <= scan.last_frame {
                        continue;
                    }
                    if frame.number > scan.last_frame + 1 {
                        let gap = gap(scan.last_frame, &segment, frame);
                        scan.damage.extend(take_damage(&mut pending, gap));
                    }
                    // Bad bytes although no frame is missing: space that nothing was written to.
                    pending.clear();
                    scan.last_frame = frame.number;
                    accepted.push(frame.clone());
                }
            }
        }
        segment.frames = accepted;
        scan.segments.push(segment);
    }
    finish(scan, pending, proven);
}

fn take_damage(pending: &mut Vec<(usize, Damage)>, gap: Damage) -> Vec<Damage> {
    if pending.is_empty() {
        return vec![gap];
    }
    pending.drain(..).map(|(_, damage)| damage).collect()
}

fn gap(last: u64, segment: &Segment, frame: &LogFrame) -> Damage {
    let why = format!("batches {} to {} are missing before this one", last + 1, frame.number - 1);
    let (path, offset) = (segment.path.clone(), frame.offset);
    Damage { path, offset, why, frame: last + 1, entries: None }
}

fn finish(scan: &mut LogScan, pending: Vec<(usize, Damage)>, proven: u64) {
    if proven > scan.last_frame {
        let last = scan.last_frame;
        let end = scan.segments.last().map(|segment| {
            let end = segment.frames.last().map_or(HEADER, |frame| frame.body.end);
            (segment.path.clone(), end as u64)
        });
        let (path, offset) = end.unwrap_or_default();
        let why = format!("batches {} to {proven} were durable and are missing", last + 1);
        let gap = Damage { path, offset, why, frame: last + 1, entries: None };
        let mut pending = pending;
        scan.damage.extend(take_damage(&mut pending, gap));
        scan.last_frame = proven;
        return;
    }
    let Some((index, first)) = pending.into_iter().next() else { return };
    let Some(segment) = scan.segments.get(index) else { return };
    let begin = usize::try_from(first.offset).unwrap_or(0);
    let rest = segment.bytes.get(begin..).unwrap_or_default();
    let end = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bytes = rest.get(..end).unwrap_or_default().to_vec();
    scan.torn = Some(Torn { path: first.path, offset: first.offset, bytes });
}
