//! One sending is claimed once: by its sender, just before it acts, or by the one who settles it,
//! which seals it for ever.
//!
//! For targets that hold no mark of ours. The claim is a file in the run's scratch folder, on the
//! store's disk, so that it outlives the engine and a power cut. Whoever makes it first has it:
//! a sender that finds a seal does nothing, and one who settles and finds no claim takes it and
//! knows that this sending will never act.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{EffectKey, hex};

/// Bytes of a folder's name: file systems allow 255.
const NAME_BYTES_MAX: usize = 180;
const CLAIM: &str = "claim";

/// Who has a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claimant {
    /// The one who sends: it acted, or was about to.
    Sender,
    /// The one who settles: the sending never acts.
    Seal,
}

/// What stands in the claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// Who has it.
    pub by: Claimant,
    /// Since when, milliseconds since 1970.
    pub at_ms: i64,
    /// What the claimant wants known of itself: its process, for instance.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub note: Value,
}

/// The answer to an attempt to take a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Take {
    /// It was free and is now ours.
    Ours,
    /// It was taken before.
    Theirs(Claimed),
}

/// The claim on one sending.
#[derive(Clone, Debug)]
pub struct Claim {
    dir: PathBuf,
}

impl Claimed {
    /// A claim by a sender, which may say more of itself.
    pub fn sender(at_ms: i64, note: Value) -> Self {
        Self { by: Claimant::Sender, at_ms, note }
    }

    /// A seal.
    pub fn seal(at_ms: i64) -> Self {
        Self { by: Claimant::Seal, at_ms, note: Value::Null }
    }
}

impl Claim {
    /// The claim that stands in this folder, which need not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Takes the claim unless somebody has it. When this returns, whoever has it has it on disk.
    /// Blocks for two or three synchronisations of the disk.
    ///
    /// # Errors
    /// The folder cannot be written; nobody's claim may be assumed.
    pub fn take(&self, wanted: &Claimed) -> io::Result<Take> {
        create_dir_durably(&self.dir)?;
        let temporary = self.dir.join(temporary_name());
        write_durably(&temporary, &serde_json::to_vec(wanted)?)?;
        let linked = fs::hard_link(&temporary, self.dir.join(CLAIM));
        fs::remove_file(&temporary)?;
        let taken = match linked {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        // Also where it was there before: its maker may have died before it was on disk.
        sync_dir(&self.dir)?;
        if taken {
            return Ok(Take::Ours);
        }
        self.read()?.map(Take::Theirs).ok_or_else(|| io::Error::other("the claim vanished"))
    }

    /// Who has it, if anybody.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(&self) -> io::Result<Option<Claimed>> {
        match fs::read(self.dir.join(CLAIM)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A folder's name for one sending of one effect: readable, safe, and different for different
/// sendings.
pub fn folder_name(key: &EffectKey, dispatch: u32) -> String {
    let mut name = String::new();
    for byte in key.as_str().bytes() {
        match byte {
            b'/' => name.push('.'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => {
                name.push('%');
                name.push_str(&hex(&[byte]));
            }
        }
    }
    if name.len() > NAME_BYTES_MAX {
        let digest = hex(&Sha256::digest(key.as_str()));
        name.truncate(NAME_BYTES_MAX - digest.len());
        name.push_str(&digest);
    }
    format!("{name}.d{dispatch}")
}

/// Makes a folder and all above it, each on disk before the next.
///
/// # Errors
/// As the file system says.
pub fn create_dir_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir_durably(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// No two takers share it: neither two processes nor two threads of one.
fn temporary_name() -> String {
    static TAKERS: AtomicU64 = AtomicU64::new(0);
    format!(".claim-{}-{}", std::process::id(), TAKERS.fetch_add(1, Ordering::Relaxed))
}

/// Writes a file and synchronises its bytes; its name needs [`sync_dir`] besides.
///
/// # Errors
/// As the file system says.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Synchronises the names in a folder.
///
/// # Errors
/// As the file system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_it_and_the_second_sees_who() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::at(dir.path().join("a/b"));
        assert_eq!(claim.read().unwrap(), None);
        let first = Claimed::seal(5);
        assert_eq!(claim.take(&first).unwrap(), Take::Ours);
        let second = Claimed::sender(6, "pid 7".into());
        assert_eq!(claim.take(&second).unwrap(), Take::Theirs(first.clone()));
        assert_eq!(claim.read().unwrap(), Some(first));
        let left: Vec<_> = fs::read_dir(dir.path().join("a/b")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays: {left:?}");
    }

    #[test]
    fn of_many_at_once_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let taken: usize = std::thread::scope(|scope| {
            let both = [Claimed::seal(1), Claimed::sender(1, Value::Null)].map(|wanted| {
                let claim = Claim::at(dir.path().join("x"));
                scope.spawn(move || claim.take(&wanted).unwrap() == Take::Ours)
            });
            both.into_iter().filter_map(|thread| thread.join().ok()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
    }

    #[test]
    fn names_are_safe_and_different() {
        let name = |key: &str| folder_name(&EffectKey::from_text(key), 2);
        assert_eq!(name("r/s/1/0"), "r.s.1.0.d2");
        assert_eq!(name("r/s[../x]/1/0"), "r.s%5b%2e%2e.x%5d.1.0.d2");
        let long = "x".repeat(500);
        assert!(name(&long).len() <= 200);
        assert_ne!(name(&format!("{long}a")), name(&format!("{long}b")));
    }
}
