//! Runs that go from one store to another: one file that holds a journal, captured outputs and the
//! plugins' own records.
//!
//! The file is a sequence of sections, each with its name, its length and checksums: `about`, the
//! journal, each output, each record, and `end`, which holds the digest of all before it. A redacted
//! file holds of the journal what proves its chain, and beside it the events as they may be shown.

mod sections;
mod write;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use backout_core::contract::hex;
use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq};
use backout_core::redact::{Rule, Taken};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, OpenMode, RealDisk, read_all, replace, write_all};
use crate::envelope;
use crate::frame::{self, Parsed, STORAGE_FORMAT};
use crate::home::io_error;
use crate::journal::StoreError;
use crate::layout::{Layout, is_run_name};
use crate::reader::Reader;
use crate::verify::Walk;
use sections::Sections;
pub use write::{export, export_redacted};

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
    /// The rules of a redacted file; the first such files had none and held no events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule>,
    #[serde(default, skip_serializing_if = "Taken::is_empty")]
    taken: Taken,
}

/// A run as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The run.
    pub run: RunId,
    /// The store that it was exported from.
    pub store: String,
    /// The head of its chain, which was followed to here.
    pub head: String,
    /// The event whose head was looked for, where the chain came by it.
    pub head_at: Option<Seq>,
    /// Its events. None where a file of the first releases was redacted: it held heads alone.
    pub events: Option<Vec<Recorded>>,
    /// What was taken out of it, by which rules; absent where the file is whole.
    pub redacted: Option<(Vec<Rule>, Taken)>,
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
    let mut sections = Sections::begin(input)?;
    let about = read_about(&mut sections)?;
    let run = about.run.clone();
    let what = format!("importing run {run}");
    if about.redacted {
        let why = "the file is redacted: it can be replayed and verified, not imported".into();
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
                check_journal(sections, about, &content, None)?;
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

/// Reads an exported run, redacted or not, without a store. Captured outputs are checked and left
/// out.
///
/// # Errors
/// [`StoreError::Damaged`] where the file is not what was written, or its chain is broken;
/// [`StoreError::Newer`]; [`StoreError::Io`] where it cannot be read.
pub fn read_exported(input: &mut dyn Read) -> Result<Exported, StoreError> {
    read_exported_with_head(input, None)
}

/// The same, and which event has this head: one that was kept earlier is found where the file goes on
/// from it.
///
/// # Errors
/// As [`read_exported`].
pub fn read_exported_with_head(
    input: &mut dyn Read,
    head: Option<&str>,
) -> Result<Exported, StoreError> {
    let mut sections = Sections::begin(input)?;
    let about = read_about(&mut sections)?;
    let (mut events, mut has_journal, mut head_at) = (None, false, None);
    loop {
        let (name, content) = sections.next()?;
        match name.as_str() {
            "end" => {
                sections.check_end(&content)?;
                break;
            }
            "journal" => {
                head_at = check_journal(&sections, &about, &content, head)?;
                has_journal = true;
                if !about.redacted {
                    events = Some(records(&content).map_err(|why| sections.bad(&why))?);
                }
            }
            "shared" if about.redacted => {
                events = Some(shared(&content).map_err(|why| sections.bad(&why))?);
            }
            name if name.starts_with("out/") || is_work_name(name) => {}
            _ => return Err(sections.bad("it has a section that nobody knows")),
        }
    }
    if !has_journal {
        return Err(sections.bad("it holds no journal"));
    }
    if events.as_ref().and_then(|events| events.last()).is_some_and(|one| one.seq != about.last) {
        return Err(sections.bad("its events do not end where it says"));
    }
    let redacted = about.redacted.then_some((about.rules, about.taken));
    let About { run, store, head, .. } = about;
    Ok(Exported { run, store, head, head_at, events, redacted })
}

/// The records in the frames of a journal, each of which was checked.
fn records(journal: &[u8]) -> Result<Vec<Recorded>, String> {
    let (mut all, mut rest) = (Vec::new(), journal);
    while let Parsed::Whole(frame) = frame::parse(rest) {
        for line in envelope::lines(frame.body) {
            all.push(envelope::read(line)?);
        }
        rest = rest.get(frame.header.len()..).unwrap_or_default();
    }
    Ok(all)
}

fn shared(lines: &[u8]) -> Result<Vec<Recorded>, String> {
    let read = |line| serde_json::from_slice(line).map_err(|error| error.to_string());
    envelope::lines(lines).map(read).collect()
}

/// Folders above a plugin's record in a section's name: `work`, the plugin, the sending, and room.
const WORK_DEPTH_MAX: usize = 6;

/// Whether a section's name is a place in the scratch folder, and none outside.
fn is_work_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    parts.next() == Some("work") && parts.all(safe) && name.split('/').count() <= WORK_DEPTH_MAX
}

/// Follows the chain of a journal that came from elsewhere, to the head that was promised. Gives the
/// event that has the wanted head.
fn check_journal(
    sections: &Sections<'_>,
    about: &About,
    journal: &[u8],
    wanted: Option<&str>,
) -> Result<Option<Seq>, StoreError> {
    let walk = if about.redacted { Walk::redacted() } else { Walk::default() };
    let walk = follow(&about.run, journal, walk.looking_for(wanted));
    let walk = walk.map_err(|why| sections.bad(&why))?;
    if walk.last != about.last || hex(&walk.link) != about.head {
        return Err(sections.bad("its journal does not end where it says"));
    }
    Ok(walk.found)
}

/// Follows the chain of a journal from its beginning.
fn follow(run: &RunId, journal: &[u8], mut walk: Walk) -> Result<Walk, String> {
    let mut at = 0;
    while let Some(rest) = journal.get(at..).filter(|rest| !rest.is_empty()) {
        let Parsed::Whole(frame) = frame::parse(rest) else {
            return Err("its journal is not what was written".into());
        };
        walk.follow(run, frame.body).map_err(|(_, why)| why)?;
        at += frame.header.len();
    }
    Ok(walk)
}
