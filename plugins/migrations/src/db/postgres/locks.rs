//! Locks: the tool's own, tried with a deadline; and who holds what stands in the way.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use crate::db::conn::{texts, value};
use crate::sql::Name;
use crate::tool::{Dialect, ToolLock, is_true};

/// How long the tool's own lock is tried for: somebody migrates, and that takes its time.
const TOOL_LOCK_WAIT: Duration = Duration::from_secs(5);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// Holders that are named; the first ones tell enough.
const NAMED_MAX: usize = 3;

/// A session for people, from the columns of `pg_stat_activity` as `a`: what stays the same while
/// its transaction runs, so that a person's consent does too.
const SESSION: &str =
    "'pid ' || a.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '')
    || coalesce(' of ' || a.usename, '')
    || coalesce(' from ' || host(a.client_addr), ' from a local socket')
    || coalesce(', its transaction since ' || to_char(a.xact_start, 'HH24:MI:SS'), '')";

/// What it does now.
const QUERY: &str = "coalesce(', ' || a.state, '')
    || coalesce(', query: ' || left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80), '')";

/// Takes the tool's locks until the transaction ends; a reason where one is not to be had.
pub(super) async fn take(
    conn: &mut PgConnection,
    tool: &str,
    locks: &[ToolLock],
    within: Duration,
) -> sqlx::Result<Result<(), String>> {
    let deadline = Instant::now() + TOOL_LOCK_WAIT.min(within);
    for lock in locks {
        let free = match lock {
            ToolLock::Advisory(id) => advisory(conn, *id, deadline).await?,
            ToolLock::Table { table, held } => row(conn, table, held, deadline).await?,
            ToolLock::Named(_) => Ok(()),
        };
        if let Err(holder) = free {
            return Ok(Err(format!(
                "{tool}'s own lock is held by {holder}; wait until that migration ends, or end it"
            )));
        }
    }
    Ok(Ok(()))
}

/// A lock of the transaction shuts out a lock of a session with the same key, and ends by itself.
async fn advisory(
    conn: &mut PgConnection,
    id: i64,
    deadline: Instant,
) -> sqlx::Result<Result<(), String>> {
    let take = format!("SELECT pg_try_advisory_xact_lock({id})");
    loop {
        if is_true(value(conn, &take).await?.as_ref()) {
            return Ok(Ok(()));
        }
        if Instant::now() >= deadline {
            return Ok(Err(named(texts(conn, &advisory_holder(id)).await?)));
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// A query for the sessions that hold an advisory lock.
pub(crate) fn advisory_holder(id: i64) -> String {
    format!(
        "SELECT {SESSION} || {QUERY} FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid) \
         WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted \
         AND ((l.classid::bigint << 32) | l.objid::bigint) = {id} AND l.database = \
         (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    )
}

async fn row(
    conn: &mut PgConnection,
    table: &str,
    held: &str,
    deadline: Instant,
) -> sqlx::Result<Result<(), String>> {
    let quoted = Dialect::Postgres.table(table);
    let there = format!("SELECT to_regclass({}) IS NOT NULL", Dialect::Postgres.text(&quoted));
    if !is_true(value(conn, &there).await?.as_ref()) {
        return Ok(Ok(()));
    }
    loop {
        let holders = texts(conn, held).await?;
        if holders.is_empty() {
            return Ok(Ok(()));
        }
        if Instant::now() >= deadline {
            return Ok(Err(format!("{} (in the table {table})", named(holders))));
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Sessions that hold anything on these tables.
pub(crate) async fn holders(conn: &mut PgConnection, tables: &[Name]) -> sqlx::Result<String> {
    if tables.is_empty() {
        return Ok("somebody".to_owned());
    }
    let query = format!(
        "SELECT {SESSION} || {QUERY} FROM pg_catalog.pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND \
         a.pid IN (SELECT pid FROM pg_catalog.pg_locks WHERE granted AND relation IN ({})) \
         ORDER BY a.xact_start",
        regclasses(tables)
    );
    Ok(named(texts(conn, &query).await?))
}

fn regclasses(tables: &[Name]) -> String {
    let regclass = |table: &Name| {
        let quoted = table.quoted(Dialect::Postgres);
        format!("to_regclass({})::oid", Dialect::Postgres.text(&quoted))
    };
    tables.iter().map(regclass).collect::<Vec<_>>().join(", ")
}

/// Transactions older than `older` that hold something on a table, so that they would make us wait
/// now: who, and since how many seconds.
pub(crate) async fn long_transactions(
    conn: &mut PgConnection,
    table: &Name,
    older: Duration,
) -> sqlx::Result<Vec<String>> {
    let query = format!(
        "SELECT {SESSION} FROM pg_catalog.pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND \
         a.xact_start < clock_timestamp() - interval '{} seconds' AND a.pid IN (SELECT pid FROM \
         pg_catalog.pg_locks WHERE granted AND relation IN ({})) ORDER BY a.xact_start",
        older.as_secs(),
        regclasses(std::slice::from_ref(table))
    );
    let rows = texts(conn, &query).await?;
    Ok(rows.into_iter().take(NAMED_MAX).filter_map(|row| row.into_iter().next()?).collect())
}

/// Sessions of ours that work on a key.
pub(super) async fn sending(conn: &mut PgConnection, application: &str) -> sqlx::Result<String> {
    let query = format!(
        "SELECT {SESSION} || {QUERY} FROM pg_catalog.pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND \
         a.application_name = {} AND a.state <> 'idle'",
        Dialect::Postgres.text(application)
    );
    Ok(named(texts(conn, &query).await?))
}

fn named(rows: Vec<crate::tool::Row>) -> String {
    let count = rows.len();
    let first = rows.into_iter().take(NAMED_MAX).filter_map(|row| row.into_iter().next()?);
    let mut names: Vec<_> = first.collect();
    if count > NAMED_MAX {
        names.push(format!("{} more", count - NAMED_MAX));
    }
    if names.is_empty() { "somebody who just let go".to_owned() } else { names.join("; ") }
}
