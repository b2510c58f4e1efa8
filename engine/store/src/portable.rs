//! Runs that go from one store to another: one file that holds a journal, captured outputs and the
//! plugins' own records.
//!
//! The file is a sequence of sections, each with its name, its length and checksums: `about`, the
//! journal, each output, each record, and `end`, which holds the digest of all before it.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use backout_core::id::{RunId, Seq};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capture;
use crate::disk::{Disk, OpenMode, RealDisk, read_all, replace, write_all};
use crate::envelope;
use crate::frame::{FrameBuilder, STORAGE_FORMAT};
use crate::home::{self, LogRecords, io_error};
use crate::journal::StoreError;
use crate::layout::{Layout, is_run_name};
use crate::reader::Reader;
use crate::verify::{Walk, head};

/// What the file begins with.
const MAGIC: [u8; 8] = *b"\xf3bo-run\n";
/// Bytes of a section's header: lengths of name and content, their checksums, its own.
const SECTION: usize = 24;
/// Bytes of one section at the most: twice what one capture may have, and any journal that fits
/// into memory.
const SECTION_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Folders above a plugin's record in a section's name: `work`, the plugin, the sending, and room.
const WORK_DEPTH_MAX: usize = 6;

/// Where a run came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The store that it was exported from.
    pub store: String,
    /// Records up to this one were written there. Locks granted in them are nothing here.
    pub until: Seq,
    /// Whether the run may only be read: nobody took it over yet.
    pub read_only: bool,
}

/// Where a run came from; `None` where it was made here.
pub(crate) fn imported(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Option<Imported> {
    let file = disk.open(&layout.imported(run), OpenMode::Read).ok()?;
    serde_json::from_slice(&read_all(&*file).ok()?).ok()
}

/// Up to which record a run's journal was written elsewhere; 0 where it was not.
pub(crate) fn foreign_until(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Seq {
    imported(disk, layout, run).map_or(Seq(0), |imported| imported.until)
}

/// Lets an imported run be appended to.
pub(crate) fn take_over(disk: &dyn Disk, layout: &Layout, run: &RunId) -> Result<(), StoreError> {
    let path = layout.imported(run);
    let Some(found) = imported(disk, layout, run) else {
        let why = "the run was not imported".to_owned();
        return Err(StoreError::Io { what: format!("taking over {run}"), why });
    };
    let text = serde_json::to_vec(&Imported { read_only: false, ..found }).unwrap_or_default();
    replace(disk, &path, &text).map_err(|error| io_error("writing", &path, &error))
}

/// The first section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    format: u32,
    store: String,
    run: RunId,
    last: Seq,
    head: String,
    redacted: bool,
}

/// Writes a run with its captured outputs as one file.
///
/// # Errors
/// [`StoreError::Damaged`] where the run's chain is broken; [`StoreError::Io`].
pub fn export(reader: &Reader, run: &RunId, out: &mut dyn Write) -> Result<(), StoreError> {
    write_file(reader, run, out, false)
}

/// Writes a run without what it says: heads and digests alone, which still verify.
///
/// # Errors
/// As [`export`].
pub fn export_redacted(
    reader: &Reader,
    run: &RunId,
    out: &mut dyn Write,
) -> Result<(), StoreError> {
    write_file(reader, run, out, true)
}

fn write_file(
    reader: &Reader,
    run: &RunId,
    out: &mut dyn Write,
    redacted: bool,
) -> Result<(), StoreError> {
    let head = head(reader, run)?;
    let (last, journal) = journal_of(reader, run, redacted)?;
    let about = About {
        format: STORAGE_FORMAT,
        store: reader.id().to_owned(),
        run: run.clone(),
        last,
        head,
        redacted,
    };
    let failed = |error: io::Error| io_error("exporting", Path::new(run.as_str()), &error);
    let out = &mut Summed { out, digest: Sha256::new() };
    let text = serde_json::to_vec(&about).map_err(|error| failed(error.into()))?;
    out.write_all(&MAGIC).map_err(failed)?;
    section(out, "about", &text).map_err(failed)?;
    section(out, "journal", &journal).map_err(failed)?;
    let folder = reader.layout.captures(run);
    let names = if redacted { Vec::new() } else { reader.disk.list(&folder).unwrap_or_default() };
    for name in names.iter().filter(|name| capture::is_finished(name)) {
        let file = reader.disk.open(&folder.join(name), OpenMode::Read).map_err(failed)?;
        let bytes = read_all(&*file).map_err(failed)?;
        section(out, &format!("out/{name}"), &bytes).map_err(failed)?;
    }
    if !redacted {
        write_work(reader, run, out).map_err(failed)?;
    }
    let digest = envelope::hex(&out.digest.clone().finalize());
    section(out, "end", digest.as_bytes()).map_err(failed)?;
    out.flush().map_err(failed)
}

/// Passes bytes on and sums them up.
struct Summed<'a> {
    out: &'a mut dyn Write,
    digest: Sha256,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The plugins' records of what was sent. Without them an effect in flight would look, where the run
/// is taken over, as if nobody had begun it, and would be made again.
fn write_work(reader: &Reader, run: &RunId, out: &mut dyn Write) -> io::Result<()> {
    let mut names = Vec::new();
    let folder = reader.layout.scratch(run);
    work_files(&*reader.disk, &folder, "work", &mut names);
    for name in names {
        let path = reader.layout.run(run).join(&name);
        let file = match reader.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            // Replaced by its plugin at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        section(out, &name, &read_all(&*file)?)?;
    }
    Ok(())
}

fn work_files(disk: &dyn Disk, folder: &Path, name: &str, found: &mut Vec<String>) {
    let mut children = disk.list(folder).unwrap_or_default();
    children.sort();
    for child in children {
        let (path, name) = (folder.join(&child), format!("{name}/{child}"));
        if disk.list(&path).is_err() {
            found.push(name);
        } else if is_work_name(&name) {
            work_files(disk, &path, &name, found);
        }
    }
}

/// Whether a section's name is a place in the scratch folder, and none outside.
fn is_work_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    parts.next() == Some("work") && parts.all(safe) && name.split('/').count() <= WORK_DEPTH_MAX
}

