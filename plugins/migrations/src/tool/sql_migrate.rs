//! sql-migrate: its files and its ledger `gorp_migrations`. Read in version 1.8.1; it takes no lock.
//!
//! Three habits of its own are not imitated. Where an older file was never applied, its `down` first
//! runs that file's UP section and does not record it. A missing down section takes the row away and
//! leaves the schema. And `down -version=V` is inclusive: V is rolled back too.

use std::path::Path;

use backout_plugin_api::PrepareFailure;

use super::whole::refused;
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    Row, Script, entries, read_text,
};
use crate::sql;

mod parse;

use parse::{number, parse};

/// The driver of sql-migrate.
pub(crate) struct SqlMigrate;

impl Driver for SqlMigrate {
    fn name(&self) -> &'static str {
        "sql-migrate"
    }

    fn table(&self) -> &'static str {
        "gorp_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["id", "applied_at"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut found = Vec::new();
        let files = entries(dir)?.into_iter();
        for (name, path) in files.filter(|(name, _)| name.strip_suffix(".sql").is_some()) {
            let order = order(&name).map_err(refused)?;
            let paths = (Some(path.clone()), Some(path));
            let version = name.clone();
            let migration = Migration { version, name, up: paths.0, down: paths.1, is_code: false };
            found.push((order, migration));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found.into_iter().map(|(_, migration)| migration).collect())
    }

    /// The file's name, or the number that it begins with; 0 is never a file.
    fn means(&self, version: &str, written: &str) -> bool {
        let number_of = |text: &str| number(text).ok().flatten().filter(|number| *number > 0);
        version == written
            || version.strip_suffix(".sql") == Some(written)
            || written.parse().is_ok_and(|wanted: i64| number_of(version) == Some(wanted))
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        let name = &migration.name;
        let path = migration.up.as_ref().ok_or_else(|| format!("{name} has no file"))?;
        let (text, sha256) = read_text(path)?;
        let section = parse(&text, direction).map_err(|why| format!("{name}: {why}"))?;
        let is_empty = section.statements.iter().all(|statement| sql::is_empty(statement));
        if direction == Direction::Down && is_empty {
            return Err(format!(
                "{name} has no SQL under `-- +migrate Down`: sql-migrate would take its row from \
                 the ledger and leave the schema as it is; write the section, or stop at its version"
            ));
        }
        let transactional = !section.no_transaction;
        let file = name.clone();
        Ok(Script { statements: section.statements, transactional, file, sha256 })
    }

    /// The rank joins rows of one moment: MariaDB keeps whole seconds. On SQLite the moment is a text
    /// in the time zone of whoever wrote it.
    fn query(&self, dialect: Dialect, table: &str) -> String {
        let at = if dialect == Dialect::Sqlite { "julianday(applied_at)" } else { "applied_at" };
        format!(
            "SELECT id, dense_rank() OVER (ORDER BY {at}) AS moment FROM {table} ORDER BY moment, id"
        )
    }

    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut found = Vec::new();
        for row in rows {
            let [Some(id), Some(rank)] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            let rank: u64 = rank.parse().map_err(|_| format!("`{rank}` is no rank"))?;
            found.push((rank, order(id)?));
        }
        found.sort();
        let applied = found.into_iter();
        let applied =
            applied.map(|(_, order)| Applied { version: order.name, checksum: None }).collect();
        Ok(Ledger { applied, ..Ledger::default() })
    }

    fn change(
        &self,
        dialect: Dialect,
        table: &str,
        change: &Change<'_>,
    ) -> Result<LedgerChange, String> {
        let id = dialect.text(&change.migration.version);
        let now = match dialect {
            Dialect::Postgres => "now()",
            // MySQL rounds to the next second what sql-migrate writes with a fraction, and so this too.
            Dialect::Mysql => "utc_timestamp(6)",
            Dialect::Sqlite => "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
        };
        let sql = match change.direction {
            Direction::Down => format!("DELETE FROM {table} WHERE id = {id}"),
            Direction::Up => format!("INSERT INTO {table} (id, applied_at) VALUES ({id}, {now})"),
        };
        Ok(LedgerChange { after: vec![sql], ..LedgerChange::default() })
    }

    fn version_column(&self) -> &'static str {
        "id"
    }

    fn fill_hole(&self) -> &'static str {
        "apply it with `sql-migrate up`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let to = hand.to;
        let note = "  # dbconfig.yml names the database, the folder and the table";
        let move_it = match hand.direction {
            Direction::Down => format!(
                "sql-migrate down -limit=1  # once for each version above {to}; `-version` rolls \
                 back the version that it names, too"
            ),
            Direction::Up => format!("sql-migrate up -version={to}"),
        };
        HandLines {
            commands: vec![format!("sql-migrate status{note}"), move_it],
            verify: vec![format!("sql-migrate status  # nothing above {to} is applied")],
        }
    }
}

/// sql-migrate's order: names with a number before those without, by number, then by name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    has_no_number: bool,
    number: i64,
    name: String,
}

fn order(name: &str) -> Result<Order, String> {
    let number = number(name)?;
    Ok(Order {
        has_no_number: number.is_none(),
        number: number.unwrap_or_default(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Driver, SqlMigrate};

    fn row(id: &str, rank: &str) -> Vec<Option<String>> {
        vec![Some(id.to_owned()), Some(rank.to_owned())]
    }

    #[test]
    fn rows_of_one_moment_are_in_the_order_of_files() {
        let rows =
            [row("10_c.sql", "1"), row("9_b.sql", "1"), row("z.sql", "1"), row("1_a.sql", "2")];
        let ledger = SqlMigrate.ledger(&rows).unwrap();
        let versions: Vec<_> = ledger.applied.iter().map(|row| row.version.as_str()).collect();
        assert_eq!(versions, ["9_b.sql", "10_c.sql", "z.sql", "1_a.sql"]);
        assert!(SqlMigrate.ledger(&[vec![None, None]]).is_err());
    }

    #[test]
    fn a_file_is_meant_by_name_or_number() {
        for (written, is) in [
            ("3", true),
            ("00003", true),
            ("00003_orders", true),
            ("00003_orders.sql", true),
            ("4", false),
            ("orders", false),
        ] {
            assert_eq!(SqlMigrate.means("00003_orders.sql", written), is, "{written}");
        }
        assert!(
            !SqlMigrate.means("0_first.sql", "0") && SqlMigrate.means("0_first.sql", "0_first")
        );
    }
}
