//! What the statements of a migration cost: rows, locks and waiting, as they are now.

use std::collections::BTreeMap;
use std::time::Duration;

use backout_plugin_api::{Guarantee, Hazard, Reversibility};
use serde_json::{Map, Value};

use tokio::time::Instant;

use crate::db::{Conn, Data, Keep, mysql, postgres, sqlite, steps};
use crate::sql::{self, Blocks, Deed, Name};
use crate::tool::{Dialect, Tool};

mod loss;
mod refused;
mod rehearsed;
mod types;

use loss::Going;
use rehearsed::Tried;

/// How long one count may take: a plan has seconds for a target, and "not counted" is an answer.
const COUNT_TIMEOUT: Duration = Duration::from_millis(2_500);
/// A count that took as long as this was ended by the server, or the next one would be.
const SLOW_COUNT: Duration = Duration::from_millis(1_900);

/// A transaction that is older is one that we would wait for: most take milliseconds.
const LONG_TRANSACTION: Duration = Duration::from_secs(5);

/// Rows up to which a hazard gives the exact number. Above, it gives the first digit only, so that
/// a person's consent survives the rows that arrive meanwhile; the exact number is in `seen`.
const EXACT_ROWS_MAX: i64 = 1_000;

/// What one migration costs.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    pub(crate) hazards: Vec<Hazard>,
    pub(crate) loses_data: bool,
    /// The other section would not bring the structure back.
    no_way_back: bool,
    /// What is copied before it goes.
    pub(crate) keep: Vec<Keep>,
}

impl Cost {
    pub(crate) fn reversibility(&self, has_way_back: bool) -> Reversibility {
        match (has_way_back && !self.no_way_back, self.loses_data) {
            (false, _) => Reversibility::None,
            (true, true) => Reversibility::ShapeOnly,
            (true, false) => Reversibility::Exact,
        }
    }

    /// Values that another type rounds, cuts or writes in another way.
    fn changes_values(&mut self, column: &str, from: &str, to: &str) {
        let text = format!(
            "values of `{column}` become {to} where they were {from}; an undo does not turn them back"
        );
        self.hazard("changes-rows", text);
        self.loses_data = true;
    }

    fn hazard(&mut self, code: &str, text: String) {
        self.hazards.push(Hazard { code: code.to_owned(), text });
    }
}

impl Sections<'_> {
    /// Why nothing can be kept, if so.
    fn why_not(&self) -> Option<&'static str> {
        (!self.can_keep).then_some("a file that wants no transaction has none for a copy")
    }
}

/// Looks at what migrations cost. Counts until one count takes too long.
pub(crate) struct Survey<'a> {
    conn: &'a mut Conn,
    late: bool,
    tool: Tool,
    /// The ledger's table in its quotes.
    ledger: String,
    /// Bytes that may still be kept; nothing where nothing is kept.
    budget: Option<u64>,
    /// Whether foreign keys are enforced.
    pub(crate) foreign_keys: bool,
    tried: Tried,
    pub(crate) counts: Map<String, Value>,
}

