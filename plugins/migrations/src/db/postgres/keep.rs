//! Copies of what a migration drops, taken in its own transaction, and put back by an undo.

use backout_plugin_api::Call;
use sqlx::PgConnection;

use super::effects::raced;
use crate::db::conn::{run, texts, value};
use crate::db::keep::{Failed, Found, Keep, Manner, check_key, copy_name, firsts, lost, manner};
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

/// What there is to keep and about how many bytes; a reason where it cannot be kept.
pub(crate) async fn find(
    conn: &mut PgConnection,
    table: &Name,
    column: Option<&str>,
) -> sqlx::Result<Found> {
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
    if let Err(why) = check_key(&primary_key, column) {
        return Ok(Err(why));
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
        let copy = format!("k_{}", copy_name(&call.key, number));
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
    crate::db::keep::names(PG, columns)
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
        PG.text(copy),
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
    (version, up): (&str, &[String]),
) -> Result<(), Failed> {
    if !is_kept(conn, key).await? {
        return Err(Failed::Why(lost(key)));
    }
    let query = format!(
        "SELECT copy, table_name, column_name, array_to_json(primary_key), sequences FROM \
         backout_kept.kept WHERE key = {} AND version = {} ORDER BY number DESC",
        PG.text(key),
        PG.text(version)
    );
    let rows = texts(conn, &query).await?;
    let kept: Vec<Kept> = rows.into_iter().filter_map(Kept::read).collect();
    // What went first may point at what went later: so it is emptied first, and filled last.
    let mut manners = std::collections::BTreeMap::new();
    for kept in kept.iter().rev().filter(|kept| kept.column.is_none()) {
        let manner = manner(PG, up, &kept.name(), is_new(conn, &kept.table).await?);
        if manner == Manner::InPlace {
            empty(conn, &kept.table).await?;
        }
        manners.insert(&kept.copy, manner);
    }
    for kept in &kept {
        let table = &kept.table;
        let triggers = triggers(conn, table).await?;
        switch(conn, table, &triggers, "DISABLE").await?;
        match &kept.column {
            None => put_rows(conn, kept, manners.get(&kept.copy).copied()).await?,
            Some(column) => put_column(conn, kept, column).await?,
        }
        switch(conn, table, &triggers, "ENABLE").await?;
    }
    Ok(())
}

async fn is_kept(conn: &mut PgConnection, key: &str) -> sqlx::Result<bool> {
    let there = "SELECT to_regclass('backout_kept.kept') IS NOT NULL";
    if !is_true(value(conn, there).await?.as_ref()) {
        return Ok(false);
    }
    let any = format!("SELECT 1 FROM backout_kept.kept WHERE key = {} LIMIT 1", PG.text(key));
    Ok(value(conn, &any).await?.is_some())
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

    /// The table's name without its schema and quotes.
    fn name(&self) -> String {
        let parsed = crate::sql::statements(PG, &self.table).into_iter().next();
        let tokens = parsed.map(|statement| statement.tokens).unwrap_or_default();
        tokens.last().and_then(|token| token.name()).unwrap_or_default().to_owned()
    }

    /// The condition that finds a row `k` of the copy among the rows `t` of the table.
    fn same_key(&self) -> String {
        let same = |name: &String| format!("t.{name} = k.{name}", name = PG.name(name));
        self.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }
}

/// Whether this transaction made a table.
async fn is_new(conn: &mut PgConnection, table: &str) -> sqlx::Result<bool> {
    // The row of a system column is written when the table is made, and never again.
    let is_new = format!(
        "SELECT (xmin::text = (txid_current() % 4294967296)::text)::text FROM \
         pg_catalog.pg_attribute WHERE attrelid = {}::regclass AND attnum = -1",
        PG.text(table)
    );
    Ok(firsts(texts(conn, &is_new).await?) == ["true"])
}

/// Takes away the rows that the migration itself put into a table that it has just made: they are
/// among the kept ones, or somebody took them out since.
async fn empty(conn: &mut PgConnection, table: &str) -> sqlx::Result<()> {
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
    kept: &Kept,
    manner: Option<Manner>,
) -> sqlx::Result<()> {
    let Kept { copy, table, key, sequences, .. } = kept;
    let missing = match manner {
        Some(Manner::InPlace) => String::new(),
        _ if key.is_empty() => return Ok(()),
        _ => format!(" WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {})", kept.same_key()),
    };
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
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {copy} k{missing}"
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

async fn put_column(conn: &mut PgConnection, kept: &Kept, column: &str) -> sqlx::Result<()> {
    let column = PG.name(column);
    // Byte by byte: to a type's own comparison `1.0` is `1.00`, or `A` is `a`.
    let update = format!(
        "UPDATE {} t SET {column} = k.{column} FROM {} k WHERE {} AND ROW(t.{column})::record \
         *<> ROW(k.{column})::record",
        kept.table,
        kept.copy,
        kept.same_key()
    );
    run(conn, &update).await
}

/// Removes the copies of a key, once nobody can ask for them; how many there were.
pub(super) async fn remove(conn: &mut PgConnection, key: &str) -> sqlx::Result<usize> {
    if !is_kept(conn, key).await? {
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
