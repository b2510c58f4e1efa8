//! Copies of what a migration drops, taken in its own transaction, and put back by an undo.

use backout_plugin_api::{Call, EffectKey, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::effects::raced;
use crate::db::conn::{run, texts, value};
use crate::sql::Name;
use crate::tool::{Dialect, is_true};

const PG: Dialect = Dialect::Postgres;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS backout_kept.kept (
    copy text PRIMARY KEY,
    key text NOT NULL,
    number integer NOT NULL,
    version text NOT NULL,
    table_name text NOT NULL,
    column_name text,
    primary_key text[] NOT NULL,
    sequences jsonb NOT NULL,
    rows bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)";

/// One table or column to copy before it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// With its schema, in its quotes.
    pub(crate) table: String,
    /// The column; nothing for the whole table.
    pub(crate) column: Option<String>,
    /// The columns of the primary key, which a column is put back by.
    pub(crate) primary_key: Vec<String>,
}

/// What there is to keep and about how many bytes; a reason where it cannot be kept.
pub(crate) async fn find(
    conn: &mut PgConnection,
    table: &Name,
    column: Option<&str>,
) -> sqlx::Result<Result<(Keep, u64), String>> {
    let regclass = format!("to_regclass({})", PG.text(&table.quoted(PG)));
    let query = format!(
        "SELECT n.nspname, c.relname, c.relkind, pg_table_size(c.oid), \
         EXISTS (SELECT 1 FROM pg_catalog.pg_inherits WHERE c.oid IN (inhrelid, inhparent)) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = {regclass}"
    );
    let row = texts(conn, &query).await?.into_iter().next();
    let Some([Some(schema), Some(name), Some(kind), Some(bytes), inherits]) =
        row.and_then(|row| <[_; 5]>::try_from(row).ok())
    else {
        return Ok(Err("it is not there now".to_owned()));
    };
    if kind != "r" || is_true(inherits.as_ref()) {
        return Ok(Err("only plain tables are kept, without partitions or heirs".to_owned()));
    }
    let table = format!("{}.{}", PG.name(&schema), PG.name(&name));
    let primary_key = primary_key(conn, &regclass).await?;
    let bytes: u64 = bytes.parse().unwrap_or(u64::MAX);
    let Some(column) = column else {
        return Ok(Ok((Keep { table, column: None, primary_key }, bytes)));
    };
    if primary_key.is_empty() || primary_key.iter().any(|key| key == column) {
        let why = "a column is put back by the rest of the primary key, and there is none";
        return Ok(Err(why.to_owned()));
    }
    let bytes = column_bytes(conn, (&schema, &name), column).await?.map_or(bytes, |b| b.min(bytes));
    Ok(Ok((Keep { table, column: Some(column.to_owned()), primary_key }, bytes)))
}

async fn primary_key(conn: &mut PgConnection, regclass: &str) -> sqlx::Result<Vec<String>> {
    let query = format!(
        "SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = \
         i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = {regclass} AND i.indisprimary \
         ORDER BY a.attnum"
    );
    Ok(firsts(texts(conn, &query).await?))
}

fn firsts(rows: Vec<crate::tool::Row>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next()?).collect()
}

/// By the statistics, where there are any.
async fn column_bytes(
    conn: &mut PgConnection,
    (schema, table): (&str, &str),
    column: &str,
) -> sqlx::Result<Option<u64>> {
    let query = format!(
        "SELECT (s.avg_width * c.reltuples)::bigint FROM pg_catalog.pg_stats s, pg_catalog.pg_class c \
         WHERE s.schemaname = {schema} AND s.tablename = {table} AND s.attname = {} AND c.oid = \
         to_regclass({}) AND c.reltuples >= 0",
        PG.text(column),
        PG.text(&format!("{}.{}", PG.name(schema), PG.name(table))),
        schema = PG.text(schema),
        table = PG.text(table),
    );
    Ok(value(conn, &query).await?.and_then(|bytes| bytes.parse().ok()))
}

/// Makes the schema of copies where it is missing.
pub(super) async fn create(conn: &mut PgConnection) -> sqlx::Result<()> {
    let there = "SELECT to_regclass('backout_kept.kept') IS NOT NULL";
    if is_true(value(conn, there).await?.as_ref()) {
        return Ok(());
    }
    let schema = value(conn, "SELECT to_regnamespace('backout_kept') IS NOT NULL").await?;
    if !is_true(schema.as_ref()) {
        raced(run(conn, "CREATE SCHEMA IF NOT EXISTS backout_kept").await)?;
    }
    raced(run(conn, CREATE).await)
}