/// The run's journal as it stands at home, its records in the log included.
fn journal_of(reader: &Reader, run: &RunId, redacted: bool) -> Result<(Seq, Vec<u8>), StoreError> {
    let log = reader.log()?;
    let in_log: &[LogRecords] = log.runs.get(run).map(Vec::as_slice).unwrap_or_default();
    let (file, path) = (reader.home(run), reader.layout.journal(run));
    let home = file.as_deref().map(|file| (file, path.as_path()));
    let (mut last, mut journal) = (Seq(0), Vec::new());
    let mut builder = FrameBuilder::default();
    home::visit(home, in_log, Seq(1), &mut |_, records| {
        let first = last.next();
        builder.clear();
        for line in envelope::lines(records) {
            let damaged = |why: String| home::damaged(&path, 0, why);
            let (head, _) = envelope::read_head(line).map_err(damaged)?;
            if head.seq <= last {
                continue;
            }
            last = head.seq;
            let line =
                if redacted { envelope::redact(line).map_err(damaged)? } else { line.to_vec() };
            builder.body().extend_from_slice(&line);
            builder.body().push(b'\n');
        }
        if last >= first {
            builder.close_entry(run, first, last, 0);
            journal.extend_from_slice(builder.finish(first.0, 0, first.0 - 1));
        }
        Ok(true)
    })?;
    Ok((last, journal))
}

fn section(out: &mut dyn Write, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = [0; SECTION];
    let name_len = u32::try_from(name.len()).map_err(io::Error::other)?;
    header[..4].copy_from_slice(&name_len.to_le_bytes());
    header[4..12].copy_from_slice(&(content.len() as u64).to_le_bytes());
    header[12..16].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
    header[16..20].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    out.write_all(&header)?;
    out.write_all(name.as_bytes())?;
    out.write_all(content)
}

/// Reads sections, and knows where it is.
struct Sections<'a> {
    input: &'a mut dyn Read,
    at: u64,
    /// Of all that was read.
    digest: Sha256,
    /// Of all before the section that was read last.
    before: Sha256,
}

impl Sections<'_> {
    fn bad(&self, why: &str) -> StoreError {
        home::damaged(Path::new("the exported file"), self.at, why)
    }

    fn take(&mut self, len: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let read = (&mut *self.input).take(len).read_to_end(&mut bytes);
        read.map_err(|error| io_error("reading", Path::new("the exported file"), &error))?;
        if (bytes.len() as u64) < len {
            return Err(self.bad("it ends in the middle"));
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }

    /// Each section proves itself; the last one proves that none is missing, or stands there twice.
    /// In the first files it was empty and proved nothing.
    fn check_end(&mut self, digest: &[u8]) -> Result<(), StoreError> {
        let found = envelope::hex(&self.before.clone().finalize());
        if !digest.is_empty() && found.as_bytes() != digest {
            return Err(self.bad("its sections are not those that were written"));
        }
        match self.take(1) {
            Ok(_) => Err(self.bad("something stands behind its end")),
            Err(StoreError::Io { what, why }) => Err(StoreError::Io { what, why }),
            Err(_) => Ok(()),
        }
    }

    fn next(&mut self) -> Result<(String, Vec<u8>), StoreError> {
        self.before = self.digest.clone();
        let header = self.take(SECTION as u64)?;
        let number = |at: usize| {
            header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let len = u64::from(number(4)) | (u64::from(number(8)) << 32);
        let sound = number(20) == crc32fast::hash(header.get(..20).unwrap_or_default());
        if !sound || number(0) > 1_000 || len > SECTION_MAX {
            return Err(self.bad("a section's header is not what was written"));
        }
        let name = self.take(u64::from(number(0)))?;
        let content = self.take(len)?;
        if crc32fast::hash(&name) != number(12) || crc32fast::hash(&content) != number(16) {
            return Err(self.bad("a section is not what was written"));
        }
        self.at += (SECTION + name.len() + content.len()) as u64;
        Ok((String::from_utf8_lossy(&name).into_owned(), content))
    }
}

/// Reads an exported run into a store. An unfinished one is read-only until it is taken over; its
/// locks stayed where it came from. Works beside the store's owner. Gives the run's name.
///
/// # Errors
/// [`StoreError::Damaged`] where the file is not what was written; [`StoreError::Newer`];
/// [`StoreError::Io`] where the store has such a run already, or the disk refuses.
pub fn import(dir: &Path, input: &mut dyn Read) -> Result<RunId, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let reader = Reader::on(disk, dir)?;
    let (digest, before) = (Sha256::new(), Sha256::new());
    let mut sections = Sections { input, at: 0, digest, before };
    if sections.take(MAGIC.len() as u64)? != MAGIC {
        return Err(sections.bad("it is not an exported run"));
    }
    sections.at = MAGIC.len() as u64;
    let about = read_about(&mut sections)?;
    let run = about.run.clone();
    let what = format!("importing run {run}");
    if about.redacted {
        let why = "the file is redacted: it can be verified, not imported".into();
        return Err(StoreError::Io { what, why });
    }
    if reader.disk.list(&reader.layout.run(&run)).is_ok() || reader.list()?.contains(&run) {
        return Err(StoreError::Io { what, why: "the store has this run already".into() });
    }
    let beside = reader.layout.runs().join(format!(".import-{run}"));
    let unpacked = unpack(&reader, &mut sections, &about, &beside);
    if unpacked.is_err() {
        // What is left of it has no run's name and is overwritten by the next try.
        let _removed = reader.disk.remove_dir_all(&beside);
    }
    unpacked.map(|()| run)
}

