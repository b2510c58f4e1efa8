//! The row of an effect that is made statement by statement.

use backout_plugin_api::Call;

use crate::db::{Conn, Data, mysql, postgres};
use crate::tool::Dialect;

/// Where MariaDB keeps the rows: in the database itself, under a reserved name.
const MYSQL_TABLE: &str = "backout_effects";

const CREATE_MYSQL: &str = "CREATE TABLE IF NOT EXISTS backout_effects (
    `key` varchar(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    state varchar(20) NOT NULL,
    dispatch bigint NOT NULL,
    store varchar(200) NOT NULL,
    lock_token bigint NOT NULL,
    ledger varchar(200) NOT NULL,
    direction varchar(10) NOT NULL,
    version varchar(500) NOT NULL,
    file_sha256 varchar(64) NOT NULL,
    statement integer NOT NULL DEFAULT 0,
    begun integer NOT NULL DEFAULT 0,
    was text,
    at timestamp(6) NOT NULL DEFAULT current_timestamp(6)
) ENGINE = InnoDB";

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// No sending up to its dispatch does anything any more.
    Sealed,
    Done,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sealed => "sealed",
            Self::Done => "done",
        }
    }
}

/// What a key's row says.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) dispatch: i64,
    /// Statements that are done.
    pub(super) done: usize,
    /// The statement that began last, counted from 1.
    pub(super) begun: usize,
    /// How the catalogue looked before that.
    pub(super) was: String,
    /// Whether it is the row of this migration.
    pub(super) is_same: bool,
}

/// The table's name.
pub(super) fn table(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Mysql | Dialect::Sqlite => MYSQL_TABLE,
        Dialect::Postgres => "backout.effects",
    }
}

fn key(dialect: Dialect) -> String {
    dialect.name("key")
}

fn of(dialect: Dialect, call: &Call) -> String {
    format!("WHERE {} = {}", key(dialect), dialect.text(call.key.as_str()))
}

pub(super) async fn create(conn: &mut Conn) -> sqlx::Result<()> {
    match conn {
        Conn::Postgres(conn) => postgres::create_effects(conn).await,
        other => other.run(CREATE_MYSQL).await,
    }
}

fn token(call: &Call) -> i64 {
    i64::try_from(call.fence.token.0).unwrap_or(i64::MAX)
}

/// Writes the row where there is none; whether it did.
pub(super) async fn insert(
    conn: &mut Conn,
    call: &Call,
    data: &Data,
    state: State,
    done: usize,
) -> sqlx::Result<bool> {
    let dialect = conn.dialect();
    let text = |text: &str| dialect.text(text);
    let (verb, end) = match dialect {
        Dialect::Postgres => ("INSERT INTO", " ON CONFLICT DO NOTHING"),
        Dialect::Mysql | Dialect::Sqlite => ("INSERT IGNORE INTO", ""),
    };
    let there = format!("SELECT count(*) FROM {} {}", table(dialect), of(dialect, call));
    // Whoever writes rows of this key holds its lock, so nobody comes in between.
    if conn.value(&there).await?.as_deref() != Some("0") {
        return Ok(false);
    }
    let sql = format!(
        "{verb} {} ({}, state, dispatch, store, lock_token, ledger, direction, version, \
         file_sha256, statement, begun) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {done}, {done}){end}",
        table(dialect),
        key(dialect),
        text(call.key.as_str()),
        text(state.word()),
        call.fence.dispatch,
        text(&call.fence.store),
        token(call),
        text(&data.table),
        text(data.direction.word()),
        text(&data.version),
        text(&data.file_sha256),
    );
    conn.run(&sql).await?;
    Ok(true)
}

pub(super) async fn read(conn: &mut Conn, call: &Call, data: &Data) -> sqlx::Result<Option<Row>> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT state, dispatch, statement, begun, coalesce(was, ''), direction, version FROM {} {}",
        table(dialect),
        of(dialect, call)
    );
    let row = conn.rows(&sql).await?.into_iter().next();
    let Some([Some(state), Some(dispatch), Some(done), Some(begun), was, direction, version]) =
        row.and_then(|row| <[_; 7]>::try_from(row).ok())
    else {
        return Ok(None);
    };
    let state = match state.as_str() {
        "done" => State::Done,
        "sealed" => State::Sealed,
        _ => State::Running,
    };
    Ok(Some(Row {
        state,
        dispatch: dispatch.parse().unwrap_or(i64::MAX),
        done: done.parse().unwrap_or(0),
        begun: begun.parse().unwrap_or(usize::MAX),
        was: was.unwrap_or_default(),
        is_same: direction.as_deref() == Some(data.direction.word())
            && version.as_deref() == Some(&data.version),
    }))
}

