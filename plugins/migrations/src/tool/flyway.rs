//! Flyway: its files, checksums and ledger `flyway_schema_history`, read only.
//!
//! Its undo is part of its paid editions; it adds rows of a type that the free edition refuses to
//! read. So Backout looks and plans, and a person, or a step of `exec.run`, runs `flyway undo`. Read in
//! the source of Flyway 13 and its documentation; Flyway itself was not run.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;

use super::whole::{self, file_name, refused};
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    Names, Row, Script, ToolLock, entries, read_text,
};

/// What is added to the hash of a table's name (`PostgreSQLAdvisoryLockTemplate`).
const LOCK_MAGIC: i64 = 77_431_708_279_161;

/// Rows that are not migrations: the schema that Flyway made, a lock held in the table.
const NO_MIGRATION: [&str; 2] = ["SCHEMA", "TABLE"];

/// The driver of Flyway.
pub(crate) struct Flyway;

impl Driver for Flyway {
    fn name(&self) -> &'static str {
        "Flyway"
    }

    fn table(&self) -> &'static str {
        "flyway_schema_history"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["installed_rank", "version", "type", "script", "checksum", "success"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut found: Vec<Migration> = Vec::new();
        let mut undo = Vec::new();
        for (name, path) in entries(dir)?.into_iter().filter(|(_, path)| path.is_file()) {
            match part(&name) {
                Some((Kind::Versioned, version)) => found.push(versioned(version, path)),
                Some((Kind::Undo, version)) => undo.push((version, path)),
                None => {}
            }
        }
        found.sort_by(|a, b| compare(&a.version, &b.version));
        check_once(&found).map_err(refused)?;
        for (version, path) in undo {
            let same = |migration: &&mut Migration| is_same(&migration.version, &version);
            if let Some(migration) = found.iter_mut().find(same) {
                migration.down = Some(path);
            }
        }
        Ok(found)
    }

    fn means(&self, version: &str, written: &str) -> bool {
        is_version(written) && is_same(version, written)
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        whole::script(migration, direction, "Flyway would stop here; write its `U` file")
    }

    fn query(&self, dialect: Dialect, table: &str) -> String {
        // Words of SQL in some database.
        let (version, kind, checksum) =
            (dialect.name("version"), dialect.name("type"), dialect.name("checksum"));
        format!(
            "SELECT {version}, {kind}, success, {checksum} FROM {table} WHERE installed_rank > 0 \
             ORDER BY installed_rank"
        )
    }

    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        for row in rows {
            let [version, Some(kind), success, checksum] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            // Repeatable migrations have none.
            let Some(version) = version.as_ref().filter(|version| is_version(version)) else {
                continue;
            };
            if !super::is_true(success.as_ref()) {
                ledger.dirty = Some(dirty_at(version));
            } else if kind.starts_with("UNDO") || kind == "DELETE" {
                ledger.applied.retain(|row| !is_same(&row.version, version));
            } else if !NO_MIGRATION.contains(&kind.as_str()) {
                let checksum = checksum.clone();
                ledger.applied.push(Applied { version: version.clone(), checksum });
            }
        }
        Ok(ledger)
    }

    fn verify(&self, migration: &Migration, applied: &Applied) -> Result<(), String> {
        let Some(known) = applied.checksum.as_deref() else { return Ok(()) };
        let up = migration.up.as_ref().ok_or_else(|| format!("{} is gone", migration.name))?;
        let (text, _) = read_text(up)?;
        if known == checksum(&text).to_string() {
            return Ok(());
        }
        Err(format!(
            "{} is not the file that was applied: its checksum is another than the ledger's; \
             `flyway validate` says the same",
            migration.name
        ))
    }

    fn change(&self, _: Dialect, _: &str, _: &Change<'_>) -> Result<LedgerChange, String> {
        Err(PLAN_ONLY.to_owned())
    }

    fn locks(&self, dialect: Dialect, names: &Names<'_>) -> Vec<ToolLock> {
        match dialect {
            Dialect::Postgres => vec![ToolLock::Advisory(postgres_lock(names.schema, names.table))],
            Dialect::Mysql => vec![ToolLock::Named(mysql_lock(names.schema, names.table))],
            Dialect::Sqlite => Vec::new(),
        }
    }

    fn plan_only(&self) -> Option<&'static str> {
        Some(PLAN_ONLY)
    }

    fn fill_hole(&self) -> &'static str {
        "apply it with `flyway migrate -outOfOrder=true`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let (database, dir, to) = (&hand.database, hand.dir, hand.to);
        let flyway =
            |verb: &str| format!("flyway -url={database} -locations='filesystem:{dir}' {verb}");
        let move_it = match hand.direction {
            Direction::Down => {
                format!("{}  # once for each version above {to}; a paid edition", flyway("undo"))
            }
            Direction::Up => flyway(&format!("-target={to} migrate")),
        };
        HandLines {
            commands: vec![flyway("info"), move_it],
            verify: vec![format!("{}  # the schema version is {to}", flyway("info"))],
        }
    }
}

const PLAN_ONLY: &str = "Flyway's undo writes rows that only its paid editions read, so Backout does \
                         not write its ledger; run `flyway undo` by hand or by a step of `exec.run`, \
                         and look with `migrations.assert`";

