//! The index: what lists show of the runs, kept in sled behind the journals. It is brought up to
//! date when it is asked, opened no earlier, and never believed: a run whose journal has another
//! length than the index says is read again. All of sled happens in a thread of its own, since it
//! can panic and hang; then the index is put aside and made again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use backout_core::id::RunId;
use serde::{Deserialize, Serialize};

use crate::journal::StoreError;
use crate::key::Key;
use crate::mark::Mark;
use crate::reader::Reader;
use crate::summary::RunSummary;
use crate::watches::locked;

/// The version of what the index holds. Another version is made again.
const INDEX_FORMAT: u32 = 1;
/// How long sled may take for one answer.
const WAIT: Duration = Duration::from_secs(5);
/// Bytes that sled may cache: an index of thousands of runs, while the owner stays small.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Which runs are wanted. Empty wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<String>,
    /// Of this runbook.
    pub runbook: Option<String>,
    /// With this label of this value.
    pub label: Option<(String, String)>,
    /// Of this owner.
    pub owner: Option<String>,
    /// With this text in name, runbook or title, whatever the case.
    pub text: Option<String>,
    /// Created at this moment or later, milliseconds since 1970.
    pub since: Option<i64>,
    /// At most so many, the newest; 0 is all.
    pub limit: usize,
}

impl Filter {
    /// Whether a run is wanted.
    pub fn matches(&self, run: &RunSummary) -> bool {
        let has_text = |text: &String| {
            let text = text.to_lowercase();
            [&run.run, &run.runbook, &run.title].iter().any(|f| f.to_lowercase().contains(&text))
        };
        (self.states.is_empty() || self.states.contains(&run.state))
            && self.runbook.as_ref().is_none_or(|name| *name == run.runbook)
            && self.label.as_ref().is_none_or(|(key, value)| run.labels.get(key) == Some(value))
            && self.owner.as_ref().is_none_or(|owner| run.owner.as_ref() == Some(owner))
            && self.text.as_ref().is_none_or(has_text)
            && self.since.is_none_or(|since| run.created >= since)
    }

    fn apply(&self, mut runs: Vec<RunSummary>) -> Vec<RunSummary> {
        runs.retain(|run| self.matches(run));
        runs.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.run.cmp(&b.run)));
        if self.limit > 0 {
            runs.truncate(self.limit);
        }
        runs
    }
}

/// A list of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The runs, the newest first.
    pub runs: Vec<RunSummary>,
    /// What was wrong with the index, or with a run that is left out; lines for people.
    pub lines: Vec<String>,
}

/// How sled is opened; tests put something worse in its place.
pub(crate) type Opener = dyn Fn(&Path) -> sled::Result<sled::Db> + Send + Sync;

/// The index of a store.
pub(crate) struct Index {
    path: PathBuf,
    opener: Arc<Opener>,
    wait: Duration,
    worker: Mutex<Option<Worker>>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What the index keeps of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    summary: RunSummary,
    /// Bytes of the run's journal when it was read.
    bytes: u64,
}

enum Ask {
    /// All rows.
    Rows(Sender<Result<Vec<Row>, String>>),
    /// Put rows in, take runs out, and note the position.
    Update { rows: Vec<Row>, gone: Vec<String>, position: u64, done: Sender<Result<(), String>> },
}

struct Worker {
    asks: Sender<Ask>,
}

impl Index {
    pub(crate) fn new(path: &Path) -> Self {
        let open = |path: &Path| {
            sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
        };
        Self::with(path, Arc::new(open), WAIT)
    }

    pub(crate) fn with(path: &Path, opener: Arc<Opener>, wait: Duration) -> Self {
        Self { path: path.to_path_buf(), opener, wait, worker: Mutex::default() }
    }

    /// Lists runs by the index; makes it again where it fails, and goes on without it where that
    /// fails too.
    pub(crate) fn list(&self, reader: &Reader, filter: &Filter) -> Result<Listing, StoreError> {
        let mut lines = Vec::new();
        for _ in 0..2 {
            match self.rows() {
                Ok(rows) => {
                    let mut listing = self.up_to_date(reader, rows)?;
                    listing.runs = filter.apply(listing.runs);
                    lines.append(&mut listing.lines);
                    return Ok(Listing { lines, ..listing });
                }
                Err(why) => {
                    self.put_aside();
                    lines.push(format!("the index is made again: {why}"));
                }
            }
        }
        let mut listing = list_without(reader, filter)?;
        listing.lines.splice(0..0, lines);
        Ok(listing)
    }

    fn rows(&self) -> Result<Vec<Row>, String> {
        let (answer, answered) = channel();
        self.ask(Ask::Rows(answer), &answered)
    }

