//! Rows that an older, narrower schema would refuse.

use super::{Cost, Survey, coarse, types};
use crate::sql::{Deed, Name};
use crate::tool::Dialect;

impl Survey<'_> {
    /// Counts the rows that a constraint or a type would refuse, and what it rewrites.
    pub(super) async fn refused_rows(&mut self, cost: &mut Cost, deed: &Deed) {
        let dialect = self.conn.dialect();
        if let Deed::ColumnType { table, column, to } = deed {
            self.retyped(cost, (table, column), to).await;
        }
        let Some((query, what)) = query(dialect, deed) else { return };
        let rows = self.count(&query).await;
        if let Some(rows) = rows.filter(|rows| *rows > 0) {
            let text = format!("{} {what}: the migration would fail on them", coarse(rows));
            cost.hazard("rows-refused", text);
        }
    }

    /// A column that gets another type: whether its table is written anew, and its values change.
    async fn retyped(&mut self, cost: &mut Cost, (table, column): (&Name, &str), to: &str) {
        let now = self.type_now(table, column).await.unwrap_or_default();
        if self.conn.dialect() != Dialect::Postgres || !is_only_longer(&now, to) {
            let text = format!("table `{}` may be written anew for the type `{to}`", table.said());
            cost.hazard("rewrites-table", text);
        }
        if !now.is_empty() && !types::keeps_values(&now, to) {
            cost.changes_values(&format!("{}.{column}", table.said()), &now, to);
        }
    }

    /// A column's type as the catalogue has it.
    async fn type_now(&mut self, table: &Name, column: &str) -> Option<String> {
        let dialect = self.conn.dialect();
        let column = dialect.text(column);
        let query = match dialect {
            Dialect::Postgres => format!(
                "SELECT format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute WHERE attrelid = \
                 to_regclass({}) AND attname = {column}",
                dialect.text(&table.quoted(dialect)),
            ),
            Dialect::Mysql => format!(
                "SELECT column_type FROM information_schema.columns WHERE table_schema = {} AND \
                 table_name = {} AND column_name = {column}",
                table.schema.as_ref().map_or("database()".to_owned(), |of| dialect.text(of)),
                dialect.text(&table.name)
            ),
            Dialect::Sqlite => return None,
        };
        self.conn.value(&query).await.ok().flatten()
    }
}

/// Whether a text only gets longer: PostgreSQL does not write its table anew then.
fn is_only_longer(now: &str, to: &str) -> bool {
    let is_text = now == "text" || now.starts_with("character varying");
    let wider = match (length(now), length(to)) {
        (_, None) => to == "text" || to == "varchar" || to == "character varying",
        (Some(now), Some(to)) => to >= now,
        (None, Some(_)) => false,
    };
    is_text && wider
}

/// The `20` of `varchar(20)`.
fn length(of: &str) -> Option<u32> {
    let inside = of.split_once('(')?.1.split_once(')')?.0;
    inside.trim().parse().ok()
}

/// A query that counts the rows refused, and what they are.
fn query(dialect: Dialect, deed: &Deed) -> Option<(String, String)> {
    let from = |table: &Name| table.quoted(dialect);
    let list = |columns: &[String]| {
        columns.iter().map(|column| dialect.name(column)).collect::<Vec<_>>().join(", ")
    };
    match deed {
        Deed::NotNull { table, column } => Some((
            format!("SELECT count(*) FROM {} WHERE {} IS NULL", from(table), dialect.name(column)),
            format!("rows of `{}` have no value in `{column}`", table.said()),
        )),
        Deed::RequiredColumn { table, column } => Some((
            format!("SELECT count(*) FROM {}", from(table)),
            format!("rows of `{}` would have no value in the new column `{column}`", table.said()),
        )),
        Deed::Check { table, condition } if !condition.is_empty() => Some((
            format!("SELECT count(*) FROM {} WHERE NOT ({condition})", from(table)),
            format!("rows of `{}` do not fit the check", table.said()),
        )),
        Deed::Unique { table, columns } => {
            let filled: Vec<_> = columns
                .iter()
                .map(|column| format!("{} IS NOT NULL", dialect.name(column)))
                .collect();
            let names = list(columns);
            Some((
                format!(
                    "SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} GROUP BY {names} HAVING \
                     count(*) > 1) AS twice",
                    from(table),
                    filled.join(" AND ")
                ),
                format!("values of ({}) in `{}` are there twice", columns.join(", "), table.said()),
            ))
        }
        Deed::ForeignKey { table, columns, other, others } if columns.len() == others.len() => {
            let pairs = columns.iter().zip(others);
            let same = |(own, theirs): (&String, &String)| {
                format!("o.{} = t.{}", dialect.name(theirs), dialect.name(own))
            };
            let same: Vec<_> = pairs.map(same).collect();
            let filled: Vec<_> =
                columns.iter().map(|own| format!("t.{} IS NOT NULL", dialect.name(own))).collect();
            Some((
                format!(
                    "SELECT count(*) FROM {} t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} o WHERE {})",
                    from(table),
                    filled.join(" AND "),
                    from(other),
                    same.join(" AND ")
                ),
                format!("rows of `{}` name nothing in `{}`", table.said(), other.said()),
            ))
        }
        Deed::ColumnType { table, column, to } => {
            let max = length(to).filter(|_| to.contains("char"))?;
            Some((
                format!(
                    "SELECT count(*) FROM {} WHERE char_length({}) > {max}",
                    from(table),
                    dialect.name(column)
                ),
                format!("rows of `{}` are longer than {max} in `{column}`", table.said()),
            ))
        }
        _ => None,
    }
}
