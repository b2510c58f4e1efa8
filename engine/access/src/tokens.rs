//! The file of tokens in the store's folder: written whole, readable by its owner only. A server
//! looks at each use whether it changed, so that a revoked token is refused from then on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::token::{Entry, split};

/// The file's name in the store's folder.
pub const TOKENS_FILE: &str = "tokens.json";
/// The version of the file's format.
pub const TOKENS_FORMAT: u32 = 1;
/// Tokens of one store, those included that ended: beyond, an issuer is the better way.
pub const TOKENS_MAX: usize = 1_000;
/// Bytes of the file: [`TOKENS_MAX`] entries of 400 bytes, with room.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const LOCK_FILE: &str = "tokens.lock";

/// Why the tokens cannot be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The system said no.
    #[error("{path}: {why}")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        why: String,
    },
    /// It is not a file of tokens, or a damaged one.
    #[error("{path} cannot be read as a file of tokens: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A newer release wrote it.
    #[error("{path} has format {format}; this release reads format {TOKENS_FORMAT}")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
    },
    /// Too many.
    #[error("{TOKENS_MAX} tokens stand in {path}, and none of them has ended")]
    Full {
        /// The file.
        path: String,
    },
}

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    format: u32,
    tokens: Vec<Entry>,
}

/// The tokens of a store.
#[derive(Clone, Debug)]
pub struct Tokens {
    folder: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// What was read last, and of which file.
#[derive(Debug, Default)]
struct Known {
    version: Option<(u64, i64, i64, u64)>,
    entries: Arc<Vec<Entry>>,
}

impl Tokens {
    /// Those of the store in a folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), known: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(TOKENS_FILE)
    }

    /// All of them; none where there is no file.
    ///
    /// # Errors
    /// Why they cannot be read. Then no token is good.
    pub fn all(&self) -> Result<Arc<Vec<Entry>>, TokensError> {
        let version = match fs::metadata(self.path()) {
            Ok(meta) => Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.io(&error)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            let entries = if version.is_some() { self.read()? } else { Vec::new() };
            *known = Known { version, entries: Arc::new(entries) };
        }
        Ok(Arc::clone(&known.entries))
    }

    /// The token with this text, whatever became of it; nothing where there is none.
    ///
    /// # Errors
    /// Why the tokens cannot be read.
    pub fn find(&self, text: &str) -> Result<Option<Entry>, TokensError> {
        let Some((id, secret)) = split(text) else { return Ok(None) };
        let all = self.all()?;
        Ok(all.iter().find(|entry| entry.id == id && entry.is_secret(secret)).cloned())
    }

    /// Adds a token. Where the file is full, those that ended first go.
    ///
    /// # Errors
    /// Why it was not added; then nothing changed.
    pub fn add(&self, entry: Entry, now_ms: i64) -> Result<(), TokensError> {
        self.change(|entries| {
            if entries.len() >= TOKENS_MAX {
                let is_over = |entry: &Entry| entry.standing(now_ms).word() != "good";
                let over = entries.iter().position(is_over);
                entries.remove(over.ok_or_else(|| TokensError::Full { path: self.shown() })?);
            }
            entries.push(entry);
            Ok(())
        })
    }

    /// Takes tokens back: that of an id, or all of a name. Those that it took.
    ///
    /// # Errors
    /// Why none was taken back; then nothing changed.
    pub fn revoke(&self, which: &str, now_ms: i64) -> Result<Vec<Entry>, TokensError> {
        self.change(|entries| {
            let is_meant = |entry: &&mut Entry| {
                (entry.id == which || entry.name == which) && entry.revoked_ms.is_none()
            };
            let mut taken = Vec::new();
            for entry in entries.iter_mut().filter(is_meant) {
                entry.revoked_ms = Some(now_ms);
                taken.push(entry.clone());
            }
            Ok(taken)
        })
    }

