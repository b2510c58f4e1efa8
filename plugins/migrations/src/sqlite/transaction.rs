//! One migration in one transaction, with its own row in the effect table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{Call, Context, EffectKey, Fence, Outcome, Settled};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};

use super::{BUSY_TIMEOUT, Database, is_busy, is_constraint, ledger};
use crate::goose::Direction;

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

/// What `apply`, `settle` and `revert` need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) database: Database,
    pub(crate) table: String,
    pub(crate) direction: Direction,
    /// The migration.
    pub(crate) version: i64,
    /// The ledger's version before.
    pub(crate) from: i64,
    /// The ledger's version after.
    pub(crate) to: i64,
    pub(crate) file: String,
    pub(crate) file_sha256: String,
    pub(crate) statements: Vec<String>,
    /// Whether the other section could put it back.
    pub(crate) has_way_back: bool,
}

/// The sub-steps of a migration, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The transaction is open.
    Begun,
    /// The effect row is written.
    Recorded,
    /// Every statement ran.
    Migrated,
    /// The ledger is written.
    Ledgered,
    /// It is committed.
    Committed,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Begun, Self::Recorded, Self::Migrated, Self::Ledgered, Self::Committed];
}

/// How migrations are made; disturbed by tests only.
#[derive(Clone, Default)]
pub(crate) struct Transaction {
    fault: Option<Arc<dyn Fn(Point) -> bool + Send + Sync>>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("fault", &self.fault.is_some()).finish()
    }
}

enum Stop {
    /// Rolled back, or never begun.
    Refused(String),
    Unclear(String),
    /// An earlier sending of the same key made it.
    Made,
}

/// A failure before the commit: the rollback proves that nothing was made.
fn before_commit(what: &str) -> impl Fn(sqlx::Error) -> Stop {
    move |error| {
        let busy = if is_busy(&error) {
            "; another connection writes to the database (`fuser -v` on the file names it)"
        } else {
            ""
        };
        Stop::Refused(format!("cannot {what}: {error}{busy}; rolled back, nothing was changed"))
    }
}

impl Transaction {
    pub(crate) fn at(fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { fault: Some(Arc::new(fault)) }
    }

    fn pass(&self, point: Point) -> Result<(), Stop> {
        match &self.fault {
            Some(fault) if fault(point) => {
                Err(Stop::Unclear(format!("stopped by a test after `{point:?}`")))
            }
            _ => Ok(()),
        }
    }

    /// Makes one migration.
    pub(crate) async fn apply(&self, ctx: &Context, call: &Call, data: &Data) -> Outcome {
        let work = self.try_apply(ctx, call, data);
        let ended = tokio::select! {
            ended = work => ended,
            () = tokio::time::sleep(ctx.timeout) => {
                Err(Stop::Unclear(format!("it took longer than {:?}", ctx.timeout)))
            }
            () = ctx.cancel.cancelled() => Err(Stop::Unclear("it was cancelled".to_owned())),
        };
        match ended {
            Ok(()) | Err(Stop::Made) => Outcome::Done { output: output(data) },
            Err(Stop::Refused(reason)) => Outcome::Refused { reason },
            Err(Stop::Unclear(reason)) => Outcome::Unclear { reason },
        }
    }

