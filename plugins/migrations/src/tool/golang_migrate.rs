//! golang-migrate: its files, its ledger of one row and its locks. Read in version 4.20.
//!
//! It never changes ledger and schema in one transaction; here they are. What it does with a version
//! without a down file is refused: it moves the ledger and runs nothing.

use std::path::Path;

use backout_plugin_api::PrepareFailure;

use super::whole::{self, Pairs, refused};
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    NOTHING, Names, Row, Script, ToolLock, entries, is_true,
};
use crate::sql;

/// What it writes for "no version" where a migration to there broke.
const NO_VERSION: &str = "-1";

/// The driver of golang-migrate.
pub(crate) struct GolangMigrate;

impl Driver for GolangMigrate {
    fn name(&self) -> &'static str {
        "golang-migrate"
    }

    fn table(&self) -> &'static str {
        "schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "dirty"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut pairs = Pairs::new(dir);
        for (name, path) in entries(dir)?.into_iter().filter(|(_, path)| path.is_file()) {
            let Some((version, direction)) = part(&name) else { continue };
            let version = i64::try_from(version).map_err(|_| {
                refused(format!("the version of {name} does not fit into golang-migrate's ledger"))
            })?;
            pairs.add(version, direction, path)?;
        }
        pairs.finish()
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        let missing = "golang-migrate would move its ledger and run nothing; write the file, or stop \
                       at a version that needs none";
        let mut script = whole::script(migration, direction, missing)?;
        script.transactional = !script.statements.iter().any(|text| is_alone(text));
        Ok(script)
    }

    fn query(&self, _: Dialect, table: &str) -> String {
        format!("SELECT version, dirty FROM {table}")
    }

    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let row = match rows {
            [] => return Ok(Ledger { only_current: true, ..Ledger::default() }),
            [row] => row,
            _ => return Err(format!("it has {} rows, where golang-migrate has one", rows.len())),
        };
        let [Some(version), dirty] = row.as_slice() else {
            return Err(format!("a row of the ledger is not readable: {row:?}"));
        };
        let dirty = is_true(dirty.as_ref()).then(|| dirty_at(version));
        let applied = if version == NO_VERSION {
            Vec::new()
        } else {
            vec![Applied { version: version.clone(), checksum: None }]
        };
        Ok(Ledger { applied, only_current: true, dirty })
    }

    fn change(&self, _: Dialect, table: &str, change: &Change<'_>) -> Result<LedgerChange, String> {
        let rows = |version: Option<&str>, dirty: &str| {
            let row = version.map(|version| {
                format!("INSERT INTO {table} (version, dirty) VALUES ({version}, {dirty})")
            });
            std::iter::once(format!("DELETE FROM {table}")).chain(row).collect()
        };
        let to = (change.to != NOTHING).then_some(change.to);
        Ok(LedgerChange {
            before: rows(Some(to.unwrap_or(NO_VERSION)), "true"),
            undo: rows((change.from != NOTHING).then_some(change.from), "false"),
            after: rows(to, "false"),
        })
    }

    fn locks(&self, dialect: Dialect, names: &Names<'_>) -> Vec<ToolLock> {
        match dialect {
            Dialect::Postgres => postgres_locks(names.schema, names.table, names.database)
                .map(ToolLock::Advisory)
                .to_vec(),
            Dialect::Mysql => vec![ToolLock::Named(mysql_lock(names.database, names.table))],
            Dialect::Sqlite => Vec::new(),
        }
    }

    fn fill_hole(&self) -> &'static str {
        "run its SQL by hand; golang-migrate never goes back to it"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let scheme = if hand.dialect == Dialect::Sqlite { "sqlite://" } else { "" };
        let note = match hand.table {
            "schema_migrations" => String::new(),
            table => format!("  # with x-migrations-table={table} in the URL"),
        };
        let migrate = format!("migrate -path '{}' -database {scheme}{}", hand.dir, hand.database);
        let go = match hand.to {
            NOTHING => format!("{migrate} down -all"),
            to => format!("{migrate} goto {to}"),
        };
        HandLines {
            commands: vec![format!("{migrate} version{note}"), go],
            verify: vec![format!("{migrate} version  # says {}", hand.to)],
        }
    }
}

/// Whether PostgreSQL runs the file outside any transaction: one statement that may not be in one.
/// Several that come together make a transaction of their own.
fn is_alone(text: &str) -> bool {
    let statements = sql::statements(Dialect::Postgres, text);
    matches!(statements.as_slice(), [only] if sql::outside(Dialect::Postgres, only).is_some())
}

fn dirty_at(version: &str) -> String {
    format!(
        "golang-migrate's ledger says `dirty` at {version}: a migration to that version, up or down, \
         broke half way; look which of its statements took effect, put the schema right by hand, and \
         say where it is with `migrate force VERSION`"
    )
}

/// `advisoryLockIDSalt` of `database/util.go`.
const LOCK_SALT: u32 = 1_486_364_155;

