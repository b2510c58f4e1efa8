//! A disk in memory that can lose power: any subset of unsynced sectors survives, unsynced sizes
//! and names may be lost.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, LockGuard, OpenMode};
use crate::watches::locked;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a crash does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The process dies; the system keeps all that was written.
    Process,
    /// The power goes; what was not synced survives in part, as the seed says.
    Power {
        /// Chooses what survives.
        seed: u64,
    },
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct ModelDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Node>,
    /// Changes of names that are not durable yet, in order.
    pending: Vec<(PathBuf, NameChange)>,
    /// The names that are durable.
    durable: BTreeMap<PathBuf, Node>,
    /// Changing calls so far, and how many may still be made.
    calls: u64,
    fail_after: Option<u64>,
    fail_sync: Option<u64>,
    room: Option<u64>,
}

#[derive(Clone, Debug)]
enum Node {
    Folder,
    File(Arc<Mutex<Inode>>),
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Move(PathBuf, PathBuf),
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug)]
struct ModelFile {
    inode: Arc<Mutex<Inode>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct NoLock;

impl LockGuard for NoLock {}

fn eio() -> io::Error {
    io::Error::other("the model disk failed")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    /// Counts a changing call; fails once the disk is to fail.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fail_after {
            Some(limit) if self.calls > limit => Err(eio()),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: NameChange) {
        let folder = |path: &Path| path.parent().unwrap_or(path).to_path_buf();
        let place = match &change {
            NameChange::Put(path, _) | NameChange::Remove(path) => folder(path),
            NameChange::Move(_, to) => folder(to),
        };
        apply(&mut self.names, &change);
        self.pending.push((place, change));
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &NameChange) {
    match change {
        NameChange::Put(path, node) => {
            names.insert(path.clone(), node.clone());
        }
        NameChange::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
        NameChange::Move(from, to) => {
            let moved: Vec<(PathBuf, Node)> = names
                .iter()
                .filter(|(name, _)| name.starts_with(from))
                .filter_map(|(name, node)| {
                    Some((name.strip_prefix(from).ok()?.into(), node.clone()))
                })
                .collect();
            names.retain(|name, _| !name.starts_with(from));
            for (rest, node) in moved {
                let rest: PathBuf = rest;
                let name = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                names.insert(name, node);
            }
        }
    }
}

/// A small generator: the same seed gives the same crash.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

impl ModelDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        locked(&self.state).calls
    }

    /// Lets every changing call fail after so many; what was done before stays.
    pub fn fail_after(&self, calls: u64) {
        locked(&self.state).fail_after = Some(calls);
    }

    /// Lets the nth sync from now on fail, from 1 on.
    pub fn fail_sync(&self, nth: u64) {
        locked(&self.state).fail_sync = Some(nth);
    }

    /// Gives files room for so many bytes in all.
    pub fn set_room(&self, bytes: Option<u64>) {
        locked(&self.state).room = bytes;
    }

    /// The disk as it is found after a crash. This one stays as it is.
    #[must_use]
    pub fn crashed(&self, kind: CrashKind) -> Self {
        let state = locked(&self.state);
        let names = match kind {
            CrashKind::Process => {
                copy(&state.names, &mut |inode| inode.now.clone(), |inode| inode.durable.clone())
            }
            CrashKind::Power { seed } => {
                let mut random = Random(seed);
                let names = surviving_names(&state, &mut random);
                copy(&names, &mut |inode| surviving_bytes(inode, &mut random), |_| Vec::new())
            }
        };
        let (durable, pending) = match kind {
            // What the process left unsynced is still unsynced: a power cut may follow.
            CrashKind::Process => shared_durable(&state, &names),
            CrashKind::Power { .. } => (names.clone(), Vec::new()),
        };
        if let CrashKind::Power { .. } = kind {
            settle(&names);
        }
        let state = State { names, pending, durable, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

/// After a process crash, what is durable stays what it was; files are the same by their names.
fn shared_durable(
    state: &State,
    names: &BTreeMap<PathBuf, Node>,
) -> (BTreeMap<PathBuf, Node>, Vec<(PathBuf, NameChange)>) {
    let renewed = |node: &Node| match node {
        Node::Folder => Node::Folder,
        Node::File(old) => state
            .names
            .iter()
            .find_map(|(path, other)| match other {
                Node::File(other) if Arc::ptr_eq(old, other) => names.get(path).cloned(),
                _ => None,
            })
            .unwrap_or_else(|| node.clone()),
    };
    let durable = state.durable.iter().map(|(path, node)| (path.clone(), renewed(node))).collect();
    let pending = state.pending.iter().map(|(folder, change)| {
        let change = match change {
            NameChange::Put(path, node) => NameChange::Put(path.clone(), renewed(node)),
            other => other.clone(),
        };
        (folder.clone(), change)
    });
    (durable, pending.collect())
}

/// In each folder, a prefix of the changes survives, as in a file system's journal.
fn surviving_names(state: &State, random: &mut Random) -> BTreeMap<PathBuf, Node> {
    let mut names = state.durable.clone();
    let mut stopped: Vec<PathBuf> = Vec::new();
    for (folder, change) in &state.pending {
        if stopped.contains(folder) {
            continue;
        }
        if random.chance() {
            apply(&mut names, change);
        } else {
            stopped.push(folder.clone());
        }
    }
    names
}

fn surviving_bytes(inode: &Inode, random: &mut Random) -> Vec<u8> {
    let (now, durable) = (&inode.now, &inode.durable);
    if now == durable {
        return durable.clone();
    }
    let keep_size = random.chance();
    let len = if keep_size { now.len() } else { durable.len() };
    let mut bytes = durable.clone();
    bytes.resize(len, 0);
    let mode = random.next() % 3;
    for (index, sector) in bytes.chunks_mut(SECTOR).enumerate() {
        let newer = now.get(index * SECTOR..).unwrap_or_default();
        let newer = newer.get(..sector.len().min(newer.len())).unwrap_or_default();
        let keep = match mode {
            0 => false,
            1 => true,
            _ => random.chance(),
        };
        if keep && let Some(place) = sector.get_mut(..newer.len()) {
            place.copy_from_slice(newer);
        }
    }
    bytes
}

fn copy(
    names: &BTreeMap<PathBuf, Node>,
    now: &mut dyn FnMut(&Inode) -> Vec<u8>,
    durable: impl Fn(&Inode) -> Vec<u8>,
) -> BTreeMap<PathBuf, Node> {
    let mut copied = BTreeMap::new();
    for (path, node) in names {
        let node = match node {
            Node::Folder => Node::Folder,
            Node::File(inode) => {
                let inode = locked(inode);
                let inode = Inode { now: now(&inode), durable: durable(&inode) };
                Node::File(Arc::new(Mutex::new(inode)))
            }
        };
        copied.insert(path.clone(), node);
    }
    copied
}

/// What was read from the disk after the power came back is on the disk.
fn settle(names: &BTreeMap<PathBuf, Node>) {
    for node in names.values() {
        if let Node::File(inode) = node {
            let mut inode = locked(inode);
            let Inode { now, durable } = &mut *inode;
            durable.clone_from(now);
        }
    }
}

impl DiskFile for ModelFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let inode = locked(&self.inode);
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = inode.now.get(begin..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        if let (Some(place), Some(bytes)) = (buf.get_mut(..len), rest.get(..len)) {
            place.copy_from_slice(bytes);
        }
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        locked(&self.state).call()?;
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        let end = begin + bytes.len();
        self.reserve(end)?;
        let mut inode = locked(&self.inode);
        if inode.now.len() < end {
            inode.now.resize(end, 0);
        }
        if let Some(place) = inode.now.get_mut(begin..end) {
            place.copy_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.call()?;
        if let Some(left) = state.fail_sync {
            state.fail_sync = left.checked_sub(1).filter(|left| *left > 0);
            if left == 1 {
                return Err(eio());
            }
        }
        drop(state);
        let mut inode = locked(&self.inode);
        let Inode { now, durable } = &mut *inode;
        durable.clone_from(now);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(locked(&self.inode).now.len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        locked(&self.state).call()?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        self.reserve(size)?;
        locked(&self.inode).now.resize(size, 0);
        Ok(())
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let size = size.max(self.size()?);
        self.set_size(size)
    }
}

impl ModelFile {
    /// Refuses what the disk has no room for.
    fn reserve(&self, end: usize) -> io::Result<()> {
        let state = locked(&self.state);
        let Some(room) = state.room else { return Ok(()) };
        let used = |node: &Node| match node {
            Node::Folder => 0,
            Node::File(inode) => locked(inode).now.len() as u64,
        };
        let total: u64 = state.names.values().map(used).sum();
        let more = (end as u64).saturating_sub(locked(&self.inode).now.len() as u64);
        if more > 0 && total + more > room {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl Disk for ModelDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = locked(&self.state);
        let known = match state.names.get(path) {
            Some(Node::File(inode)) => Some(inode.clone()),
            Some(Node::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            None => None,
        };
        let inode = match (known, mode) {
            (Some(inode), OpenMode::Read | OpenMode::Write) => inode,
            (None, OpenMode::Read | OpenMode::Write) => return Err(not_found()),
            (Some(inode), OpenMode::Create) => {
                state.call()?;
                locked(&inode).now.clear();
                inode
            }
            (None, OpenMode::Create) => {
                state.call()?;
                let inode = Arc::new(Mutex::new(Inode::default()));
                state.change(NameChange::Put(path.into(), Node::File(inode.clone())));
                inode
            }
        };
        Ok(Box::new(ModelFile { inode, state: self.state.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.call()?;
        if !state.names.contains_key(from) {
            return Err(not_found());
        }
        state.change(NameChange::Move(from.into(), to.into()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.call()?;
        if !state.names.contains_key(path) {
            return Err(not_found());
        }
        state.change(NameChange::Remove(path.into()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.state);
        let mut missing: Vec<&Path> = path.ancestors().collect();
        missing.retain(|path| !path.as_os_str().is_empty() && !state.names.contains_key(*path));
        for path in missing.into_iter().rev() {
            state.call()?;
            state.change(NameChange::Put(path.into(), Node::Folder));
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = locked(&self.state);
        if !state.names.contains_key(path) {
            return Err(not_found());
        }
        let below = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(below
            .filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.call()?;
        let pending = std::mem::take(&mut state.pending);
        for (folder, change) in pending {
            if folder == path {
                apply(&mut state.durable, &change);
            } else {
                state.pending.push((folder, change));
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        drop(self.open(path, OpenMode::Create)?);
        Ok(Some(Box::new(NoLock)))
    }

    fn is_locked(&self, _path: &Path) -> bool {
        false
    }
}
