//! SQLite: connections, identity, ledger.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backout_plugin_api::PrepareFailure;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

use crate::input::Place;

mod transaction;

pub(crate) use transaction::{Data, Transaction};
pub use transaction::{EFFECT_TABLE, Point};

/// How long a statement waits for another writer: longer, and the service's own writers pile up
/// behind us.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The ledgers of other tools, to name what was found instead.
const OTHER_LEDGERS: [(&str, &str); 7] = [
    ("goose_db_version", "goose"),
    ("gorp_migrations", "sql-migrate"),
    ("refinery_schema_history", "refinery"),
    ("_sqlx_migrations", "sqlx"),
    ("schema_migrations", "golang-migrate or dbmate"),
    ("__diesel_schema_migrations", "diesel"),
    ("flyway_schema_history", "Flyway"),
];

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
    pub(crate) fn find(place: &Place) -> Result<Self, PrepareFailure> {
        let failed = |error: std::io::Error| {
            let reason = format!("cannot find the database {}: {error}", place.path.display());
            PrepareFailure::Unreachable { reason }
        };
        let path = std::fs::canonicalize(&place.path).map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let reason = format!("{} is not a file", path.display());
            return Err(PrepareFailure::Refused { reason });
        }
        let foreign_keys = place.foreign_keys.unwrap_or(false);
        Ok(Self { path, dev: metadata.dev(), ino: metadata.ino(), foreign_keys })
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

/// What goose's ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Applied versions in the order in which they were applied, 0 left out.
    pub(crate) applied: Vec<i64>,
}

impl Ledger {
    /// Rows as (version, applied), the last written first: the first row seen of a version decides.
    fn from_rows(rows: &[(i64, bool)]) -> Self {
        let mut seen = std::collections::BTreeSet::new();
        let first = rows.iter().filter(|(version, _)| seen.insert(*version));
        let mut applied: Vec<i64> = first
            .filter(|(version, is)| *is && *version > 0)
            .map(|(version, _)| *version)
            .collect();
        applied.reverse();
        Self { applied }
    }

    /// The version that goose calls current.
    pub(crate) fn current(&self) -> i64 {
        self.applied.last().copied().unwrap_or(0)
    }

    /// Two neighbours applied in the wrong order, if any.
    pub(crate) fn out_of_order(&self) -> Option<(i64, i64)> {
        let pairs = self.applied.windows(2).filter_map(|pair| match pair {
            [a, b] => Some((*a, *b)),
            _ => None,
        });
        pairs.into_iter().find(|(first, second)| first > second)
    }
}

/// Reads goose's ledger; `table` is a plain name.
pub(crate) async fn ledger(conn: &mut SqliteConnection, table: &str) -> sqlx::Result<Ledger> {
    let query = format!("SELECT version_id, is_applied FROM \"{table}\" ORDER BY id DESC");
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(conn).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
    let rows = rows.iter().map(read).collect::<sqlx::Result<Vec<_>>>()?;
    Ok(Ledger::from_rows(&rows))
}

/// Reads the ledger for `prepare`, with what to do where there is none.
pub(crate) async fn find_ledger(
    conn: &mut SqliteConnection,
    path: &Path,
    table: &str,
) -> Result<Ledger, PrepareFailure> {
    let failed = |error: sqlx::Error| unreadable(path, &error);
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type='table'")
            .fetch_all(&mut *conn)
            .await
            .map_err(failed)?;
    if !tables.iter().any(|name| name == table) {
        return Err(PrepareFailure::Refused { reason: no_ledger(path, table, &tables) });
    }
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(&mut *conn)
        .await
        .map_err(failed)?;
    if !["id", "version_id", "is_applied"].iter().all(|name| columns.iter().any(|c| c == name)) {
        let reason = format!(
            "`{table}` in {} is not goose's ledger: it has the columns {}",
            path.display(),
            columns.join(", ")
        );
        return Err(PrepareFailure::Refused { reason });
    }
    ledger(conn, table).await.map_err(failed)
}

fn no_ledger(path: &Path, table: &str, tables: &[String]) -> String {
    let others: Vec<String> = OTHER_LEDGERS
        .iter()
        .filter(|(name, _)| tables.iter().any(|table| table == name))
        .map(|(name, tool)| format!("`{name}` of {tool}"))
        .collect();
    let path = path.display();
    if others.is_empty() {
        format!(
            "{path} has no ledger `{table}`: goose never ran here, or its table has another name \
             (`table`)"
        )
    } else {
        format!(
            "{path} has no ledger `{table}`, but {}; name the right `tool` and `table`",
            others.join(" and ")
        )
    }
}

/// Why a database could not be read.
pub(crate) fn unreadable(path: &Path, error: &sqlx::Error) -> PrepareFailure {
    let reason = format!("cannot read the database {}: {error}", path.display());
    PrepareFailure::Unreachable { reason }
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

/// Whether a constraint refused it.
fn is_constraint(error: &sqlx::Error) -> bool {
    const CONSTRAINT: i32 = 19;
    primary_code(error) == Some(CONSTRAINT)
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn the_last_row_of_a_version_decides() {
        let rows = [(3, true), (2, false), (2, true), (1, true), (0, true)];
        let ledger = Ledger::from_rows(&rows);
        assert_eq!(ledger.applied, [1, 3]);
        assert_eq!((ledger.current(), ledger.out_of_order()), (3, None));
        let mixed = Ledger::from_rows(&[(2, true), (3, true), (1, true)]);
        assert_eq!(mixed.out_of_order(), Some((3, 2)));
    }
}
