//! A migration statement by statement, where it cannot be one transaction: on MariaDB, and where a
//! file wants none.
//!
//! The row of the effect counts the statements that are done. A statement that can be part of a
//! transaction is counted in its own; of any other it is written down that it begins and how the
//! catalogue looks, so that a look later tells whether it took effect. A lock of the session tells
//! whether a sending is still at work.

use backout_plugin_api::{Call, Context, Emit, hex};
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant};

use super::keep::Failed;
use super::work::{Point, Stop, Work};
use super::{Conn, Data, Database, Keep, Place, mysql, place_of, postgres};
use crate::db::conn::traced;
use crate::sql::{self, Statement};
use crate::tool::{Dialect, Ledger, ToolLock};

mod keep;
mod probe;
mod row;
mod settle;

pub(crate) use keep::tidy;
use keep::{keeping, kept_of, put_back};
use probe::{Probe, probe};
use row::State;
pub(crate) use row::{kept_before, left_over};
pub(crate) use settle::settle;

/// How long a lock of migrations is tried for.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// Between two tries of a statement whose lock was not to be had: those who waited behind us go first.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long, in bytes, the description of a table may be by which a change of it is seen: MySQL cuts off
/// what is longer than 1024, and a change behind that would not be seen. The widest table that there may
/// be, of 4096 columns, is described in less.
const SHAPE_MAX: u32 = 4 * 1024 * 1024;
/// What is left of the time for an answer after the last try.
const RESERVE: Duration = Duration::from_millis(500);

/// One statement to run.
struct Unit {
    sql: Vec<String>,
    kind: Kind,
    /// What it drops that is kept, with its number among all that is kept.
    keep: Vec<(usize, Keep)>,
}

/// How a statement is known to be made.
enum Kind {
    /// In one transaction with its count.
    Counted,
    /// Outside any transaction; with what tells of it afterwards, if anything.
    Bare(Option<Probe>),
    /// What was kept goes back, in one transaction with its count.
    PutBack,
}

/// All statements of a migration in order; the ledger's last change is not among them: it is made
/// together with the row's end.
fn units(dialect: Dialect, data: &Data) -> Vec<Unit> {
    let before = Unit { sql: data.ledger.before.clone(), kind: Kind::Counted, keep: Vec::new() };
    let ledger = (marks(data) > 0).then_some(before);
    let parsed = data.statements.iter().flat_map(|text| sql::statements(dialect, text));
    let own = parsed.map(|statement| Unit {
        kind: if is_bare(dialect, &statement) {
            Kind::Bare(probe(dialect, &statement))
        } else {
            Kind::Counted
        },
        keep: kept_of(dialect, data, &statement),
        sql: vec![statement.text],
    });
    let goes_back = dialect == Dialect::Mysql && !data.put_back.is_empty();
    let put_back = goes_back.then(|| Unit {
        sql: vec!["what was kept goes back".to_owned()],
        kind: Kind::PutBack,
        keep: Vec::new(),
    });
    ledger.into_iter().chain(own).chain(put_back).collect()
}

/// How many units come before the migration's own: the ledger's mark that it began.
fn marks(data: &Data) -> usize {
    usize::from(!data.ledger.before.is_empty())
}

/// Whether a statement commits by itself, or may not be in a transaction.
fn is_bare(dialect: Dialect, statement: &Statement) -> bool {
    /// What MariaDB takes back with its transaction.
    const ROWS: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH"];
    match dialect {
        Dialect::Mysql => {
            !ROWS.iter().any(|word| statement.tokens.first().is_some_and(|token| token.is(word)))
        }
        Dialect::Postgres | Dialect::Sqlite => sql::outside(dialect, statement).is_some(),
    }
}

/// Whether everything that may be in doubt after a crash can be told.
pub(crate) fn tells_all(dialect: Dialect, data: &Data) -> bool {
    units(dialect, data).iter().all(|unit| match &unit.kind {
        Kind::Counted | Kind::PutBack => true,
        Kind::Bare(probe) => probe.as_ref().is_some_and(Probe::tells_all),
    })
}

