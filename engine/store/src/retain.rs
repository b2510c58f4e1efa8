//! Retention: finished runs that are old enough go, an unfinished one never.

use std::io;

use backout_core::id::{RunId, Timestamp};

use crate::archive;
use crate::embedded::EmbeddedStore;
use crate::home::io_error;
use crate::journal::StoreError;
use crate::layout::is_run_name;
use crate::lookup::load_meta;
use crate::watches::locked;

/// Removes the runs that came to rest longer than `older_than_ms` before `now`. Gives those that
/// were removed. A run whose last records are still in the log stays until the next time.
///
/// # Errors
/// [`StoreError::Io`] where the disk refuses; what was removed before stays removed.
pub async fn retain(
    store: &EmbeddedStore,
    older_than_ms: u64,
    now: Timestamp,
) -> Result<Vec<RunId>, StoreError> {
    let shared = store.shared();
    empty_trash(store)?;
    let path = shared.layout.runs();
    let names = shared.disk.list(&path).map_err(|error| io_error("listing", &path, &error))?;
    let mut removed = Vec::new();
    for run in names.into_iter().filter(|name| is_run_name(name)).map(RunId::new) {
        if is_due(store, &run, older_than_ms, now) && remove(store, &run).await? {
            removed.push(run);
        }
    }
    empty_trash(store)?;
    Ok(removed)
}

/// Whether a run came to rest long enough ago. One that cannot be read or holds a lock is not
/// touched.
fn is_due(store: &EmbeddedStore, run: &RunId, older_than_ms: u64, now: Timestamp) -> bool {
    let shared = store.shared();
    let held = locked(&shared.held).contains_key(run);
    if held || archive::held(&*shared.disk, &shared.layout, run).is_some() || in_log(store, run) {
        return false;
    }
    if locked(&shared.ledger).locks.values().any(|lock| lock.run == *run) {
        return false;
    }
    let ended = load_meta(shared, run).ok().flatten().and_then(|meta| meta.ended);
    ended.is_some_and(|ended| now.since_ms(ended) > older_than_ms)
}

fn in_log(store: &EmbeddedStore, run: &RunId) -> bool {
    locked(&store.shared().extents).contains_key(run)
}

/// Removes one run, unless somebody appended to it meanwhile.
async fn remove(store: &EmbeddedStore, run: &RunId) -> Result<bool, StoreError> {
    let shared = store.shared();
    locked(&shared.held).insert(run.clone(), "it is being removed".into());
    store.pass_writer(run).await;
    let moved = if in_log(store, run) { Ok(false) } else { move_away(store, run).map(|()| true) };
    if matches!(moved, Ok(true)) {
        store.forget(run);
    }
    locked(&shared.held).remove(run);
    moved
}

fn move_away(store: &EmbeddedStore, run: &RunId) -> Result<(), StoreError> {
    let shared = store.shared();
    let (from, to) = (shared.layout.run(run), shared.layout.trash().join(run.as_str()));
    let moved = shared
        .disk
        .create_dir_all(&shared.layout.trash())
        .and_then(|()| shared.disk.rename(&from, &to))
        .and_then(|()| shared.disk.sync_dir(&shared.layout.runs()));
    moved.map_err(|error| io_error("removing", &from, &error))
}

fn empty_trash(store: &EmbeddedStore) -> Result<(), StoreError> {
    let shared = store.shared();
    let path = shared.layout.trash();
    match shared.disk.remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("removing", &path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
