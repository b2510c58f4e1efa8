//! What tables there are, by each database's own catalogue.

use super::Conn;
use crate::tool::Dialect;

/// A query for the tables that a plain name can mean, one name a row.
fn tables(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        Dialect::Postgres => {
            "SELECT relname FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') \
             AND pg_catalog.pg_table_is_visible(oid)"
        }
        Dialect::Mysql => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
        }
    }
}

/// The names of the tables that a plain name can mean.
pub(crate) async fn table_names(conn: &mut Conn) -> sqlx::Result<Vec<String>> {
    let rows = conn.rows(tables(conn.dialect())).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?).collect())
}

/// The columns of a table, in their order; none where there is no such table.
pub(crate) async fn columns(conn: &mut Conn, table: &str) -> sqlx::Result<Vec<String>> {
    let dialect = conn.dialect();
    let quoted = dialect.table(table);
    let (schema, name) = table.split_once('.').map_or((None, table), |(s, t)| (Some(s), t));
    let query = match dialect {
        Dialect::Sqlite => format!("SELECT name FROM pragma_table_info({})", dialect.text(name)),
        Dialect::Postgres => format!(
            "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass({}) AND \
             attnum > 0 AND NOT attisdropped ORDER BY attnum",
            dialect.text(&quoted)
        ),
        Dialect::Mysql => format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = {} AND \
             table_name = {} ORDER BY ordinal_position",
            schema.map_or("database()".to_owned(), |schema| dialect.text(schema)),
            dialect.text(name)
        ),
    };
    let rows = conn.rows(&query).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?).collect())
}