    /// Reads, changes and writes, while nobody else does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        fs::create_dir_all(&self.folder).map_err(|error| self.io(&error))?;
        let lock = owned(&self.folder.join(LOCK_FILE)).map_err(|error| self.io(&error))?;
        lock.lock().map_err(|error| self.io(&error))?;
        let mut entries = if self.path().exists() { self.read()? } else { Vec::new() };
        let changed = change(&mut entries)?;
        self.write(entries).map_err(|error| self.io(&error))?;
        Ok(changed)
    }

    fn read(&self) -> Result<Vec<Entry>, TokensError> {
        let unreadable = |why: String| TokensError::Unreadable { path: self.shown(), why };
        let length = fs::metadata(self.path()).map_err(|error| self.io(&error))?.len();
        if length > FILE_BYTES_MAX {
            return Err(unreadable(format!("it has {length} bytes")));
        }
        let bytes = fs::read(self.path()).map_err(|error| self.io(&error))?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        match u32::try_from(format).unwrap_or(u32::MAX) {
            TOKENS_FORMAT => {}
            0 => return Err(unreadable("it names no format".to_owned())),
            format => return Err(TokensError::Newer { path: self.shown(), format }),
        }
        let content = serde_json::from_value(value);
        let content: Content = content.map_err(|error| unreadable(error.to_string()))?;
        Ok(content.tokens)
    }

    /// Beside it first, then in its place: a crash leaves the old file or the new one.
    fn write(&self, tokens: Vec<Entry>) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&Content { format: TOKENS_FORMAT, tokens })?;
        text.push('\n');
        let beside = self.folder.join(".tokens.json.new");
        let mut file = owned(&beside)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    fn io(&self, error: &io::Error) -> TokensError {
        TokensError::Io { path: self.shown(), why: error.to_string() }
    }
}

/// A file that only its owner can read.
fn owned(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::role::Role;
    use crate::token::{RANDOM_BYTES, Standing, Wanted};

    fn entry(byte: u8, name: &str, expires_ms: i64) -> (Entry, String) {
        let roles = vec![Role::Viewer];
        let wanted = Wanted { name: name.to_owned(), roles, break_glass: false, expires_ms };
        Entry::issue(wanted, &[byte; RANDOM_BYTES], 0)
    }

    #[test]
    fn a_token_is_found_until_it_is_revoked_also_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Tokens::of(folder.path()), Tokens::of(folder.path()));
        assert_eq!(ours.find("backout_x").unwrap(), None);
        let (one, text) = entry(1, "ann", 100);
        ours.add(one.clone(), 0).unwrap();
        ours.add(entry(2, "ann", 100).0, 0).unwrap();
        assert_eq!(theirs.find(&text).unwrap(), Some(one.clone()));
        let wrong = text.replace("0101", "0102");
        assert_eq!(theirs.find(&wrong).unwrap(), None);
        assert_eq!(ours.revoke(&one.id, 7).unwrap().len(), 1);
        assert_eq!(theirs.find(&text).unwrap().unwrap().standing(8), Standing::Revoked);
        assert_eq!(ours.revoke("ann", 8).unwrap().len(), 1, "the other one of that name");
        assert_eq!(ours.revoke("ann", 9).unwrap().len(), 0);
    }

    #[test]
    fn nobody_else_reads_the_file_and_no_secret_stands_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(folder.path());
        let (one, text) = entry(3, "ann", 100);
        tokens.add(one, 0).unwrap();
        let path = folder.path().join(TOKENS_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let written = fs::read_to_string(&path).unwrap();
        assert!(!written.contains(split(&text).unwrap().1), "{written}");
    }

    #[test]
    fn a_damaged_or_newer_file_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(folder.path());
        let (one, text) = entry(4, "ann", 100);
        tokens.add(one, 0).unwrap();
        for bad in ["{", "[]", r#"{"format":2,"tokens":[]}"#, r#"{"format":1,"tokens":[{}]}"#] {
            fs::write(folder.path().join(TOKENS_FILE), bad).unwrap();
            assert!(tokens.find(&text).is_err(), "{bad}");
            assert!(tokens.add(entry(5, "ben", 100).0, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_file_gives_up_what_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(folder.path());
        let many = (0..TOKENS_MAX).map(|_| entry(6, "ann", 100).0).collect();
        tokens.write(many).unwrap();
        let error = tokens.add(entry(7, "ben", 100).0, 50).unwrap_err();
        assert!(matches!(error, TokensError::Full { .. }), "{error}");
        tokens.add(entry(7, "ben", 100).0, 100).unwrap();
        assert_eq!(tokens.all().unwrap().len(), TOKENS_MAX);
    }
}
