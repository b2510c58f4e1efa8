//! Exercises whose leader was lost: what is kept of them, and the report that can still be made.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use backout_core::event::Recorded;
use backout_store::Reader;
use backout_tabletop::log::Exercise;
use backout_tabletop::report::Report;

use super::{EXERCISE, Kept, LEADER, REPORT, STORE, reported_of, root};
use crate::app::App;
use crate::exit::Failure;

/// An exercise without a report.
pub(crate) struct Unreported {
    /// The folder's name.
    pub(crate) name: String,
    /// Why it has none.
    pub(crate) why: Why,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It goes on.
    GoesOn,
    /// It was broken off after this time of its clock.
    BrokenOff(String),
}

/// The exercises that have no report, in the order of their names.
pub(crate) fn unreported(app: &App) -> Result<Vec<Unreported>, Failure> {
    let Ok(entries) = fs::read_dir(root(app)?) else { return Ok(Vec::new()) };
    let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| !path.join(REPORT).exists()).collect();
    folders.sort();
    let of = |folder: &PathBuf| {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        let why = if goes_on(folder) {
            Why::GoesOn
        } else {
            let (exercise, _) = record(folder).ok()?;
            Why::BrokenOff(exercise.clock(exercise.end?))
        };
        Some(Unreported { name, why })
    };
    Ok(folders.iter().filter_map(of).collect())
}

/// Whether somebody leads it at this moment: the lock goes with the process.
fn goes_on(folder: &Path) -> bool {
    let lock = File::open(folder.join(LEADER));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The report of an exercise that is kept, by its folder or its name. Of one that was broken off it is
/// made now, and kept.
pub(crate) fn report_of(app: &App, given: &Path) -> Result<Report, Failure> {
    let folder = folder_of(app, given)?;
    let path = folder.join(REPORT);
    if let Ok(text) = fs::read_to_string(&path) {
        let read = serde_json::from_str(&text);
        return read.map_err(|error| Failure::file(format!("reading {}", path.display()), error));
    }
    if goes_on(&folder) {
        let message = format!("the exercise in {} goes on", folder.display());
        return Err(Failure::usage(message, "its end writes the report"));
    }
    let (exercise, journal) = record(&folder)?;
    let report = reported_of(&exercise, &journal);
    Kept::at(folder).write(&exercise, &report)?;
    Ok(report)
}

fn folder_of(app: &App, given: &Path) -> Result<PathBuf, Failure> {
    let named = root(app)?.join(given);
    let found = [given.to_owned(), named].into_iter().find(|path| path.is_dir());
    found.ok_or_else(|| {
        let message = format!("there is no exercise {}", given.display());
        Failure::usage(message, "name its folder, or one of those beside the store")
    })
}

/// What is left of an exercise, with its end where it was lost: its own record, or as much of it as its
/// run's journal tells.
fn record(folder: &Path) -> Result<(Exercise, Vec<Recorded>), Failure> {
    let journal = journal(folder)?;
    let text = fs::read_to_string(folder.join(EXERCISE));
    let kept = text.ok().and_then(|text| serde_json::from_str::<Exercise>(&text).ok());
    let exercise = kept.or_else(|| Exercise::of_journal(&journal)).ok_or_else(|| {
        Failure::usage(
            format!("{} holds no exercise", folder.display()),
            "an exercise has a file exercise.json, or a store with its run",
        )
    })?;
    let said = exercise.log.last().map(|entry| entry.at);
    let last = journal.last().map(|recorded| recorded.at).max(said).unwrap_or(exercise.begin);
    Ok((exercise.broken_off(last), journal))
}

/// The journal of its run; empty for a discussion. What is damaged is read as far as it goes.
fn journal(folder: &Path) -> Result<Vec<Recorded>, Failure> {
    let store = folder.join(STORE);
    if !store.exists() {
        return Ok(Vec::new());
    }
    let reader = Reader::open(&store)?;
    match reader.list()?.first() {
        Some(run) => Ok(reader.readable(run)?.0),
        None => Ok(Vec::new()),
    }
}
