//! One migration in one transaction, with its own row in the effect table.

use std::time::Duration;

use backout_plugin_api::{Call, Context, EffectKey, Fence, MadeEffect, Settled};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};

use super::keep::{self, Up};
use super::{BUSY_TIMEOUT, Database, is_busy, is_constraint, locks};
use crate::db::Data;
use crate::db::conn::{texts, traced};
use crate::db::keep::Failed;
use crate::db::work::{Point, Stop, Work};
use crate::tool::{Dialect, Ledger};

/// Where each migration that Backout made or sealed leaves its row. No part of the schema that a
/// migration describes: leave it out of comparisons.
pub const EFFECT_TABLE: &str = "backout_effects";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS backout_effects (
    key TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    dispatch INTEGER NOT NULL,
    store TEXT NOT NULL,
    lock_token INTEGER NOT NULL,
    ledger TEXT NOT NULL,
    direction TEXT NOT NULL,
    version INTEGER NOT NULL,
    file_sha256 TEXT NOT NULL,
    at_ms INTEGER NOT NULL
)";

const RECORD: &str = "INSERT INTO backout_effects
    (key, state, dispatch, store, lock_token, ledger, direction, version, file_sha256, at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        state = excluded.state, dispatch = max(dispatch, excluded.dispatch),
        lock_token = max(lock_token, excluded.lock_token), at_ms = excluded.at_ms
    WHERE state = 'sealed'";

/// How long `settle` waits for a writer before it answers that an earlier sending still runs.
const SETTLE_BUSY: Duration = Duration::from_secs(1);

/// A failure before the commit: the rollback proves that nothing was made.
fn before_commit(what: &str) -> impl Fn(sqlx::Error) -> Stop {
    move |error| {
        let busy = if is_busy(&error) {
            "; another connection uses the database (`fuser -v` on the file names it)"
        } else {
            ""
        };
        Stop::Refused(format!("cannot {what}: {error}{busy}; rolled back, nothing was changed"))
    }
}

/// Somebody else writes: who, where the system tells.
fn not_begun(database: &Database) -> impl Fn(sqlx::Error) -> Stop {
    move |error| match locks::writers(&database.path).filter(|_| is_busy(&error)) {
        Some(who) => Stop::Refused(format!(
            "cannot begin the transaction: another connection writes to the database: {who}; nothing \
             was changed"
        )),
        None => before_commit("begin the transaction")(error),
    }
}

/// Makes one migration.
pub(crate) async fn apply(work: Work<'_>, database: &Database) -> Result<(), Stop> {
    let Work { ctx, call, data, fault } = work;
    check_file(database)?;
    let busy = BUSY_TIMEOUT.min(ctx.timeout / 2);
    let open = before_commit("open the database");
    let mut conn = database.writable(busy).await.map_err(open)?;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(not_begun(database))?;
    fault.pass(Point::Begun)?;
    let record = before_commit("write the effect row");
    (*tx).execute(CREATE).await.map_err(&record)?;
    refuse_late(&mut tx, call, data).await?;
    let row = EffectRow { key: &call.key, fence: &call.fence, at_ms: ctx.now_ms, data };
    row.write(&mut tx, "done").await.map_err(&record)?;
    fault.pass(Point::Recorded)?;
    check_ledger(&mut tx, data).await?;
    copy(&mut tx, work).await?;
    fault.pass(Point::Kept)?;
    let before = keep::tables(&mut tx).await.map_err(before_commit("read the tables"))?;
    for (at, statement) in data.statements.iter().enumerate() {
        let what = format!("run statement {} of {}", at + 1, data.file);
        let run = sqlx::raw_sql(AssertSqlSafe(traced(ctx, statement))).execute(&mut *tx);
        run.await.map_err(before_commit(&what))?;
    }
    put_back(&mut tx, work, (database, &before)).await?;
    fault.pass(Point::Migrated)?;
    write_ledger(&mut tx, data).await?;
    fault.pass(Point::Ledgered)?;
    commit(tx).await?;
    fault.pass(Point::Committed)
}

/// Copies what goes.
async fn copy(conn: &mut SqliteConnection, work: Work<'_>) -> Result<(), Stop> {
    let Work { ctx, call, data, .. } = work;
    let failed = before_commit("copy what goes");
    let keys = keep::check_keys(conn, &data.keep).await.map_err(&failed)?;
    keys.map_err(|why| Stop::Refused(format!("{why}; rolled back, nothing was changed")))?;
    let of = (data.version.as_str(), ctx.now_ms);
    keep::copy(conn, call, of, &data.keep).await.map_err(&failed)
}

/// Puts back what was kept by the effects that this one takes back.
async fn put_back(
    conn: &mut SqliteConnection,
    Work { data, .. }: Work<'_>,
    (database, before): (&Database, &[String]),
) -> Result<(), Stop> {
    let up = Up {
        version: &data.version,
        statements: &data.statements,
        before,
        foreign_keys: database.foreign_keys,
    };
    for key in &data.put_back {
        keep::put_back(conn, key, &up).await.map_err(|failed| match failed {
            Failed::Sql(error) => before_commit("put back what was kept")(error),
            Failed::Why(why) => {
                let what = "cannot put back what was kept";
                Stop::Refused(format!("{what}: {why}; rolled back, nothing was changed"))
            }
        })?;
    }
    Ok(())
}

/// Removes the copies of a key, once nobody asks for an undo any more.
pub(crate) async fn tidy(
    ctx: &Context,
    made: &MadeEffect,
    database: &Database,
) -> Result<Vec<String>, String> {
    if database.was_replaced().map_err(|error| error.to_string())? {
        return Err("another file has its name now".to_owned());
    }
    let said = |error: sqlx::Error| error.to_string();
    let mut conn = database.writable(BUSY_TIMEOUT.min(ctx.timeout / 2)).await.map_err(said)?;
    let count = keep::remove(&mut conn, made.key.as_str()).await.map_err(said)?;
    conn.close().await.map_err(said)?;
    let line = format!("{count} kept copies in {}", database.path.display());
    Ok(if count == 0 { Vec::new() } else { vec![line] })
}

/// Says what became of the sendings up to this dispatch and seals them where none was made.
pub(crate) async fn settle(work: Work<'_>, database: &Database) -> Settled {
    match tokio::time::timeout(work.ctx.timeout, try_settle(work, database)).await {
        Ok(Ok(settled)) => settled,
        Ok(Err(error)) if is_busy(&error) => Settled::Running {
            evidence: format!(
                "another connection writes to {}{}; an earlier sending may be it",
                database.path.display(),
                locks::writers(&database.path).map_or(String::new(), |who| format!(": {who}"))
            ),
        },
        Ok(Err(error)) => unreachable(database, &error.to_string()),
        Err(_) => unreachable(database, &format!("no answer within {:?}", work.ctx.timeout)),
    }
}

fn unreachable(database: &Database, why: &str) -> Settled {
    let reason = format!("cannot look at {}: {why}", database.path.display());
    Settled::Unreachable { reason }
}

async fn try_settle(work: Work<'_>, database: &Database) -> sqlx::Result<Settled> {
    let Work { ctx, call, data, .. } = work;
    match database.was_replaced() {
        Ok(false) => {}
        Ok(true) => {
            let evidence = format!(
                "{} is another file than the one prepared; it was replaced since",
                database.path.display()
            );
            return Ok(Settled::Unknown { evidence });
        }
        Err(error) => return Err(sqlx::Error::Io(error)),
    }
    let mut conn = database.writable(SETTLE_BUSY.min(ctx.timeout / 2)).await?;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    (*tx).execute(CREATE).await?;
    match effect_row(&mut tx, &call.key, data).await? {
        Some(found) if !found.same => {
            return Ok(Settled::Unknown { evidence: other_migration(&call.key) });
        }
        Some(found) if found.is_done => return Ok(Settled::Done { output: data.output() }),
        _ => {}
    }
    let row = EffectRow { key: &call.key, fence: &call.fence, at_ms: ctx.now_ms, data };
    row.write(&mut tx, "sealed").await?;
    tx.commit().await?;
    Ok(Settled::NotDone)
}

/// The row that marks a key.
struct EffectRow<'a> {
    key: &'a EffectKey,
    fence: &'a Fence,
    at_ms: i64,
    data: &'a Data,
}

