//! The databases: connections, identity, and how one migration is made in each.

use std::time::Duration;

use backout_plugin_api::{Call, Context, MadeEffect, PrepareFailure, Settled, TargetId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sql::{self, Deed, Name};
use crate::tool::{Dialect, Direction, Ledger, LedgerChange, Tool, ToolLock, version_value};

mod catalogue;
mod conn;
pub(crate) mod keep;
mod look;
pub(crate) mod mysql;
mod place;
pub(crate) mod postgres;
pub(crate) mod sqlite;
pub(crate) mod steps;
mod work;

pub(crate) use catalogue::columns;
pub(crate) use conn::Conn;
pub(crate) use keep::Keep;
pub(crate) use look::Look;
pub(crate) use place::{Place, place, place_of};
pub use work::Point;
pub(crate) use work::{Fault, Work, apply};

/// The version of [`Data`] that this release writes.
pub(crate) const DATA_VERSION: u32 = 2;
/// Every version that it reads.
pub(crate) const DATA_VERSIONS: &[u32] = &[1, DATA_VERSION];

/// Which database: what tells it from every other, without a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Database {
    Sqlite(sqlite::Database),
    Postgres(postgres::Server),
    Mysql(mysql::Server),
}

impl Database {
    /// What is locked.
    pub(crate) fn target(&self) -> TargetId {
        match self {
            Self::Sqlite(file) => TargetId::new(format!("sqlite:{}", file.path.display())),
            Self::Postgres(server) => TargetId::new(server.target()),
            Self::Mysql(server) => TargetId::new(server.target()),
        }
    }

    /// Its own name; a file has none.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Sqlite(_) => "main",
            Self::Postgres(server) => &server.name,
            Self::Mysql(server) => &server.name,
        }
    }

    /// Whether foreign keys are enforced while a migration is made; a server always does.
    pub(crate) fn foreign_keys(&self) -> bool {
        match self {
            Self::Sqlite(file) => file.foreign_keys,
            Self::Postgres(_) | Self::Mysql(_) => true,
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::Mysql(_) => Dialect::Mysql,
        }
    }

    /// The schema of a table whose name says none.
    pub(crate) fn schema(&self) -> &str {
        match self {
            Self::Sqlite(_) => "main",
            Self::Postgres(server) => &server.schema,
            Self::Mysql(server) => &server.name,
        }
    }

    /// What cannot be written is an error now, not half way.
    pub(crate) fn check_writable(&self) -> Result<(), PrepareFailure> {
        match self {
            Self::Sqlite(file) => file.check_writable(),
            Self::Postgres(_) | Self::Mysql(_) => Ok(()),
        }
    }
}

/// What `apply`, `settle` and `revert` need of one migration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) database: Database,
    pub(crate) tool: Tool,
    /// The ledger's table as it was named.
    pub(crate) table: String,
    pub(crate) direction: Direction,
    /// The migration.
    pub(crate) version: String,
    /// The ledger's version before.
    pub(crate) from: String,
    /// The ledger's version after.
    pub(crate) to: String,
    pub(crate) file: String,
    pub(crate) file_sha256: String,
    pub(crate) statements: Vec<String>,
    /// Whether all of it is one transaction.
    pub(crate) transactional: bool,
    pub(crate) ledger: LedgerChange,
    /// The tool's own locks.
    pub(crate) locks: Vec<ToolLock>,
    /// Whether the other direction could put it back.
    pub(crate) has_way_back: bool,
    /// Whether the table of effects is to be had; without it nothing marks the effect.
    pub(crate) marked: bool,
    /// How long a statement waits for a lock, in milliseconds.
    pub(crate) lock_timeout_ms: u64,
    /// How long a statement may run, in milliseconds.
    pub(crate) statement_timeout_ms: u64,
    /// What is copied before it goes.
    pub(crate) keep: Vec<Keep>,
    /// Keys whose copies are put back.
    pub(crate) put_back: Vec<String>,
    /// Keys of earlier effects that stopped half way, with copies of what this one goes on behind.
    #[serde(default)]
    pub(crate) kept_before: Vec<String>,
    /// Statements that an earlier effect left made, where it was statement by statement.
    pub(crate) resume: usize,
}

/// The data of releases before PostgreSQL: goose on SQLite.
#[derive(Debug, Deserialize)]
struct DataV1 {
    database: sqlite::Database,
    table: String,
    direction: Direction,
    version: i64,
    from: i64,
    to: i64,
    file: String,
    file_sha256: String,
    statements: Vec<String>,
    has_way_back: bool,
}

impl From<DataV1> for Data {
    fn from(old: DataV1) -> Self {
        let version = old.version.to_string();
        let table = Dialect::Sqlite.table(&old.table);
        let ledger = crate::tool::goose::change(Dialect::Sqlite, &table, &version, old.direction);
        Self {
            database: Database::Sqlite(old.database),
            tool: Tool::Goose,
            table: old.table,
            direction: old.direction,
            version,
            from: old.from.to_string(),
            to: old.to.to_string(),
            file: old.file,
            file_sha256: old.file_sha256,
            statements: old.statements,
            transactional: true,
            ledger,
            locks: Vec::new(),
            has_way_back: old.has_way_back,
            marked: true,
            lock_timeout_ms: 0,
            statement_timeout_ms: 0,
            keep: Vec::new(),
            put_back: Vec::new(),
            kept_before: Vec::new(),
            resume: 0,
        }
    }
}

