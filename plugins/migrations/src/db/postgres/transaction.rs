//! One migration in one transaction, its own row first.

use std::time::Duration;

use backout_plugin_api::{Call, Context, Emit, MadeEffect, Settled};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use super::{
    Server, address, connect, effects, identity, is_answer, is_locked, is_standby, keep, locks,
};
use crate::db::conn::{run, texts, traced};
use crate::db::keep::Failed;
use crate::db::work::{Point, Stop, Work};
use crate::db::{Data, Place, place_of};
use crate::tool::{Dialect, Ledger};

/// How long `settle` waits for a transaction that has the row, before it answers that it runs.
const SETTLE_WAIT_MS: u32 = 1_000;
/// The key of our own lock: one migration of ours at a time in a database. `b`, `a`, `c`, `k`.
const OWN_LOCK: i64 = 0x6261_636b;
/// Between two tries after a lock was not to be had: those who waited behind us go first.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// What is left of the time for an answer after the last try.
const RESERVE: Duration = Duration::from_millis(500);
/// A transaction of ours whose engine died is ended by the server after this, so that its locks do
/// not stay.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// Why one try ended.
enum Ended {
    Stop(Stop),
    /// A lock was not to be had in time; all is rolled back, and may be tried again.
    Locked(String),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

fn refused(reason: String) -> Stop {
    Stop::Refused(reason)
}

/// A failure before the commit was sent: nothing was made, and nothing will be.
fn before_commit(what: &str) -> impl Fn(sqlx::Error) -> Ended {
    move |error| {
        let reason = format!("cannot {what}: {error}; rolled back, nothing was changed");
        if is_locked(&error) { Ended::Locked(reason) } else { Ended::Stop(refused(reason)) }
    }
}

/// What the sessions of a key are called, for whoever looks at the server.
fn application(call: &Call) -> String {
    format!("backout {}", call.key.as_str()).chars().take(63).collect()
}

async fn options(ctx: &Context, input: &Value) -> Result<Box<PgConnectOptions>, String> {
    match place_of(ctx, input).await {
        Ok(Place::Postgres(options)) => Ok(options),
        Ok(_) => Err("`database` names no PostgreSQL database any more".to_owned()),
        Err(failure) => Err(failure.reason().to_owned()),
    }
}

/// A connection to the database that was prepared, with our own tables in it; and its version.
async fn ready(work: Work<'_>, server: &Server) -> Result<(PgConnection, u32), String> {
    let (ctx, data) = (work.ctx, work.data);
    let options = options(ctx, &work.call.input).await?;
    let mut conn = connect(&options, &application(work.call), ctx.timeout / 2).await?;
    let found = identity(&mut conn, &options).await.map_err(|error| error.to_string())?;
    if !found.is(server) {
        return Err(format!(
            "{} is another database than the one prepared ({}, now {})",
            address(&options),
            server.target(),
            found.target()
        ));
    }
    if data.marked {
        let made = effects::create(&mut conn).await;
        made.map_err(|error| format!("cannot make the table backout.effects: {error}"))?;
    }
    if !data.keep.is_empty() {
        let made = keep::create(&mut conn).await;
        made.map_err(|error| format!("cannot make the schema backout_kept: {error}"))?;
    }
    Ok((conn, found.version))
}

/// Makes one migration; tries again while a lock is not to be had and time is left.
pub(crate) async fn apply(work: Work<'_>, server: &Server) -> Result<(), Stop> {
    let end = Instant::now() + work.ctx.timeout.saturating_sub(RESERVE);
    let unmade = |why: String| refused(format!("{why}; nothing was changed"));
    let (mut conn, version) = ready(work, server).await.map_err(unmade)?;
    loop {
        let ended = once(work, &mut conn, version).await;
        let why = match ended {
            Ok(()) => return Ok(()),
            Err(Ended::Stop(stop)) => return Err(stop),
            Err(Ended::Locked(why)) => why,
        };
        let rollback = run(&mut conn, "ROLLBACK").await;
        rollback.map_err(|error| unmade(format!("{why}; then {error}")))?;
        let holders = locks::holders(&mut conn, &work.data.tables()).await.unwrap_or_default();
        let why = format!("{why} (now in the way: {holders})");
        if Instant::now() + RETRY_AFTER + work.data.lock_timeout() >= end {
            return Err(refused(why));
        }
        (work.ctx.emit)(Emit::Progress(format!("waiting: {why}")));
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

fn begin(data: &Data, version: u32) -> String {
    /// The release from which on a server looks for a client that went away while it works.
    const CHECKS_CLIENT: u32 = 140_000;
    let check = if version >= CHECKS_CLIENT {
        "SET LOCAL client_connection_check_interval = 1000;"
    } else {
        ""
    };
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
         SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}; {check} \
         SET LOCAL synchronous_commit = on",
        data.lock_timeout_ms, data.statement_timeout_ms
    )
}

async fn once(work: Work<'_>, conn: &mut PgConnection, version: u32) -> Result<(), Ended> {
    let Work { call, data, fault, .. } = work;
    run(&mut *conn, &begin(data, version)).await.map_err(before_commit("begin the transaction"))?;
    fault.pass(Point::Begun)?;
    if data.marked {
        record(conn, call, data).await?;
    }
    fault.pass(Point::Recorded)?;
    take_locks(work, conn).await?;
    data.check_before(&ledger(conn, data).await?).map_err(refused)?;
    let kept = keep::copy(conn, call, &data.version, &data.keep).await;
    kept.map_err(before_commit("copy what goes"))?;
    fault.pass(Point::Kept)?;
    for (at, statement) in data.statements.iter().enumerate() {
        let what = format!("run statement {} of {}", at + 1, data.file);
        run(&mut *conn, &traced(work.ctx, statement)).await.map_err(before_commit(&what))?;
    }
    for key in &data.put_back {
        let put = keep::put_back(conn, key, (&data.version, &data.statements)).await;
        put.map_err(not_put_back)?;
    }
    fault.pass(Point::Migrated)?;
    for statement in &data.ledger.after {
        run(&mut *conn, statement).await.map_err(before_commit("write the ledger"))?;
    }
    data.check_after(&ledger(conn, data).await?).map_err(refused)?;
    fault.pass(Point::Ledgered)?;
    commit(conn).await?;
    fault.pass(Point::Committed)?;
    Ok(())
}

fn not_put_back(failed: Failed) -> Ended {
    match failed {
        Failed::Sql(error) => before_commit("put back what was kept")(error),
        Failed::Why(why) => {
            let what = "cannot put back what was kept";
            Ended::Stop(refused(format!("{what}: {why}; rolled back, nothing was changed")))
        }
    }
}

/// The effect's own row, before anything else; refuses what came too late.
async fn record(conn: &mut PgConnection, call: &Call, data: &Data) -> Result<(), Ended> {
    let failed = before_commit("write the effect row");
    if !effects::insert(conn, call, data, "done").await.map_err(&failed)? {
        let found = effects::read(conn, call, data).await.map_err(&failed)?;
        refuse_late(call, found)?;
        effects::update(conn, call, "done").await.map_err(&failed)?;
    }
    let own = i64::try_from(call.fence.token.0).unwrap_or(i64::MAX);
    let seen = effects::newest_token(conn, call).await.map_err(&failed)?;
    if own < seen {
        return Err(Ended::Stop(refused(format!(
            "a later holder of this database's lock (token {seen}) was here; this one has {own}; \
             nothing was changed"
        ))));
    }
    Ok(())
}

fn refuse_late(call: &Call, found: Option<effects::Found>) -> Result<(), Stop> {
    let key = &call.key;
    match found {
        Some(found) if !found.is_same => {
            Err(refused(format!("{}; nothing was changed", other_migration(call))))
        }
        Some(found) if found.is_done => Err(Stop::Made),
        Some(found) if i64::from(call.fence.dispatch) <= found.dispatch => Err(refused(format!(
            "sending {} of {key} came after sending {} was settled as not done; nothing was changed",
            call.fence.dispatch, found.dispatch
        ))),
        Some(_) => Ok(()),
        None => Err(refused(format!(
            "the row of {key} in backout.effects went away while it was read; nothing was changed"
        ))),
    }
}

fn other_migration(call: &Call) -> String {
    format!("the row of {} in backout.effects is of another migration", call.key)
}

/// Our own lock, then the tool's.
async fn take_locks(work: Work<'_>, conn: &mut PgConnection) -> Result<(), Ended> {
    let failed = before_commit("take the locks of migrations");
    let data = work.data;
    run(&mut *conn, &format!("SELECT pg_advisory_xact_lock({OWN_LOCK})")).await.map_err(&failed)?;
    let within = work.ctx.timeout / 4;
    let taken = locks::take(conn, data.tool.driver().name(), &data.locks, within).await;
    let taken = taken.map_err(&failed)?;
    Ok(taken.map_err(|why| refused(format!("{why}; rolled back, nothing was changed")))?)
}

async fn ledger(conn: &mut PgConnection, data: &Data) -> Result<Ledger, Ended> {
    let driver = data.tool.driver();
    let query = driver.query(Dialect::Postgres, &Dialect::Postgres.table(&data.table));
    let rows = texts(conn, &query).await.map_err(before_commit("read the ledger"))?;
    let read = driver.ledger(&rows).map_err(|why| refused(format!("{why}; nothing was changed")));
    Ok(read?)
}

/// A commit that the server answers with an error is rolled back: a deferred constraint, for
/// instance. Without an answer nobody knows.
async fn commit(conn: &mut PgConnection) -> Result<(), Stop> {
    run(&mut *conn, "COMMIT").await.map_err(|error| {
        if is_answer(&error) {
            refused(format!("the commit was refused: {error}; rolled back, nothing was changed"))
        } else {
            Stop::Unclear(format!("the commit got no answer: {error}"))
        }
    })
}

/// Says what became of the sendings up to this dispatch and seals them where none was made.
pub(crate) async fn settle(work: Work<'_>, server: &Server) -> Settled {
    let unreachable = |why: String| Settled::Unreachable {
        reason: format!("cannot look at {}: {why}", server.address),
    };
    match tokio::time::timeout(work.ctx.timeout, try_settle(work, server)).await {
        Ok(Ok(settled)) => settled,
        Ok(Err(why)) => unreachable(why),
        Err(_) => unreachable(format!("no answer within {:?}", work.ctx.timeout)),
    }
}

async fn try_settle(work: Work<'_>, server: &Server) -> Result<Settled, String> {
    let said = |error: sqlx::Error| error.to_string();
    let options = options(work.ctx, &work.call.input).await?;
    let mut conn = connect(&options, "backout settle", work.ctx.timeout / 2).await?;
    let found = identity(&mut conn, &options).await.map_err(said)?;
    if !found.is(server) {
        let evidence = format!(
            "{} is another database than the one prepared ({}, now {})",
            address(&options),
            server.target(),
            found.target()
        );
        return Ok(Settled::Unknown { evidence });
    }
    if is_standby(&mut conn).await.map_err(said)? {
        return Err("it is a standby; name the primary in the URL".to_owned());
    }
    if !work.data.marked {
        return by_ledger(&mut conn, work).await.map_err(said);
    }
    effects::create(&mut conn).await.map_err(said)?;
    match seal(&mut conn, work).await {
        Err(error) if is_locked(&error) => {
            run(&mut conn, "ROLLBACK").await.map_err(said)?;
            let name = application(work.call);
            let holder = locks::sending(&mut conn, &name).await.map_err(said)?;
            let evidence = format!("an earlier sending still runs on the server: {holder}");
            Ok(Settled::Running { evidence })
        }
        settled => settled.map_err(said),
    }
}

async fn seal(conn: &mut PgConnection, work: Work<'_>) -> sqlx::Result<Settled> {
    let Work { call, data, .. } = work;
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
         SET LOCAL lock_timeout = {SETTLE_WAIT_MS}; SET LOCAL synchronous_commit = on"
    );
    run(&mut *conn, &begin).await?;
    if !effects::insert(conn, call, data, "sealed").await? {
        match effects::read(conn, call, data).await? {
            Some(found) if !found.is_same => {
                return Ok(Settled::Unknown { evidence: other_migration(call) });
            }
            Some(found) if found.is_done => return Ok(Settled::Done { output: data.output() }),
            Some(_) => effects::update(conn, call, "sealed").await?,
            None => {
                let evidence = format!("the row of {} went away while it was read", call.key);
                return Ok(Settled::Running { evidence });
            }
        }
    }
    run(&mut *conn, "COMMIT").await?;
    Ok(Settled::NotDone)
}