fn read_about(sections: &mut Sections<'_>) -> Result<About, StoreError> {
    let (name, text) = sections.next()?;
    let about: Option<About> = serde_json::from_slice(&text).ok();
    let about = about.filter(|about| name == "about" && is_run_name(about.run.as_str()));
    let about = about.ok_or_else(|| sections.bad("it does not say which run it holds"))?;
    if about.format > STORAGE_FORMAT {
        let file = "the exported file".into();
        return Err(StoreError::Newer { file, found: about.format, known: STORAGE_FORMAT });
    }
    Ok(about)
}

fn unpack(
    reader: &Reader,
    sections: &mut Sections<'_>,
    about: &About,
    beside: &Path,
) -> Result<(), StoreError> {
    let disk = &*reader.disk;
    let failed = |error: io::Error| io_error("importing into", beside, &error);
    let out = beside.join("out");
    disk.create_dir_all(&out).map_err(failed)?;
    let put = |path: &Path, bytes: &[u8]| put(disk, path, bytes);
    let mut has_journal = false;
    loop {
        let (name, content) = sections.next()?;
        match name.strip_prefix("out/") {
            None if name == "end" => {
                sections.check_end(&content)?;
                break;
            }
            None if name == "journal" => {
                check_journal(sections, about, &content)?;
                has_journal = true;
                put(&beside.join("journal"), &content).map_err(failed)?;
            }
            Some(digest) if digest.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                put(&out.join(digest), &content).map_err(failed)?;
            }
            None if is_work_name(&name) => {
                put_work(disk, beside, &name, &content).map_err(failed)?;
            }
            Some(_) | None => return Err(sections.bad("it has a section that nobody knows")),
        }
    }
    if !has_journal {
        return Err(sections.bad("it holds no journal"));
    }
    let note = Imported { store: about.store.clone(), until: about.last, read_only: true };
    let text = serde_json::to_vec(&note).map_err(|error| failed(error.into()))?;
    put(&beside.join("imported"), &text).map_err(failed)?;
    disk.sync_dir(&out).map_err(failed)?;
    disk.sync_dir(beside).map_err(failed)?;
    disk.rename(beside, &reader.layout.run(&about.run)).map_err(failed)?;
    disk.sync_dir(&reader.layout.runs()).map_err(failed)
}

fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Create)?;
    write_all(&*file, bytes, 0)?;
    file.sync_all()
}

/// One of the plugins' records, durable with the folders that lead to it.
fn put_work(disk: &dyn Disk, beside: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = beside.join(name);
    let folders = || path.ancestors().skip(1).take_while(|folder| *folder != beside);
    if let Some(folder) = folders().next() {
        disk.create_dir_all(folder)?;
    }
    put(disk, &path, bytes)?;
    folders().try_for_each(|folder| disk.sync_dir(folder))
}

/// Follows the chain of a journal that came from elsewhere, to the head that was promised.
fn check_journal(sections: &Sections<'_>, about: &About, journal: &[u8]) -> Result<(), StoreError> {
    let mut walk = Walk::default();
    let mut at = 0;
    while let Some(rest) = journal.get(at..).filter(|rest| !rest.is_empty()) {
        let crate::frame::Parsed::Whole(frame) = crate::frame::parse(rest) else {
            return Err(sections.bad("its journal is not what was written"));
        };
        walk.follow(&about.run, frame.body).map_err(|(_, why)| sections.bad(&why))?;
        at += frame.header.len();
    }
    if walk.last != about.last || envelope::hex(&walk.link) != about.head {
        return Err(sections.bad("its journal does not end where it says"));
    }
    Ok(())
}
