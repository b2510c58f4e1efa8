//! The store in a folder, owned by this process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use backout_core::event::Recorded;
use backout_core::id::{Epoch, RunId, Seq};
use backout_core::state::RunState;
use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};

use crate::capture::{self, Capture};
use crate::disk::{Disk, LockGuard, OpenMode};
use crate::envelope::{Sealed, seal};
use crate::format;
use crate::home::{self, io_error};
use crate::index::{Filter, Index, Listing, list_without};
use crate::journal::{Append, AppendResult, JournalStore, Pending, StoreError};
use crate::keeper;
use crate::kept;
use crate::layout::{Layout, is_run_name};
use crate::ledger::RunMeta;
use crate::lookup::load_meta;
use crate::mark::this_boot;
use crate::memory::{never, too_large};
use crate::options::{SEGMENT_BYTES_MIN, StoreOptions};
use crate::owner::{self, Owner, rfc3339};
use crate::portable::{self, Imported};
use crate::reader::Reader;
use crate::recover::{Recovered, Recovery, has_home};
use crate::shared::{Shared, Spare};
use crate::watches::{Watches, locked};
use crate::writer::{Appender, Message, Request, Start, Writer};

/// What opening a store found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What was put right, and what could not be: one line each, for people. Empty is: all well.
    pub lines: Vec<String>,
    /// Runs that did not come to rest, those held included.
    pub unfinished: Vec<RunId>,
    /// Runs that a person must look at before anything goes on, and why.
    pub held: Vec<(RunId, String)>,
}