/// A connection to the database that was prepared; else why not.
async fn connect(ctx: &Context, call: &Call, data: &Data) -> Result<Conn, Connecting> {
    let place = place_of(ctx, &call.input).await;
    let place = place.map_err(|failure| Connecting::Unreachable(failure.reason().to_owned()))?;
    let within = ctx.timeout / 2;
    let (conn, found) = match &place {
        Place::Mysql(options) => {
            let connected = mysql::connect(options, within).await;
            let (conn, server) = connected.map_err(Connecting::Unreachable)?;
            (Conn::Mysql(conn), Database::Mysql(server))
        }
        Place::Postgres(options) => {
            let name = format!("backout {}", call.key);
            let connected = postgres::connect(options, &name, within).await;
            let mut conn = connected.map_err(Connecting::Unreachable)?;
            let server = postgres::identity(&mut conn, options).await;
            let server = server.map_err(|error| Connecting::Unreachable(error.to_string()))?;
            (Conn::Postgres(conn), Database::Postgres(server))
        }
        Place::Sqlite { .. } => {
            return Err(Connecting::Other("`database` names a file now".to_owned()));
        }
    };
    if found.target() != data.database.target() {
        let (found, wanted) = (found.target(), data.database.target());
        let why = format!("it is another database than the one prepared ({wanted}, now {found})");
        return Err(Connecting::Other(why));
    }
    Ok(conn)
}

enum Connecting {
    Unreachable(String),
    Other(String),
}