    async fn try_apply(&self, ctx: &Context, call: &Call, data: &Data) -> Result<(), Stop> {
        check_file(&data.database)?;
        let busy = BUSY_TIMEOUT.min(ctx.timeout / 2);
        let open = before_commit("open the database");
        let mut conn = data.database.writable(busy).await.map_err(open)?;
        let begin = before_commit("begin the transaction");
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(begin)?;
        self.pass(Point::Begun)?;
        let record = before_commit("write the effect row");
        (*tx).execute(CREATE).await.map_err(&record)?;
        refuse_late(&mut tx, call, data).await?;
        let row = EffectRow { key: &call.key, fence: &call.fence, at_ms: ctx.now_ms, data };
        row.write(&mut tx, "done").await.map_err(&record)?;
        self.pass(Point::Recorded)?;
        check_ledger(&mut tx, data).await?;
        for (at, statement) in data.statements.iter().enumerate() {
            let what = format!("run statement {} of {}", at + 1, data.file);
            let run = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *tx);
            run.await.map_err(before_commit(&what))?;
        }
        self.pass(Point::Migrated)?;
        write_ledger(&mut tx, data).await?;
        self.pass(Point::Ledgered)?;
        commit(tx).await?;
        self.pass(Point::Committed)
    }

    /// Says what became of the sendings up to this dispatch and seals them where none was made.
    pub(crate) async fn settle(&self, ctx: &Context, call: &Call, data: &Data) -> Settled {
        let work = settle(ctx, call, data);
        match tokio::time::timeout(ctx.timeout, work).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(error)) if is_busy(&error) => Settled::Running {
                evidence: format!(
                    "another connection writes to {}; an earlier sending may be it",
                    data.database.path.display()
                ),
            },
            Ok(Err(error)) => unreachable(data, &error.to_string()),
            Err(_) => unreachable(data, &format!("no answer within {:?}", ctx.timeout)),
        }
    }
}

fn unreachable(data: &Data, why: &str) -> Settled {
    let reason = format!("cannot look at {}: {why}", data.database.path.display());
    Settled::Unreachable { reason }
}

async fn settle(ctx: &Context, call: &Call, data: &Data) -> sqlx::Result<Settled> {
    match data.database.was_replaced() {
        Ok(false) => {}
        Ok(true) => {
            let evidence = format!(
                "{} is another file than the one prepared; it was replaced since",
                data.database.path.display()
            );
            return Ok(Settled::Unknown { evidence });
        }
        Err(error) => return Err(sqlx::Error::Io(error)),
    }
    let mut conn = data.database.writable(SETTLE_BUSY.min(ctx.timeout / 2)).await?;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    (*tx).execute(CREATE).await?;
    match effect_row(&mut tx, &call.key, data).await? {
        Some(found) if !found.same => {
            return Ok(Settled::Unknown { evidence: other_migration(&call.key) });
        }
        Some(found) if found.is_done => return Ok(Settled::Done { output: output(data) }),
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
            .bind(self.data.version)
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
    let query = "SELECT state, dispatch, direction, version FROM backout_effects WHERE key = ?";
    let row = sqlx::query(query).bind(key.as_str()).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let (state, direction): (String, String) = (row.try_get(0)?, row.try_get(2)?);
    Ok(Some(Found {
        is_done: state == "done",
        dispatch: row.try_get(1)?,
        same: direction == data.direction.word() && row.try_get::<i64, _>(3)? == data.version,
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

async fn check_ledger(conn: &mut SqliteConnection, data: &Data) -> Result<(), Stop> {
    let now = ledger(conn, &data.table).await.map_err(before_commit("read the ledger"))?;
    let new = data.direction == Direction::Down || !now.applied.contains(&data.version);
    if now.current() == data.from && now.out_of_order().is_none() && new {
        return Ok(());
    }
    Err(Stop::Refused(format!(
        "the ledger `{}` is at version {}, not at {} as prepared; somebody else migrated; nothing \
         was changed",
        data.table,
        now.current(),
        data.from
    )))
}

async fn write_ledger(conn: &mut SqliteConnection, data: &Data) -> Result<(), Stop> {
    let table = &data.table;
    let query = match data.direction {
        Direction::Down => format!("DELETE FROM \"{table}\" WHERE version_id = ?"),
        Direction::Up => {
            format!("INSERT INTO \"{table}\" (version_id, is_applied) VALUES (?, 1)")
        }
    };
    let write = before_commit("write the ledger");
    let query = sqlx::query(AssertSqlSafe(query)).bind(data.version);
    query.execute(&mut *conn).await.map_err(&write)?;
    let now = ledger(conn, table).await.map_err(&write)?;
    if now.current() == data.to {
        return Ok(());
    }
    Err(Stop::Refused(format!(
        "the ledger would be at version {}, not at {}; rolled back, nothing was changed",
        now.current(),
        data.to
    )))
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

fn output(data: &Data) -> Value {
    json!({ "version": data.to, "migration": data.version, "file": data.file })
}
