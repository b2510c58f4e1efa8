//! PostgreSQL.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqlSafeStr, Statement};

use super::database::{answered, connected, one_column, only, trouble};
use super::{Trouble, query_within};

pub(super) async fn ask(
    url: &str,
    query: &str,
    timeout: Duration,
) -> Result<Option<String>, Trouble> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| Trouble::Refused(error.to_string()))?
        .application_name("backout")
        .statement_cache_capacity(0);
    let mut connection = connected(timeout, PgConnection::connect_with(&options)).await?;
    let value = answered(timeout, value(&mut connection, query, timeout)).await;
    // It ends the transaction too; the look is over in any case.
    drop(connection);
    value
}

async fn value(
    connection: &mut PgConnection,
    query: &str,
    timeout: Duration,
) -> Result<Option<String>, Trouble> {
    let heard = |error: sqlx::Error| trouble(&error);
    connection.execute("BEGIN READ ONLY").await.map_err(heard)?;
    let limit = format!("SET LOCAL statement_timeout = {}", query_within(timeout).as_millis());
    connection.execute(AssertSqlSafe(limit)).await.map_err(heard)?;
    // A statement prepared is one statement.
    let prepared = connection.prepare(AssertSqlSafe(query.to_owned()).into_sql_str()).await;
    one_column(prepared.map_err(heard)?.columns().len())?;
    // As text in the server, so that every type can be read; what is inside of brackets cannot
    // write.
    let wrapped = format!("SELECT v::text FROM (\n{query}\n) AS backout (v) LIMIT 2");
    let rows = sqlx::query(AssertSqlSafe(wrapped)).persistent(false).fetch_all(connection).await;
    only(rows.map_err(heard)?)?.map_or(Ok(None), |row| row.try_get(0).map_err(heard))
}
