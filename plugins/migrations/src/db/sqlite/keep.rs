//! Copies of what a migration drops, in tables of a reserved name in the same file.
//!
//! The columns of a copy have no type, so that SQLite converts no value on the way there; on the way back
//! the table's own types apply again, which they did before. A row keeps its rowid.

use backout_plugin_api::Call;
use sqlx::SqliteConnection;

use super::is_interrupted;
use crate::db::conn::{run, texts, value};
use crate::db::keep::{
    Failed, Found, Keep, Manner, Record, check_key, copy_name, firsts, lost, manner,
};
use crate::tool::{Dialect, Row};

const SQLITE: Dialect = Dialect::Sqlite;

/// The list of copies. The copies have its name with more behind it. No part of the schema that a
/// migration describes: leave them out of comparisons.
pub const KEPT_TABLE: &str = "backout_kept";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS backout_kept (
    copy TEXT PRIMARY KEY NOT NULL,
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    version TEXT NOT NULL,
    record TEXT NOT NULL,
    rows INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
)";

fn by_name(table: &str) -> String {
    format!("schema = 'main' AND name = {} COLLATE NOCASE", SQLITE.text(table))
}

/// What there is to keep and about how many bytes; no more are counted than say that it is beyond
/// `left`.
pub(crate) async fn find(
    conn: &mut SqliteConnection,
    table: &str,
    column: Option<&str>,
    left: u64,
) -> sqlx::Result<Found> {
    let kind = format!("SELECT type FROM pragma_table_list WHERE {}", by_name(table));
    match value(conn, &kind).await?.as_deref() {
        Some("table") => {}
        Some("virtual") => {
            return Ok(Err("a virtual table's rows are its module's own".to_owned()));
        }
        Some(_) => return Ok(Err("only plain tables are kept".to_owned())),
        None => return Ok(Err("it is not there now".to_owned())),
    }
    let primary_key = primary_key(conn, table).await?;
    let bytes = table_bytes(conn, table, left).await?;
    let keep = Keep {
        table: table.to_owned(),
        column: column.map(str::to_owned),
        primary_key: primary_key.clone(),
    };
    let Some(column) = column else { return Ok(Ok((keep, bytes))) };
    if let Err(why) = check_key(&primary_key, column) {
        return Ok(Err(why));
    }
    if count_keyless(conn, &SQLITE.name(table), &primary_key).await? > 0 {
        return Ok(Err(KEYLESS.to_owned()));
    }
    let copied: Vec<_> = primary_key.iter().map(String::as_str).chain([column]).collect();
    let bytes = bytes.min(column_bytes(conn, table, &copied).await?);
    Ok(Ok((keep, bytes)))
}

const KEYLESS: &str = "it has rows without a value in the primary key, which nothing finds again";

/// SQLite lets a key be empty where it is not the rowid.
async fn count_keyless(
    conn: &mut SqliteConnection,
    quoted: &str,
    key: &[String],
) -> sqlx::Result<i64> {
    let empty: Vec<_> = key.iter().map(|name| format!("{} IS NULL", SQLITE.name(name))).collect();
    let query = format!("SELECT count(*) FROM {quoted} WHERE {}", empty.join(" OR "));
    Ok(number(value(conn, &query).await?))
}

fn number(text: Option<String>) -> i64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn primary_key(conn: &mut SqliteConnection, table: &str) -> sqlx::Result<Vec<String>> {
    let table = SQLITE.text(table);
    let query = format!("SELECT name FROM pragma_table_info({table}) WHERE pk > 0 ORDER BY pk");
    Ok(firsts(texts(conn, &query).await?))
}

/// The pages of a table; those of the whole file, which are more, where SQLite was built without
/// `dbstat`.
async fn table_bytes(conn: &mut SqliteConnection, table: &str, left: u64) -> sqlx::Result<u64> {
    let left = i64::try_from(left).unwrap_or(i64::MAX);
    let of_table = format!(
        "SELECT coalesce(sum(pgsize), 0) FROM (SELECT pgsize FROM dbstat WHERE name = (SELECT name \
         FROM pragma_table_list WHERE {}) LIMIT (SELECT {left} / page_size + 1 FROM pragma_page_size))",
        by_name(table)
    );
    let of_file = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes = match value(conn, &of_table).await {
        Err(error) if !is_interrupted(&error) => value(conn, of_file).await?,
        bytes => bytes?,
    };
    Ok(bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(u64::MAX))
}

