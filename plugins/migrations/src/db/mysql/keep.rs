//! Copies of what a statement drops, in tables of a reserved name in the same database.
//!
//! Whatever drops something commits by itself, so that no copy can be part of it. But `LOCK TABLES`
//! keeps every writer out from before the copy until after the drop, and ends with the session: one that
//! dies in between leaves the table with its rows, and the next sending copies anew. So where the table is
//! gone by our statement, the copy is whole.

use backout_plugin_api::Call;

use crate::db::Conn;
use crate::db::keep::{Failed, Found, Keep, Record, check_key, copy_name, firsts, lost, names};
use crate::sql::{self, Filled, Name};
use crate::tool::Dialect;

const MY: Dialect = Dialect::Mysql;

/// The list of copies; the copies have its name with more behind it.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS backout_kept (
    copy varchar(64) NOT NULL PRIMARY KEY,
    `key` varchar(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    number integer NOT NULL,
    version varchar(500) NOT NULL,
    record longtext CHARACTER SET utf8mb4 NOT NULL,
    `rows` bigint NOT NULL,
    at timestamp(6) NOT NULL DEFAULT current_timestamp(6)
) ENGINE = InnoDB";

/// A column of the copy's own: replicas find rows by a key, and MySQL may be told to take no table
/// without one (`sql_require_primary_key`).
const OWN_KEY: &str = "backout_row bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY";

/// A session in which every value that a table held may be written again: a zero date, a zero in a
/// column that counts. What would have to be changed is still an error.
const MODE: &str = "SET @backout_mode = coalesce(@backout_mode, @@SESSION.sql_mode); SET SESSION sql_mode = \
                    'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";
const OWN_MODE: &str = "SET SESSION sql_mode = coalesce(@backout_mode, @@SESSION.sql_mode); \
                        SET @backout_mode = NULL";

/// What there is to keep and about how many bytes; a reason where it cannot be kept.
pub(crate) async fn find(
    conn: &mut Conn,
    table: &Name,
    column: Option<&str>,
) -> sqlx::Result<Found> {
    if table.schema.is_some() {
        return Ok(Err("only tables of the database of the URL are kept".to_owned()));
    }
    let query = format!(
        "SELECT t.table_name, t.table_type, coalesce(t.engine, ''), coalesce(t.data_length, 0), \
         t.create_options, (SELECT count(*) FROM information_schema.triggers g WHERE \
         g.event_object_schema = database() AND g.event_object_table = t.table_name AND \
         g.event_manipulation <> 'DELETE'), (SELECT count(*) FROM information_schema.key_column_usage k \
         WHERE k.table_schema = database() AND k.table_name = t.table_name AND \
         k.referenced_table_name = t.table_name) FROM information_schema.tables t WHERE {}",
        of_table(&table.name)
    );
    let row = conn.rows(&query).await?.into_iter().next();
    let Some([Some(name), kind, engine, Some(bytes), options, triggers, own_keys]) =
        row.and_then(|row| <[_; 7]>::try_from(row).ok())
    else {
        return Ok(Err("it is not there now".to_owned()));
    };
    let is = |value: Option<String>, wanted: &str| value.as_deref() == Some(wanted);
    let is_parted = options.is_some_and(|options| options.contains("partitioned"));
    if !is(kind, "BASE TABLE") || !is(engine, "InnoDB") || is_parted {
        return Ok(Err("only plain tables of InnoDB are kept, without partitions".to_owned()));
    }
    if !is(triggers, "0") {
        return Ok(Err("it has triggers, which would take what is put back for news".to_owned()));
    }
    if column.is_none() && !is(own_keys, "0") {
        return Ok(Err("its rows point at each other, so they go back in no order".to_owned()));
    }
    let primary_key = primary_key(conn, &name).await?;
    if let Some(Err(why)) = column.map(|column| check_key(&primary_key, column)) {
        return Ok(Err(why));
    }
    let keep = Keep { table: name, column: column.map(str::to_owned), primary_key };
    Ok(Ok((keep, bytes.parse().unwrap_or(u64::MAX))))
}

fn of_table(table: &str) -> String {
    format!("table_schema = database() AND table_name = {}", MY.text(table))
}

async fn primary_key(conn: &mut Conn, table: &str) -> sqlx::Result<Vec<String>> {
    let query = format!(
        "SELECT column_name FROM information_schema.statistics WHERE {} AND index_name = 'PRIMARY' \
         ORDER BY seq_in_index",
        of_table(table)
    );
    Ok(firsts(conn.rows(&query).await?))
}

/// The columns of a table whose values are its own.
async fn columns(conn: &mut Conn, table: &str) -> sqlx::Result<Vec<String>> {
    let query = format!(
        "SELECT column_name FROM information_schema.columns WHERE {} AND \
         coalesce(generation_expression, '') = '' ORDER BY ordinal_position",
        of_table(table)
    );
    Ok(firsts(conn.rows(&query).await?))
}

