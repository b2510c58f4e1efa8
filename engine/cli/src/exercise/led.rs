//! An exercise that is led here, a drill or a discussion: what its faces and its terminal need of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use backout_core::event::{Cause, Recorded};
use backout_core::id::RunId;
use backout_server::desk::TalkView;
use backout_tabletop::console::Typed;
use backout_tabletop::drill::Broken;
use backout_tabletop::log::Exercise;
use tokio::sync::watch;

/// An exercise that is led here. Whatever anybody does is kept before anybody is told of it.
pub(crate) trait Led: Send + Sync {
    /// Its record as it is now.
    fn record(&self) -> Exercise;

    /// Does what was typed; what to answer, if anything.
    fn typed(&self, typed: &Typed, who: &str) -> Result<Option<String>, Broken>;

    /// Lets its clock go on.
    fn tick(&self) -> Result<(), Broken>;

    /// It is over, for this reason.
    fn end(&self, why: &str) -> Result<(), Broken>;

    /// A person ends it for something real.
    fn emergency(&self, who: &Cause, text: &str) -> Result<(), Broken>;

    /// Wakes whoever waits for something to be said or done.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Its run, where it has one.
    fn run(&self) -> Option<&RunId> {
        None
    }

    /// The events of its run from the given one on.
    fn journal(&self, _from: usize) -> Vec<Recorded> {
        Vec::new()
    }

    /// Why no engine drives its run now.
    fn away(&self) -> Option<String> {
        None
    }

    /// The things of its simulated world.
    fn world(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is discussed, for those who see the script or for those who do not.
    fn talk(&self, _script: bool) -> Option<TalkView> {
        None
    }
}

/// Keeps the record of an exercise as it grows, so that what was noted and rated outlives a kill.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    /// Held for as long as somebody leads it: without it, it was broken off.
    _lock: File,
    /// Entries that are kept already.
    entries: Option<usize>,
}

impl Keeper {
    /// A keeper of the record in this folder.
    pub(super) fn of(folder: &Path) -> Result<Self, Broken> {
        let lock = folder.join(super::LEADER);
        let failed = |error: String| Broken(format!("locking {}: {error}", lock.display()));
        let file = File::create(&lock).map_err(|error| failed(error.to_string()))?;
        file.try_lock().map_err(|error| failed(error.to_string()))?;
        Ok(Self { path: folder.join(super::EXERCISE), _lock: file, entries: None })
    }

    /// Writes the record where it has grown. A half written one would be lost: it is replaced as a
    /// whole.
    pub(super) fn keep(
        &mut self,
        entries: usize,
        record: impl FnOnce() -> Exercise,
    ) -> Result<(), Broken> {
        if self.entries == Some(entries) {
            return Ok(());
        }
        let text = super::json(&record()).map_err(|error| Broken(error.to_string()))?;
        let beside = self.path.with_extension("json.new");
        let kept = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &self.path));
        let failed = |error| Broken(format!("writing {}: {error}", self.path.display()));
        kept.map_err(failed)?;
        self.entries = Some(entries);
        Ok(())
    }
}
