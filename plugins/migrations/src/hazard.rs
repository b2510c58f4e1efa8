//! What the statements of a migration cost: rows, counted now.

use std::time::Duration;

use crate::db::Conn;
use crate::sql::{self, Deed, Name};
use backout_plugin_api::{Hazard, Reversibility};
use serde_json::{Map, Value, json};

/// How long all counting may take: a plan has seconds for a target, and "not counted" is an answer.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// Rows up to which a hazard gives the exact number. Above, it gives the first digit only, so that
/// a person's consent survives the rows that arrive meanwhile; the exact number is in `seen`.
const EXACT_ROWS_MAX: i64 = 1_000;

/// Counts rows until one count takes too long.
pub(crate) struct Counter<'a> {
    conn: &'a mut Conn,
    late: bool,
    pub(crate) counts: Map<String, Value>,
}

/// What one migration costs.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    pub(crate) hazards: Vec<Hazard>,
    pub(crate) loses_data: bool,
}

impl Cost {
    pub(crate) fn reversibility(&self, has_way_back: bool) -> Reversibility {
        match (has_way_back, self.loses_data) {
            (false, _) => Reversibility::None,
            (true, true) => Reversibility::ShapeOnly,
            (true, false) => Reversibility::Exact,
        }
    }
}

impl<'a> Counter<'a> {
    pub(crate) fn new(conn: &'a mut Conn) -> Self {
        Self { conn, late: false, counts: Map::new() }
    }

    /// What some statements cost.
    pub(crate) async fn cost(&mut self, statements: &[String]) -> Cost {
        let mut cost = Cost::default();
        let dialect = self.conn.dialect();
        let parsed = statements.iter().flat_map(|text| sql::statements(dialect, text));
        for deed in parsed.flat_map(|statement| sql::deeds(dialect, &statement)) {
            self.add(&mut cost, deed).await;
        }
        cost
    }

    async fn add(&mut self, cost: &mut Cost, deed: Deed) {
        let (code, text, rows) = match deed {
            Deed::DropTable { table, .. } => {
                let rows = self.count(&table, None).await;
                ("drops-table", format!("table `{}` goes, with {}", table.said(), said(rows)), rows)
            }
            Deed::DropColumn { table, column, .. } => {
                let rows = self.count(&table, Some(&column)).await;
                let (table, said) = (table.said(), said(rows));
                let text = format!("column `{table}.{column}` goes, with values in {said}");
                ("drops-column", text, rows)
            }
            Deed::Rows { verb, table } => {
                let table = table.said();
                let text = format!("it {verb} rows of `{table}`; an undo does not bring them back");
                ("changes-rows", text, None)
            }
            Deed::Added => {
                cost.loses_data = true;
                return;
            }
            _ => return,
        };
        cost.loses_data |= rows != Some(0);
        cost.hazards.push(Hazard { code: code.to_owned(), text });
    }

    /// Rows of a table, or those with a value in a column; nothing where it cannot be counted.
    async fn count(&mut self, table: &Name, column: Option<&str>) -> Option<i64> {
        if self.late {
            return None;
        }
        let dialect = self.conn.dialect();
        let what = column.map_or_else(|| "*".to_owned(), |column| dialect.name(column));
        let query = format!("SELECT count({what}) FROM {}", table.quoted(dialect));
        let rows = tokio::time::timeout(COUNT_TIMEOUT, self.conn.value(&query)).await;
        self.late = rows.is_err();
        let rows: i64 = rows.ok()?.ok()??.parse().ok()?;
        let name = table.said();
        let name = column.map_or_else(|| name.clone(), |column| format!("{name}.{column}"));
        self.counts.insert(name, json!(rows));
        Some(rows)
    }
}

fn said(rows: Option<i64>) -> String {
    match rows {
        None => "an unknown number of rows (not counted)".to_owned(),
        Some(1) => "1 row".to_owned(),
        Some(rows) if rows < EXACT_ROWS_MAX => format!("{rows} rows"),
        Some(rows) => {
            let unit = 10_i64.pow(rows.ilog10());
            format!("at least {} rows", rows / unit * unit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn large_counts_are_coarse_so_that_a_consent_holds() {
        assert_eq!(said(Some(0)), "0 rows");
        assert_eq!(said(Some(1)), "1 row");
        assert_eq!(said(Some(999)), "999 rows");
        assert_eq!(said(Some(43_211)), "at least 40000 rows");
    }
}