fn copy_of(call: &Call, number: usize) -> String {
    format!("backout_kept_{}", copy_name(&call.key, number))
}

/// Copies what the next statement drops, and keeps every writer out until [`let_go`].
pub(crate) async fn hold(
    conn: &mut Conn,
    call: &Call,
    version: &str,
    all: &[(usize, Keep)],
) -> sqlx::Result<()> {
    conn.run(CREATE).await?;
    conn.run(MODE).await?;
    let mut locks = vec!["backout_kept WRITE".to_owned()];
    let mut made = Vec::new();
    for (number, keep) in all {
        let copy = copy_of(call, *number);
        let columns = match &keep.column {
            None => columns(conn, &keep.table).await?,
            Some(column) => keep.primary_key.iter().chain([column]).cloned().collect(),
        };
        let (list, table) = (names(MY, &columns), MY.name(&keep.table));
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {copy} ({OWN_KEY}) ENGINE = InnoDB AS SELECT {list} FROM {table} \
             LIMIT 0"
        );
        conn.run(&create).await?;
        locks.push(format!("{copy} WRITE"));
        let lock = format!("{table} WRITE");
        if !locks.contains(&lock) {
            locks.push(lock);
        }
        made.push((*number, keep, copy, columns));
    }
    conn.run(&format!("LOCK TABLES {}", locks.join(", "))).await?;
    for (number, keep, copy, columns) in made {
        let (list, table) = (names(MY, &columns), MY.name(&keep.table));
        // What an earlier sending copied may be older.
        conn.run(&format!("DELETE FROM {copy}")).await?;
        conn.run(&format!("INSERT INTO {copy} ({list}) SELECT {list} FROM {table}")).await?;
        let sequence = match keep.column {
            None => sequence(conn, &keep.table).await?,
            Some(_) => None,
        };
        let record = Record::new(keep, columns, sequence);
        conn.run(&note(call, version, (number, &copy), &record)).await?;
    }
    Ok(())
}

/// The next number of a column that counts.
async fn sequence(conn: &mut Conn, table: &str) -> sqlx::Result<Option<i64>> {
    let query =
        format!("SELECT auto_increment FROM information_schema.tables WHERE {}", of_table(table));
    Ok(conn.value(&query).await?.and_then(|next| next.parse().ok()))
}

fn note(call: &Call, version: &str, (number, copy): (usize, &str), record: &Record) -> String {
    format!(
        "REPLACE INTO backout_kept (copy, `key`, number, version, record, `rows`) VALUES ({}, {}, \
         {number}, {}, {}, (SELECT count(*) FROM {copy}))",
        MY.text(copy),
        MY.text(call.key.as_str()),
        MY.text(version),
        MY.text(&record.text())
    )
}

/// What a role lacks for a copy, where that is why there is none.
pub(crate) fn denied(error: &sqlx::Error) -> Option<String> {
    const DENIED: [u16; 3] = [1044, 1142, 1227];
    let is_denied = super::number(error).is_some_and(|number| DENIED.contains(&number));
    is_denied.then(|| {
        format!(
            "cannot copy what goes: {error}; give the role CREATE, DROP, INSERT, DELETE and LOCK TABLES \
             on the database, or write `keep_data: false`"
        )
    })
}

/// Lets everybody in again.
pub(crate) async fn let_go(conn: &mut Conn) -> sqlx::Result<()> {
    conn.run("UNLOCK TABLES").await?;
    conn.run(OWN_MODE).await
}

/// Removes copies of what is there still: the statement was refused.
pub(crate) async fn discard(
    conn: &mut Conn,
    call: &Call,
    all: &[(usize, Keep)],
) -> sqlx::Result<()> {
    for (number, _) in all {
        drop_copy(conn, &copy_of(call, *number)).await?;
    }
    Ok(())
}

async fn drop_copy(conn: &mut Conn, copy: &str) -> sqlx::Result<()> {
    conn.run(&format!("DROP TABLE IF EXISTS {}", MY.name(copy))).await?;
    conn.run(&format!("DELETE FROM backout_kept WHERE copy = {}", MY.text(copy))).await
}

/// What is kept under a key of a migration of this version; the last that went first.
async fn kept(conn: &mut Conn, key: &str, version: &str) -> Result<Vec<(String, Record)>, Failed> {
    if !is_kept(conn, key).await? {
        return Err(Failed::Why(lost(key)));
    }
    let query = format!(
        "SELECT copy, record FROM backout_kept WHERE `key` = {} AND version = {} ORDER BY number DESC",
        MY.text(key),
        MY.text(version)
    );
    let rows = conn.rows(&query).await?;
    rows.into_iter().map(|row| Record::read(row).map_err(Failed::Why)).collect()
}