fn dirty_at(version: &str) -> String {
    format!(
        "Flyway's ledger has {version} as failed: look which of its statements took effect, put the \
         schema right by hand, then run `flyway repair`"
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Versioned,
    Undo,
}

/// What a file's name means, with the version as the ledger has it; `1_1` is `1.1`. Nothing where it
/// is no versioned migration.
fn part(name: &str) -> Option<(Kind, String)> {
    let stem = name.strip_suffix(".sql")?;
    let (kind, rest) = match stem.strip_prefix('V') {
        Some(rest) => (Kind::Versioned, rest),
        None => (Kind::Undo, stem.strip_prefix('U')?),
    };
    let version = rest.split_once("__").map_or(rest, |(version, _)| version).replace('_', ".");
    is_version(&version).then_some((kind, version))
}

fn is_version(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// As numbers between dots, zeros at the end left out: `1.0` is `1`.
fn compare(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<_> =
            text.split('.').map(|part| part.trim_start_matches('0').to_owned()).collect();
        while parts.last().is_some_and(String::is_empty) {
            parts.pop();
        }
        parts.into_iter().map(|part| (part.len(), part)).collect::<Vec<_>>()
    };
    parts(a).cmp(&parts(b))
}

fn is_same(a: &str, b: &str) -> bool {
    compare(a, b) == Ordering::Equal
}

fn versioned(version: String, path: PathBuf) -> Migration {
    Migration { version, name: file_name(&path), up: Some(path), down: None, is_code: false }
}

fn check_once(found: &[Migration]) -> Result<(), String> {
    for pair in found.windows(2) {
        let [a, b] = pair else { continue };
        if is_same(&a.version, &b.version) {
            let (version, a, b) = (&a.version, &a.name, &b.name);
            return Err(format!("two files have version {version}: {a} and {b}; rename one"));
        }
    }
    Ok(())
}

/// CRC-32 of the lines without their ends, a byte order mark left out.
fn checksum(text: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for part in text.split(['\n', '\r']) {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().cast_signed()
}

/// PostgreSQL: the key of its advisory lock.
fn postgres_lock(schema: &str, table: &str) -> i64 {
    let hash = java_hash(&format!("\"{schema}\".\"{table}\""));
    LOCK_MAGIC.wrapping_add(i64::from(hash))
}

/// MariaDB and MySQL: the name given to `GET_LOCK`.
fn mysql_lock(schema: &str, table: &str) -> String {
    format!("Flyway-{}", java_hash(&format!("`{schema}`.`{table}`")))
}

/// Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit.cast_signed()) & 0xffff)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Driver, Flyway, Kind, checksum, compare, is_same, java_hash, part, postgres_lock};

    #[test]
    fn names_are_read_as_flyway_reads_them() {
        for (name, meaning) in [
            ("V1__Initial.sql", Some((Kind::Versioned, "1"))),
            ("V2_1__Add_x.sql", Some((Kind::Versioned, "2.1"))),
            ("V2.10.sql", Some((Kind::Versioned, "2.10"))),
            ("U2.1__Add_x.sql", Some((Kind::Undo, "2.1"))),
            ("R__View.sql", None),
            ("V__x.sql", None),
            ("V1__x.java", None),
            ("Vx__x.sql", None),
        ] {
            let found = part(name);
            let found = found.as_ref().map(|(kind, version)| (*kind, version.as_str()));
            assert_eq!(found, meaning, "{name}");
        }
    }

    #[test]
    fn versions_are_numbers_between_dots() {
        assert!(is_same("1", "1.0.0") && is_same("01.2", "1.2"));
        for (low, high) in [("1.9", "1.10"), ("2", "10"), ("1", "1.0.1"), ("20240101", "20240102")]
        {
            assert!(compare(low, high).is_lt(), "{low} {high}");
        }
    }

    /// Java's own value for the text; the lock's as its documentation of the formula gives it.
    #[test]
    fn locks_and_checksums_are_those_of_flyway() {
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(postgres_lock("public", "flyway_schema_history"), 77_433_833_903_597);
        assert_eq!(checksum("\u{feff}123\r\n456\r789\n"), 0xcbf4_3926_u32.cast_signed());
        assert_eq!(checksum(""), 0);
    }

    #[test]
    fn an_undo_is_a_row_of_its_own() {
        let row = |version: &str, kind: &str, success: &str| {
            let text = |text: &str| Some(text.to_owned());
            vec![text(version), text(kind), text(success), None]
        };
        let mut rows = vec![row("1", "SQL", "t"), row("2", "SQL", "1"), row("2", "UNDO_SQL", "t")];
        rows.push(vec![None, Some("SQL".to_owned()), Some("t".to_owned()), Some("5".to_owned())]);
        assert_eq!(Flyway.ledger(&rows).unwrap().current(), "1");
        rows.push(row("2", "SQL", "t"));
        assert_eq!(Flyway.ledger(&rows).unwrap().current(), "2");
        rows.push(row("3", "SQL", "f"));
        assert!(Flyway.ledger(&rows).unwrap().dirty.is_some());
        assert!(Flyway.ledger(&[vec![None; 3]]).is_err());
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_is_no_migration(name in "(?s).{0,40}", text in "(?s).{0,80}") {
            drop((part(&name), part(&format!("V{name}.sql")), checksum(&text), java_hash(&text)));
        }

        #[test]
        fn the_order_of_versions_is_one(a in "[0-9.]{1,8}", b in "[0-9.]{1,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }

        #[test]
        fn line_ends_do_not_change_a_checksum(lines in prop::collection::vec("[a-z ]{0,9}", 0..6)) {
            prop_assert_eq!(checksum(&lines.join("\n")), checksum(&lines.join("\r\n")));
        }
    }
}
