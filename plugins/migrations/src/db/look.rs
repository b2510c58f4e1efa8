//! A look at a database: a connection that only reads, and which database it is.

use backout_plugin_api::{Context, PrepareFailure};

use super::{Conn, Database, Place, catalogue, mysql, postgres, sqlite};
use crate::tool::{Ledger, Tool};

/// A connection that only reads.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) conn: Conn,
    pub(crate) database: Database,
    /// For people: a path, or `name on host:port`.
    pub(crate) name: String,
    /// Whether an effect can leave its row.
    pub(crate) can_mark: bool,
    /// It is a copy that takes no writes.
    pub(crate) is_standby: bool,
}

impl Look {
    /// Connects.
    pub(crate) async fn at(
        ctx: &Context,
        place: &Place,
        keys: Option<bool>,
    ) -> Result<Self, PrepareFailure> {
        match place {
            Place::Sqlite { path, foreign_keys } => {
                let keys = keys.or(*foreign_keys).unwrap_or(false);
                let file = sqlite::Database::find(path, keys)?;
                let name = file.path.display().to_string();
                let conn = file.read_only().await.map_err(|error| unreadable(&name, &error))?;
                let (conn, database) = (Conn::Sqlite(conn), Database::Sqlite(file));
                Ok(Self { conn, database, name, can_mark: true, is_standby: false })
            }
            Place::Postgres(options) => {
                let (mut conn, server) = postgres::look(ctx, options).await?;
                let name = server.address.clone();
                let failed = |error: sqlx::Error| unreadable(&name, &error);
                let can_mark = postgres::can_mark(&mut conn).await.map_err(failed)?;
                let is_standby = postgres::is_standby(&mut conn).await.map_err(failed)?;
                let (conn, database) = (Conn::Postgres(conn), Database::Postgres(server));
                Ok(Self { conn, database, name, can_mark, is_standby })
            }
            Place::Mysql(options) => {
                let (conn, server) = mysql::look(ctx, options).await?;
                let name = server.address.clone();
                let (conn, database) = (Conn::Mysql(conn), Database::Mysql(server));
                // Whether the table may be made is not told beforehand; `apply` says so.
                Ok(Self { conn, database, name, can_mark: true, is_standby: false })
            }
        }
    }

    /// What cannot be written is an error now, not half way.
    pub(crate) fn check_writable(&self) -> Result<(), PrepareFailure> {
        if self.is_standby {
            let reason = format!("{} is a standby; name the primary in the URL", self.name);
            return Err(PrepareFailure::Refused { reason });
        }
        self.database.check_writable()
    }

    pub(crate) fn failed(&self) -> impl Fn(sqlx::Error) -> PrepareFailure + use<> {
        let name = self.name.clone();
        move |error| unreadable(&name, &error)
    }

    /// Reads a tool's ledger, with what to do where there is none.
    pub(crate) async fn ledger(
        &mut self,
        tool: Tool,
        table: &str,
    ) -> Result<Ledger, PrepareFailure> {
        let (driver, failed) = (tool.driver(), self.failed());
        let refuse = |reason: String| PrepareFailure::Refused { reason };
        let columns = catalogue::columns(&mut self.conn, table).await.map_err(&failed)?;
        if columns.is_empty() {
            let tables = catalogue::table_names(&mut self.conn).await.map_err(&failed)?;
            return Err(refuse(no_ledger(&self.name, tool, table, &tables)));
        }
        let has = |name: &&str| columns.iter().any(|column| column == name);
        if !driver.columns().iter().all(has) || driver.foreign_columns().iter().any(has) {
            return Err(refuse(format!(
                "`{table}` in {} is not the ledger of {}: it has the columns {}",
                self.name,
                driver.name(),
                columns.join(", ")
            )));
        }
        let dialect = self.conn.dialect();
        let query = driver.query(dialect, &dialect.table(table));
        let rows = self.conn.rows(&query).await.map_err(&failed)?;
        driver.ledger(&rows).map_err(|why| refuse(format!("`{table}` in {}: {why}", self.name)))
    }

    pub(crate) async fn close(self) -> Result<(), PrepareFailure> {
        let failed = self.failed();
        self.conn.close().await.map_err(failed)
    }
}

fn no_ledger(place: &str, tool: Tool, table: &str, tables: &[String]) -> String {
    let others: Vec<String> = Tool::ALL
        .iter()
        .map(|tool| tool.driver())
        .filter(|driver| tables.iter().any(|table| table == driver.table()))
        .map(|driver| format!("`{}` of {}", driver.table(), driver.name()))
        .collect();
    let tool = tool.driver().name();
    if others.is_empty() {
        format!(
            "{place} has no ledger `{table}`: {tool} never ran here, or its table has another name \
             (`table`)"
        )
    } else {
        format!(
            "{place} has no ledger `{table}`, but {}; name the right `tool` and `table`",
            others.join(" or ")
        )
    }
}

/// Why a database could not be read.
pub(crate) fn unreadable(place: &str, error: &sqlx::Error) -> PrepareFailure {
    PrepareFailure::Unreachable { reason: format!("cannot read the database {place}: {error}") }
}
