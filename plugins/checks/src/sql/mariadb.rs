//! MariaDB and MySQL.

use std::str::FromStr;
use std::time::Duration;

use backout_plugin_api::tls;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Column, Connection, Executor, Row, TypeInfo, ValueRef};

use super::Trouble;
use super::database::{answered, connected, one_column, only, trouble};

/// How the files of TLS are named.
const TLS: tls::Options = tls::Options {
    authority: "`ssl-ca=PATH` in the URL",
    certificate: Some("`ssl-cert=PATH` and `ssl-key=PATH` in the URL"),
};

pub(super) async fn ask(
    url: &str,
    query: &str,
    timeout: Duration,
) -> Result<Option<String>, Trouble> {
    let url = url.replacen("mariadb://", "mysql://", 1);
    let options = MySqlConnectOptions::from_str(&url)
        .map_err(|error| Trouble::Refused(error.to_string()))?
        .statement_cache_capacity(0);
    let connecting = async { MySqlConnection::connect_with(&options).await.map_err(by_tls_only) };
    let mut connection = connected(timeout, Some(TLS), connecting).await?;
    answered(timeout, value(&mut connection, query)).await
}

/// MySQL takes the passwords of its users by TLS, or encrypted by a key that nothing vouches for.
fn by_tls_only(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Configuration(why) if why.to_string().starts_with("RSA") => {
            let help =
                "a password of this kind goes by TLS only; write `ssl-mode=REQUIRED` in the URL";
            sqlx::Error::Configuration(help.into())
        }
        other => other,
    }
}

async fn value(connection: &mut MySqlConnection, query: &str) -> Result<Option<String>, Trouble> {
    let heard = |error: sqlx::Error| trouble(&error);
    connection.execute("START TRANSACTION READ ONLY").await.map_err(heard)?;
    // A statement prepared is one statement.
    let rows = sqlx::query(AssertSqlSafe(query.to_owned())).persistent(false);
    let rows = rows.fetch_all(connection).await.map_err(heard)?;
    only(rows)?.map_or(Ok(None), |row| text(&row))
}

/// Numbers come in as many forms as there are types; decimals, texts and times come as text.
fn text(row: &MySqlRow) -> Result<Option<String>, Trouble> {
    one_column(row.len())?;
    let heard = |error: sqlx::Error| trouble(&error);
    let raw = row.try_get_raw(0).map_err(heard)?;
    if raw.is_null() {
        return Ok(None);
    }
    let name = row.column(0).type_info().name().to_owned();
    let name = name.trim_end_matches(" UNSIGNED");
    let unsigned = row.column(0).type_info().name().ends_with("UNSIGNED");
    let value = match (name, unsigned) {
        ("BOOLEAN", _) => row.try_get::<bool, _>(0).map(|value| u8::from(value).to_string()),
        ("TINYINT" | "SMALLINT" | "INT" | "MEDIUMINT" | "BIGINT" | "YEAR" | "BIT", true) => {
            row.try_get::<u64, _>(0).map(|value| value.to_string())
        }
        ("TINYINT" | "SMALLINT" | "INT" | "MEDIUMINT" | "BIGINT", false) => {
            row.try_get::<i64, _>(0).map(|value| value.to_string())
        }
        ("FLOAT", _) => row.try_get::<f32, _>(0).map(|value| value.to_string()),
        ("DOUBLE", _) => row.try_get::<f64, _>(0).map(|value| value.to_string()),
        (
            "DECIMAL" | "CHAR" | "VARCHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT"
            | "ENUM",
            _,
        ) => row.try_get_unchecked::<String, _>(0),
        (other, _) => {
            let help = format!("its type is {other}: write CAST(… AS CHAR), or a number");
            return Err(Trouble::Refused(help));
        }
    };
    value.map(Some).map_err(heard)
}
