//! A run's own journal: `runs/<id>/journal`, a sequence of frames of that run alone.

use std::io;
use std::path::Path;

use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq};

use crate::disk::{Disk, DiskFile, OpenMode, read_upto};
use crate::envelope;
use crate::frame::{self, Frame, FrameBuilder, FrameHeader, HEADER, Parsed};
use crate::journal::StoreError;

/// Bytes read at once: one system call for thousands of records.
const WINDOW: usize = 1024 * 1024;
/// Bytes of records in one frame at the most, unless one record is larger: what a reader that skips
/// must read and check to reach a position.
const FRAME_BODY: usize = 1024 * 1024;

/// An error of the disk, with what was tried.
pub(crate) fn io_error(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { what: format!("{what} {}", path.display()), why: error.to_string() }
}

/// Bytes that are not what was written.
pub(crate) fn damaged(path: &Path, offset: u64, why: impl Into<String>) -> StoreError {
    StoreError::Damaged { file: path.display().to_string(), offset, why: why.into() }
}

/// Goes through a run's journal, frame by frame.
#[derive(Debug)]
pub(crate) struct HomeReader<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
    last: Option<Seq>,
}

/// One frame of a run's journal.
#[derive(Debug)]
pub(crate) struct HomeFrame<'a> {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// Its records; absent where it was skipped.
    pub(crate) records: Option<&'a [u8]>,
}

impl<'a> HomeReader<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, path: &'a Path) -> Self {
        Self { file, path, at: 0, window: Vec::new(), window_at: 0, last: None }
    }

    /// Where the next frame begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame. One that ends before `from` is skipped: its body is neither read nor
    /// checked.
    pub(crate) fn next(&mut self, from: Seq) -> Result<Option<HomeFrame<'_>>, StoreError> {
        let offset = self.at;
        let Some((header, first, last)) = self.header()? else { return Ok(None) };
        // The first frame of a journal holds the run's first record.
        if first != self.last.unwrap_or_default().next() || last < first {
            return Err(damaged(self.path, offset, format!("record {first} cannot follow here")));
        }
        self.last = Some(last);
        self.at = offset + header.len() as u64;
        if last < from {
            return Ok(Some(HomeFrame { offset, first, last, records: None }));
        }
        let path = self.path;
        let bytes = self.fill(offset, header.len())?;
        match frame::parse(bytes) {
            Parsed::Whole(Frame { body, .. }) => {
                Ok(Some(HomeFrame { offset, first, last, records: Some(body) }))
            }
            Parsed::BadBody(..) | Parsed::Bad => {
                Err(damaged(path, offset, "the records' checksum does not fit"))
            }
        }
    }

    fn header(&mut self) -> Result<Option<(FrameHeader, Seq, Seq)>, StoreError> {
        let (offset, path) = (self.at, self.path);
        let bytes = self.fill(offset, HEADER)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let bad = || damaged(path, offset, "no frame begins here");
        let wanted = FrameHeader::wanted(bytes).filter(|len| *len <= WINDOW).ok_or_else(bad)?;
        let bytes = self.fill(offset, wanted)?;
        let (header, entries) = FrameHeader::decode(bytes).ok_or_else(bad)?;
        let [entry] = entries.as_slice() else { return Err(bad()) };
        if !is_of(path, &entry.run) {
            let why = format!("the records here are of run {}", entry.run);
            return Err(damaged(path, offset, why));
        }
        Ok(Some((header, entry.first, entry.last)))
    }

    /// `len` bytes from `offset` on; fewer where the file ends.
    fn fill(&mut self, offset: u64, len: usize) -> Result<&[u8], StoreError> {
        let skipped = offset.checked_sub(self.window_at).and_then(|n| usize::try_from(n).ok());
        let begin = skipped.filter(|begin| begin + len <= self.window.len());
        let begin = if let Some(begin) = begin {
            begin
        } else {
            self.window.resize(len.max(WINDOW), 0);
            let read = read_upto(self.file, &mut self.window, offset)
                .map_err(|error| io_error("reading", self.path, &error))?;
            self.window.truncate(read);
            self.window_at = offset;
            0
        };
        let end = (begin + len).min(self.window.len());
        Ok(self.window.get(begin..end).unwrap_or_default())
    }
}

/// Whether a journal is this run's: it stands in a folder of the run's name.
fn is_of(path: &Path, run: &RunId) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder == run.as_str())
}

/// Records of a run that are still in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecords {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) bytes: Vec<u8>,
}

/// What a reading gives: pieces of records in order.
pub(crate) type Visit<'v> = dyn FnMut(Seq, &[u8]) -> Result<bool, StoreError> + 'v;

