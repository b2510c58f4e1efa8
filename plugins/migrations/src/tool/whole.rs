//! What the tools have in common that keep a file for each direction and send it as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;

use super::{Direction, Migration, Script, read_text};
use crate::sql;

/// A refusal for `prepare`.
pub(super) fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads one direction of a migration that has a file for each; the text is the one statement.
///
/// `missing` says what the tool does, or would do, where the way down is missing or empty.
pub(super) fn script(
    migration: &Migration,
    direction: Direction,
    missing: &str,
) -> Result<Script, String> {
    let path = match direction {
        Direction::Up => migration.up.as_deref(),
        Direction::Down => migration.down.as_deref(),
    };
    let word = direction.word();
    let path = path
        .ok_or_else(|| format!("{} has no file for the way {word}: {missing}", migration.name))?;
    let (text, sha256) = read_text(path)?;
    let file = file_name(path);
    if direction == Direction::Down && sql::is_empty(&text) {
        return Err(format!("{file} has no SQL: {missing}"));
    }
    Ok(Script { statements: vec![text], transactional: true, file, sha256 })
}

/// A path's last part, for people.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Joins the files of each version; one version may have one file of a direction.
pub(super) struct Pairs<'a> {
    dir: &'a Path,
    found: BTreeMap<i64, Migration>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir, found: BTreeMap::new() }
    }

    /// Adds a file; the way up gives the migration its name.
    pub(super) fn add(
        &mut self,
        version: i64,
        direction: Direction,
        path: PathBuf,
    ) -> Result<&mut Migration, PrepareFailure> {
        let name = file_name(&path);
        let migration = self.found.entry(version).or_insert_with(|| Migration {
            version: version.to_string(),
            name: name.clone(),
            up: None,
            down: None,
            is_code: false,
        });
        let place = match direction {
            Direction::Up => &mut migration.up,
            Direction::Down => &mut migration.down,
        };
        if let Some(other) = place.replace(path) {
            return Err(refused(format!(
                "{} has two files for {version} {}: {} and {name}; take one away",
                self.dir.display(),
                direction.word(),
                file_name(&other),
            )));
        }
        if direction == Direction::Up {
            migration.name = name;
        }
        Ok(migration)
    }

    /// The migrations by version.
    pub(super) fn finish(self) -> Result<Vec<Migration>, PrepareFailure> {
        if let Some(zero) = self.found.get(&0) {
            return Err(refused(format!(
                "{} has the version 0, which is the schema before the first migration here; give it \
                 another number",
                zero.name
            )));
        }
        Ok(self.found.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use crate::tool::{Change, Dialect, Direction, Hand, Migration, Names, Tool};

    const VALUES: [&str; 12] = [
        "0",
        "1",
        "-1",
        "t",
        "",
        "00000000000000",
        "1.1",
        "2025-01-01T00:00:00.1Z",
        "1_a.sql",
        "99999999999999999999",
        "SQL",
        "UNDO_SQL",
    ];

    proptest! {
        #[test]
        fn any_rows_are_a_ledger_or_refused(
            tool in select(&Tool::ALL[..]),
            rows in prop::collection::vec(
                prop::collection::vec(
                    prop::option::of(prop_oneof![select(&VALUES[..]).prop_map(str::to_owned), ".{0,8}"]),
                    0..5,
                ),
                0..5,
            ),
        ) {
            let driver = tool.driver();
            if let Ok(ledger) = driver.ledger(&rows) {
                prop_assert!(ledger.applied.len() <= rows.len());
                for version in &ledger.applied {
                    prop_assert!(driver.means(&version.version, &version.version) || tool == Tool::Flyway);
                }
            }
        }

        /// What stands in a name or a version never leaves its quotes.
        #[test]
        fn any_version_gives_sql_with_balanced_quotes(
            tool in select(&Tool::ALL[..]), version in "[a-z0-9'\\\\\"]{1,8}", up in any::<bool>(),
        ) {
            let direction = if up { Direction::Up } else { Direction::Down };
            // goose, golang-migrate, sqlx and refinery have numbers by then.
            prop_assume!(matches!(tool, Tool::SqlMigrate | Tool::Dbmate | Tool::Diesel));
            let migration = Migration {
                version: version.clone(), name: version, up: None, down: None, is_code: false,
            };
            let change = Change { migration: &migration, direction, from: "2", to: "1" };
            let sql = tool.driver().change(Dialect::Sqlite, "t", &change).unwrap();
            for statement in sql.after {
                prop_assert_eq!(statement.matches('\'').count() % 2, 0, "{}", statement);
            }
        }
    }

    const PIECES: [&str; 16] = [
        "1", "2", "07", "0", "_", "__", "a", "-", ".", ".up", ".down", ".sql", ".go", ".rs", "V",
        "U",
    ];
    const LINES: [&str; 10] = [
        "SELECT 1;",
        "-- +goose Up",
        "-- +goose Down",
        "-- +migrate Up",
        "-- +migrate Down notransaction",
        "-- migrate:up",
        "-- migrate:down transaction:false",
        "-- no-transaction",
        "';",
        "/*",
    ];

    proptest! {
        // Each case writes a folder.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_folder_is_read_or_refused(
            names in prop::collection::vec(prop::collection::vec(select(&PIECES[..]), 1..7), 0..8),
            lines in prop::collection::vec(select(&LINES[..]), 0..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            for name in &names {
                // `.` alone is no name.
                let _made = std::fs::write(dir.path().join(name.concat()), lines.join("\n"));
            }
            for tool in Tool::ALL {
                let driver = tool.driver();
                for migration in driver.list(dir.path()).unwrap_or_default() {
                    prop_assert!(driver.means(&migration.version, &migration.version));
                    let (up, down) = (Direction::Up, Direction::Down);
                    drop(driver.script(&migration, up));
                    let back = driver.script(&migration, down);
                    prop_assert!(back.is_err() || migration.down.is_some(), "{migration:?}");
                }
            }
        }
    }

    #[test]
    fn each_tool_tells_what_to_type_and_has_its_locks() {
        let names = Names { database: "app", schema: "public", table: "t" };
        for tool in Tool::ALL {
            let driver = tool.driver();
            for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
                let (dir, table, to) = ("m", driver.table(), "3");
                for direction in [Direction::Up, Direction::Down] {
                    let database = "\"$URL\"".to_owned();
                    let hand = Hand { dialect, database, dir, table, direction, to };
                    let lines = driver.by_hand(&hand);
                    assert!(!lines.commands.is_empty() && !lines.verify.is_empty(), "{tool:?}");
                }
                assert!(dialect != Dialect::Sqlite || driver.locks(dialect, &names).is_empty());
                let query = driver.query(dialect, "t") + " ";
                assert!(query.contains(" FROM t "), "{tool:?}");
            }
        }
    }
}