/// The table of a copy: the key says whose it is.
fn copy_name(key: &EffectKey, number: usize) -> String {
    /// Enough of a digest to tell keys apart, and short enough for a name.
    const DIGEST_SIGNS: usize = 24;
    let digest = hex(&Sha256::digest(key.as_str()));
    let digest = digest.get(..DIGEST_SIGNS).unwrap_or(&digest);
    format!("\"k_{digest}_{number}\"")
}

/// Copies what goes, before anything else of the migration; locked first, so that no row is written
/// between the copy and the drop.
pub(super) async fn copy(
    conn: &mut PgConnection,
    call: &Call,
    version: &str,
    all: &[Keep],
) -> sqlx::Result<()> {
    let tables: std::collections::BTreeSet<_> = all.iter().map(|keep| &keep.table).collect();
    for table in tables {
        run(conn, &format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
    }
    for (number, keep) in all.iter().enumerate() {
        let copy = copy_name(&call.key, number);
        let columns = match &keep.column {
            None => "*".to_owned(),
            Some(column) => names(keep.primary_key.iter().chain([column])),
        };
        let make =
            format!("CREATE TABLE backout_kept.{copy} AS SELECT {columns} FROM {}", keep.table);
        run(conn, &make).await?;
        run(conn, &note(call, version, number, keep, &copy)).await?;
    }
    Ok(())
}

fn names<'a>(columns: impl Iterator<Item = &'a String>) -> String {
    columns.map(|column| PG.name(column)).collect::<Vec<_>>().join(", ")
}

/// The statement that writes down what a copy is of, with the numbers that its sequences gave.
fn note(call: &Call, version: &str, number: usize, keep: &Keep, copy: &str) -> String {
    let keys: Vec<_> = keep.primary_key.iter().map(|column| PG.text(column)).collect();
    let sequences = if keep.column.is_some() {
        "'{}'::jsonb".to_owned()
    } else {
        format!(
            "coalesce((SELECT jsonb_object_agg(a.attname, s.last_value) FROM \
             pg_catalog.pg_attribute a, LATERAL (SELECT last_value FROM pg_catalog.pg_sequences q \
             WHERE (quote_ident(q.schemaname) || '.' || quote_ident(q.sequencename))::regclass = \
             pg_get_serial_sequence({}, a.attname)::regclass) s WHERE a.attrelid = {}::regclass AND \
             a.attnum > 0 AND NOT a.attisdropped AND s.last_value IS NOT NULL), '{{}}')",
            PG.text(&keep.table),
            PG.text(&keep.table)
        )
    };
    format!(
        "INSERT INTO backout_kept.kept (copy, key, number, version, table_name, column_name, \
         primary_key, sequences, rows) SELECT {}, {}, {number}, {}, {}, {}, ARRAY[{}]::text[], \
         {sequences}, (SELECT count(*) FROM backout_kept.{copy})",
        PG.text(copy.trim_matches('"')),
        PG.text(call.key.as_str()),
        PG.text(version),
        PG.text(&keep.table),
        keep.column.as_ref().map_or("NULL".to_owned(), |column| PG.text(column)),
        keys.join(", ")
    )
}

/// Puts back what was kept under a key of a migration of this version: the last that went first.
pub(super) async fn put_back(
    conn: &mut PgConnection,
    key: &str,
    version: &str,
) -> sqlx::Result<()> {
    let query = format!(
        "SELECT copy, table_name, column_name, array_to_json(primary_key), sequences FROM \
         backout_kept.kept WHERE key = {} AND version = {} ORDER BY number DESC",
        PG.text(key),
        PG.text(version)
    );
    let rows = texts(conn, &query).await?;
    let kept: Vec<Kept> = rows.into_iter().filter_map(Kept::read).collect();
    // What went first may point at what went later: so it is emptied first, and filled last.
    for kept in kept.iter().rev().filter(|kept| kept.column.is_none()) {
        empty(conn, &kept.table).await?;
    }
    for Kept { copy, table, column, key, sequences } in &kept {
        let triggers = triggers(conn, table).await?;
        switch(conn, table, &triggers, "DISABLE").await?;
        match column {
            None => put_rows(conn, copy, table, sequences).await?,
            Some(column) => put_column(conn, copy, table, column, key).await?,
        }
        switch(conn, table, &triggers, "ENABLE").await?;
    }
    Ok(())
}

/// One entry of the list of what is kept.
struct Kept {
    copy: String,
    table: String,
    /// Nothing for a whole table.
    column: Option<String>,
    key: Vec<String>,
    sequences: String,
}

