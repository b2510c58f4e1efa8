//! A connection to any of the databases, as far as the plan needs one: SQL in, texts out.

use backout_plugin_api::Context;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Database, Decode, Executor, MySqlConnection,
    PgConnection, Row as _, SqliteConnection,
};

use crate::tool::{Dialect, Row};

/// A connection.
#[derive(Debug)]
pub(crate) enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

impl Conn {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::Mysql(_) => Dialect::Mysql,
        }
    }

    /// The rows of a query; every value as text.
    pub(crate) async fn rows(&mut self, sql: &str) -> sqlx::Result<Vec<Row>> {
        match self {
            Self::Sqlite(conn) => texts(conn, sql).await,
            Self::Postgres(conn) => texts(conn, sql).await,
            Self::Mysql(conn) => texts(conn, sql).await,
        }
    }

    /// Runs a text for its effect.
    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(conn) => run(conn, sql).await,
            Self::Postgres(conn) => run(conn, sql).await,
            Self::Mysql(conn) => run(conn, sql).await,
        }
    }

    /// The first value of the first row.
    pub(crate) async fn value(&mut self, sql: &str) -> sqlx::Result<Option<String>> {
        Ok(self.rows(sql).await?.into_iter().next().and_then(|row| row.into_iter().next()?))
    }

    pub(crate) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
            Self::Mysql(conn) => conn.close().await,
        }
    }
}

/// Runs a text as it is, without preparing it: any statement goes, and every value comes as text.
pub(crate) async fn texts<DB, C>(conn: &mut C, sql: &str) -> sqlx::Result<Vec<Row>>
where
    DB: Database,
    C: Connection<Database = DB>,
    for<'c> &'c mut C: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'r> String: Decode<'r, DB>,
    for<'r> Option<String>: Decode<'r, DB>,
{
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *conn).await?;
    let text = |row: &DB::Row, at: usize| row.try_get_unchecked::<Option<String>, _>(at);
    rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
}

/// A statement of a migration with the trace that it belongs to before it, as a comment that the
/// server's own log and lists of what runs show (<https://google.github.io/sqlcommenter/spec/>).
pub(crate) fn traced(ctx: &Context, sql: &str) -> String {
    match &ctx.traceparent {
        // The engine makes it of hexadecimal digits; nothing else may end the comment.
        Some(trace) if trace.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') => {
            format!("/*traceparent='{trace}'*/ {sql}")
        }
        Some(_) | None => sql.to_owned(),
    }
}

/// Runs a text for its effect.
pub(crate) async fn run<DB, C>(conn: &mut C, sql: &str) -> sqlx::Result<()>
where
    DB: Database,
    C: Connection<Database = DB>,
    for<'c> &'c mut C: Executor<'c, Database = DB>,
{
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *conn).await.map(|_| ())
}

/// The first value of the first row.
pub(crate) async fn value<DB, C>(conn: &mut C, sql: &str) -> sqlx::Result<Option<String>>
where
    DB: Database,
    C: Connection<Database = DB>,
    for<'c> &'c mut C: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'r> String: Decode<'r, DB>,
    for<'r> Option<String>: Decode<'r, DB>,
{
    Ok(texts(conn, sql).await?.into_iter().next().and_then(|row| row.into_iter().next()?))
}
