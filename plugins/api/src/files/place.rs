//! The names beside a target, the mark and the lock.

use super::{
    BTreeMap, Deserialize, Digest, Duration, EffectKey, Fence, Identity, Instant, Kind, LOCK_POLL,
    Path, PathBuf, Patience, Read, Seek, SeekFrom, Serialize, Sha256, Stop, Write, hex, io, look,
    stage, sync_folder,
};

/// Characters of a key's digest in a name: 64 bits, so that two keys never meet in one folder.
const HASH_CHARS: usize = 16;

/// The version of a mark's shape.
const MARK_VERSION: u32 = 1;

/// The names of one target and one key.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) folder: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) staged: PathBuf,
    pub(super) aside: PathBuf,
    pub(super) mark: PathBuf,
}

/// What became of a key; durable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) key: EffectKey,
    /// The highest sending that this holds for.
    pub(super) dispatch: u32,
    #[serde(flatten)]
    pub(super) state: MarkState,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(super) enum MarkState {
    /// The swap may happen any moment, or has.
    Begun { staged: Identity },
    /// It was swapped.
    Done,
    /// It was not swapped, and no sending up to `dispatch` may any more.
    Sealed,
}

#[derive(Serialize, Deserialize)]
struct MarkFile {
    format: u32,
    #[serde(flatten)]
    mark: Mark,
}

impl Places {
    pub(super) fn of(target: &Path, key: &EffectKey) -> io::Result<Self> {
        let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
        let folder = target.parent().ok_or_else(no_name)?.to_owned();
        let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
        let digest = hex(&Sha256::digest(key.as_str()));
        let hash = digest.get(..HASH_CHARS).unwrap_or(&digest);
        let staged = format!(".{name}.backout-{hash}");
        Ok(Self {
            lock: folder.join(format!(".{name}.backout-lock")),
            aside: folder.join(format!("{staged}.old")),
            mark: folder.join(format!("{staged}.mark")),
            staged: folder.join(staged),
            folder,
        })
    }

    pub(super) fn read_mark(&self, key: &EffectKey) -> io::Result<Option<Mark>> {
        let text = match std::fs::read(&self.mark) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let file: MarkFile = serde_json::from_slice(&text)?;
        if file.format != MARK_VERSION || file.mark.key != *key {
            let what = format!("{} is not the mark of {key}", self.mark.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(file.mark))
    }

    /// Replaces the mark whole, durably.
    pub(super) fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        let file = MarkFile { format: MARK_VERSION, mark: mark.clone() };
        let fresh = self.mark.with_extension("mark-new");
        let mut out = std::fs::File::create(&fresh)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.sync_all()?;
        std::fs::rename(&fresh, &self.mark)?;
        sync_folder(&self.folder)
    }

    /// Where what was displaced is, after a swap.
    pub(super) fn displaced(&self) -> &Path {
        if self.aside.symlink_metadata().is_ok() { &self.aside } else { &self.staged }
    }

    /// Of what lies aside a copy is kept, and it goes: whoever watches it hears that.
    pub(super) fn keep_copy(&self, kind: Kind) -> io::Result<()> {
        let aside = match look(&self.aside, kind) {
            Ok(aside) => aside,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match std::fs::remove_file(&self.staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        stage(&self.staged, &aside.content, &aside)?;
        std::fs::remove_file(&self.aside)?;
        sync_folder(&self.folder)
    }

    /// What lies aside gets the name under which what is displaced is kept.
    pub(super) fn keep_aside(&self) -> io::Result<()> {
        match std::fs::rename(&self.aside, &self.staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what was staged and never swapped in.
    pub(super) fn remove_staged(&self) -> io::Result<()> {
        for path in [&self.staged, &self.aside] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The lock file, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(std::fs::File);

/// Takes the lock; `None` where another process or thread held it all the time.
pub(super) fn lock(path: &Path, wait: Duration, patience: &Patience) -> io::Result<Option<Lock>> {
    use rustix::fs::{FlockOperation, flock};
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let start = Instant::now();
    let wait = wait.min(patience.timeout);
    let waits = || start.elapsed() < wait && !patience.cancel.is_cancelled();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) if waits() => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Lock {
    /// Refuses an older holder of the target's lock and remembers a newer one. A torn record is
    /// read as none: the precondition still holds then.
    pub(super) fn raise_token(&mut self, fence: &Fence) -> Result<(), Stop> {
        let refuse = |error: io::Error| {
            Stop::Refused(format!("cannot read the fence: {error}; nothing was changed"))
        };
        let mut text = Vec::new();
        self.0.seek(SeekFrom::Start(0)).map_err(refuse)?;
        self.0.read_to_end(&mut text).map_err(refuse)?;
        let mut tokens: BTreeMap<String, u64> = serde_json::from_slice(&text).unwrap_or_default();
        let seen = tokens.get(&fence.store).copied().unwrap_or(0);
        if fence.token.0 < seen {
            return Err(Stop::Refused(format!(
                "a later holder of this target's lock (token {seen}) was here; this one has {}; \
                 nothing was changed",
                fence.token.0
            )));
        }
        if fence.token.0 == seen {
            return Ok(());
        }
        tokens.insert(fence.store.clone(), fence.token.0);
        self.write(&tokens).map_err(refuse)
    }

    fn write(&mut self, tokens: &BTreeMap<String, u64>) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&serde_json::to_vec(tokens)?)?;
        self.0.sync_all()
    }
}
