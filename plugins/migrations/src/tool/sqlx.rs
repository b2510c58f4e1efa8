//! sqlx: its files, checksums, ledger `_sqlx_migrations` and locks. Read in version 0.9
//! (`sqlx-core/src/migrate`).
//!
//! What its own `revert` does with an applied migration that has no `.down.sql` is refused: it
//! passes over it in silence and reverts the one below.

use std::path::Path;

use backout_plugin_api::PrepareFailure;
use sha2::{Digest, Sha384};

use super::whole::{self, Pairs, file_name, refused};
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    Names, Row, Script, ToolLock, entries, is_true, read_text,
};

/// The driver of sqlx.
pub(crate) struct Sqlx;

impl Driver for Sqlx {
    fn name(&self) -> &'static str {
        "sqlx"
    }

    fn table(&self) -> &'static str {
        "_sqlx_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "description", "installed_on", "success", "checksum", "execution_time"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut pairs = Pairs::new(dir);
        for (name, path) in entries(dir)?.into_iter().filter(|(_, path)| path.is_file()) {
            if let Some(part) = part(&name).map_err(refused)? {
                pairs.add(part.version, part.direction, path)?;
            }
        }
        pairs.finish()
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        let missing = "sqlx would pass over it and revert the version below; write its `.down.sql` \
                       (and name the other `.up.sql`), or stop at its version";
        let mut script = whole::script(migration, direction, missing)?;
        script.transactional = !script.statements.concat().starts_with(NO_TRANSACTION);
        Ok(script)
    }

    fn query(&self, dialect: Dialect, table: &str) -> String {
        let hex = match dialect {
            Dialect::Postgres => "encode(checksum, 'hex')",
            Dialect::Mysql | Dialect::Sqlite => "lower(hex(checksum))",
        };
        format!("SELECT version, success, {hex} FROM {table} ORDER BY installed_on, version")
    }

    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        for row in rows {
            let [Some(version), success, checksum] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            if !is_true(success.as_ref()) {
                ledger.dirty = Some(dirty_at(version));
            }
            ledger.applied.push(Applied { version: version.clone(), checksum: checksum.clone() });
        }
        Ok(ledger)
    }

    fn verify(&self, migration: &Migration, applied: &Applied) -> Result<(), String> {
        let sum = hex(&checksum(&read_up(migration)?));
        if applied.checksum.as_ref() == Some(&sum) {
            return Ok(());
        }
        Err(format!(
            "{} is not the file that was applied: its SHA-384 is another than the ledger's; take \
             the file of the release that made this schema",
            migration.name
        ))
    }

    /// On MariaDB sqlx marks the row as not successful meanwhile; elsewhere it is one transaction.
    fn change(
        &self,
        dialect: Dialect,
        table: &str,
        change: &Change<'_>,
    ) -> Result<LedgerChange, String> {
        let version = &change.migration.version;
        let row = format!("WHERE version = {version}");
        let mark = |success| format!("UPDATE {table} SET success = {success} {row}");
        let (before, after) = match (change.direction, dialect) {
            (Direction::Down, _) => (mark("false"), format!("DELETE FROM {table} {row}")),
            (Direction::Up, Dialect::Mysql) => {
                (insert(dialect, table, change.migration, "false")?, mark("true"))
            }
            (Direction::Up, _) => {
                let after = insert(dialect, table, change.migration, "true")?;
                return Ok(LedgerChange { after: vec![after], ..LedgerChange::default() });
            }
        };
        let before = if dialect == Dialect::Mysql { vec![before] } else { Vec::new() };
        let undo = match change.direction {
            Direction::Down => mark("true"),
            Direction::Up => format!("DELETE FROM {table} {row}"),
        };
        let undo = if before.is_empty() { Vec::new() } else { vec![undo] };
        Ok(LedgerChange { before, undo, after: vec![after] })
    }

    fn locks(&self, dialect: Dialect, names: &Names<'_>) -> Vec<ToolLock> {
        match dialect {
            Dialect::Postgres => vec![ToolLock::Advisory(postgres_lock(names.database))],
            Dialect::Mysql => vec![ToolLock::Named(mysql_lock(names.database))],
            Dialect::Sqlite => Vec::new(),
        }
    }

    fn fill_hole(&self) -> &'static str {
        "apply it with `sqlx migrate run`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let scheme = if hand.dialect == Dialect::Sqlite { "sqlite:" } else { "" };
        let (database, dir, to) = (&hand.database, hand.dir, hand.to);
        let sqlx = |verb: &str| {
            format!("sqlx migrate {verb} --database-url {scheme}{database} --source '{dir}'")
        };
        let verb = match hand.direction {
            Direction::Down => sqlx("revert"),
            Direction::Up => sqlx("run"),
        };
        HandLines {
            commands: vec![sqlx("info"), format!("{verb} --target-version {to}")],
            verify: vec![format!("{}  # {to} and those below are installed", sqlx("info"))],
        }
    }
}

