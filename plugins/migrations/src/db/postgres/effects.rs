//! The table of effects: a row for each migration that Backout made, began or sealed.

use backout_plugin_api::Call;
use sqlx::PgConnection;

use super::code;
use crate::db::Data;
use crate::db::conn::{run, texts, value};
use crate::tool::{Dialect, is_true};

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS backout.effects (
    key text PRIMARY KEY,
    state text NOT NULL,
    dispatch bigint NOT NULL,
    store text NOT NULL,
    lock_token bigint NOT NULL,
    ledger text NOT NULL,
    direction text NOT NULL,
    version text NOT NULL,
    file_sha256 text NOT NULL,
    statement integer NOT NULL DEFAULT 0,
    begun integer NOT NULL DEFAULT 0,
    was text,
    at timestamptz NOT NULL DEFAULT now()
)";

const IS_THERE: &str = "SELECT to_regclass('backout.effects') IS NOT NULL";

/// Makes the table where it is missing. Two may do so at once: the second finds it there.
pub(crate) async fn create(conn: &mut PgConnection) -> sqlx::Result<()> {
    if is_true(value(conn, IS_THERE).await?.as_ref()) {
        return Ok(());
    }
    // `IF NOT EXISTS` asks for the right to create even where it is there.
    let schema = value(conn, "SELECT to_regnamespace('backout') IS NOT NULL").await?;
    if !is_true(schema.as_ref()) {
        raced(run(conn, "CREATE SCHEMA IF NOT EXISTS backout").await)?;
    }
    raced(run(conn, CREATE_TABLE).await)
}

/// Somebody else made it between the look and the making.
pub(super) fn raced(made: sqlx::Result<()>) -> sqlx::Result<()> {
    const TWICE: [&str; 4] = ["23505", "42P06", "42P07", "42710"];
    match made {
        Err(error) if code(&error).is_some_and(|code| TWICE.contains(&code.as_str())) => Ok(()),
        made => made,
    }
}

/// Whether this connection's role can have the table, or make it.
pub(crate) async fn can_mark(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let can = "SELECT CASE
        WHEN to_regclass('backout.effects') IS NOT NULL THEN
            has_schema_privilege('backout', 'USAGE')
            AND has_table_privilege('backout.effects', 'SELECT')
            AND has_table_privilege('backout.effects', 'INSERT')
            AND has_table_privilege('backout.effects', 'UPDATE')
        WHEN to_regnamespace('backout') IS NOT NULL THEN
            has_schema_privilege('backout', 'CREATE')
        ELSE has_database_privilege(current_database(), 'CREATE') END";
    Ok(is_true(value(conn, can).await?.as_ref()))
}

/// What a key's row says.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) is_done: bool,
    pub(crate) dispatch: i64,
    /// Whether it is the row of this migration; a key means one effect for ever.
    pub(crate) is_same: bool,
}

/// Writes the row of a key where there is none; whether it did. It waits for whoever writes the same
/// key in a transaction that still runs.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    call: &Call,
    data: &Data,
    state: &str,
) -> sqlx::Result<bool> {
    let text = |text: &str| Dialect::Postgres.text(text);
    let sql = format!(
        "INSERT INTO backout.effects (key, state, dispatch, store, lock_token, ledger, direction, \
         version, file_sha256) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}) ON CONFLICT (key) DO \
         NOTHING RETURNING 1",
        text(call.key.as_str()),
        text(state),
        call.fence.dispatch,
        text(&call.fence.store),
        token(call),
        text(&data.table),
        text(data.direction.word()),
        text(&data.version),
        text(&data.file_sha256),
    );
    Ok(!texts(conn, &sql).await?.is_empty())
}

fn token(call: &Call) -> i64 {
    i64::try_from(call.fence.token.0).unwrap_or(i64::MAX)
}

/// Reads the row of a key and holds it until the transaction ends.
pub(crate) async fn read(
    conn: &mut PgConnection,
    call: &Call,
    data: &Data,
) -> sqlx::Result<Option<Found>> {
    let sql = format!(
        "SELECT state, dispatch, direction, version FROM backout.effects WHERE key = {} FOR UPDATE",
        Dialect::Postgres.text(call.key.as_str())
    );
    let row = texts(conn, &sql).await?.into_iter().next();
    let Some([Some(state), Some(dispatch), direction, version]) =
        row.and_then(|row| <[_; 4]>::try_from(row).ok())
    else {
        return Ok(None);
    };
    let is_same = direction.as_deref() == Some(data.direction.word())
        && version.as_deref() == Some(&data.version);
    let dispatch = dispatch.parse().unwrap_or(i64::MAX);
    Ok(Some(Found { is_done: state == "done", dispatch, is_same }))
}

/// Writes a sealed row again.
pub(crate) async fn update(conn: &mut PgConnection, call: &Call, state: &str) -> sqlx::Result<()> {
    let sql = format!(
        "UPDATE backout.effects SET state = {}, dispatch = greatest(dispatch, {}), lock_token = \
         greatest(lock_token, {}), at = now() WHERE key = {}",
        Dialect::Postgres.text(state),
        call.fence.dispatch,
        token(call),
        Dialect::Postgres.text(call.key.as_str())
    );
    run(conn, &sql).await
}

/// The highest lock token of this store that left a row.
pub(crate) async fn newest_token(conn: &mut PgConnection, call: &Call) -> sqlx::Result<i64> {
    let sql = format!(
        "SELECT coalesce(max(lock_token), 0) FROM backout.effects WHERE store = {}",
        Dialect::Postgres.text(&call.fence.store)
    );
    Ok(value(conn, &sql).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
}