/// Whether there are copies of a key.
pub(crate) async fn is_kept(conn: &mut Conn, key: &str) -> sqlx::Result<bool> {
    let there =
        format!("SELECT 1 FROM information_schema.tables WHERE {}", of_table("backout_kept"));
    if conn.value(&there).await?.is_none() {
        return Ok(false);
    }
    let any = format!("SELECT 1 FROM backout_kept WHERE `key` = {} LIMIT 1", MY.text(key));
    Ok(conn.value(&any).await?.is_some())
}

/// Columns that count go on where they were. It commits by itself and may be repeated, so it comes
/// before what is put back.
pub(crate) async fn go_on_from(conn: &mut Conn, key: &str, version: &str) -> Result<(), Failed> {
    conn.run(MODE).await?;
    for (_, record) in kept(conn, key, version).await? {
        let Some(next) = record.sequence else { continue };
        let table = MY.name(&record.of.table);
        conn.run(&format!("ALTER TABLE {table} AUTO_INCREMENT = {next}")).await?;
    }
    Ok(())
}

/// Puts back what was kept, in the transaction that is open.
pub(crate) async fn put_back(
    conn: &mut Conn,
    key: &str,
    (version, up): (&str, &[String]),
) -> Result<(), Failed> {
    for (copy, record) in kept(conn, key, version).await? {
        match &record.of.column {
            None => put_rows(conn, &copy, &record, up).await?,
            Some(column) => put_column(conn, &copy, &record, column).await?,
        }
    }
    Ok(())
}

/// The condition that finds a row `k` of a copy among the rows `t` of the table.
fn same_key(record: &Record) -> String {
    let same = |name: &String| format!("t.{name} <=> k.{name}", name = MY.name(name));
    record.of.primary_key.iter().map(same).collect::<Vec<_>>().join(" AND ")
}

async fn put_rows(
    conn: &mut Conn,
    copy: &str,
    record: &Record,
    up: &[String],
) -> Result<(), Failed> {
    let (name, list) = (&record.of.table, names(MY, &record.columns));
    let (table, plain) = (MY.name(name), Name { schema: None, name: name.clone() });
    let is_new = sql::brings(MY, up, &plain, None);
    if is_new && sql::filled(MY, up, name) == Filled::Not {
        let count = conn.value(&format!("SELECT count(*) FROM {table}")).await?;
        if count.as_deref() != Some("0") {
            return Err(Failed::Why(format!(
                "`{name}` has rows already, which somebody wrote since it was made again; the kept \
                 ones are in {copy}"
            )));
        }
        let insert = format!("INSERT INTO {table} ({list}) SELECT {list} FROM {copy}");
        return Ok(conn.run(&insert).await?);
    }
    if record.of.primary_key.is_empty() {
        return Ok(());
    }
    let insert = format!(
        "INSERT INTO {table} ({list}) SELECT {list} FROM {copy} k WHERE NOT EXISTS (SELECT 1 FROM \
         {table} t WHERE {})",
        same_key(record)
    );
    Ok(conn.run(&insert).await?)
}

/// A column that tells when its row was changed last is told that nothing was.
async fn put_column(
    conn: &mut Conn,
    copy: &str,
    record: &Record,
    column: &str,
) -> Result<(), Failed> {
    let query = format!(
        "SELECT column_name FROM information_schema.columns WHERE {} AND extra LIKE '%on update%' AND \
         column_name <> {}",
        of_table(&record.of.table),
        MY.text(column)
    );
    let own = |name: &String| format!(", t.{name} = t.{name}", name = MY.name(name));
    let own: String = firsts(conn.rows(&query).await?).iter().map(own).collect();
    let update = format!(
        "UPDATE {} t JOIN {copy} k ON {} SET t.{column} = k.{column}{own}",
        MY.name(&record.of.table),
        same_key(record),
        column = MY.name(column)
    );
    Ok(conn.run(&update).await?)
}

/// Removes the copies of a key, once nobody can ask for them; how many there were.
pub(crate) async fn remove(conn: &mut Conn, key: &str) -> sqlx::Result<usize> {
    if !is_kept(conn, key).await? {
        return Ok(0);
    }
    let query = format!("SELECT copy FROM backout_kept WHERE `key` = {}", MY.text(key));
    let copies = firsts(conn.rows(&query).await?);
    for copy in &copies {
        drop_copy(conn, copy).await?;
    }
    Ok(copies.len())
}

/// The session's own way with values, after what was put back.
pub(crate) async fn own_mode(conn: &mut Conn) -> sqlx::Result<()> {
    conn.run(OWN_MODE).await
}
