//! SQLite: connections and identity.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backout_plugin_api::PrepareFailure;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

pub(crate) mod keep;
mod locks;
pub(crate) mod rehearsal;
mod trace;
mod transaction;

pub use keep::KEPT_TABLE;
pub use transaction::EFFECT_TABLE;
pub(crate) use transaction::{apply, settle, tidy};

/// Steps of SQLite's machine between two looks at the clock: less than a millisecond.
const STEPS: i32 = 10_000;

/// How long a statement waits for another writer: longer, and the service's own writers pile up
/// behind us.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A database file: its canonical path and which file that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) foreign_keys: bool,
}

impl Database {
    /// Finds the file. Refuses what is no file, so that nothing is ever created.
    pub(crate) fn find(path: &Path, foreign_keys: bool) -> Result<Self, PrepareFailure> {
        let failed = |error: std::io::Error| {
            let reason = format!("cannot find the database {}: {error}", path.display());
            PrepareFailure::Unreachable { reason }
        };
        let path = std::fs::canonicalize(path).map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let reason = format!("{} is not a file", path.display());
            return Err(PrepareFailure::Refused { reason });
        }
        Ok(Self { path, dev: metadata.dev(), ino: metadata.ino(), foreign_keys })
    }

    /// What cannot be written is an error now, not half way. SQLite writes its journal beside the
    /// file.
    pub(crate) fn check_writable(&self) -> Result<(), PrepareFailure> {
        let folder = self.path.parent().unwrap_or(&self.path);
        for path in [folder, &self.path] {
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(|error| {
                let path = path.display();
                let reason = format!(
                    "cannot write to {path}: {error}; SQLite writes the file and its journal beside it"
                );
                PrepareFailure::Refused { reason }
            })?;
        }
        Ok(())
    }

    /// Whether another file has its name now, after a restore for instance.
    pub(crate) fn was_replaced(&self) -> std::io::Result<bool> {
        let now = self.path.metadata()?;
        Ok((now.dev(), now.ino()) != (self.dev, self.ino))
    }

    fn options(&self, busy: Duration) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .foreign_keys(self.foreign_keys)
            .busy_timeout(busy)
            .disable_statement_logging()
    }

    pub(crate) async fn read_only(&self) -> sqlx::Result<SqliteConnection> {
        self.options(BUSY_TIMEOUT).read_only(true).connect().await
    }

    /// `EXTRA` makes a commit survive a power cut in every journal mode.
    pub(crate) async fn writable(&self, busy: Duration) -> sqlx::Result<SqliteConnection> {
        self.options(busy).synchronous(SqliteSynchronous::Extra).connect().await
    }
}

/// SQLite's primary error code, where the error is SQLite's.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Whether another connection held a lock that was needed.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// Whether it took longer than [`limit`] said.
fn is_interrupted(error: &sqlx::Error) -> bool {
    const INTERRUPT: i32 = 9;
    primary_code(error) == Some(INTERRUPT)
}

/// Ends a statement of this connection that takes longer than it may from now on.
pub(crate) async fn limit(conn: &mut SqliteConnection, time: Duration) -> sqlx::Result<()> {
    let end = Instant::now() + time;
    conn.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() < end);
    Ok(())
}

/// Whether a constraint refused it.
fn is_constraint(error: &sqlx::Error) -> bool {
    const CONSTRAINT: i32 = 19;
    primary_code(error) == Some(CONSTRAINT)
}
