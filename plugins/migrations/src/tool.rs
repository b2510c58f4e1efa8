//! The seam between tools and databases: what a migration tool's files and its ledger mean.
//!
//! A [`Driver`] a tool, in `tool/<name>.rs`. It reads files, gives SQL as text and interprets rows;
//! it never speaks to a database. The databases (`db`) run that SQL and know no tool.

use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod dbmate;
mod dialect;
mod diesel;
mod flyway;
mod folder;
mod golang_migrate;
pub(crate) mod goose;
mod refinery;
mod sql_migrate;
mod sqlx;
mod whole;

pub(crate) use dialect::Dialect;
pub(crate) use folder::{by_number, entries, read_text};

/// The version of a schema before its first migration, whatever the tool.
pub(crate) const NOTHING: &str = "0";

/// Which migration tool's files and ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// goose, with migrations in SQL.
    #[default]
    Goose,
    /// sql-migrate.
    SqlMigrate,
    /// golang-migrate.
    GolangMigrate,
    /// dbmate.
    Dbmate,
    /// sqlx, with an `.up.sql` and a `.down.sql` for each version.
    Sqlx,
    /// diesel, with an `up.sql` and a `down.sql` for each version.
    Diesel,
    /// refinery, with ways down of ours beside its files: `V3__name.down.sql`.
    Refinery,
    /// Flyway: looked at and planned only.
    Flyway,
}

impl Tool {
    /// Every tool, to name whose ledger was found.
    pub(crate) const ALL: [Self; 8] = [
        Self::Goose,
        Self::SqlMigrate,
        Self::GolangMigrate,
        Self::Dbmate,
        Self::Sqlx,
        Self::Diesel,
        Self::Refinery,
        Self::Flyway,
    ];

    /// What its files and ledger mean.
    pub(crate) fn driver(self) -> &'static dyn Driver {
        match self {
            Self::Goose => &goose::Goose,
            Self::SqlMigrate => &sql_migrate::SqlMigrate,
            Self::GolangMigrate => &golang_migrate::GolangMigrate,
            Self::Dbmate => &dbmate::Dbmate,
            Self::Sqlx => &sqlx::Sqlx,
            Self::Diesel => &diesel::Diesel,
            Self::Refinery => &refinery::Refinery,
            Self::Flyway => &flyway::Flyway,
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    Up,
    Down,
}

impl Direction {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// One migration of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Migration {
    /// As the ledger has it: `3`, `20240101120000`, `1_users.sql`.
    pub(crate) version: String,
    /// For people: its file's or folder's name.
    pub(crate) name: String,
    /// The file with the way up; the same as `down` where one file has both.
    pub(crate) up: Option<PathBuf>,
    /// The file with the way down.
    pub(crate) down: Option<PathBuf>,
    /// Written in a language and compiled into its owner's program (`.go`, `.rs`).
    pub(crate) is_code: bool,
}

/// One direction of a migration, ready to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// As the tool sends them; one may hold several statements.
    pub(crate) statements: Vec<String>,
    /// Whether the tool runs it in one transaction.
    pub(crate) transactional: bool,
    /// The file's name, for people.
    pub(crate) file: String,
    /// SHA-256 of the file's bytes, lower-case hex.
    pub(crate) sha256: String,
}

/// A row of a ledger as text; a boolean is `t`, `true` or `1`, bytes are lower-case hex.
pub(crate) type Row = Vec<Option<String>>;

/// A migration that a ledger has as applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// As [`Migration::version`].
    pub(crate) version: String,
    /// What the tool wrote of the file, in its own form.
    pub(crate) checksum: Option<String>,
}

/// What a ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Applied versions in the order in which they were applied, as far as the ledger tells.
    pub(crate) applied: Vec<Applied>,
    /// The ledger has one row, the current version: all migrations before it count as applied.
    pub(crate) only_current: bool,
    /// A migration that broke half way, and what to do: the whole reason for a refusal.
    pub(crate) dirty: Option<String>,
}

impl Ledger {
    /// The version that the schema is at.
    pub(crate) fn current(&self) -> &str {
        self.applied.last().map_or(NOTHING, |applied| &applied.version)
    }

    pub(crate) fn has(&self, version: &str) -> bool {
        self.applied.iter().any(|applied| applied.version == version)
    }
}

/// One migration to be written to a ledger, or taken from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) migration: &'a Migration,
    pub(crate) direction: Direction,
    /// The current version before.
    pub(crate) from: &'a str,
    /// The current version after.
    pub(crate) to: &'a str,
}