impl EffectRow<'_> {
    async fn write(&self, conn: &mut SqliteConnection, state: &str) -> sqlx::Result<()> {
        let query = sqlx::query(RECORD)
            .bind(self.key.as_str())
            .bind(state)
            .bind(self.fence.dispatch)
            .bind(&self.fence.store)
            .bind(i64::try_from(self.fence.token.0).unwrap_or(i64::MAX))
            .bind(&self.data.table)
            .bind(self.data.direction.word())
            .bind(&self.data.version)
            .bind(&self.data.file_sha256)
            .bind(self.at_ms);
        query.execute(conn).await.map(|_| ())
    }
}

fn check_file(database: &Database) -> Result<(), Stop> {
    match database.was_replaced() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Stop::Refused(format!(
            "{} is another file than the one prepared; nothing was changed",
            database.path.display()
        ))),
        Err(error) => Err(Stop::Refused(format!(
            "cannot find {}: {error}; nothing was changed",
            database.path.display()
        ))),
    }
}

/// What a key's row says.
struct Found {
    is_done: bool,
    dispatch: i64,
    /// Whether it is the row of this migration; a key means one effect for ever.
    same: bool,
}

async fn effect_row(
    conn: &mut SqliteConnection,
    key: &EffectKey,
    data: &Data,
) -> sqlx::Result<Option<Found>> {
    let query = "SELECT state, dispatch, direction, CAST(version AS TEXT) FROM backout_effects WHERE key = ?";
    let row = sqlx::query(query).bind(key.as_str()).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let (state, direction): (String, String) = (row.try_get(0)?, row.try_get(2)?);
    Ok(Some(Found {
        is_done: state == "done",
        dispatch: row.try_get(1)?,
        same: direction == data.direction.word() && row.try_get::<String, _>(3)? == data.version,
    }))
}