/// The store in a folder, owned by this process until it is closed or dropped.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    appender: Arc<Appender>,
    threads: Vec<JoinHandle<()>>,
    seed: [u8; 32],
    salted: AtomicU64,
    socket: PathBuf,
    index: Option<Index>,
    _owner: Box<dyn LockGuard>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, or makes one there. Gives what was found.
    ///
    /// # Errors
    /// [`StoreError::Owned`] where another process has it; [`StoreError::Newer`] where a newer
    /// release wrote it; [`StoreError::Io`] where the disk refuses.
    #[expect(clippy::needless_pass_by_value, reason = "options are for one store")]
    pub fn open(dir: &Path, options: StoreOptions) -> Result<(Self, Opened), StoreError> {
        let layout = Layout::new(dir);
        let disk = options.disk.clone();
        format::make_folders(&*disk, &layout)?;
        let socket = options.socket.clone().unwrap_or_else(|| layout.socket());
        let since = rfc3339((options.now)());
        let me = Owner { pid: std::process::id(), since, socket: socket.clone() };
        let guard = owner::take(&*disk, &layout, &me)?;
        format::sync_names(&*disk, &layout)?;
        let store = format::load_or_make(&*disk, &layout, &options.entropy)?.store;
        let segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN);
        let recovery = Recovery { disk: &disk, layout: &layout, store: &store, segment_bytes };
        let recovered = recovery.run()?;
        let opened = opened(&recovered);
        let index = options.index.then(|| Index::new(&layout.index()));
        let parts = Parts { disk, layout, store, segment_bytes };
        let (shared, appender, threads) = start(parts, recovered);
        let store = Self {
            shared,
            appender,
            threads,
            seed: options.entropy,
            salted: AtomicU64::new(0),
            socket,
            index,
            _owner: guard,
        };
        Ok((store, opened))
    }

    /// Writes everything home, syncs it and lets the store go. Dropping does the same.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.appender.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(
                    "a thread of the store panicked; the journal is whole all the same"
                );
            }
        }
    }

    /// A folder for an action's own files of a run. It goes with the run.
    pub fn scratch(&self, run: &RunId) -> PathBuf {
        self.shared.layout.scratch(run)
    }

    /// Where the owner listens for other invocations.
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    /// The store's folder.
    pub fn dir(&self) -> &Path {
        &self.shared.layout.root
    }

    /// Begins to capture output of a run. `name` is any word that no other capture of the run uses
    /// at the same time; beyond `limit` bytes the output is cut, with a mark.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the file cannot be made.
    pub fn capture(&self, run: &RunId, name: &str, limit: u64) -> Result<Capture, StoreError> {
        Capture::begin(self.shared.disk.clone(), &self.shared.layout, run, name, limit)
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
        capture::read(&*self.shared.disk, &self.shared.layout, run, sha256, (offset, limit))
    }

    /// Why nothing more can be written; `None` while all is well.
    pub fn stopped(&self) -> Option<String> {
        self.shared.stop_reason()
    }

    /// Lets a run go on that was held: what can be read of it is its journal from now on. A
    /// person's decision.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the note cannot be removed.
    pub fn unhold(&self, run: &RunId) -> Result<(), StoreError> {
        let path = self.shared.layout.held(run);
        let failed = |error: io::Error| io_error("removing", &path, &error);
        self.shared.disk.remove_file(&path).map_err(failed)?;
        self.shared.disk.sync_dir(&self.shared.layout.run(run)).map_err(failed)?;
        locked(&self.shared.held).remove(run);
        Ok(())
    }

    /// Where a run came from, if it was made in another store.
    pub fn imported(&self, run: &RunId) -> Option<Imported> {
        portable::imported(&*self.shared.disk, &self.shared.layout, run)
    }

    /// Lets a run that was imported be appended to. The first append comes under
    /// [`JournalStore::next_epoch`] and carries the person's reason.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk refuses.
    pub fn take_over(&self, run: &RunId) -> Result<(), StoreError> {
        portable::take_over(&*self.shared.disk, &self.shared.layout, run)
    }

    /// What lists show of the runs, the newest first. Uses the sled index; goes on without it and
    /// says so.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk refuses.
    pub fn runs(&self, filter: &Filter) -> Result<Listing, StoreError> {
        let reader = Reader::on(self.shared.disk.clone(), self.dir())?;
        match &self.index {
            Some(index) => index.list(&reader, filter),
            None => list_without(&reader, filter),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until the writer has been through all that was sent to it before. The run is held, so
    /// nothing is appended to it here.
    pub(crate) async fn pass_writer(&self, run: &RunId) {
        let new = crate::journal::NewEvent {
            at: backout_core::id::Timestamp(0),
            cause: backout_core::event::Cause::engine(),
            event: backout_core::event::Event::RunClosed,
        };
        let barrier = Append {
            append_id: "barrier".into(),
            run: run.clone(),
            epoch: Epoch(0),
            expected_seq: Seq(u64::MAX - 1),
            claims: Vec::new(),
            releases: Vec::new(),
            intends: 0,
            events: vec![new],
        };
        self.append(barrier).await;
    }

    /// Forgets a run that was removed.
    pub(crate) fn forget(&self, run: &RunId) {
        self.appender.push(Message::Forget(run.clone()));
    }

    fn salt(&self) -> [u8; 16] {
        let count = self.salted.fetch_add(1, Ordering::Relaxed);
        let mut digest = Sha256::new();
        digest.update(self.seed);
        digest.update(count.to_le_bytes());
        let hash: [u8; 32] = digest.finalize().into();
        let mut salt = [0; 16];
        salt.copy_from_slice(&hash[..16]);
        salt
    }

    fn seal_all(&self, append: &Append) -> Result<Vec<Sealed>, String> {
        if let Some(why) = never(append) {
            return Err(why);
        }
        let seal_one = |new: &crate::journal::NewEvent| {
            let sealed = seal(new.at, &new.cause, &new.event, self.salt());
            let sealed = sealed.map_err(|error| error.to_string())?;
            match too_large(sealed.body.len()) {
                Some(why) => Err(why),
                None => Ok(sealed),
            }
        };
        append.events.iter().map(seal_one).collect()
    }

    /// Where a run is, whether it was looked at before or not.
    fn meta(&self, run: &RunId) -> Result<Option<RunMeta>, StoreError> {
        if let Some(meta) = locked(&self.shared.ledger).runs.get(run) {
            return Ok(Some(meta.clone()));
        }
        if !is_run_name(run.as_str()) {
            return Ok(None);
        }
        load_meta(&self.shared, run)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Parts {
    disk: Arc<dyn Disk>,
    layout: Layout,
    store: String,
    segment_bytes: u64,
}

type Running = (Arc<Shared>, Arc<Appender>, Vec<JoinHandle<()>>);

/// Starts the threads.
fn start(parts: Parts, recovered: Recovered) -> Running {
    let Parts { disk, layout, store, segment_bytes } = parts;
    let Recovered { archive, ledger, extents, held, segment, frame, jobs, leftovers, .. } =
        recovered;
    let shared = Arc::new(Shared {
        disk,
        layout,
        store,
        boot: this_boot(),
        ledger: Mutex::new(ledger),
        offered: Mutex::default(),
        extents: Mutex::new(extents),
        held: Mutex::new(held),
        watches: Watches::default(),
        spare: Mutex::new(Spare::None),
        spare_changed: Condvar::new(),
        stopped: Mutex::default(),
    });
    let (keeper, stored) = channel();
    let (maker, asked) = channel();
    for job in jobs {
        // The receiver lives in the thread started below.
        let _sent = keeper.send(job);
    }
    let next = segment.number + 1;
    let start =
        Start { shared: shared.clone(), queue: Arc::default(), keeper, maker, segment, frame };
    let (for_spares, for_segments) = (shared.clone(), shared.clone());
    let appender = Arc::new(Appender::new(Writer::new(start)));
    let writer = appender.clone();
    let threads = vec![
        std::thread::spawn(move || writer.run()),
        std::thread::spawn(move || keeper::make_spares(&for_spares, &asked, next, segment_bytes)),
        std::thread::spawn(move || {
            keeper::remove(&*for_segments.disk, &leftovers);
            keeper::store_segments(&for_segments, &stored, archive);
        }),
    ];
    (shared, appender, threads)
}

fn opened(recovered: &Recovered) -> Opened {
    let runs = &recovered.ledger.runs;
    let mut unfinished: Vec<RunId> =
        runs.iter().filter(|(_, meta)| meta.is_unfinished()).map(|(run, _)| run.clone()).collect();
    unfinished.sort_unstable();
    let held = recovered.held.clone().into_iter().collect();
    Opened { lines: recovered.lines.clone(), unfinished, held }
}

impl JournalStore for EmbeddedStore {
    fn id(&self) -> String {
        self.shared.store.clone()
    }

    fn append(&self, append: Append) -> Pending {
        let sealed = match self.seal_all(&append) {
            Ok(sealed) => sealed,
            Err(why) => return Box::pin(std::future::ready(AppendResult::Refused { why })),
        };
        let (answer, answered) = oneshot::channel();
        // A store that is closed drops the request, and the answer below says so.
        self.appender.append(Box::new(Request { append, sealed, answer }));
        Box::pin(async move {
            answered
                .await
                .unwrap_or_else(|_| AppendResult::Unknown { why: "the store is closed".into() })
        })
    }

    fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let Shared { disk, layout, .. } = &*self.shared;
        let path = layout.journal(run);
        let log = self.shared.log_records(run, from);
        let log = log.map_err(|error| io_error("reading", &layout.log(), &error))?;
        let known = is_run_name(run.as_str());
        let file = known.then(|| disk.open(&path, OpenMode::Read).ok()).flatten();
        if file.is_none() && log.is_empty() {
            return Err(StoreError::NoSuchRun(run.clone()));
        }
        home::read(file.as_deref().map(|file| (file, path.as_path())), &log, from, limit)
    }

    fn keep_fold(&self, run: &RunId, fold: &[u8]) {
        kept::save(&*self.shared.disk, &self.shared.layout, run, fold);
    }

    fn kept_fold(&self, run: &RunId) -> Option<RunState> {
        kept::load(&*self.shared.disk, &self.shared.layout, run)
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        let path = self.shared.layout.runs();
        let names = self.shared.disk.list(&path);
        let names = names.map_err(|error| io_error("listing", &path, &error))?;
        let Shared { disk, layout, .. } = &*self.shared;
        let mut runs: Vec<RunId> =
            names.into_iter().filter(|name| is_run_name(name)).map(RunId::new).collect();
        runs.retain(|run| has_home(&**disk, layout, run));
        runs.extend(locked(&self.shared.extents).keys().cloned());
        runs.sort_unstable();
        runs.dedup();
        Ok(runs)
    }

    fn next_epoch(&self, run: &RunId) -> Result<Epoch, StoreError> {
        let known = self.meta(run)?.map_or(Epoch(0), |meta| meta.epoch);
        let mut offered = locked(&self.shared.offered);
        let offered = offered.entry(run.clone()).or_default();
        *offered = Epoch(known.max(*offered).0 + 1);
        Ok(*offered)
    }

    fn watch(&self, run: &RunId) -> watch::Receiver<Seq> {
        let extent = locked(&self.shared.extents).get(run).and_then(|e| e.last().map(|e| e.last));
        // A run that cannot be read now wakes its watchers when it can be written.
        let last = extent.or_else(|| self.meta(run).ok().flatten().map(|meta| meta.last));
        self.shared.watches.of(run, last.unwrap_or_default())
    }

    fn lock_releases(&self) -> watch::Receiver<u64> {
        self.shared.watches.releases()
    }
}