/// The lengths of all values of these columns.
async fn column_bytes(
    conn: &mut SqliteConnection,
    table: &str,
    columns: &[&str],
) -> sqlx::Result<u64> {
    /// What a row and each of its values takes besides.
    const OVERHEAD: usize = 8;
    let length =
        |column: &&str| format!("coalesce(length(CAST({} AS BLOB)), 0)", SQLITE.name(column));
    let lengths: Vec<_> = columns.iter().map(length).collect();
    let query = format!(
        "SELECT coalesce(sum({} + {}), 0) FROM {}",
        lengths.join(" + "),
        OVERHEAD * (columns.len() + 1),
        SQLITE.name(table)
    );
    Ok(u64::try_from(number(value(conn, &query).await?)).unwrap_or(u64::MAX))
}

/// Tables that follow when rows of this one go, where foreign keys are on.
pub(crate) async fn followers(
    conn: &mut SqliteConnection,
    table: &str,
) -> sqlx::Result<Vec<String>> {
    let query = format!(
        "SELECT DISTINCT l.name FROM pragma_table_list l JOIN pragma_foreign_key_list(l.name) f WHERE \
         l.schema = 'main' AND f.\"table\" = {table} COLLATE NOCASE AND l.name <> {table} COLLATE \
         NOCASE AND f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT') ORDER BY 1",
        table = SQLITE.text(table)
    );
    Ok(firsts(texts(conn, &query).await?))
}

/// The columns of a table whose values are its own.
async fn columns(conn: &mut SqliteConnection, table: &str) -> sqlx::Result<Vec<String>> {
    let table = SQLITE.text(table);
    let query =
        format!("SELECT name FROM pragma_table_xinfo({table}) WHERE hidden = 0 ORDER BY cid");
    Ok(firsts(texts(conn, &query).await?))
}

/// A name of the rowid that no column has taken; nothing where there is none.
async fn rowid(conn: &mut SqliteConnection, table: &str) -> sqlx::Result<Option<&'static str>> {
    let query = format!("SELECT wr FROM pragma_table_list WHERE {}", by_name(table));
    if value(conn, &query).await?.as_deref() != Some("0") {
        return Ok(None);
    }
    let all = format!("SELECT name FROM pragma_table_xinfo({})", SQLITE.text(table));
    let taken = firsts(texts(conn, &all).await?);
    let is_free = |name: &&str| !taken.iter().any(|column| column.eq_ignore_ascii_case(name));
    Ok(["rowid", "_rowid_", "oid"].into_iter().find(is_free))
}

/// Copies what goes, before anything else of the migration and in its transaction: no other writer
/// comes in between.
pub(super) async fn copy(
    conn: &mut SqliteConnection,
    call: &Call,
    (version, at_ms): (&str, i64),
    all: &[Keep],
) -> sqlx::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    run(conn, CREATE).await?;
    for (at, keep) in all.iter().enumerate() {
        let name = format!("{KEPT_TABLE}_{}", copy_name(&call.key, at));
        let record = copy_one(conn, &name, keep).await?;
        let note = format!(
            "INSERT INTO backout_kept (copy, key, number, version, record, rows, at_ms) SELECT {}, {}, \
             {at}, {}, {}, count(*), {at_ms} FROM {name}",
            SQLITE.text(&name),
            SQLITE.text(call.key.as_str()),
            SQLITE.text(version),
            SQLITE.text(&record.text()),
        );
        run(conn, &note).await?;
    }
    Ok(())
}

async fn copy_one(conn: &mut SqliteConnection, name: &str, keep: &Keep) -> sqlx::Result<Record> {
    let (columns, rowid) = match &keep.column {
        None => (columns(conn, &keep.table).await?, rowid(conn, &keep.table).await?),
        Some(column) => (keep.primary_key.iter().chain([column]).cloned().collect(), None),
    };
    let own = own(columns.len(), rowid.is_some());
    run(conn, &format!("CREATE TABLE {name} ({own})")).await?;
    let table = SQLITE.name(&keep.table);
    let theirs = theirs(&columns, rowid);
    run(conn, &format!("INSERT INTO {name} ({own}) SELECT {theirs} FROM {table}")).await?;
    let sequence = match keep.column {
        None => sequence(conn, &keep.table).await?,
        Some(_) => None,
    };
    let mut record = Record::new(keep, columns, sequence);
    record.has_rowid = rowid.is_some();
    Ok(record)
}

