//! Writing a run as one file.

use std::io::{self, Write};
use std::path::Path;

use backout_core::contract::hex;
use backout_core::id::{RunId, Seq};
use backout_core::redact::{Redactor, Rule, Taken};

use super::sections::{Summed, section};
use super::{About, follow, is_work_name};
use crate::capture;
use crate::disk::{Disk, OpenMode, read_all};
use crate::envelope;
use crate::frame::{FrameBuilder, STORAGE_FORMAT};
use crate::home::{self, LogRecords, io_error};
use crate::journal::StoreError;
use crate::reader::Reader;
use crate::verify::Walk;

/// Writes a run with its captured outputs as one file.
///
/// # Errors
/// [`StoreError::Damaged`] where the run's chain is broken; [`StoreError::Io`].
pub fn export(reader: &Reader, run: &RunId, out: &mut dyn Write) -> Result<(), StoreError> {
    let journal = journal_of(reader, run, false)?;
    let about = about(reader, run, &journal, false)?;
    write_file(run, &about, out, &mut |out| {
        section(out, "journal", &journal)?;
        write_captures(reader, run, out)?;
        write_work(reader, run, out)
    })
}

/// Writes a run as it may be shown to strangers: its events with what the rules say taken out, and
/// what proves that the chain is that of the store. Gives how much was taken out.
///
/// # Errors
/// As [`export`].
pub fn export_redacted(
    reader: &Reader,
    run: &RunId,
    rules: &[Rule],
    out: &mut dyn Write,
) -> Result<Taken, StoreError> {
    let journal = journal_of(reader, run, true)?;
    let about = about(reader, run, &journal, true)?;
    let mut redactor = Redactor::new(rules.iter().copied());
    let mut shared = Vec::new();
    for recorded in reader.read(run, Seq(1), usize::MAX)? {
        if recorded.seq <= about.last {
            let text = serde_json::to_vec(&redactor.redact(recorded));
            shared.extend(text.map_err(|error| exporting(run, &error.into()))?);
            shared.push(b'\n');
        }
    }
    let taken = redactor.taken().clone();
    let about = About { rules: rules.to_vec(), taken: taken.clone(), ..about };
    write_file(run, &about, out, &mut |out| {
        section(out, "journal", &journal)?;
        section(out, "shared", &shared)
    })?;
    Ok(taken)
}

fn about(
    reader: &Reader,
    run: &RunId,
    journal: &[u8],
    redacted: bool,
) -> Result<About, StoreError> {
    // From what is written and not from the store: an engine may append meanwhile.
    let walk = if redacted { Walk::redacted() } else { Walk::default() };
    let walk = follow(run, journal, walk).map_err(|why| exporting(run, &io::Error::other(why)))?;
    Ok(About {
        format: STORAGE_FORMAT,
        store: reader.id().to_owned(),
        run: run.clone(),
        last: walk.last,
        head: hex(&walk.link),
        redacted,
        rules: Vec::new(),
        taken: Taken::new(),
    })
}

fn exporting(run: &RunId, error: &io::Error) -> StoreError {
    io_error("exporting", Path::new(run.as_str()), error)
}

fn write_file(
    run: &RunId,
    about: &About,
    out: &mut dyn Write,
    content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<(), StoreError> {
    let mut write = || {
        let mut out = Summed::begin(out)?;
        section(&mut out, "about", &serde_json::to_vec(about)?)?;
        content(&mut out)?;
        out.end()
    };
    write().map_err(|error| exporting(run, &error))
}

fn write_captures(reader: &Reader, run: &RunId, out: &mut dyn Write) -> io::Result<()> {
    let folder = reader.layout.captures(run);
    let names = reader.disk.list(&folder).unwrap_or_default();
    for name in names.iter().filter(|name| capture::is_finished(name)) {
        let file = reader.disk.open(&folder.join(name), OpenMode::Read)?;
        section(out, &format!("out/{name}"), &read_all(&*file)?)?;
    }
    Ok(())
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

/// The run's journal as it stands at home, its records in the log included.
fn journal_of(reader: &Reader, run: &RunId, redacted: bool) -> Result<Vec<u8>, StoreError> {
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
    Ok(journal)
}
