//! MariaDB and MySQL: connections and identity. There a migration is made statement by statement
//! (`steps`): almost every change of a schema commits by itself.

use std::time::Duration;

use backout_plugin_api::{Context, PrepareFailure, tls};
use serde::{Deserialize, Serialize};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, MySqlConnection};

use super::conn::{run, texts, value};

pub(crate) mod keep;
mod locks;

pub(crate) use locks::{holders, long_transactions};

/// How long a server may take to let us in: a person waits for the plan.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The end of a `SET SESSION`: MySQL keeps sizes and next numbers of tables for a day unless it is told
/// not to. MariaDB always looks, and takes this for a comment.
pub(crate) const FRESH: &str = " /*!80000 , information_schema_stats_expiry = 0 */";
/// How the files of TLS are named.
const TLS: tls::Options = tls::Options {
    authority: "`ssl-ca=PATH` in the URL",
    certificate: Some("`ssl-cert=PATH` and `ssl-key=PATH` in the URL"),
};

/// A database of a server: what tells it from every other, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// The server's own id; its host's name and port where it has none.
    pub(crate) system: String,
    /// The database's name.
    pub(crate) name: String,
    /// For people.
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn target(&self) -> String {
        format!("mysql:{}/{}", self.system, self.name)
    }
}

fn address(options: &MySqlConnectOptions) -> String {
    let name = options.get_database().unwrap_or("(none)");
    format!("MariaDB database {name} on {}:{}", options.get_host(), options.get_port())
}

/// Connects within [`CONNECT_TIMEOUT`], or less.
pub(crate) async fn connect(
    options: &MySqlConnectOptions,
    within: Duration,
) -> Result<(MySqlConnection, Server), String> {
    let address = address(options);
    let within = CONNECT_TIMEOUT.min(within);
    tls::name_provider();
    let connecting = async {
        let mut conn = options.clone().disable_statement_logging().connect().await?;
        let server = identity(&mut conn, &address).await?;
        Ok::<_, sqlx::Error>((conn, server))
    };
    match tokio::time::timeout(within, connecting).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(sqlx::Error::Configuration(why))) if why.to_string().starts_with("RSA") => {
            Err(format!(
                "cannot connect to {address}: a password of this kind goes by TLS only; write \
                 `ssl-mode=REQUIRED` in the URL"
            ))
        }
        Ok(Err(error)) => Err(format!("cannot connect to {address}: {error}{}", help(&error))),
        Err(_) => Err(format!("cannot connect to {address}: no answer within {within:?}")),
    }
}

fn help(error: &sqlx::Error) -> String {
    let known = match number(error) {
        Some(1044 | 1045 | 1698) => "; look at the user and the password",
        Some(1049) => "; there is no such database: look at the name in the URL",
        Some(1040 | 1203) => "; it has no connection left",
        _ => return tls::advice(error, TLS),
    };
    known.to_owned()
}

async fn identity(conn: &mut MySqlConnection, address: &str) -> sqlx::Result<Server> {
    let ids = "SHOW VARIABLES WHERE Variable_name IN ('server_uid', 'server_uuid')";
    let rows = texts(conn, ids).await?;
    let system = rows.into_iter().find_map(|row| row.into_iter().nth(1)?);
    let system = match system.filter(|id| !id.is_empty()) {
        Some(id) => Some(id),
        None => value(conn, "SELECT concat(@@hostname, ':', @@port)").await?,
    };
    let name = value(conn, "SELECT coalesce(database(), '')").await?.unwrap_or_default();
    Ok(Server { system: system.unwrap_or_default(), name, address: address.to_owned() })
}

/// A connection that can only read, and which database it is.
pub(crate) async fn look(
    ctx: &Context,
    options: &MySqlConnectOptions,
) -> Result<(MySqlConnection, Server), PrepareFailure> {
    let unreachable = |reason| PrepareFailure::Unreachable { reason };
    let (mut conn, server) = connect(options, ctx.timeout / 2).await.map_err(unreachable)?;
    if server.name.is_empty() {
        let reason = format!("the URL names no database of {}", server.address);
        return Err(PrepareFailure::Refused { reason });
    }
    let failed = |error: sqlx::Error| PrepareFailure::Unreachable { reason: error.to_string() };
    run(&mut conn, "SET SESSION TRANSACTION READ ONLY").await.map_err(failed)?;
    run(&mut conn, &format!("SET SESSION lock_wait_timeout = 4{FRESH}")).await.map_err(failed)?;
    Ok((conn, server))
}

/// The server's own number of an error.
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}