impl Data {
    /// Reads the data of an effect as any release wrote it.
    pub(crate) fn read(version: u32, data: &Value) -> Result<Self, String> {
        let read = match version {
            1 => DataV1::deserialize(data).map(Self::from),
            DATA_VERSION => Self::deserialize(data),
            _ => return Err(format!("migration data of version {version} is not known here")),
        };
        read.map_err(|error| format!("the record of what was prepared is not readable: {error}"))
    }

    pub(crate) fn of(call: &Call) -> Result<Self, String> {
        let effect = call.effect().ok_or("the effect is not in what was prepared")?;
        Self::read(call.prepared.data_version, &effect.data)
    }

    pub(crate) fn lock_timeout(&self) -> Duration {
        Duration::from_millis(self.lock_timeout_ms)
    }

    /// The tables that it locks.
    pub(crate) fn tables(&self) -> Vec<Name> {
        let dialect = self.database.dialect();
        let parsed = self.statements.iter().flat_map(|text| sql::statements(dialect, text));
        let deeds = parsed.flat_map(|statement| sql::deeds(dialect, &statement));
        let mut tables: Vec<_> = deeds
            .filter_map(|deed| match deed {
                Deed::Lock { table, .. } | Deed::Rows { table, .. } => Some(table),
                _ => None,
            })
            .collect();
        tables.sort();
        tables.dedup();
        tables
    }

    /// What `apply` gives, and `settle` after it.
    pub(crate) fn output(&self) -> Value {
        let (to, migration) = (version_value(&self.to), version_value(&self.version));
        json!({ "version": to, "migration": migration, "file": self.file })
    }
}

impl Data {
    /// Whether the ledger is still as it was prepared; the reason for a refusal where it is not.
    pub(crate) fn check_before(&self, now: &Ledger) -> Result<(), String> {
        if let Some(why) = &now.dirty {
            return Err(format!("{why}; nothing was changed"));
        }
        let (down, has) = (self.direction == Direction::Down, now.has(&self.version));
        if now.current() == self.from && (now.only_current || down == has) {
            return Ok(());
        }
        Err(format!(
            "the ledger `{}` is at version {}, not at {} as prepared; somebody else migrated; \
             nothing was changed",
            self.table,
            now.current(),
            self.from
        ))
    }

    /// Whether the ledger is as it should be before the commit.
    pub(crate) fn check_after(&self, now: &Ledger) -> Result<(), String> {
        if now.current() == self.to && now.dirty.is_none() {
            return Ok(());
        }
        Err(format!(
            "the ledger would be at version {}, not at {}; rolled back, nothing was changed",
            now.current(),
            self.to
        ))
    }
}

/// A look that ends within its time, and early where it is cancelled.
pub(crate) async fn in_time<T>(
    ctx: &Context,
    look: impl Future<Output = Result<T, PrepareFailure>>,
) -> Result<T, PrepareFailure> {
    let late = |reason: String| Err(PrepareFailure::Unreachable { reason });
    tokio::select! {
        seen = look => seen,
        () = tokio::time::sleep(ctx.timeout) => late(format!("no answer within {:?}", ctx.timeout)),
        () = ctx.cancel.cancelled() => late("it was cancelled".to_owned()),
    }
}

/// Removes what an effect left for its undo; lines for people.
pub(crate) async fn tidy(
    ctx: &Context,
    made: &MadeEffect,
    data: &Data,
) -> Result<Vec<String>, String> {
    match &data.database {
        Database::Postgres(server) if !data.keep.is_empty() => {
            postgres::tidy(ctx, made, server).await
        }
        Database::Sqlite(file) if !data.keep.is_empty() => sqlite::tidy(ctx, made, file).await,
        Database::Mysql(_) if !data.keep.is_empty() => steps::tidy(ctx, made, data).await,
        _ => Ok(Vec::new()),
    }
}

/// Says what became of a sending.
pub(crate) async fn settle(work: Work<'_>) -> Settled {
    match &work.data.database {
        Database::Sqlite(file) => sqlite::settle(work, file).await,
        Database::Postgres(server) if work.data.transactional => {
            postgres::settle(work, server).await
        }
        Database::Postgres(_) | Database::Mysql(_) => steps::settle(work).await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Data, Database};

    #[test]
    fn what_the_first_release_wrote_is_read() {
        let old = json!({
            "database": {"path": "/a.db", "dev": 1, "ino": 2, "foreign_keys": false},
            "table": "goose_db_version", "direction": "down", "version": 3, "from": 3, "to": 2,
            "file": "3_a.sql", "file_sha256": "00", "statements": ["DROP TABLE a"],
            "has_way_back": true
        });
        let data = Data::read(1, &old).unwrap();
        assert!(matches!(data.database, Database::Sqlite(_)) && data.transactional);
        assert_eq!((data.version.as_str(), data.to.as_str()), ("3", "2"));
        let delete = "DELETE FROM \"goose_db_version\" WHERE version_id = 3";
        assert_eq!(data.ledger.after, [delete]);
        assert_eq!(data.output(), json!({"version": 2, "migration": 3, "file": "3_a.sql"}));
        assert!(Data::read(9, &old).is_err());
    }
}
