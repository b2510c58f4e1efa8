//! The binary frame: one batch of records with a table and checksums. The log and the journals of
//! the runs are sequences of frames. Numbers are little-endian.

use backout_core::id::{RunId, Seq};

use crate::layout::{RUN_NAME_MAX, is_run_name};

/// The version of the bytes that this release writes, and the highest that it reads.
pub const STORAGE_FORMAT: u32 = 1;

/// Bytes of a segment's header and of a frame's.
pub(crate) const HEADER: usize = 64;
/// Bytes of one entry of a frame's table.
pub(crate) const ENTRY: usize = 40;
/// Frames begin at multiples of this, so that a search after damage is quick.
pub(crate) const ALIGN: usize = 8;

/// Neither magic is valid UTF-8, so no record can contain one.
const SEGMENT_MAGIC: [u8; 8] = *b"\xf1bo-log\n";
const FRAME_MAGIC: [u8; 8] = *b"\xf2bo-frm\n";

/// What a segment of the log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// The first of the segments, up to this one, whose frames this one holds again; 0 is none.
    pub(crate) replaces: u64,
    pub(crate) store: String,
}

/// Why a header was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Damaged,
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 8, &STORAGE_FORMAT.to_le_bytes());
        put(&mut bytes, 16, &self.number.to_le_bytes());
        put(&mut bytes, 24, &self.replaces.to_le_bytes());
        let store = self.store.as_bytes();
        put(&mut bytes, 32, store.get(..16).unwrap_or(store));
        let crc = crc32fast::hash(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.get(..HEADER).ok_or(BadHeader::Damaged)?;
        let sound = header.starts_with(&SEGMENT_MAGIC)
            && u32_at(header, 60) == crc32fast::hash(header.get(..60).unwrap_or_default());
        if !sound {
            return Err(BadHeader::Damaged);
        }
        let format = u32_at(header, 8);
        if format > STORAGE_FORMAT {
            return Err(BadHeader::Newer(format));
        }
        let store = header.get(32..48).unwrap_or_default();
        Ok(Self { number: u64_at(header, 16), replaces: u64_at(header, 24), store: text_of(store) })
    }
}

/// Which records of one run a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) run: RunId,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// Where its records begin in the body, bytes.
    pub(crate) offset: u32,
    /// How long they are, bytes.
    pub(crate) len: u32,
}

impl Entry {
    /// The entry's records within a frame's body.
    pub(crate) fn slice<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        let begin = self.offset as usize;
        body.get(begin..begin.saturating_add(self.len as usize)).unwrap_or_default()
    }
}

/// What a frame says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// In the log: one more than the frame before. In a run's journal: the first position in it.
    pub(crate) number: u64,
    /// The segment that it belongs to; 0 in a run's journal.
    pub(crate) segment: u64,
    /// Up to which number everything was durable before this frame was written.
    pub(crate) durable: u64,
    pub(crate) entries: u32,
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
}

impl FrameHeader {
    /// Bytes from the frame's beginning to its body.
    pub(crate) fn body_at(&self) -> usize {
        HEADER + self.entries as usize * ENTRY
    }

    /// Bytes of the whole frame, its padding included.
    pub(crate) fn len(&self) -> usize {
        (self.body_at() + self.body_len as usize).next_multiple_of(ALIGN)
    }

    /// Reads the header alone. Its checksum covers the table as well, so it is not proven yet.
    fn peek(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        header.starts_with(&FRAME_MAGIC).then(|| Self {
            number: u64_at(header, 8),
            segment: u64_at(header, 16),
            durable: u64_at(header, 24),
            entries: u32_at(header, 32),
            body_len: u32_at(header, 36),
            body_crc: u32_at(header, 40),
        })
    }

    /// Reads header and table and checks them.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Vec<Entry>)> {
        let header = Self::peek(bytes)?;
        let table = bytes.get(HEADER..header.body_at())?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes.get(..60)?);
        crc.update(table);
        if crc.finalize() != u32_at(bytes, 60) {
            return None;
        }
        let entries = table.chunks_exact(ENTRY).map(entry_of).collect::<Option<_>>()?;
        Some((header, entries))
    }

    /// How many bytes must be at hand before [`Self::decode`] can read the table.
    pub(crate) fn wanted(bytes: &[u8]) -> Option<usize> {
        Self::peek(bytes).map(|header| header.body_at())
    }
}