impl Kept {
    fn read(row: crate::tool::Row) -> Option<Self> {
        let Ok([Some(copy), Some(table), column, Some(key), Some(sequences)]) =
            <[_; 5]>::try_from(row)
        else {
            return None;
        };
        let copy = format!("backout_kept.{}", PG.name(&copy));
        let key = serde_json::from_str(&key).unwrap_or_default();
        Some(Self { copy, table, column, key, sequences })
    }
}

/// Takes away the rows that the migration itself put into a table that it has just made: they are
/// among the kept ones, or somebody took them out since. In a table that was there before this
/// transaction nothing is touched.
async fn empty(conn: &mut PgConnection, table: &str) -> sqlx::Result<()> {
    // The row of a system column is written when the table is made, and never again.
    let is_new = format!(
        "SELECT (xmin::text = (txid_current() % 4294967296)::text)::text FROM \
         pg_catalog.pg_attribute WHERE attrelid = {}::regclass AND attnum = -1",
        PG.text(table)
    );
    if firsts(texts(conn, &is_new).await?) != ["true"] {
        return Ok(());
    }
    let triggers = triggers(conn, table).await?;
    switch(conn, table, &triggers, "DISABLE").await?;
    run(conn, &format!("DELETE FROM {table}")).await?;
    switch(conn, table, &triggers, "ENABLE").await
}

/// The triggers of its users that are on: what is put back is no news to them.
async fn triggers(conn: &mut PgConnection, table: &str) -> sqlx::Result<Vec<String>> {
    let query = format!(
        "SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = {}::regclass AND NOT tgisinternal \
         AND tgenabled = 'O'",
        PG.text(table)
    );
    Ok(firsts(texts(conn, &query).await?))
}

async fn switch(
    conn: &mut PgConnection,
    table: &str,
    triggers: &[String],
    how: &str,
) -> sqlx::Result<()> {
    for trigger in triggers {
        run(conn, &format!("ALTER TABLE {table} {how} TRIGGER {}", PG.name(trigger))).await?;
    }
    Ok(())
}

async fn put_rows(
    conn: &mut PgConnection,
    copy: &str,
    table: &str,
    sequences: &str,
) -> sqlx::Result<()> {
    let query = format!(
        "SELECT a.attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute k ON k.attrelid \
         = {}::regclass AND k.attname = a.attname AND k.attnum > 0 AND NOT k.attisdropped WHERE \
         a.attrelid = {}::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''",
        PG.text(copy),
        PG.text(table)
    );
    let columns = firsts(texts(conn, &query).await?);
    let columns = names(columns.iter());
    let insert = format!(
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {copy}"
    );
    run(conn, &insert).await?;
    let numbers: std::collections::BTreeMap<String, i64> =
        serde_json::from_str(sequences).unwrap_or_default();
    for (column, last) in numbers {
        let set = format!(
            "SELECT setval(pg_get_serial_sequence({}, {}), {last})",
            PG.text(table),
            PG.text(&column)
        );
        run(conn, &set).await?;
    }
    Ok(())
}

async fn put_column(
    conn: &mut PgConnection,
    copy: &str,
    table: &str,
    column: &str,
    key: &[String],
) -> sqlx::Result<()> {
    let column = PG.name(column);
    let same: Vec<_> =
        key.iter().map(|name| format!("t.{name} = k.{name}", name = PG.name(name))).collect();
    let update = format!(
        "UPDATE {table} t SET {column} = k.{column} FROM {copy} k WHERE {} AND t.{column} IS \
         DISTINCT FROM k.{column}",
        same.join(" AND ")
    );
    run(conn, &update).await
}

/// Removes the copies of a key, once nobody can ask for them; how many there were.
pub(super) async fn remove(conn: &mut PgConnection, key: &str) -> sqlx::Result<usize> {
    let there = "SELECT to_regclass('backout_kept.kept') IS NOT NULL";
    if !is_true(value(conn, there).await?.as_ref()) {
        return Ok(0);
    }
    let query = format!("SELECT copy FROM backout_kept.kept WHERE key = {}", PG.text(key));
    let copies = firsts(texts(conn, &query).await?);
    for copy in &copies {
        let drop = format!(
            "BEGIN; DROP TABLE IF EXISTS backout_kept.{}; DELETE FROM backout_kept.kept WHERE copy = \
             {}; COMMIT",
            PG.name(copy),
            PG.text(copy)
        );
        run(conn, &drop).await?;
    }
    Ok(copies.len())
}
