//! goose: its files, its ledger `goose_db_version`, its locks. Read in goose 3.27.3.

use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;

use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    Names, Row, Script, ToolLock, by_number, entries, is_true, read_text,
};
use crate::sql;

mod parse;

use parse::{Section, parse, version_of};

/// The key of goose's session lock: CRC-32 of `goose` (`lock/postgres.go`). Its command takes none,
/// its library takes this one where it is told to.
const ADVISORY_KEY: i64 = 4_097_083_626;

/// Where goose's library keeps its other lock, a row with a lease.
const LOCK_TABLE: &str = "goose_lock";

/// The driver of goose.
pub(crate) struct Goose;

impl Driver for Goose {
    fn name(&self) -> &'static str {
        "goose"
    }

    fn table(&self) -> &'static str {
        "goose_db_version"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["id", "version_id", "is_applied"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let files = entries(dir)?;
        by_number(dir, files.into_iter().filter_map(|(name, path)| migration(name, path)).collect())
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        let name = &migration.name;
        if migration.is_code {
            return Err(format!(
                "{name} is written in Go and compiled into its owner's program; run that program's \
                 own `{}` by a step of `exec.run`",
                direction.word()
            ));
        }
        let path = migration.down.as_ref().ok_or_else(|| format!("{name} has no file"))?;
        let (text, sha256) = read_text(path)?;
        let section = parse(&text, direction).map_err(|why| format!("{name}: {why}"))?;
        check(&section, direction, name)?;
        Ok(Script {
            transactional: !section.no_transaction,
            statements: section.statements,
            file: name.clone(),
            sha256,
        })
    }

    fn query(&self, _: Dialect, table: &str) -> String {
        format!("SELECT version_id, is_applied FROM {table} ORDER BY id")
    }

    /// The last row of a version decides; very old ledgers hold rows that are not applied.
    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut seen = std::collections::BTreeSet::new();
        let mut applied = Vec::new();
        for row in rows.iter().rev() {
            let [Some(version), is_applied] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            if seen.insert(version) && version != super::NOTHING && is_true(is_applied.as_ref()) {
                applied.push(Applied { version: version.clone(), checksum: None });
            }
        }
        applied.reverse();
        Ok(Ledger { applied, ..Ledger::default() })
    }

    fn change(
        &self,
        dialect: Dialect,
        table: &str,
        change: &Change<'_>,
    ) -> Result<LedgerChange, String> {
        let version = &change.migration.version;
        Ok(self::change(dialect, table, version, change.direction))
    }

    fn version_column(&self) -> &'static str {
        "version_id"
    }

    fn locks(&self, dialect: Dialect, _: &Names<'_>) -> Vec<ToolLock> {
        if dialect != Dialect::Postgres {
            return Vec::new();
        }
        let held = format!(
            "SELECT coalesce(locked_by, 'somebody') || ', since ' || coalesce(locked_at::text, '?') \
             FROM {LOCK_TABLE} WHERE locked AND lease_expires_at > now() FOR UPDATE"
        );
        let table = LOCK_TABLE.to_owned();
        vec![ToolLock::Advisory(ADVISORY_KEY), ToolLock::Table { table, held }]
    }

    fn fill_hole(&self) -> &'static str {
        "apply it with `goose up --allow-missing`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let table = match hand.table {
            "goose_db_version" => String::new(),
            table => format!(" -table '{table}'"),
        };
        let driver = match hand.dialect {
            Dialect::Postgres => "postgres",
            Dialect::Mysql => "mysql",
            Dialect::Sqlite => "sqlite3",
        };
        let goose = format!("goose -dir '{}'{table} {driver} {}", hand.dir, hand.database);
        let (word, to) = (hand.direction.word(), hand.to);
        HandLines {
            commands: vec![format!("{goose} status"), format!("{goose} {word}-to {to}")],
            verify: vec![format!("{goose} version  # says {to}"), format!("{goose} status")],
        }
    }
}

/// How the ledger changes; `table` is quoted.
pub(crate) fn change(
    dialect: Dialect,
    table: &str,
    version: &str,
    direction: Direction,
) -> LedgerChange {
    let yes = if dialect == Dialect::Sqlite { "1" } else { "true" };
    let sql = match direction {
        Direction::Down => format!("DELETE FROM {table} WHERE version_id = {version}"),
        Direction::Up => {
            format!("INSERT INTO {table} (version_id, is_applied) VALUES ({version}, {yes})")
        }
    };
    LedgerChange { after: vec![sql], ..LedgerChange::default() }
}

/// Files without a version are no migrations.
fn migration(name: String, path: PathBuf) -> Option<Migration> {
    let is_code = match Path::new(&name).extension()?.to_str()? {
        "sql" => false,
        "go" if !name.ends_with("_test.go") => true,
        _ => return None,
    };
    let version = version_of(&name)?.to_string();
    Some(Migration { version, name, up: Some(path.clone()), down: Some(path), is_code })
}

fn check(section: &Section, direction: Direction, name: &str) -> Result<(), String> {
    if section.environment {
        return Err(format!(
            "{name} says `ENVSUB ON`: its text depends on goose's environment; run it with goose \
             by a step of `exec.run`"
        ));
    }
    let is_empty = section.statements.iter().all(|statement| sql::is_empty(statement));
    if direction == Direction::Down && is_empty {
        return Err(format!(
            "{name} has no SQL under `-- +goose Down`: goose would take its row from the ledger and \
             leave the schema as it is; write the section, or stop at its version"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Driver, Goose};

    #[test]
    fn the_last_row_of_a_version_decides() {
        let rows = [("0", "t"), ("1", "true"), ("2", "1"), ("2", "f"), ("3", "t")];
        let rows: Vec<_> =
            rows.map(|(v, is)| vec![Some(v.to_owned()), Some(is.to_owned())]).to_vec();
        let ledger = Goose.ledger(&rows).unwrap();
        assert_eq!((ledger.current(), ledger.has("1"), ledger.has("2")), ("3", true, false));
        assert!(Goose.ledger(&[vec![None, None]]).is_err());
    }
}
