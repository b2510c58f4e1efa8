//! dbmate: its files and its ledger `schema_migrations`. Read in version 2.36; it takes no lock.

use std::path::Path;

use backout_plugin_api::PrepareFailure;

use super::whole::refused;
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    Row, Script, entries, read_text,
};
use crate::sql;

mod parse;

use parse::{parse, version};

/// The driver of dbmate.
pub(crate) struct Dbmate;

impl Driver for Dbmate {
    fn name(&self) -> &'static str {
        "dbmate"
    }

    fn table(&self) -> &'static str {
        "schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version"]
    }

    fn foreign_columns(&self) -> &'static [&'static str] {
        // golang-migrate's table has the same name.
        &["dirty"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut found = Vec::new();
        for (name, path) in entries(dir)?.into_iter().filter(|(_, path)| path.is_file()) {
            if let Some(version) = version(&name).map(str::to_owned) {
                let up = Some(path.clone());
                found.push(Migration { version, name, up, down: Some(path), is_code: false });
            }
        }
        check_order(&found).map_err(refused)?;
        Ok(found)
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        let name = &migration.name;
        let path = migration.up.as_ref().ok_or_else(|| format!("{name} has no file"))?;
        let (text, sha256) = read_text(path)?;
        let block = parse(&text, direction).map_err(|why| format!("{name}: {why}"))?;
        if direction == Direction::Down && sql::is_empty(&block.text) {
            return Err(format!(
                "{name} has no SQL under `-- migrate:down`: dbmate would take its row from the \
                 ledger and leave the schema as it is; write the block, or stop at its version"
            ));
        }
        let transactional = !block.no_transaction;
        Ok(Script { statements: vec![block.text], transactional, file: name.clone(), sha256 })
    }

    fn query(&self, _: Dialect, table: &str) -> String {
        format!("SELECT version FROM {table} ORDER BY version")
    }

    /// The ledger does not say when: the order is that of the versions, as [`check_order`] wants it.
    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut applied = Vec::new();
        for row in rows {
            let [Some(version)] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            applied.push(Applied { version: version.clone(), checksum: None });
        }
        applied.sort_by(|a, b| number(&a.version).cmp(&number(&b.version)));
        Ok(Ledger { applied, ..Ledger::default() })
    }

    fn change(
        &self,
        dialect: Dialect,
        table: &str,
        change: &Change<'_>,
    ) -> Result<LedgerChange, String> {
        let version = dialect.text(&change.migration.version);
        let sql = match change.direction {
            Direction::Down => format!("DELETE FROM {table} WHERE version = {version}"),
            Direction::Up => format!("INSERT INTO {table} (version) VALUES ({version})"),
        };
        Ok(LedgerChange { after: vec![sql], ..LedgerChange::default() })
    }

    fn fill_hole(&self) -> &'static str {
        "apply it with `dbmate up`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let scheme = if hand.dialect == Dialect::Sqlite { "sqlite:" } else { "" };
        let table = match hand.table {
            "schema_migrations" => String::new(),
            table => format!(" --migrations-table '{table}'"),
        };
        let (dir, database, to) = (hand.dir, &hand.database, hand.to);
        let dbmate = format!("dbmate --url {scheme}{database} -d '{dir}'{table} --no-dump-schema");
        let move_it = match hand.direction {
            Direction::Down => format!("{dbmate} rollback  # once for each version above {to}"),
            Direction::Up => format!("{dbmate} up  # goes to the newest file of the folder"),
        };
        HandLines {
            commands: vec![format!("{dbmate} status"), move_it],
            verify: vec![format!("{dbmate} status  # nothing above {to} is applied")],
        }
    }
}

/// Orders digits of any length as numbers.
fn number(version: &str) -> (usize, &str) {
    let digits = version.trim_start_matches('0');
    (digits.len(), digits)
}

/// dbmate goes by file names, where `10_b.sql` stands before `2_a.sql`; nobody means that.
fn check_order(found: &[Migration]) -> Result<(), String> {
    if let Some(zero) = found.iter().find(|migration| number(&migration.version).0 == 0) {
        let name = &zero.name;
        return Err(format!(
            "{name} has the version 0, which is the schema before the first migration here; give it \
             another number"
        ));
    }
    for pair in found.windows(2) {
        let [a, b] = pair else { continue };
        if number(&a.version) == number(&b.version) {
            let (version, a, b) = (&a.version, &a.name, &b.name);
            return Err(format!("two files have version {version}: {a} and {b}; rename one"));
        }
        if number(&a.version) > number(&b.version) {
            let (a, b) = (&a.name, &b.name);
            return Err(format!(
                "dbmate goes by file names and runs {a} before {b}; give both numbers of one length"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Dbmate, Driver, check_order};
    use crate::tool::Migration;

    fn migration(version: &str) -> Migration {
        let (version, name) = (version.to_owned(), format!("{version}_x.sql"));
        Migration { version, name, up: None, down: None, is_code: false }
    }

    #[test]
    fn names_that_sort_unlike_their_numbers_are_refused() {
        let check = |versions: &[&str]| {
            check_order(&versions.iter().map(|version| migration(version)).collect::<Vec<_>>())
        };
        assert_eq!(check(&["1", "2", "3"]), Ok(()));
        assert_eq!(check(&["20240101000000", "20240102000000"]), Ok(()));
        assert!(check(&["10", "2"]).unwrap_err().contains("one length"));
        assert!(check(&["02", "2"]).unwrap_err().contains("two files"));
    }

    #[test]
    fn versions_are_in_the_order_of_numbers() {
        let rows = ["10", "9", "0011"].map(|version| vec![Some(version.to_owned())]);
        assert_eq!(Dbmate.ledger(&rows).unwrap().current(), "0011");
        assert!(Dbmate.ledger(&[vec![None]]).is_err());
    }
}
