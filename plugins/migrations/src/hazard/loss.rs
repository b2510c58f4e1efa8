//! Tables and columns that go: how many rows, how many of them new, and whether a copy is kept.

use serde_json::json;

use super::{COUNT_TIMEOUT, Cost, Sections, Survey, coarse, said};
use crate::db::keep::Found;
use crate::db::{Conn, mysql, postgres, sqlite};
use crate::sql::{self, Filled, Name};
use crate::tool::Dialect;

/// A table or a column that goes.
pub(super) struct Going<'a> {
    pub(super) table: &'a Name,
    /// Nothing for the whole table.
    pub(super) column: Option<&'a str>,
    /// Why it would not be put back, where that is known.
    pub(super) stays_away: Option<&'a str>,
}

impl Going<'_> {
    /// Its name for people.
    pub(super) fn said(&self) -> String {
        let table = self.table.said();
        self.column.map_or(table.clone(), |column| format!("{table}.{column}"))
    }

    /// The code of its hazard and how its sentence begins.
    fn head(&self) -> (&'static str, String) {
        let name = self.said();
        match self.column {
            None => ("drops-table", format!("table `{name}` goes, with")),
            Some(_) => ("drops-column", format!("column `{name}` goes, with values in")),
        }
    }
}

impl Survey<'_> {
    /// Says what goes with a table or a column, and keeps it where it may be.
    pub(super) async fn drops(&mut self, cost: &mut Cost, going: &Going<'_>, of: Sections<'_>) {
        let (code, what) = going.head();
        let rows = self.rows(going).await;
        let new = if rows == Some(0) { String::new() } else { self.new_rows(going, of).await };
        let kept = self.keep(cost, going).await;
        let end = if kept { "; a copy is kept" } else { "" };
        cost.loses_data |= rows != Some(0) && !kept;
        cost.hazard(code, format!("{what} {}{new}{end}", said(rows)));
        if kept && going.column.is_none() {
            self.put_back_in_part(cost, going, of);
        }
    }

    /// Rows of the way back's own, which the kept ones do not simply stand in place of.
    fn put_back_in_part(&self, cost: &mut Cost, going: &Going<'_>, of: Sections<'_>) {
        let dialect = self.conn.dialect();
        // On MariaDB others may write into a table as soon as it is made.
        let harmless = if dialect == Dialect::Mysql { Filled::Not } else { Filled::Values };
        if sql::filled(dialect, of.back, &going.table.name) > harmless {
            cost.loses_data = true;
            let text = format!(
                "the way back fills `{}` itself: an undo adds only those kept rows whose key is missing \
                 then",
                going.said()
            );
            cost.hazard("put-back-in-part", text);
        }
    }

    /// Keeps a table or a column where it may be; whether it is.
    async fn keep(&mut self, cost: &mut Cost, going: &Going<'_>) -> bool {
        let Some(left) = self.budget else { return false };
        let why = match self.find(going, left).await {
            Ok((_, bytes)) if bytes > left => format!(
                "{} bytes, and `keep_data` leaves {left}; allow more, or accept that an undo does not \
                 bring it back",
                coarse(i64::try_from(bytes).unwrap_or(i64::MAX))
            ),
            Ok((keep, bytes)) => {
                self.budget = Some(left - bytes);
                cost.keep.push(keep);
                return true;
            }
            Err(why) => why,
        };
        cost.hazard("data-not-kept", format!("`{}` is not kept: {why}", going.said()));
        false
    }

    async fn find(&mut self, going: &Going<'_>, left: u64) -> Found {
        if let Some(why) = going.stays_away {
            return Err(why.to_owned());
        }
        let table = going.table;
        let found = match &mut *self.conn {
            Conn::Postgres(conn) => postgres::keep::find(conn, table, going.column).await,
            Conn::Sqlite(conn) => {
                // A size, and rows without a key.
                match sqlite::limit(conn, 2 * COUNT_TIMEOUT).await {
                    Ok(()) => sqlite::keep::find(conn, &table.name, going.column, left).await,
                    Err(error) => Err(error),
                }
            }
            conn @ Conn::Mysql(_) => mysql::keep::find(conn, table, going.column).await,
        };
        found.unwrap_or_else(|error| Err(format!("its size cannot be told: {error}")))
    }

    /// Rows of a table, or those with a value in a column; nothing where it cannot be counted.
    async fn rows(&mut self, going: &Going<'_>) -> Option<i64> {
        let dialect = self.conn.dialect();
        let what = going.column.map_or_else(|| "*".to_owned(), |column| dialect.name(column));
        let query = format!("SELECT count({what}) FROM {}", going.table.quoted(dialect));
        let rows = self.count(&query).await?;
        self.counts.insert(going.said(), json!(rows));
        Some(rows)
    }

    /// How many of the rows that go came since the way up ran, as far as the database tells.
    async fn new_rows(&mut self, going: &Going<'_>, of: Sections<'_>) -> String {
        let version = of.version;
        let is_brought = match self.conn.dialect() {
            Dialect::Postgres => {
                let Some(new) = self.written_since(going, version).await else {
                    return String::new();
                };
                let were = if new == 1 { "row was" } else { "rows were" };
                return format!("; {} {were} written since {version} was applied", coarse(new));
            }
            Dialect::Sqlite => going.stays_away.is_none(),
            Dialect::Mysql => sql::brings(Dialect::Mysql, of.back, going.table, going.column),
        };
        if is_brought {
            format!("; all of it was written by {version} or since")
        } else {
            String::new()
        }
    }

    /// Rows written after the transaction that wrote the ledger's row of this version: PostgreSQL
    /// keeps with each row which transaction wrote it. Nothing where the ledger has no such row: one
    /// of the current version only, for instance.
    async fn written_since(&mut self, going: &Going<'_>, version: &str) -> Option<i64> {
        let dialect = self.conn.dialect();
        let written = self.tool.driver().version_column();
        let value = going
            .column
            .map(|column| format!(" AND t.{} IS NOT NULL", dialect.name(column)))
            .unwrap_or_default();
        let query = format!(
            "SELECT CASE WHEN l.writer IS NULL THEN NULL ELSE (SELECT count(*) FROM {} t WHERE \
             age(t.xmin) < age(l.writer){value}) END FROM (SELECT (SELECT xmin FROM {} WHERE \
             {written}::text = {} ORDER BY age(xmin) LIMIT 1) AS writer) l",
            going.table.quoted(dialect),
            self.ledger,
            dialect.text(version)
        );
        self.count(&query).await
    }
}