fn other_migration(key: &EffectKey) -> String {
    format!("the row of {key} in {EFFECT_TABLE} is of another migration")
}

async fn refuse_late(conn: &mut SqliteConnection, call: &Call, data: &Data) -> Result<(), Stop> {
    let (key, fence) = (&call.key, &call.fence);
    let read = before_commit("read the effect table");
    match effect_row(conn, key, data).await.map_err(&read)? {
        Some(found) if !found.same => {
            let what = other_migration(key);
            return Err(Stop::Refused(format!("{what}; nothing was changed")));
        }
        Some(found) if found.is_done => return Err(Stop::Made),
        Some(found) if i64::from(fence.dispatch) <= found.dispatch => {
            return Err(Stop::Refused(format!(
                "sending {} of {key} came after sending {} was settled as not done; nothing was \
                 changed",
                fence.dispatch, found.dispatch
            )));
        }
        _ => {}
    }
    let query = "SELECT coalesce(max(lock_token), 0) FROM backout_effects WHERE store = ?";
    let seen: i64 =
        sqlx::query_scalar(query).bind(&fence.store).fetch_one(conn).await.map_err(&read)?;
    let own = i64::try_from(fence.token.0).unwrap_or(i64::MAX);
    if own < seen {
        return Err(Stop::Refused(format!(
            "a later holder of this database's lock (token {seen}) was here; this one has {own}; \
             nothing was changed"
        )));
    }
    Ok(())
}

async fn ledger(conn: &mut SqliteConnection, data: &Data) -> Result<Ledger, Stop> {
    let driver = data.tool.driver();
    let query = driver.query(Dialect::Sqlite, &Dialect::Sqlite.table(&data.table));
    let rows = texts(conn, &query).await.map_err(before_commit("read the ledger"))?;
    driver.ledger(&rows).map_err(|why| Stop::Refused(format!("{why}; nothing was changed")))
}

async fn check_ledger(conn: &mut SqliteConnection, data: &Data) -> Result<(), Stop> {
    data.check_before(&ledger(conn, data).await?).map_err(Stop::Refused)
}

async fn write_ledger(conn: &mut SqliteConnection, data: &Data) -> Result<(), Stop> {
    for sql in &data.ledger.after {
        let run = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut *conn);
        run.await.map_err(before_commit("write the ledger"))?;
    }
    data.check_after(&ledger(conn, data).await?).map_err(Stop::Refused)
}

/// A commit that SQLite refuses for a lock or a constraint leaves the transaction open, and it is
/// rolled back. After any other failure nobody knows.
async fn commit(tx: sqlx::Transaction<'_, sqlx::Sqlite>) -> Result<(), Stop> {
    tx.commit().await.map_err(|error| {
        if is_busy(&error) || is_constraint(&error) {
            before_commit("commit")(error)
        } else {
            Stop::Unclear(format!("the commit failed: {error}"))
        }
    })
}
