//! Copies of what a migration drops, taken before it goes and put back by an undo: what is the same
//! in every database.

use backout_plugin_api::{EffectKey, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::sql::{self, Filled};
use crate::tool::{Dialect, Row};

/// One table or column to copy before it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// On PostgreSQL with its schema and in its quotes; else its plain name.
    pub(crate) table: String,
    /// The column; nothing for the whole table.
    pub(crate) column: Option<String>,
    /// The columns of the primary key, which a column is put back by.
    pub(crate) primary_key: Vec<String>,
}

/// What a copy is of, as it stands in the list of copies of SQLite and MariaDB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The version of this text.
    format: u32,
    #[serde(flatten)]
    pub(crate) of: Keep,
    /// The table's columns whose values are in the copy, in its order.
    pub(crate) columns: Vec<String>,
    /// SQLite: whether the copy's `id` has the rowids.
    pub(crate) has_rowid: bool,
    /// Where a column that counts is: on SQLite the last number given, on MariaDB the next.
    pub(crate) sequence: Option<i64>,
}

impl Record {
    /// The version that this release writes, and the only one that it reads.
    const FORMAT: u32 = 1;

    pub(crate) fn new(of: &Keep, columns: Vec<String>, sequence: Option<i64>) -> Self {
        Self { format: Self::FORMAT, of: of.clone(), columns, has_rowid: false, sequence }
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A copy's name and what it is of.
    pub(crate) fn read(row: Row) -> Result<(String, Self), String> {
        let Ok([Some(copy), Some(record)]) = <[_; 2]>::try_from(row) else {
            return Err("the list of copies is not readable".to_owned());
        };
        let record: Self = serde_json::from_str(&record)
            .map_err(|error| format!("the note of the copy {copy} is not readable: {error}"))?;
        if record.format != Self::FORMAT {
            let format = record.format;
            return Err(format!("the copy {copy} is of a newer release (format {format})"));
        }
        Ok((copy, record))
    }
}

/// What there is to keep and about how many bytes; a reason where it cannot be kept.
pub(crate) type Found = Result<(Keep, u64), String>;

/// A column is put back by the other columns of its table's key.
pub(crate) fn check_key(primary_key: &[String], column: &str) -> Result<(), String> {
    if primary_key.is_empty() || primary_key.iter().any(|key| key == column) {
        return Err("a column is put back by the rest of the primary key, and there is none".into());
    }
    Ok(())
}

/// The end of a copy's name: the key says whose it is.
pub(crate) fn copy_name(key: &EffectKey, number: usize) -> String {
    /// Enough of a digest to tell keys apart, and short enough for a name.
    const DIGEST_SIGNS: usize = 24;
    let digest = hex(&Sha256::digest(key.as_str()));
    format!("{}_{number}", digest.get(..DIGEST_SIGNS).unwrap_or(&digest))
}

/// Names in their quotes, after commas.
pub(crate) fn names<'a>(dialect: Dialect, columns: impl IntoIterator<Item = &'a String>) -> String {
    columns.into_iter().map(|column| dialect.name(column)).collect::<Vec<_>>().join(", ")
}

/// The first value of each row.
pub(crate) fn firsts(rows: Vec<Row>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next()?).collect()
}

/// How the rows of a table go back into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In place of those that the way up wrote into the table that it made: values of the file,
    /// which are among the kept rows or were taken out since.
    InPlace,
    /// Only those whose key is missing: what is there was somewhere else until now, and may be newer.
    Missing,
}

/// How the rows of a table go back that was made here, or was there before.
pub(crate) fn manner(dialect: Dialect, up: &[String], table: &str, is_new: bool) -> Manner {
    if is_new && sql::filled(dialect, up, table) != Filled::Query {
        Manner::InPlace
    } else {
        Manner::Missing
    }
}

/// Why something could not be put back.
#[derive(Debug)]
pub(crate) enum Failed {
    Sql(sqlx::Error),
    Why(String),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// What an undo says where the copies are not there any more.
pub(crate) fn lost(key: &str) -> String {
    format!(
        "the copies that {key} kept are gone: they were removed since; go up without them by a step \
         of `migrations.up` of its own, and restore the rows from a backup"
    )
}
