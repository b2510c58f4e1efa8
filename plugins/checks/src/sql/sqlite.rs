//! SQLite.

use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, TypeInfo, ValueRef};

use super::database::{answered, connected, one_column, only, trouble};
use super::{Trouble, connect_within};

pub(super) async fn ask(
    url: &str,
    query: &str,
    timeout: Duration,
) -> Result<Option<String>, Trouble> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| Trouble::Refused(error.to_string()))?
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(connect_within(timeout));
    if !options.get_filename().is_file() {
        let path = options.get_filename().display();
        return Err(Trouble::Silent(format!("there is no file {path}")));
    }
    let mut connection = connected(timeout, None, SqliteConnection::connect_with(&options)).await?;
    answered(timeout, value(&mut connection, query)).await
}

async fn value(connection: &mut SqliteConnection, query: &str) -> Result<Option<String>, Trouble> {
    let heard = |error: sqlx::Error| trouble(&error);
    // The file is opened for reading only; this holds for files that the query would attach.
    connection.execute("PRAGMA query_only = ON").await.map_err(heard)?;
    // In brackets, so that it is one statement.
    let wrapped = format!("SELECT * FROM (\n{query}\n) LIMIT 2");
    let rows = sqlx::query(AssertSqlSafe(wrapped)).persistent(false);
    let rows = rows.fetch_all(connection).await.map_err(heard)?;
    only(rows)?.map_or(Ok(None), |row| text(&row))
}

fn text(row: &SqliteRow) -> Result<Option<String>, Trouble> {
    one_column(row.len())?;
    let heard = |error: sqlx::Error| trouble(&error);
    let raw = row.try_get_raw(0).map_err(heard)?;
    if raw.is_null() {
        return Ok(None);
    }
    let name = raw.type_info().name().to_owned();
    let value = match name.as_str() {
        "INTEGER" | "BOOLEAN" => row.try_get::<i64, _>(0).map(|value| value.to_string()),
        "REAL" => row.try_get::<f64, _>(0).map(|value| value.to_string()),
        "BLOB" => return Err(Trouble::Refused("its value is a BLOB".to_owned())),
        _ => row.try_get_unchecked::<String, _>(0),
    };
    value.map(Some).map_err(heard)
}