/// SQL that changes a ledger: one statement each, values as literals ([`Dialect::text`]), so that
/// they can be journaled, shown and typed by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerChange {
    /// Before the migration, where it runs without a transaction: marks it as begun (`dirty`).
    pub(crate) before: Vec<String>,
    /// Takes `before` back, where the migration's first statement was refused.
    #[serde(default)]
    pub(crate) undo: Vec<String>,
    /// After the migration; in its transaction where it has one.
    pub(crate) after: Vec<String>,
}

/// What the ids of a tool's locks are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) database: &'a str,
    /// The schema of the ledger's table; on MariaDB the database again.
    pub(crate) schema: &'a str,
    /// The ledger's table, without its schema.
    pub(crate) table: &'a str,
}

/// A lock that the tool takes, or may take, while it migrates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToolLock {
    /// PostgreSQL: `pg_advisory_lock` with this key.
    Advisory(i64),
    /// MariaDB: `GET_LOCK` with this name.
    Named(String),
    /// A table that holds the lock, honoured where it exists.
    Table {
        /// Its name.
        table: String,
        /// A query that gives a row for each holder: who, since when; none where it is free.
        held: String,
    },
}

/// Words of a shell, for [`Driver::by_hand`].
#[derive(Clone, Debug)]
pub(crate) struct Hand<'a> {
    pub(crate) dialect: Dialect,
    /// The database's URL or path as a word of a shell.
    pub(crate) database: String,
    pub(crate) dir: &'a str,
    /// The ledger's table.
    pub(crate) table: &'a str,
    pub(crate) direction: Direction,
    /// The version afterwards.
    pub(crate) to: &'a str,
}

/// What a person types to do the same with the tool itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandLines {
    pub(crate) commands: Vec<String>,
    pub(crate) verify: Vec<String>,
}

/// A migration tool.
pub(crate) trait Driver: Sync {
    /// As its users call it.
    fn name(&self) -> &'static str;

    /// Its ledger's table where nobody says otherwise.
    fn table(&self) -> &'static str;

    /// Columns without which a table is no ledger of it.
    fn columns(&self) -> &'static [&'static str];

    /// Columns that show a table to be another tool's ledger.
    fn foreign_columns(&self) -> &'static [&'static str] {
        &[]
    }

    /// The migrations of a folder in the tool's own order, each version once.
    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure>;

    /// Whether a person means this version by `written`; `00003` is `3` where versions are numbers.
    fn means(&self, version: &str, written: &str) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        version == written || number(written).is_some_and(|wanted| number(version) == Some(wanted))
    }

    /// Reads one direction. An error where it cannot be run truly: code, a missing or empty way
    /// down, text that depends on an environment; with what to do.
    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String>;

    /// A query for all that [`Self::ledger`] needs, the oldest row first; `table` is quoted.
    fn query(&self, dialect: Dialect, table: &str) -> String;

    /// What the rows of [`Self::query`] say; an error where they cannot be read.
    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String>;

    /// Whether the file is still what the ledger says was applied.
    fn verify(&self, _migration: &Migration, _applied: &Applied) -> Result<(), String> {
        Ok(())
    }

    /// How the ledger changes; `table` is quoted.
    fn change(
        &self,
        dialect: Dialect,
        table: &str,
        change: &Change<'_>,
    ) -> Result<LedgerChange, String>;

    /// The column of the ledger with [`Migration::version`].
    fn version_column(&self) -> &'static str {
        "version"
    }

    /// The locks to hold meanwhile, all of them.
    fn locks(&self, _dialect: Dialect, _names: &Names<'_>) -> Vec<ToolLock> {
        Vec::new()
    }

    /// Why only a plan is made with it, if so.
    fn plan_only(&self) -> Option<&'static str> {
        None
    }

    /// How an older migration that was never applied is applied.
    fn fill_hole(&self) -> &'static str;

    /// The same in commands of the tool.
    fn by_hand(&self, hand: &Hand<'_>) -> HandLines;
}

/// Whether a person means the schema before its first migration.
pub(crate) fn is_nothing(written: &str) -> bool {
    written.parse::<u64>() == Ok(0)
}

/// Whether a boolean of a ledger is true.
pub(crate) fn is_true(text: Option<&String>) -> bool {
    text.is_some_and(|text| matches!(text.as_str(), "t" | "true" | "1"))
}

/// A version for people and later steps: a number where it is one.
pub(crate) fn version_value(version: &str) -> serde_json::Value {
    match version.parse::<u64>() {
        Ok(number) if number.to_string() == version => number.into(),
        _ => version.into(),
    }
}