/// Removes the copies of a key, once nobody asks for an undo any more.
pub(crate) async fn tidy(
    ctx: &Context,
    made: &MadeEffect,
    server: &Server,
) -> Result<Vec<String>, String> {
    let said = |error: sqlx::Error| error.to_string();
    let options = options(ctx, &made.input).await?;
    let mut conn = connect(&options, "backout tidy", ctx.timeout / 2).await?;
    if !identity(&mut conn, &options).await.map_err(said)?.is(server) {
        return Err("another database has its name now".to_owned());
    }
    let count = keep::remove(&mut conn, made.key.as_str()).await.map_err(said)?;
    let line = format!("{count} kept copies in the schema backout_kept of {}", server.address);
    Ok(if count == 0 { Vec::new() } else { vec![line] })
}

/// Without a row of our own only the ledger tells, and not who changed it.
async fn by_ledger(conn: &mut PgConnection, work: Work<'_>) -> sqlx::Result<Settled> {
    let data = work.data;
    let driver = data.tool.driver();
    let query = driver.query(Dialect::Postgres, &Dialect::Postgres.table(&data.table));
    let rows = texts(conn, &query).await?;
    let now = driver.ledger(&rows).map(|ledger| ledger.current().to_owned());
    Ok(match now {
        Ok(now) if now == data.to => Settled::Done { output: data.output() },
        Ok(now) => Settled::Unknown {
            evidence: format!(
                "the ledger is at version {now}; without a table backout.effects nothing tells \
                 whether an earlier sending is still on its way"
            ),
        },
        Err(why) => Settled::Unknown { evidence: why },
    })
}

#[cfg(test)]
mod tests {
    use super::application;
    use backout_plugin_api::{Call, EffectKey, Fence, LockToken};

    #[test]
    fn an_application_name_fits_the_server() {
        let call = Call {
            input: serde_json::Value::Null,
            prepared: std::sync::Arc::new(
                serde_json::from_str(
                    r#"{"data_version": 2, "guarantee": "manual", "effects": []}"#,
                )
                .unwrap(),
            ),
            effect: 0,
            key: EffectKey::from_text(&"x".repeat(100)),
            fence: Fence { store: "s".into(), token: LockToken(1), dispatch: 1 },
        };
        assert_eq!(application(&call).len(), 63);
    }
}