    fn ask<T>(&self, ask: Ask, answered: &Receiver<Result<T, String>>) -> Result<T, String> {
        let mut worker = locked(&self.worker);
        let worker = worker.get_or_insert_with(|| start(&self.path, self.opener.clone()));
        // A worker that is gone drops the answer's sender, which is seen below.
        let _sent = worker.asks.send(ask);
        match answered.recv_timeout(self.wait) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("sled did not answer within {} ms", self.wait.as_millis()))
            }
            Err(RecvTimeoutError::Disconnected) => Err("sled panicked".into()),
        }
    }

    /// Lets the worker go, however it is, and moves its files out of the way.
    fn put_aside(&self) {
        *locked(&self.worker) = None;
        let aside = self.path.with_extension("broken");
        let _removed = std::fs::remove_dir_all(&aside);
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            tracing::debug!(%error, "the broken index was not moved");
        }
        // A worker that hangs may still hold files in it; they are gone with the process.
        let _removed = std::fs::remove_dir_all(&aside);
    }

    /// Reads the runs again whose journals are not as the index says.
    fn up_to_date(&self, reader: &Reader, rows: Vec<Row>) -> Result<Listing, StoreError> {
        let mut known: std::collections::HashMap<String, Row> =
            rows.into_iter().map(|row| (row.summary.run.clone(), row)).collect();
        let in_log = reader.log()?.runs;
        let (mut fresh, mut listing) = (Vec::new(), Listing::default());
        for run in reader.list()? {
            let bytes = reader.home(&run).and_then(|file| file.size().ok()).unwrap_or(0);
            let row = known.remove(run.as_str());
            match row.filter(|row| row.bytes == bytes && !in_log.contains_key(&run)) {
                Some(row) => listing.runs.push(row.summary),
                None => match reader.summary(&run) {
                    Ok(summary) => {
                        fresh.push(Row { summary: summary.clone(), bytes });
                        listing.runs.push(summary);
                    }
                    Err(error) => listing.lines.push(format!("run {run}: {error}")),
                },
            }
        }
        let gone = known.into_keys().collect();
        let position = Mark::load(&*reader.disk, &reader.layout).frame;
        let (done, told) = channel();
        if let Err(why) = self.ask(Ask::Update { rows: fresh, gone, position, done }, &told) {
            listing.lines.push(format!("the index was not brought up to date: {why}"));
        }
        Ok(listing)
    }
}

/// Lists runs from their journals alone.
pub(crate) fn list_without(reader: &Reader, filter: &Filter) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    for run in reader.list()? {
        match reader.summary(&run) {
            Ok(summary) => listing.runs.push(summary),
            Err(error) => listing.lines.push(format!("run {run}: {error}")),
        }
    }
    listing.runs = filter.apply(listing.runs);
    Ok(listing)
}

fn start(path: &Path, opener: Arc<Opener>) -> Worker {
    let (asks, asked) = channel();
    let path = path.to_path_buf();
    // Not joined: it may hang. It ends when nobody can ask any more.
    std::thread::spawn(move || {
        let worked = catch_unwind(AssertUnwindSafe(|| work(&path, &*opener, &asked)));
        if let Err(panic) = worked {
            tracing::warn!(why = panic_text(&*panic), "sled panicked");
        }
    });
    Worker { asks }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

fn work(path: &Path, opener: &Opener, asked: &Receiver<Ask>) {
    let db = opener(path).map_err(|error| error.to_string()).and_then(of_this_format);
    while let Ok(ask) = asked.recv() {
        // Who asked may have given up waiting.
        match (ask, &db) {
            (Ask::Rows(answer), Ok(db)) => drop(answer.send(rows(db).map_err(|e| e.to_string()))),
            (Ask::Rows(answer), Err(why)) => drop(answer.send(Err(why.clone()))),
            (Ask::Update { rows, gone, position, done }, Ok(db)) => {
                let updated = update(db, &rows, &gone, position);
                drop(done.send(updated.map_err(|error| error.to_string())));
            }
            (Ask::Update { done, .. }, Err(why)) => drop(done.send(Err(why.clone()))),
        }
    }
}

fn of_this_format(db: sled::Db) -> Result<sled::Db, String> {
    let wanted = INDEX_FORMAT.to_be_bytes();
    let failed = |error: sled::Error| error.to_string();
    match db.get(Key::Format.encode()).map_err(failed)? {
        Some(found) if found == wanted => Ok(db),
        None if db.is_empty() => {
            db.insert(Key::Format.encode(), &wanted).map_err(failed)?;
            Ok(db)
        }
        Some(_) | None => Err("it has another format".into()),
    }
}

fn rows(db: &sled::Db) -> sled::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for pair in db.scan_prefix([Key::RUN]) {
        let (_, value) = pair?;
        // A row that cannot be read is read from the journal again.
        rows.extend(serde_json::from_slice::<Row>(&value).ok());
    }
    Ok(rows)
}

fn update(db: &sled::Db, rows: &[Row], gone: &[String], position: u64) -> sled::Result<()> {
    let mut batch = sled::Batch::default();
    for row in rows {
        let key = Key::Run(RunId::new(row.summary.run.as_str()));
        batch.insert(key.encode(), serde_json::to_vec(row).unwrap_or_default());
    }
    for run in gone {
        batch.remove(Key::Run(RunId::new(run.as_str())).encode());
    }
    batch.insert(Key::Position.encode(), &position.to_be_bytes());
    db.apply_batch(batch)?;
    db.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn ask(opener: Arc<Opener>, wait: Duration) -> String {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::with(&dir.path().join("index"), opener, wait);
        index.rows().unwrap_err()
    }

    #[test]
    fn a_sled_that_panics_is_survived() {
        let panics = Arc::new(|_: &Path| panic!("as seen in 0.34.7"));
        assert_eq!(ask(panics, Duration::from_mins(1)), "sled panicked");
    }

    #[test]
    fn a_sled_that_hangs_is_given_up() {
        let (kept, hang) = channel::<()>();
        let hang = Mutex::new(hang);
        let opener = move |_: &Path| {
            let _ended = locked(&hang).recv();
            Err(sled::Error::Unsupported("it hung".into()))
        };
        let began = Instant::now();
        let said = ask(Arc::new(opener), Duration::from_millis(50));
        assert_eq!(said, "sled did not answer within 50 ms");
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(kept);
    }
}