/// A frame that was read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) entries: Vec<Entry>,
    pub(crate) body: &'a [u8],
}

/// What stands where a frame should.
#[derive(Clone, Debug)]
pub(crate) enum Parsed<'a> {
    Whole(Frame<'a>),
    /// The table can be read, the body is not what was written.
    BadBody(FrameHeader, Vec<Entry>),
    /// Not even the table.
    Bad,
}

/// Reads the frame at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((header, entries)) = FrameHeader::decode(bytes) else { return Parsed::Bad };
    let body = bytes.get(header.body_at()..header.body_at() + header.body_len as usize);
    match body {
        Some(body) if crc32fast::hash(body) == header.body_crc => {
            Parsed::Whole(Frame { header, entries, body })
        }
        Some(_) | None => Parsed::BadBody(header, entries),
    }
}

/// The next place from `from` on where a frame's magic stands.
pub(crate) fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.next_multiple_of(ALIGN);
    (start..bytes.len())
        .step_by(ALIGN)
        .find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(&FRAME_MAGIC)))
}

/// Builds frames in one buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    entries: Vec<Entry>,
    body: Vec<u8>,
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Forgets what was put in.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.body.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of records put in so far.
    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Where records are written; then [`Self::close_entry`] names them.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// Names the records that were written since `offset` bytes.
    pub(crate) fn close_entry(&mut self, run: &RunId, first: Seq, last: Seq, offset: usize) {
        let len = self.body.len() - offset;
        if let Some(entry) = self.entries.last_mut()
            && entry.run == *run
            && entry.last.next() == first
        {
            entry.last = last;
            entry.len += clamp(len);
            return;
        }
        let (offset, len) = (clamp(offset), clamp(len));
        self.entries.push(Entry { run: run.clone(), first, last, offset, len });
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The frame's bytes.
    pub(crate) fn finish(&mut self, number: u64, segment: u64, durable: u64) -> &[u8] {
        let header = FrameHeader {
            number,
            segment,
            durable,
            entries: clamp(self.entries.len()),
            body_len: clamp(self.body.len()),
            body_crc: crc32fast::hash(&self.body),
        };
        encode(&header, &self.entries, &self.body, &mut self.bytes);
        &self.bytes
    }
}

/// Writes a frame into `bytes`, which is emptied first.
pub(crate) fn encode(header: &FrameHeader, entries: &[Entry], body: &[u8], bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.reserve(header.len());
    bytes.resize(HEADER, 0);
    put(bytes, 0, &FRAME_MAGIC);
    put(bytes, 8, &header.number.to_le_bytes());
    put(bytes, 16, &header.segment.to_le_bytes());
    put(bytes, 24, &header.durable.to_le_bytes());
    put(bytes, 32, &header.entries.to_le_bytes());
    put(bytes, 36, &header.body_len.to_le_bytes());
    put(bytes, 40, &header.body_crc.to_le_bytes());
    for entry in entries {
        push_entry(entry, bytes);
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(..60).unwrap_or_default());
    crc.update(bytes.get(HEADER..).unwrap_or_default());
    put(bytes, 60, &crc.finalize().to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

fn push_entry(entry: &Entry, bytes: &mut Vec<u8>) {
    let at = bytes.len();
    bytes.resize(at + ENTRY, 0);
    put(bytes, at, entry.run.as_str().as_bytes());
    put(bytes, at + 16, &entry.first.0.to_le_bytes());
    put(bytes, at + 24, &entry.last.0.to_le_bytes());
    put(bytes, at + 32, &entry.offset.to_le_bytes());
    put(bytes, at + 36, &entry.len.to_le_bytes());
}

fn entry_of(bytes: &[u8]) -> Option<Entry> {
    let name = text_of(bytes.get(..RUN_NAME_MAX)?);
    is_run_name(&name).then(|| Entry {
        run: RunId::new(name),
        first: Seq(u64_at(bytes, 16)),
        last: Seq(u64_at(bytes, 24)),
        offset: u32_at(bytes, 32),
        len: u32_at(bytes, 36),
    })
}

/// ASCII text padded with zeros.
fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A frame never comes near 4 GiB: batches and events have far lower limits.
fn clamp(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
