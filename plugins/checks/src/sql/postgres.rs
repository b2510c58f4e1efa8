//! PostgreSQL.

use std::str::FromStr;
use std::time::Duration;

use backout_plugin_api::{postgres, tls};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqlSafeStr, Statement};

use super::database::{answered, connected, one_column, only, trouble};
use super::{Trouble, query_within};

/// How the files of TLS are named.
const TLS: tls::Options = tls::Options {
    authority: "`sslrootcert=PATH` in the URL",
    certificate: Some("`sslcert=PATH` and `sslkey=PATH` in the URL"),
};

pub(super) async fn ask(
    url: &str,
    query: &str,
    timeout: Duration,
) -> Result<Option<String>, Trouble> {
    let options = PgConnectOptions::from_str(&known(url))
        .map_err(|error| Trouble::Refused(error.to_string()))?
        .application_name("backout")
        .statement_cache_capacity(0);
    let mut connection =
        connected(timeout, Some(TLS), PgConnection::connect_with(&options)).await?;
    let value = answered(timeout, value(&mut connection, query, timeout)).await;
    // It ends the transaction too; the look is over in any case.
    drop(connection);
    value
}

/// A URL without the options that are not known.
fn known(url: &str) -> String {
    let (place, options) = url.split_once('?').unwrap_or((url, ""));
    let kept: Vec<_> = options.split('&').filter(|option| postgres::takes(option)).collect();
    if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) }
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

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn an_option_that_is_not_known_is_in_no_log() {
        for (url, wanted) in [
            ("postgres://h/shop", "postgres://h/shop"),
            ("postgres://h/shop?sslpassword=hunter2", "postgres://h/shop"),
            (
                "postgres://h/shop?sslmode=require&x=y&options[search_path]=a",
                "postgres://h/shop?sslmode=require&options[search_path]=a",
            ),
        ] {
            assert_eq!(known(url), wanted);
        }
    }
}