/// Goes through the records of a run from `from` on: those at home, then those in the log. The log
/// must have been read first, so that no record can slip from one to the other in between.
/// `visit` gets the position of the first of some lines, which may be before `from`, and the lines,
/// and says whether to go on.
pub(crate) fn visit(
    home: Option<(&dyn DiskFile, &Path)>,
    log: &[LogRecords],
    from: Seq,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let log_first = log.first().map(|records| records.first);
    let mut last = Seq(0);
    if let Some((file, path)) = home {
        let mut reader = HomeReader::new(file, path);
        while log_first.is_none_or(|first| last.next() < first) {
            let Some(frame) = reader.next(from)? else { break };
            last = frame.last;
            if let Some(records) = frame.records
                && !visit(frame.first, records)?
            {
                return Ok(());
            }
        }
    }
    for records in log {
        if records.last <= last {
            continue;
        }
        if records.first > last.next() {
            let why = format!("records {} to {} are missing", last.next(), records.first.0 - 1);
            let path = home.map_or_else(|| Path::new("log"), |(_, path)| path);
            return Err(damaged(path, 0, why));
        }
        last = records.last;
        if records.last >= from && !visit(records.first, &records.bytes)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The records of a run from `from` on, at most `limit`.
pub(crate) fn read(
    home: Option<(&dyn DiskFile, &Path)>,
    log: &[LogRecords],
    from: Seq,
    limit: usize,
) -> Result<Vec<Recorded>, StoreError> {
    let (records, damage) = read_part(home, log, from, limit);
    damage.map_or(Ok(records), Err)
}

/// The records of a run from `from` on, at most `limit`, up to the first that cannot be read.
pub(crate) fn read_part(
    home: Option<(&dyn DiskFile, &Path)>,
    log: &[LogRecords],
    from: Seq,
    limit: usize,
) -> (Vec<Recorded>, Option<StoreError>) {
    let path = home.map_or_else(|| Path::new("log"), |(_, path)| path);
    let mut records: Vec<Recorded> = Vec::new();
    let visited = visit(home, log, from, &mut |first, bytes| {
        // A line is a record: those before `from` need not be understood.
        let passed = usize::try_from(from.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        for line in envelope::lines(bytes).skip(passed) {
            if records.len() >= limit {
                return Ok(false);
            }
            let record = envelope::read(line).map_err(|why| damaged(path, 0, why))?;
            let expected = records.last().map_or(record.seq, |last| last.seq.next());
            if record.seq >= from && record.seq == expected {
                records.push(record);
            }
        }
        Ok(records.len() < limit)
    });
    (records, visited.err())
}

/// Where the journal ends that holds all records before `first`: what stands behind was written by
/// a checkpoint that was not finished, and is written again.
pub(crate) fn end_before(disk: &dyn Disk, path: &Path, first: Seq) -> Result<u64, StoreError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io_error("opening", path, &error)),
    };
    let mut reader = HomeReader::new(&*file, path);
    let mut last = Seq(0);
    while last.next() < first {
        match reader.next(first)? {
            Some(frame) => last = frame.last,
            None => {
                return Err(damaged(
                    path,
                    reader.at(),
                    format!("record {} is missing", last.next()),
                ));
            }
        }
    }
    Ok(reader.at())
}

/// Writes records behind the first `at` bytes of a run's journal and makes them durable, all but
/// the names in the folders. Gives the journal's new length.
pub(crate) fn append(
    disk: &dyn Disk,
    path: &Path,
    run: &RunId,
    at: u64,
    records: &LogRecords,
) -> io::Result<u64> {
    let mode = if at == 0 { OpenMode::Create } else { OpenMode::Write };
    let file = disk.open(path, mode)?;
    if file.size()? < at {
        return Err(io::Error::other("the journal is shorter than it was"));
    }
    file.set_size(at)?;
    let mut end = at;
    let mut builder = FrameBuilder::default();
    let mut first = records.first;
    let mut next = first;
    for line in envelope::lines(&records.bytes) {
        builder.body().extend_from_slice(line);
        builder.body().push(b'\n');
        next = next.next();
        if builder.body_len() >= FRAME_BODY {
            end = flush(&*file, &mut builder, run, first, next, end)?;
            first = next;
        }
    }
    if first < next {
        end = flush(&*file, &mut builder, run, first, next, end)?;
    }
    file.sync_data()?;
    Ok(end)
}

fn flush(
    file: &dyn DiskFile,
    builder: &mut FrameBuilder,
    run: &RunId,
    first: Seq,
    next: Seq,
    end: u64,
) -> io::Result<u64> {
    builder.close_entry(run, first, Seq(next.0 - 1), 0);
    let bytes = builder.finish(first.0, 0, first.0 - 1);
    crate::disk::write_all(file, bytes, end)?;
    let end = end + bytes.len() as u64;
    builder.clear();
    Ok(end)
}