/// The columns of a copy.
fn own(count: usize, has_rowid: bool) -> String {
    let id = has_rowid.then(|| "id".to_owned());
    let rest = (0..count).map(|at| format!("c{at}"));
    id.into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

/// The table's columns, in the same order.
fn theirs(columns: &[String], rowid: Option<&str>) -> String {
    let id = rowid.map(str::to_owned);
    id.into_iter()
        .chain(columns.iter().map(|name| SQLITE.name(name)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The last number that `AUTOINCREMENT` gave in a table.
async fn sequence(conn: &mut SqliteConnection, table: &str) -> sqlx::Result<Option<i64>> {
    // SQLite makes the table of numbers with the first table that wants one.
    let there = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    if value(conn, there).await?.is_none() {
        return Ok(None);
    }
    let table = SQLITE.text(table);
    let query = format!("SELECT seq FROM sqlite_sequence WHERE name = {table} COLLATE NOCASE");
    Ok(value(conn, &query).await?.and_then(|seq| seq.parse().ok()))
}

/// The way up that puts back.
pub(super) struct Up<'a> {
    pub(super) version: &'a str,
    pub(super) statements: &'a [String],
    /// The tables that were there before it.
    pub(super) before: &'a [String],
    pub(super) foreign_keys: bool,
}

/// The names of all tables.
pub(super) async fn tables(conn: &mut SqliteConnection) -> sqlx::Result<Vec<String>> {
    let query = "SELECT lower(name) FROM sqlite_schema WHERE type = 'table'";
    Ok(firsts(texts(conn, query).await?))
}

/// Puts back what was kept under a key of a migration of this version: the last that went first.
pub(super) async fn put_back(
    conn: &mut SqliteConnection,
    key: &str,
    up: &Up<'_>,
) -> Result<(), Failed> {
    if !is_kept(conn, key).await? {
        return Err(Failed::Why(lost(key)));
    }
    // Tables point at each other, and each is whole only at the end.
    run(conn, "PRAGMA defer_foreign_keys = ON").await?;
    let query = format!(
        "SELECT copy, record FROM backout_kept WHERE key = {} AND version = {} ORDER BY number DESC",
        SQLITE.text(key),
        SQLITE.text(up.version)
    );
    for row in texts(conn, &query).await? {
        let (copy, record) = Record::read(row).map_err(Failed::Why)?;
        let off = triggers(conn, &record.of.table).await?;
        for (name, _) in &off {
            run(conn, &format!("DROP TRIGGER {}", SQLITE.name(name))).await?;
        }
        match &record.of.column {
            None => put_rows(conn, &copy, &record, up).await?,
            Some(column) => put_column(conn, &copy, &record, column).await?,
        }
        for (_, sql) in &off {
            run(conn, sql).await?;
        }
    }
    Ok(())
}

async fn is_kept(conn: &mut SqliteConnection, key: &str) -> sqlx::Result<bool> {
    let there = format!("SELECT 1 FROM sqlite_schema WHERE name = '{KEPT_TABLE}'");
    if value(conn, &there).await?.is_none() {
        return Ok(false);
    }
    let any = format!("SELECT 1 FROM backout_kept WHERE key = {} LIMIT 1", SQLITE.text(key));
    Ok(value(conn, &any).await?.is_some())
}

/// The triggers of a table, with their SQL: what is put back is no news to them, and SQLite cannot
/// switch them off.
async fn triggers(conn: &mut SqliteConnection, table: &str) -> sqlx::Result<Vec<(String, String)>> {
    let query = format!(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = {} COLLATE NOCASE \
         ORDER BY rowid",
        SQLITE.text(table)
    );
    let pair = |row: Row| match <[_; 2]>::try_from(row) {
        Ok([Some(name), Some(sql)]) => Some((name, sql)),
        _ => None,
    };
    Ok(texts(conn, &query).await?.into_iter().filter_map(pair).collect())
}

async fn put_rows(
    conn: &mut SqliteConnection,
    copy: &str,
    record: &Record,
    up: &Up<'_>,
) -> Result<(), Failed> {
    let table = &record.of.table;
    let now = columns(conn, table).await?;
    let is_there = |column: &&String| now.iter().any(|name| name.eq_ignore_ascii_case(column));
    if let Some(missing) = record.columns.iter().find(|column| !is_there(column)) {
        return Err(Failed::Why(format!("`{table}` has no column `{missing}` now")));
    }
    let is_new = !up.before.contains(&table.to_ascii_lowercase());
    let mut manner = manner(SQLITE, up.statements, table, is_new);
    if up.foreign_keys && !followers(conn, table).await?.is_empty() {
        // Taking rows out would take those of other tables with them.
        manner = Manner::Missing;
    }
    let quoted = SQLITE.name(table);
    let key = &record.of.primary_key;
    let missing = match manner {
        Manner::InPlace => {
            run(conn, &format!("DELETE FROM {quoted}")).await?;
            String::new()
        }
        Manner::Missing if key.is_empty() => return Ok(()),
        Manner::Missing => {
            let same = same_key(record, key);
            format!(" WHERE NOT EXISTS (SELECT 1 FROM {quoted} t WHERE {same})")
        }
    };
    // Among rows of others a rowid may be taken.
    let keeps_rowid = record.has_rowid && manner == Manner::InPlace;
    let rowid = rowid(conn, table).await?.filter(|_| keeps_rowid);
    let insert = format!(
        "INSERT INTO {quoted} ({}) SELECT {} FROM {copy} k{missing}",
        theirs(&record.columns, rowid),
        own(record.columns.len(), rowid.is_some())
    );
    run(conn, &insert).await?;
    Ok(go_on_from(conn, record).await?)
}

/// The condition that finds a row `k` of a copy among the rows `t` of the table.
fn same_key(record: &Record, key: &[String]) -> String {
    let same = |name: &String| {
        let at = record.columns.iter().position(|column| column == name).unwrap_or_default();
        format!("t.{} IS k.c{at}", SQLITE.name(name))
    };
    key.iter().map(same).collect::<Vec<_>>().join(" AND ")
}

/// Numbers that were given once are not given again.
async fn go_on_from(conn: &mut SqliteConnection, record: &Record) -> sqlx::Result<()> {
    let (Some(last), table) = (record.sequence, &record.of.table) else { return Ok(()) };
    let name = SQLITE.text(table);
    let wants = format!(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = {name} COLLATE NOCASE AND sql \
         LIKE '%AUTOINCREMENT%'"
    );
    if value(conn, &wants).await?.is_none() {
        return Ok(());
    }
    let set = match sequence(conn, table).await? {
        Some(now) => {
            let last = now.max(last);
            format!("UPDATE sqlite_sequence SET seq = {last} WHERE name = {name} COLLATE NOCASE")
        }
        None => format!(
            "INSERT INTO sqlite_sequence (name, seq) SELECT name, {last} FROM sqlite_schema WHERE type \
             = 'table' AND name = {name} COLLATE NOCASE"
        ),
    };
    run(conn, &set).await
}

async fn put_column(
    conn: &mut SqliteConnection,
    copy: &str,
    record: &Record,
    column: &str,
) -> sqlx::Result<()> {
    let at = record.columns.len().saturating_sub(1);
    let update = format!(
        "UPDATE {} AS t SET {} = k.c{at} FROM {copy} AS k WHERE {}",
        SQLITE.name(&record.of.table),
        SQLITE.name(column),
        same_key(record, &record.of.primary_key)
    );
    run(conn, &update).await
}

/// Removes the copies of a key, once nobody can ask for them; how many there were.
pub(super) async fn remove(conn: &mut SqliteConnection, key: &str) -> sqlx::Result<usize> {
    if !is_kept(conn, key).await? {
        return Ok(0);
    }
    run(conn, "BEGIN IMMEDIATE").await?;
    let query = format!("SELECT copy FROM backout_kept WHERE key = {}", SQLITE.text(key));
    let copies = firsts(texts(conn, &query).await?);
    for copy in &copies {
        run(conn, &format!("DROP TABLE IF EXISTS {}", SQLITE.name(copy))).await?;
    }
    run(conn, &format!("DELETE FROM backout_kept WHERE key = {}", SQLITE.text(key))).await?;
    if value(conn, "SELECT 1 FROM backout_kept LIMIT 1").await?.is_none() {
        run(conn, "DROP TABLE backout_kept").await?;
    }
    run(conn, "COMMIT").await?;
    Ok(copies.len())
}

/// Whether rows came since that have no key: their values could not be put back.
pub(super) async fn check_keys(
    conn: &mut SqliteConnection,
    all: &[Keep],
) -> sqlx::Result<Result<(), String>> {
    for keep in all {
        let Some(column) = &keep.column else { continue };
        let quoted = SQLITE.name(&keep.table);
        if count_keyless(conn, &quoted, &keep.primary_key).await? > 0 {
            let what = format!("{}.{column}", keep.table);
            return Ok(Err(format!("cannot keep `{what}`: {KEYLESS}; plan again")));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::{own, theirs};

    #[test]
    fn a_copy_has_names_of_its_own() {
        assert_eq!(own(2, true), "id, c0, c1");
        let columns = ["a".to_owned(), "c\"0".to_owned()];
        assert_eq!(theirs(&columns, Some("oid")), "oid, \"a\", \"c\"\"0\"");
    }
}