impl Connecting {
    fn why(self) -> String {
        match self {
            Self::Unreachable(why) | Self::Other(why) => why,
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Stop {
    Stop::Refused(format!("{why}; nothing was changed"))
}

/// Makes one migration, or what is left of it.
pub(crate) async fn apply(work: Work<'_>) -> Result<(), Stop> {
    let Work { ctx, call, data, fault } = work;
    if matches!(data.database, Database::Postgres(_)) && !data.put_back.is_empty() {
        return Err(refused(format!(
            "{} wants no transaction, and what was kept goes back in one",
            data.file
        )));
    }
    let mut conn = connect(ctx, call, data).await.map_err(|why| refused(why.why()))?;
    let dialect = conn.dialect();
    let setting = |error: sqlx::Error| refused(error);
    conn.run(&session(dialect, data)).await.map_err(setting)?;
    if dialect == Dialect::Mysql {
        let seconds = data.statement_timeout_ms.div_ceil(1_000);
        let limit = conn.run(&format!("SET SESSION max_statement_time = {seconds}")).await;
        // MySQL has no such limit for a change of a schema, and says so.
        limit
            .or_else(|error| if is_answer(&error) { Ok(()) } else { Err(error) })
            .map_err(setting)?;
    }
    row::create(&mut conn).await.map_err(|error| {
        refused(format!("cannot make the table {}: {error}", row::table(dialect)))
    })?;
    fault.pass(Point::Begun)?;
    take_locks(&mut conn, work).await?;
    let done = begin(&mut conn, work).await?;
    fault.pass(Point::Recorded)?;
    if done == 0
        && let Err(why) = check_before(&mut conn, data).await
    {
        row::seal(&mut conn, call, 0).await.map_err(setting)?;
        return Err(Stop::Refused(why));
    }
    let end = Instant::now() + ctx.timeout.saturating_sub(RESERVE);
    let units = units(dialect, data);
    for (at, unit) in units.iter().enumerate().skip(done) {
        one(&mut conn, work, (at, unit, units.len()), end).await?;
    }
    fault.pass(Point::Migrated)?;
    finish(&mut conn, work).await?;
    fault.pass(Point::Committed)
}

/// How this session waits.
fn session(dialect: Dialect, data: &Data) -> String {
    let seconds = data.lock_timeout_ms.div_ceil(1_000);
    match dialect {
        Dialect::Mysql => format!(
            "SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}, \
             autocommit = 1, group_concat_max_len = {SHAPE_MAX}{}",
            mysql::FRESH
        ),
        Dialect::Postgres | Dialect::Sqlite => format!(
            "SET lock_timeout = {}; SET statement_timeout = {}",
            data.lock_timeout_ms, data.statement_timeout_ms
        ),
    }
}

/// The lock of the key, our own lock of migrations, the tool's.
async fn take_locks(conn: &mut Conn, work: Work<'_>) -> Result<(), Stop> {
    let deadline = Instant::now() + LOCK_WAIT.min(work.ctx.timeout / 4);
    let of_key = own_lock(conn, work.call).await.map_err(refused)?;
    let mut locks = vec![of_key, our_lock(conn, "migrations").await.map_err(refused)?];
    locks.extend(work.data.locks.iter().cloned());
    for lock in locks {
        let held = try_lock(conn, &lock, deadline).await.map_err(refused)?;
        if let Some(holder) = held {
            return Err(refused(format!("a lock of migrations is held by {holder}")));
        }
    }
    Ok(())
}

/// The lock that a sending holds while it works.
async fn own_lock(conn: &mut Conn, call: &Call) -> sqlx::Result<ToolLock> {
    our_lock(conn, call.key.as_str()).await
}

/// A lock of ours in a database. PostgreSQL keeps such locks by database, and they have numbers. Those
/// of MariaDB and MySQL are the server's and have names: with the database's in it, two databases of a
/// server stand in nobody's way.
async fn our_lock(conn: &mut Conn, what: &str) -> sqlx::Result<ToolLock> {
    /// A lock's name may have 64 characters.
    const DIGEST_SIGNS: usize = 32;
    if conn.dialect() != Dialect::Mysql {
        let first = Sha256::digest(what).first_chunk().copied().unwrap_or_default();
        return Ok(ToolLock::Advisory(i64::from_be_bytes(first)));
    }
    let database = conn.value("SELECT database()").await?.unwrap_or_default();
    let digest = hex(&Sha256::digest(format!("{what}\0{database}")));
    let name = format!("backout:{}", digest.get(..DIGEST_SIGNS).unwrap_or(&digest));
    Ok(ToolLock::Named(name))
}

/// Tries a lock of the session; its holder where it is not to be had.
async fn try_lock(
    conn: &mut Conn,
    lock: &ToolLock,
    deadline: Instant,
) -> sqlx::Result<Option<String>> {
    let (take, who) = match lock {
        ToolLock::Advisory(id) => (
            format!("SELECT CASE WHEN pg_try_advisory_lock({id}) THEN 1 ELSE 0 END"),
            postgres::advisory_holder(*id),
        ),
        ToolLock::Named(name) => {
            let name = Dialect::Mysql.text(name);
            let who = format!(
                "SELECT coalesce((SELECT concat('connection ', id, ' of ', user, ' from ', host, \
                 coalesce(concat(', query: ', left(info, 80)), '')) FROM \
                 information_schema.processlist WHERE id = is_used_lock({name})), concat('connection \
                 ', is_used_lock({name})))"
            );
            (format!("SELECT get_lock({name}, 0)"), who)
        }
        ToolLock::Table { table, held } => return table_holder(conn, table, held).await,
    };
    loop {
        if conn.value(&take).await?.as_deref() == Some("1") {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            let who = conn.value(&who).await?;
            return Ok(Some(who.unwrap_or_else(|| "somebody who just let go".to_owned())));
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Who holds the lock that a tool keeps in a table, where that exists.
async fn table_holder(conn: &mut Conn, table: &str, held: &str) -> sqlx::Result<Option<String>> {
    if super::columns(conn, table).await?.is_empty() {
        return Ok(None);
    }
    conn.value(held).await
}

/// Writes the row, or finds it; how many statements are done already.
async fn begin(conn: &mut Conn, work: Work<'_>) -> Result<usize, Stop> {
    let Work { call, data, .. } = work;
    let own = i64::try_from(call.fence.token.0).unwrap_or(i64::MAX);
    let seen = row::newest_token(conn, call).await.map_err(refused)?;
    if own < seen {
        let why = format!("a later holder of this database's lock (token {seen}) was here");
        return Err(refused(why));
    }
    if row::insert(conn, call, data, State::Running, data.resume).await.map_err(refused)? {
        return Ok(data.resume);
    }
    let found = row::read(conn, call, data).await.map_err(refused)?;
    let found = found.ok_or_else(|| refused("the row of the effect went away"))?;
    let dispatch = i64::from(call.fence.dispatch);
    match found.state {
        _ if !found.is_same => Err(refused("the row of this key is of another migration")),
        State::Done => Err(Stop::Made),
        State::Sealed if dispatch > found.dispatch => {
            row::reopen(conn, call).await.map_err(refused)?;
            Ok(found.done)
        }
        State::Sealed => Err(refused(format!(
            "sending {dispatch} of {} came after sending {} was settled as not done",
            call.key, found.dispatch
        ))),
        State::Running => Err(Stop::Unclear(format!(
            "an earlier sending of {} ended in its middle; it is to be settled first",
            call.key
        ))),
    }
}

async fn ledger(conn: &mut Conn, data: &Data) -> Result<Ledger, String> {
    let (driver, dialect) = (data.tool.driver(), conn.dialect());
    let query = driver.query(dialect, &dialect.table(&data.table));
    driver.ledger(&conn.rows(&query).await.map_err(|error| error.to_string())?)
}

async fn check_before(conn: &mut Conn, data: &Data) -> Result<(), String> {
    data.check_before(&ledger(conn, data).await?)
}

/// Runs one statement and counts it.
async fn one(
    conn: &mut Conn,
    work: Work<'_>,
    (at, unit, all): (usize, &Unit, usize),
    end: Instant,
) -> Result<(), Stop> {
    loop {
        let ran = match &unit.kind {
            Kind::Counted => in_transaction(conn, work.call, at, &unit.sql).await,
            Kind::Bare(probe) => bare(conn, work, at, (unit, probe.as_ref())).await,
            Kind::PutBack => put_back(conn, work, at).await,
        };
        let error = match ran {
            Ok(()) => return work.fault.pass(Point::Counted),
            Err(Broke::Stop(stop)) => return Err(stop),
            Err(Broke::Why(why)) => {
                return Err(failed(conn, work, (at, unit, all), &why).await);
            }
            Err(Broke::Sql(error)) => error,
        };
        if !is_answer(&error) {
            return Err(Stop::Unclear(format!(
                "the connection broke in statement {}: {error}",
                at + 1
            )));
        }
        let mut why = error.to_string();
        if is_locked(&error) {
            let who = in_the_way(conn, work.data).await;
            why = format!("{why} (now in the way: {who})");
            if Instant::now() + RETRY_AFTER + work.data.lock_timeout() < end {
                let what = format!("waiting: statement {} of {}: {why}", at + 1, work.data.file);
                (work.ctx.emit)(Emit::Progress(what));
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
        }
        return Err(failed(conn, work, (at, unit, all), &why).await);
    }
}

/// Who holds what a statement waits for.
async fn in_the_way(conn: &mut Conn, data: &Data) -> String {
    let tables = data.tables();
    match conn {
        Conn::Postgres(conn) => postgres::holders(conn, &tables).await.unwrap_or_default(),
        other => mysql::holders(other, &tables).await,
    }
}

/// A statement that the server refused. The first one leaves nothing; a later one leaves those
/// before it.
async fn failed(
    conn: &mut Conn,
    work: Work<'_>,
    (at, unit, all): (usize, &Unit, usize),
    why: &str,
) -> Stop {
    let what = format!("statement {} of {all} of {}: {why}", at + 1, work.data.file);
    // A statement of PostgreSQL outside a transaction may leave a part: an index half made.
    let is_bare = matches!(unit.kind, Kind::Bare(_));
    let leaves = is_bare && conn.dialect() == Dialect::Postgres;
    if leaves {
        return Stop::Unclear(format!("cannot run {what}"));
    }
    let own = at.saturating_sub(marks(work.data));
    let sealed = if own == 0 {
        take_back(conn, work, at).await
    } else {
        row::seal(conn, work.call, at).await
    };
    if let Err(error) = sealed {
        return Stop::Unclear(format!("cannot run {what}; then {error}"));
    }
    if own == 0 {
        return refused(format!("cannot run {what}"));
    }
    Stop::Failed { reason: partly(&what, own), done: at }
}

/// Takes back the ledger's mark, where it was made, and seals the row: nothing was done.
async fn take_back(conn: &mut Conn, work: Work<'_>, at: usize) -> sqlx::Result<()> {
    conn.run("BEGIN").await?;
    for sql in work.data.ledger.undo.iter().filter(|_| at > 0) {
        conn.run(sql).await?;
    }
    row::seal(conn, work.call, 0).await?;
    conn.run("COMMIT").await
}

fn partly(what: &str, done: usize) -> String {
    format!(
        "cannot run {what}; the {done} before it are made and stay: put right what stops it and \
         retry, which goes on there, or undo by hand what they did"
    )
}

/// Why a statement did not come to its count.
enum Broke {
    Sql(sqlx::Error),
    Stop(Stop),
    /// It is refused, and taken back.
    Why(String),
}

impl From<Failed> for Broke {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sql(error) => Self::Sql(error),
            Failed::Why(why) => Self::Why(why),
        }
    }
}

impl From<sqlx::Error> for Broke {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Stop> for Broke {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

async fn in_transaction(
    conn: &mut Conn,
    call: &Call,
    at: usize,
    sql: &[String],
) -> Result<(), Broke> {
    conn.run("BEGIN").await?;
    let ran = async {
        for sql in sql {
            conn.run(sql).await?;
        }
        conn.run(&row::count(conn.dialect(), call, at + 1)).await?;
        conn.run("COMMIT").await
    };
    let ran = ran.await;
    if ran.as_ref().is_err_and(is_answer) {
        conn.run("ROLLBACK").await?;
    }
    Ok(ran?)
}

async fn bare(
    conn: &mut Conn,
    work: Work<'_>,
    at: usize,
    (unit, probe): (&Unit, Option<&Probe>),
) -> Result<(), Broke> {
    let Work { ctx, call, fault, .. } = work;
    let was = match probe {
        Some(probe) => probe.look(conn).await?,
        None => String::new(),
    };
    conn.run(&row::begins(conn.dialect(), call, at + 1, &was)).await?;
    fault.pass(Point::Announced)?;
    let sql = traced(ctx, &unit.sql.concat());
    if unit.keep.is_empty() {
        conn.run(&sql).await?;
    } else {
        keeping(conn, work, &unit.keep, &sql).await?;
    }
    fault.pass(Point::Ran)?;
    Ok(conn.run(&row::count(conn.dialect(), call, at + 1)).await?)
}

/// The ledger and the end of the row, in one transaction.
async fn finish(conn: &mut Conn, work: Work<'_>) -> Result<(), Stop> {
    let unclear = |error: sqlx::Error| Stop::Unclear(format!("cannot write the ledger: {error}"));
    conn.run("BEGIN").await.map_err(unclear)?;
    for sql in &work.data.ledger.after {
        conn.run(sql).await.map_err(unclear)?;
    }
    let after = ledger(conn, work.data).await.map_err(Stop::Unclear)?;
    work.data.check_after(&after).map_err(Stop::Unclear)?;
    conn.run(&row::done(conn.dialect(), work.call)).await.map_err(unclear)?;
    work.fault.pass(Point::Ledgered)?;
    conn.run("COMMIT").await.map_err(unclear)
}

fn is_answer(error: &sqlx::Error) -> bool {
    match mysql::number(error) {
        // Killed, by an administrator or a shutdown.
        Some(1053 | 1317 | 1927) => false,
        Some(_) => true,
        None => postgres::is_answer(error),
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    matches!(mysql::number(error), Some(1205 | 1213)) || postgres::is_locked(error)
}