fn dirty_at(version: &str) -> String {
    format!(
        "sqlx's ledger has {version} as not successful: it broke half way; look which of its \
         statements took effect, put the schema right by hand, then delete its row or set `success`"
    )
}

fn read_up(migration: &Migration) -> Result<String, String> {
    let up = migration.up.as_ref().ok_or_else(|| {
        format!("{} has no way up; its checksum cannot be looked at", migration.name)
    })?;
    read_text(up).map(|(text, _)| text)
}

/// The time is not known before the commit; sqlx itself writes -1 there at first.
fn insert(
    dialect: Dialect,
    table: &str,
    migration: &Migration,
    success: &str,
) -> Result<String, String> {
    let sum = dialect.bytes(&hex(&checksum(&read_up(migration)?)));
    let name = migration.up.as_deref().map(file_name).unwrap_or_default();
    let description = part(&name)?.map(|part| part.description).unwrap_or_default();
    let (version, description) = (&migration.version, dialect.text(&description));
    Ok(format!(
        "INSERT INTO {table} (version, description, success, checksum, execution_time) VALUES \
         ({version}, {description}, {success}, {sum}, -1)"
    ))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// The number that the crate's locks are made from.
const LOCK_FACTOR: i64 = 0x3d32_ad9e;
/// A file that begins with this wants no transaction; on MariaDB there is none either way.
const NO_TRANSACTION: &str = "-- no-transaction";

/// What a file's name means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    version: i64,
    /// As it stands in the ledger.
    description: String,
    direction: Direction,
}

/// What a file's name means; nothing where it is no migration.
///
/// # Errors
/// No version can be read from it: sqlx then reads none of the folder.
fn part(name: &str) -> Result<Option<Part>, String> {
    let is_sql = name.strip_suffix(".sql").is_some();
    let Some((version, rest)) = name.split_once('_').filter(|_| is_sql) else { return Ok(None) };
    let version = version.parse().ok().filter(|version| *version > 0);
    let version = version
        .ok_or_else(|| format!("{name} does not begin with a number above 0, as sqlx wants"))?;
    let (direction, suffix) = match rest {
        _ if rest.ends_with(".up.sql") => (Direction::Up, ".up.sql"),
        _ if rest.ends_with(".down.sql") => (Direction::Down, ".down.sql"),
        // A way up that has no way down.
        _ => (Direction::Up, ".sql"),
    };
    let description = rest.trim_end_matches(suffix).replace('_', " ");
    Ok(Some(Part { version, description, direction }))
}

/// What the ledger has as the checksum of an up file.
fn checksum(text: &str) -> Vec<u8> {
    Sha384::digest(text).to_vec()
}

/// PostgreSQL: the key of `pg_advisory_lock` that the library holds. Its command line takes none.
fn postgres_lock(database: &str) -> i64 {
    LOCK_FACTOR.wrapping_mul(i64::from(crc32fast::hash(database.as_bytes())))
}

/// MariaDB and MySQL: the name given to `GET_LOCK`. sqlx gives -1 as its wait, which MariaDB refuses:
/// there it has no lock, and ours keeps only our own kind out.
fn mysql_lock(database: &str) -> String {
    format!("{:x}", postgres_lock(database))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Direction, Part, checksum, hex, mysql_lock, part, postgres_lock};

    #[test]
    fn names_are_read_as_sqlx_reads_them() {
        let is = |version, description: &str, direction| {
            Ok(Some(Part { version, description: description.to_owned(), direction }))
        };
        assert_eq!(part("01_add_users.sql"), is(1, "add users", Direction::Up));
        assert_eq!(part("2_b.up.sql"), is(2, "b", Direction::Up));
        assert_eq!(part("2_b_.down.sql"), is(2, "b ", Direction::Down));
        assert_eq!(part("3_.sql"), is(3, "", Direction::Up));
        assert_eq!(part("4_a.sql.sql"), is(4, "a", Direction::Up));
        assert_eq!(part("README_first.md"), Ok(None));
        assert_eq!(part("1.sql"), Ok(None));
        for name in ["a_b.sql", "_b.sql", "0_b.sql", "-1_b.sql", "99999999999999999999_b.sql"] {
            assert!(part(name).is_err(), "{name}");
        }
    }

    #[test]
    fn locks_and_checksums_are_those_of_sqlx() {
        assert_eq!(postgres_lock("app"), 3_469_795_979_745_788_610);
        assert_eq!(mysql_lock("app"), "3027310f4fd382c2");
        let hex = hex(&checksum("abc"));
        assert!(hex.starts_with("cb00753f45a35e8bb5a03d699ac65007") && hex.len() == 96, "{hex}");
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_refused(name in "(?s).{0,60}", tail in "(\\.up|\\.down)?\\.sql") {
            drop(part(&name));
            if let Ok(Some(part)) = part(&format!("{name}{tail}")) {
                prop_assert!(part.version > 0);
            }
        }
    }
}