/// The statement that counts one as done.
pub(super) fn count(dialect: Dialect, call: &Call, done: usize) -> String {
    let set = format!("statement = {done}, begun = {done}, was = NULL");
    format!("UPDATE {} SET {set} {}", table(dialect), of(dialect, call))
}

/// The statement that says that one begins, and how the catalogue looks.
pub(super) fn begins(dialect: Dialect, call: &Call, begun: usize, was: &str) -> String {
    let set = format!("begun = {begun}, was = {}", dialect.text(was));
    format!("UPDATE {} SET {set} {}", table(dialect), of(dialect, call))
}

/// The statement that ends it.
pub(super) fn done(dialect: Dialect, call: &Call) -> String {
    format!("UPDATE {} SET state = 'done' {}", table(dialect), of(dialect, call))
}

/// Shuts out every sending up to this one; so many statements are made.
pub(super) async fn seal(conn: &mut Conn, call: &Call, done: usize) -> sqlx::Result<()> {
    let dialect = conn.dialect();
    let sql = format!(
        "UPDATE {} SET state = 'sealed', dispatch = greatest(dispatch, {}), lock_token = \
         greatest(lock_token, {}), statement = {done}, begun = {done}, was = NULL {}",
        table(dialect),
        call.fence.dispatch,
        token(call),
        of(dialect, call)
    );
    conn.run(&sql).await
}

/// Lets a newer sending go on.
pub(super) async fn reopen(conn: &mut Conn, call: &Call) -> sqlx::Result<()> {
    let dialect = conn.dialect();
    let sql = format!(
        "UPDATE {} SET state = 'running', dispatch = {}, lock_token = greatest(lock_token, {}) {}",
        table(dialect),
        call.fence.dispatch,
        token(call),
        of(dialect, call)
    );
    conn.run(&sql).await
}

/// The highest lock token of this store that left a row.
pub(super) async fn newest_token(conn: &mut Conn, call: &Call) -> sqlx::Result<i64> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT coalesce(max(lock_token), 0) FROM {} WHERE store = {}",
        table(dialect),
        dialect.text(&call.fence.store)
    );
    Ok(conn.value(&sql).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// How many statements of this migration the last effect of it left made, if it stopped half way.
pub(crate) async fn left_over(conn: &mut Conn, data: &Data) -> sqlx::Result<Option<usize>> {
    let dialect = conn.dialect();
    let columns = crate::db::columns(conn, table(dialect)).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT CASE WHEN state = 'sealed' THEN statement ELSE 0 END FROM {} WHERE direction = {} \
         AND version = {} AND file_sha256 = {} ORDER BY at DESC LIMIT 1",
        table(dialect),
        dialect.text(data.direction.word()),
        dialect.text(&data.version),
        dialect.text(&data.file_sha256)
    );
    let done = conn.value(&sql).await?.and_then(|text| text.parse().ok());
    Ok(done.filter(|done| *done > 0))
}

/// Keys of the effects of this migration that stopped half way since it was last made whole, and
/// that kept something.
pub(crate) async fn kept_before(conn: &mut Conn, data: &Data) -> sqlx::Result<Vec<String>> {
    let dialect = conn.dialect();
    if dialect != Dialect::Mysql {
        return Ok(Vec::new());
    }
    let version = dialect.text(&data.version);
    let sql = format!(
        "SELECT `key` FROM {table} WHERE state = 'sealed' AND statement > 0 AND direction = {} AND \
         version = {version} AND at > coalesce((SELECT max(at) FROM {table} WHERE state = 'done' AND \
         version = {version}), '1971-01-01') ORDER BY at",
        dialect.text(data.direction.word()),
        table = table(dialect),
    );
    let mut keys = Vec::new();
    for key in crate::db::keep::firsts(conn.rows(&sql).await?) {
        if mysql::keep::is_kept(conn, &key).await? {
            keys.push(key);
        }
    }
    Ok(keys)
}