/// What a file's name means: its version and direction. Nothing where it is no migration.
///
/// As its own pattern, `^([0-9]+)_(.*)\.(down|up)\.(.*)$`: any extension counts, also `.sql.bak`.
fn part(name: &str) -> Option<(u64, Direction)> {
    let (digits, rest) = name.split_once('_')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (down, up) = (rest.rfind(".down."), rest.rfind(".up."));
    let direction = match (down, up) {
        (None, None) => return None,
        (down, up) if down > up => Direction::Down,
        _ => Direction::Up,
    };
    Some((digits.parse().ok()?, direction))
}

/// PostgreSQL: the keys of `pg_advisory_lock` that golang-migrate may hold on this database, that of
/// its command line first. It mixes in the database's name as the URL has it, with a slash before
/// it; a program that hands over an open connection mixes in the bare name.
fn postgres_locks(schema: &str, table: &str, database: &str) -> [i64; 2] {
    let key = |name: &str| i64::from(lock(&format!("{schema}\0{table}\0{name}")));
    [key(&format!("/{database}")), key(database)]
}

/// MariaDB and MySQL: the name given to `GET_LOCK`.
fn mysql_lock(database: &str, table: &str) -> String {
    lock(&format!("{database}:{table}")).to_string()
}

fn lock(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes()).wrapping_mul(LOCK_SALT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Direction, Driver, GolangMigrate, is_alone, lock, mysql_lock, part, postgres_locks,
    };
    use crate::tool::{Change, Dialect, Migration};

    #[test]
    fn names_are_read_as_golang_migrate_reads_them() {
        for (name, meaning) in [
            ("1_a.up.sql", Some((1, Direction::Up))),
            ("000002_a_b.down.sql", Some((2, Direction::Down))),
            ("3_.up.", Some((3, Direction::Up))),
            ("4_a.down.up.sql", Some((4, Direction::Up))),
            ("4_a.up.down.sql", Some((4, Direction::Down))),
            ("5_a.up.sql.bak", Some((5, Direction::Up))),
            ("6.up.sql", None),
            ("6_a.sql", None),
            ("x6_a.up.sql", None),
            ("_a.up.sql", None),
            ("99999999999999999999_a.up.sql", None),
        ] {
            assert_eq!(part(name), meaning, "{name}");
        }
    }

    /// The first two from its `database/util_test.go`.
    #[test]
    fn lock_ids_are_those_of_golang_migrate() {
        assert_eq!(lock("database_name"), 1_764_327_054);
        assert_eq!(lock("schema_name_1\0database_name"), 2_453_313_553);
        let keys = postgres_locks("public", "schema_migrations", "app");
        assert_eq!(keys, [1_726_534_663, 1_787_120_056]);
        assert_eq!(mysql_lock("app", "schema_migrations"), "2938252834");
    }

    #[test]
    fn one_statement_without_a_transaction_is_found() {
        for (text, is) in [
            ("CREATE INDEX CONCURRENTLY a ON b (c);", true),
            ("-- why\ndrop index concurrently a", true),
            ("DROP INDEX CONCURRENTLY a; SELECT 1;", false),
            ("DROP INDEX a;", false),
            ("", false),
        ] {
            assert_eq!(is_alone(text), is, "{text}");
        }
    }

    fn row(version: &str, dirty: &str) -> Vec<Option<String>> {
        vec![Some(version.to_owned()), Some(dirty.to_owned())]
    }

    #[test]
    fn the_one_row_says_where_the_schema_is() {
        for (rows, current, dirty) in [
            (vec![], "0", false),
            (vec![row("3", "f")], "3", false),
            (vec![row("3", "true")], "3", true),
            (vec![row("-1", "1")], "0", true),
        ] {
            let ledger = GolangMigrate.ledger(&rows).unwrap();
            assert_eq!((ledger.current(), ledger.dirty.is_some()), (current, dirty));
        }
        assert!(GolangMigrate.ledger(&[row("3", "f"), row("4", "f")]).is_err());
        assert!(GolangMigrate.ledger(&[vec![None, None]]).is_err());
    }

    #[test]
    fn before_the_first_version_there_is_no_row() {
        let migration = Migration {
            version: "1".to_owned(),
            name: "1_a.up.sql".to_owned(),
            up: None,
            down: None,
            is_code: false,
        };
        let direction = Direction::Down;
        let change = Change { migration: &migration, direction, from: "1", to: "0" };
        let sql = GolangMigrate.change(Dialect::Sqlite, "t", &change).unwrap();
        assert_eq!(sql.after, ["DELETE FROM t"]);
        assert_eq!(
            sql.before,
            ["DELETE FROM t", "INSERT INTO t (version, dirty) VALUES (-1, true)"]
        );
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_is_no_migration(name in "(?s).{0,60}") {
            prop_assert!(part(&name).is_none_or(|_| name.contains('_')));
        }

        #[test]
        fn what_it_names_is_found(
            version in any::<u64>(), title in "[a-z.]{0,8}", down in any::<bool>(),
        ) {
            let (word, direction) =
                if down { ("down", Direction::Down) } else { ("up", Direction::Up) };
            let name = format!("{version}_{title}.{word}.sql");
            prop_assert_eq!(part(&name), Some((version, direction)));
        }
    }
}
