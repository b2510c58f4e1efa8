//! PostgreSQL: connections, identity, and one migration in one transaction.

use std::time::Duration;

use backout_plugin_api::{Context, PrepareFailure, tls};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::conn::{run, value};
use crate::tool::is_true;

mod effects;
pub(crate) mod keep;
mod locks;
mod transaction;

pub(crate) use effects::{can_mark, create as create_effects};
pub(crate) use locks::{advisory_holder, holders, long_transactions};
pub(crate) use transaction::{apply, settle, tidy};

/// How long a server may take to let us in: a person waits for the plan.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How the files of TLS are named.
const TLS: tls::Options = tls::Options {
    authority: "`sslrootcert=PATH` in the URL",
    certificate: Some("`sslcert=PATH` and `sslkey=PATH` in the URL"),
};
/// How long a look may wait for a lock, or run.
const LOOK_TIMEOUT_MS: u32 = 2_000;
/// Bytes of an application name that the server keeps.
const APPLICATION_BYTES_MAX: usize = 63;

/// A database of a server: what tells it from every other, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// The server's system identifier; its host and port where it does not tell.
    pub(crate) system: String,
    /// The database's name.
    pub(crate) name: String,
    /// The first schema of the search path: where plain names are made.
    pub(crate) schema: String,
    /// Its version, `150004` for 15.4.
    pub(crate) version: u32,
    /// For people.
    pub(crate) address: String,
}

impl Server {
    /// Whether it is the same database; it may have moved to another host.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (&self.system, &self.name) == (&other.system, &other.name)
    }

    pub(crate) fn target(&self) -> String {
        format!("postgres:{}/{}", self.system, self.name)
    }
}

/// Why there is no connection.
pub(crate) fn no_connection(address: &str, error: &sqlx::Error) -> String {
    let help = match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01" | "28000") => {
                "; look at the user, the password and pg_hba.conf".to_owned()
            }
            Some("3D000") => "; there is no such database: look at the name in the URL".to_owned(),
            Some("53300") => "; it has no connection left".to_owned(),
            _ => String::new(),
        },
        error => tls::advice(error, TLS),
    };
    format!("cannot connect to {address}: {error}{help}")
}

/// Where the options point, for people: no user, no password.
pub(crate) fn address(options: &PgConnectOptions) -> String {
    let name = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("PostgreSQL database {name} at {}", socket.display()),
        None => {
            format!("PostgreSQL database {name} on {}:{}", options.get_host(), options.get_port())
        }
    }
}

/// Connects within [`CONNECT_TIMEOUT`], or less.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    application: &str,
    within: Duration,
) -> Result<PgConnection, String> {
    let address = address(options);
    let application = application.get(..APPLICATION_BYTES_MAX).unwrap_or(application);
    let options = options
        .clone()
        .application_name(application)
        // PgBouncer lets nobody in who sets it.
        .extra_float_digits(None)
        .disable_statement_logging();
    let within = CONNECT_TIMEOUT.min(within);
    tls::name_provider();
    match tokio::time::timeout(within, options.connect()).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(no_connection(&address, &error)),
        Err(_) => Err(format!("cannot connect to {address}: no answer within {within:?}")),
    }
}

/// A connection that can only read, which database it is, and nothing in between.
pub(crate) async fn look(
    ctx: &Context,
    options: &PgConnectOptions,
) -> Result<(PgConnection, Server), PrepareFailure> {
    let unreachable = |reason| PrepareFailure::Unreachable { reason };
    let within = ctx.timeout / 2;
    let mut conn = connect(options, "backout plan", within).await.map_err(unreachable)?;
    let address = address(options);
    let failed = |error: sqlx::Error| {
        let reason = format!("cannot read {address}: {error}");
        PrepareFailure::Unreachable { reason }
    };
    let settings = format!(
        "SET default_transaction_read_only = on; SET lock_timeout = {LOOK_TIMEOUT_MS}; \
         SET statement_timeout = {LOOK_TIMEOUT_MS}"
    );
    run(&mut conn, &settings).await.map_err(failed)?;
    let server = identity(&mut conn, options).await.map_err(failed)?;
    refuse_pooler(&mut conn, options, within).await?;
    Ok((conn, server))
}

/// Which database a connection leads to.
pub(crate) async fn identity(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
) -> sqlx::Result<Server> {
    let system = value(conn, "SELECT system_identifier FROM pg_catalog.pg_control_system()").await;
    let system = system.ok().flatten().unwrap_or_else(|| {
        let socket = options.get_socket().map(|socket| socket.display().to_string());
        socket.unwrap_or_else(|| format!("{}:{}", options.get_host(), options.get_port()))
    });
    let name = value(conn, "SELECT current_database()").await?.unwrap_or_default();
    let schema = value(conn, "SELECT current_schema()").await?.unwrap_or_default();
    let version = value(conn, "SHOW server_version_num").await?.unwrap_or_default();
    let version = version.parse().unwrap_or(0);
    Ok(Server { system, name, schema, version, address: address(options) })
}

/// PgBouncer in transaction mode gives each transaction any server connection: what a session holds,
/// a lock above all, is then somebody else's. Two of our sessions at once on one server process, or
/// one session on two, show it.
async fn refuse_pooler(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
    within: Duration,
) -> Result<(), PrepareFailure> {
    let unreachable = |reason| PrepareFailure::Unreachable { reason };
    let failed = |error: sqlx::Error| PrepareFailure::Unreachable { reason: error.to_string() };
    let first = pid(conn).await.map_err(failed)?;
    let mut second = connect(options, "backout plan", within).await.map_err(unreachable)?;
    let other = pid(&mut second).await.map_err(failed)?;
    let again = pid(conn).await.map_err(failed)?;
    if first != other && first == again {
        return Ok(());
    }
    Err(PrepareFailure::Refused {
        reason: format!(
            "{} is reached through a pooler in transaction mode (PgBouncer, for instance): locks \
             of a session do not hold there; name the server itself in the URL, or a pool in \
             session mode",
            address(options)
        ),
    })
}

/// Whether it is a copy that follows another server and takes no writes.
pub(crate) async fn is_standby(conn: &mut PgConnection) -> sqlx::Result<bool> {
    Ok(is_true(value(conn, "SELECT pg_is_in_recovery()").await?.as_ref()))
}

async fn pid(conn: &mut PgConnection) -> sqlx::Result<Option<String>> {
    value(conn, "SELECT pg_backend_pid()").await
}

/// The five signs of SQLSTATE, where the server answered.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

/// Whether a lock was not to be had in time.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    code(error).as_deref() == Some(LOCK_NOT_AVAILABLE)
}

/// Whether the server said no, and is still there to have rolled back.
pub(crate) fn is_answer(error: &sqlx::Error) -> bool {
    // Class 57P: the session is being ended by the server or an administrator; class 08: the
    // connection.
    error.as_database_error().is_some()
        && !code(error).is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
}