/// The two ways of a migration: the one that is looked at, and the one that would undo it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sections<'a> {
    pub(crate) statements: &'a [String],
    pub(crate) back: &'a [String],
    pub(crate) version: &'a str,
    /// Whether a copy can be made of what goes: in the same transaction, or under a lock.
    pub(crate) can_keep: bool,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(conn: &'a mut Conn, tool: Tool, table: &str, keep: Option<u64>) -> Self {
        let dialect = conn.dialect();
        let budget = keep;
        let ledger = dialect.table(table);
        let (foreign_keys, tried) = (true, Tried::NotYet);
        Self { conn, late: false, tool, ledger, budget, foreign_keys, tried, counts: Map::new() }
    }

    /// What the statements of a migration cost.
    pub(crate) async fn cost(&mut self, of: Sections<'_>) -> Cost {
        let mut cost = Cost::default();
        let dialect = self.conn.dialect();
        let parsed = of.statements.iter().flat_map(|text| sql::statements(dialect, text));
        let deeds: Vec<_> = parsed.flat_map(|statement| sql::deeds(dialect, &statement)).collect();
        let deeds = match dialect {
            Dialect::Sqlite => self.rehearsed(&mut cost, deeds, of).await,
            Dialect::Postgres | Dialect::Mysql => deeds,
        };
        for deed in &deeds {
            self.add(&mut cost, deed, of).await;
        }
        if dialect != Dialect::Sqlite {
            self.waits(&mut cost, &deeds).await;
        }
        cost
    }

    /// What it means that a migration is made statement by statement; what holds then.
    pub(crate) async fn stepwise(
        &mut self,
        cost: &mut Cost,
        data: &mut Data,
    ) -> Result<Guarantee, String> {
        if !data.marked {
            return Err(format!(
                "{} wants no transaction, and without the table backout.effects a crash in its \
                 middle could not be told from success; let the role CREATE on the database",
                data.file
            ));
        }
        cost.hazard(
            "not-transactional",
            format!("{} is made statement by statement: what fails half way stays", data.file),
        );
        if let Ok(Some(done)) = steps::left_over(self.conn, data).await {
            data.resume = done;
            data.kept_before = steps::kept_before(self.conn, data).await.unwrap_or_default();
            let file = &data.file;
            cost.hazard(
                "goes-on",
                format!(
                    "{done} statements of {file} were made by an effect that stopped; this goes \
                         on behind them"
                ),
            );
        }
        let tells = steps::tells_all(self.conn.dialect(), data);
        Ok(if tells { Guarantee::Probed } else { Guarantee::Manual })
    }

    async fn add(&mut self, cost: &mut Cost, deed: &Deed, of: Sections<'_>) {
        match deed {
            Deed::DropTable { table, cascade } => {
                let dialect = self.conn.dialect();
                let again = sql::makes(dialect, of.statements, &table.name).then_some(
                    "the same file makes a table of this name again, and what it carries over \
                     cannot be followed here",
                );
                let going = Going { table, column: None, stays_away: of.why_not().or(again) };
                self.drops(cost, &going, of).await;
                dependents(cost, *cascade, &going.said());
            }
            Deed::DropColumn { table, column, cascade } => {
                let going = Going { table, column: Some(column), stays_away: of.why_not() };
                self.drops(cost, &going, of).await;
                dependents(cost, *cascade, &going.said());
            }
            Deed::Rows { verb, table } => {
                let table = table.said();
                let text = format!("it {verb} rows of `{table}`; an undo does not bring them back");
                cost.hazard("changes-rows", text);
                cost.loses_data = true;
            }
            Deed::Added { .. } => cost.loses_data = true,
            Deed::Rewrite { table, why } => {
                let text = format!("table `{}` is written anew: {why}", table.said());
                cost.hazard("rewrites-table", text);
            }
            Deed::Lock { .. } | Deed::IndexLock { .. } => {}
            Deed::NotNull { .. }
            | Deed::Check { .. }
            | Deed::Unique { .. }
            | Deed::ForeignKey { .. }
            | Deed::ColumnType { .. }
            | Deed::RequiredColumn { .. } => self.refused_rows(cost, deed).await,
        }
    }

    async fn count(&mut self, query: &str) -> Option<i64> {
        if self.late {
            return None;
        }
        let begun = Instant::now();
        if let Conn::Sqlite(conn) = &mut *self.conn {
            sqlite::limit(conn, COUNT_TIMEOUT).await.ok()?;
        }
        let counted = tokio::time::timeout(COUNT_TIMEOUT, self.conn.value(query)).await;
        self.late = begun.elapsed() > SLOW_COUNT;
        counted.ok()?.ok()??.parse().ok()
    }

    /// Who waits for us, and for whom we would wait.
    async fn waits(&mut self, cost: &mut Cost, deeds: &[Deed]) {
        let mut locks: BTreeMap<Name, Blocks> = BTreeMap::new();
        for deed in deeds {
            let (table, blocks) = match deed {
                Deed::Lock { table, blocks } => (Some(table.clone()), *blocks),
                Deed::IndexLock { index } => (self.table_of(index).await, Blocks::Readers),
                _ => continue,
            };
            let Some(table) = table else { continue };
            if self.exists(&table).await {
                let held = locks.entry(table).or_insert(blocks);
                *held = blocks.max(*held);
            }
        }
        for (code, wanted, who) in [
            ("blocks-readers", Blocks::Readers, "nobody reads or writes"),
            ("blocks-writers", Blocks::Writers, "nobody writes"),
        ] {
            let held = locks.iter().filter(|(_, blocks)| **blocks == wanted);
            let names: Vec<_> = held.map(|(table, _)| format!("`{}`", table.said())).collect();
            if !names.is_empty() {
                cost.hazard(code, format!("while it runs {who} {}", names.join(", ")));
            }
        }
        let tables: Vec<_> = locks.into_keys().collect();
        for text in long_transactions(self.conn, &tables).await {
            cost.hazard("long-transaction", text);
        }
    }

    async fn exists(&mut self, table: &Name) -> bool {
        let said = table.said();
        let columns = crate::db::columns(self.conn, &said).await;
        columns.is_ok_and(|columns| !columns.is_empty())
    }

    async fn table_of(&mut self, index: &Name) -> Option<Name> {
        if self.conn.dialect() != Dialect::Postgres {
            return None;
        }
        let quoted = Dialect::Postgres.text(&index.quoted(Dialect::Postgres));
        let query = format!(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON \
             c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE \
             i.indexrelid = to_regclass({quoted})"
        );
        let mut rows = self.conn.rows(&query).await.ok()?.into_iter().next()?.into_iter();
        let schema = rows.next()??;
        // A plain name, as the statements mostly write it.
        let schema = (schema != "public").then_some(schema);
        Some(Name { schema, name: rows.next()?? })
    }
}

/// A sentence for each.
async fn long_transactions(conn: &mut Conn, tables: &[Name]) -> Vec<String> {
    let mut found = Vec::new();
    match conn {
        Conn::Postgres(conn) => {
            for table in tables {
                let of = postgres::long_transactions(conn, table, LONG_TRANSACTION).await;
                let of = of.unwrap_or_default().into_iter();
                let on = format!("it would wait for a long transaction on `{}`", table.said());
                found.extend(of.map(|who| format!("{on}: {who}")));
            }
        }
        Conn::Mysql(_) => found = mysql::long_transactions(conn, tables, LONG_TRANSACTION).await,
        Conn::Sqlite(_) => {}
    }
    found
}

fn dependents(cost: &mut Cost, cascade: bool, what: &str) {
    if cascade {
        let text = format!(
            "`CASCADE`: whatever depends on `{what}` goes with it; an undo does not bring that back"
        );
        cost.hazard("drops-dependents", text);
        cost.loses_data = true;
    }
}

fn said(rows: Option<i64>) -> String {
    match rows {
        None => "an unknown number of rows (not counted)".to_owned(),
        Some(1) => "1 row".to_owned(),
        Some(rows) => format!("{} rows", coarse(rows)),
    }
}

/// A number for people: exact where it is small.
fn coarse(number: i64) -> String {
    if number < EXACT_ROWS_MAX {
        return number.to_string();
    }
    let unit = 10_i64.pow(number.ilog10());
    format!("at least {}", number / unit * unit)
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
