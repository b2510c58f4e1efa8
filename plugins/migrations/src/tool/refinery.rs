//! refinery: its files, checksums and ledger `refinery_schema_history`. Read in version 0.10; it takes
//! no lock.
//!
//! It has no way down. Ours are files beside its own, `V3__name.down.sql` for `V3__name.sql`: its
//! reader goes through folders recursively and runs a second `V3__name.sql` with other SQL as one more
//! migration, while a name with two dots is none of its own (it logs a warning). Its `U` files
//! are migrations without an order, no undo.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;
use chrono::{DateTime, Utc};
use siphasher::sip::SipHasher13;

use super::whole::{self, Pairs, file_name, refused};
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    Row, Script, entries, read_text,
};

/// Folders within folders: a link that leads back would never end.
const DEPTH_MAX: usize = 16;

/// The driver of refinery.
pub(crate) struct Refinery;

impl Driver for Refinery {
    fn name(&self) -> &'static str {
        "refinery"
    }

    fn table(&self) -> &'static str {
        "refinery_schema_history"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "name", "applied_on", "checksum"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut pairs = Pairs::new(dir);
        for path in files(dir)? {
            let Some(part) = part(&file_name(&path)).map_err(refused)? else { continue };
            let direction = if part.kind == Kind::Down { Direction::Down } else { Direction::Up };
            let migration = pairs.add(part.version, direction, path)?;
            migration.is_code |= part.kind == Kind::Code;
        }
        pairs.finish()
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        if migration.is_code && direction == Direction::Up {
            return Err(format!(
                "{} is written in Rust and compiled into its owner's program; run that program by a \
                 step of `exec.run`",
                migration.name
            ));
        }
        let up = migration.up.as_deref().map(file_name).unwrap_or_default();
        let missing = format!(
            "refinery has no way down; write one as {} beside it, or go forward with a new migration",
            down_file(&up)
        );
        whole::script(migration, direction, &missing)
    }

    fn query(&self, _: Dialect, table: &str) -> String {
        format!("SELECT version, applied_on, checksum FROM {table} ORDER BY version")
    }

    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut found = Vec::new();
        for row in rows {
            let [Some(version), Some(at), checksum] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            let at = DateTime::parse_from_rfc3339(at)
                .map_err(|error| format!("`applied_on` of {version} is not readable: {error}"))?;
            let applied = Applied { version: version.clone(), checksum: checksum.clone() };
            found.push((at.with_timezone(&Utc), applied));
        }
        // Stable: of one moment, the lower version was first.
        found.sort_by_key(|(at, _)| *at);
        let applied = found.into_iter().map(|(_, applied)| applied).collect();
        Ok(Ledger { applied, ..Ledger::default() })
    }

    fn verify(&self, migration: &Migration, applied: &Applied) -> Result<(), String> {
        if migration.is_code {
            // Only the program knows the text that its code gives.
            return Ok(());
        }
        let known = applied.checksum.as_deref().and_then(|text| text.parse().ok());
        let sums = sums(migration)?;
        if known.is_some() && (known == sums.four || known == Some(sums.eight)) {
            return Ok(());
        }
        Err(format!(
            "{} is not the file that was applied: its checksum is another than the ledger's; take \
             the file of the release that made this schema",
            migration.name
        ))
    }

    fn change(
        &self,
        dialect: Dialect,
        table: &str,
        change: &Change<'_>,
    ) -> Result<LedgerChange, String> {
        let version = &change.migration.version;
        let sql = match change.direction {
            Direction::Down => format!("DELETE FROM {table} WHERE version = {version}"),
            Direction::Up => insert(dialect, table, change.migration)?,
        };
        Ok(LedgerChange { after: vec![sql], ..LedgerChange::default() })
    }

    fn fill_hole(&self) -> &'static str {
        "apply it with a program that says `set_abort_missing(false)`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let (table, to) = (hand.table, hand.to);
        let shell = match hand.dialect {
            Dialect::Postgres => format!("psql --single-transaction {}", hand.database),
            Dialect::Mysql => format!("mariadb DATABASE  # {}", hand.database),
            Dialect::Sqlite => format!("sqlite3 {}", hand.database),
        };
        let commands = match hand.direction {
            Direction::Down => vec![format!(
                "{shell}  # for each version above {to}, highest first: the SQL of its \
                 `V…__….down.sql`, then DELETE FROM {table} WHERE version = …"
            )],
            Direction::Up => vec![format!(
                "start the service, or `refinery migrate -p '{}'`: refinery goes to the newest file",
                hand.dir
            )],
        };
        let verify = format!("{shell}  # SELECT max(version) FROM {table} says {to}");
        HandLines { commands, verify: vec![verify] }
    }
}

/// The files of a folder and of those in it, as refinery walks them.
fn files(dir: &Path) -> Result<Vec<PathBuf>, PrepareFailure> {
    let mut found = Vec::new();
    let mut folders = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for (_, path) in entries(&folder)? {
            // Links to folders are not followed there.
            if path.is_dir() && !path.is_symlink() {
                if depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                }
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The checksums of a way up, in both widths.
struct Sums {
    four: Option<u64>,
    eight: u64,
    /// As it stands in the ledger.
    name: String,
}

fn sums(migration: &Migration) -> Result<Sums, String> {
    let up = migration.up.as_deref().ok_or_else(|| {
        format!("{} has no way up; its checksum cannot be looked at", migration.name)
    })?;
    let (text, _) = read_text(up)?;
    let part = part(&file_name(up))?.ok_or_else(|| format!("{} has no version", migration.name))?;
    let short = i32::try_from(part.version).ok();
    Ok(Sums {
        four: short.map(|version| checksum(&part.name, version, &text)),
        eight: checksum(&part.name, part.version, &text),
        name: part.name,
    })
}

/// The width of versions is a choice when the service is built and part of the checksum; the column
/// shows it, also where no row is left.
fn insert(dialect: Dialect, table: &str, migration: &Migration) -> Result<String, String> {
    let sums = sums(migration)?;
    let now = match dialect {
        Dialect::Postgres => {
            "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        }
        Dialect::Mysql => "date_format(utc_timestamp(6), '%Y-%m-%dT%H:%i:%s.%fZ')",
        Dialect::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    };
    let eight = sums.eight;
    let sum = sums.four.map_or_else(
        || format!("'{eight}'"),
        |four| format!("CASE WHEN {} THEN '{eight}' ELSE '{four}' END", is_wide(dialect, table)),
    );
    let (version, name) = (&migration.version, dialect.text(&sums.name));
    Ok(format!(
        "INSERT INTO {table} (version, name, applied_on, checksum) VALUES ({version}, {name}, {now}, \
         {sum})"
    ))
}

/// Whether the ledger's versions have 8 bytes; `table` is quoted.
fn is_wide(dialect: Dialect, table: &str) -> String {
    match dialect {
        Dialect::Postgres => format!(
            "EXISTS (SELECT FROM pg_attribute WHERE attrelid = {}::regclass AND attname = 'version' \
             AND atttypid = 'int8'::regtype)",
            dialect.text(table)
        ),
        Dialect::Mysql => format!(
            "EXISTS (SELECT 1 FROM information_schema.columns WHERE table_schema = database() AND \
             table_name = {} AND column_name = 'version' AND data_type = 'bigint')",
            dialect.text(bare(table, '`'))
        ),
        Dialect::Sqlite => format!(
            "EXISTS (SELECT 1 FROM pragma_table_info({}) WHERE name = 'version' AND lower(type) = \
             'int8')",
            dialect.text(bare(table, '"'))
        ),
    }
}

/// A quoted table's own name, without its schema.
fn bare(table: &str, quote: char) -> &str {
    let name = table.trim_matches(quote);
    name.rsplit_once(&format!("{quote}.{quote}")).map_or(name, |(_, name)| name)
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A way up, of `V` files.
    Versioned,
    /// A way up that may be applied late, of `U` files.
    Unversioned,
    /// A way down of ours.
    Down,
    /// Written in Rust, compiled into the service.
    Code,
}

/// What a file's name means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    version: i64,
    /// As it stands in the ledger and in the checksum.
    name: String,
    kind: Kind,
}

/// What a file's name means; nothing where it is no migration.
///
/// # Errors
/// refinery refuses its version: one with a dot, or one that is too large.
fn part(file: &str) -> Result<Option<Part>, String> {
    let Some((stem, kind)) = kind(file) else { return Ok(None) };
    let Some((version, name)) = stem.split_once("__") else { return Ok(None) };
    let is_version = version.split('.').count() <= 2
        && version
            .split('.')
            .all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = !name.is_empty() && name.chars().all(is_word);
    if !is_version || !is_name {
        return Ok(None);
    }
    let version = version.parse().map_err(|_| {
        format!(
            "refinery cannot read the version of {file}: it takes whole numbers of 4 or 8 bytes"
        )
    })?;
    Ok(Some(Part { version, name: name.to_owned(), kind }))
}

/// The name without prefix and endings, and the kind.
fn kind(file: &str) -> Option<(&str, Kind)> {
    if let Some(stem) = file.strip_suffix(".rs") {
        return Some((stem.strip_prefix(['V', 'U'])?, Kind::Code));
    }
    let stem = file.strip_suffix(".sql")?;
    if let Some(stem) = stem.strip_suffix(".down") {
        return Some((stem.strip_prefix(['V', 'U'])?, Kind::Down));
    }
    let unversioned = stem.strip_prefix('U').map(|stem| (stem, Kind::Unversioned));
    unversioned.or_else(|| Some((stem.strip_prefix('V')?, Kind::Versioned)))
}

/// The regular expression's `\w`, nearly: letters and digits of any script, and `_`.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What the ledger has as the checksum of a way up; `version` is an `i32` or an `i64`.
fn checksum(name: &str, version: impl Hash, sql: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    version.hash(&mut hasher);
    sql.hash(&mut hasher);
    hasher.finish()
}

/// The name of the file that we look for beside a way up.
fn down_file(up: &str) -> String {
    let stem = up.rsplit_once('.').map_or(up, |(stem, _)| stem);
    format!("{stem}.{}.sql", Direction::Down.word())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Kind, Part, checksum, down_file, part};

    #[test]
    fn names_are_read_as_refinery_reads_them() {
        let is =
            |version, name: &str, kind| Ok(Some(Part { version, name: name.to_owned(), kind }));
        assert_eq!(part("V1__initial.sql"), is(1, "initial", Kind::Versioned));
        assert_eq!(part("U02__late_one.sql"), is(2, "late_one", Kind::Unversioned));
        assert_eq!(part("V3__a.rs"), is(3, "a", Kind::Code));
        assert_eq!(part("V3__a__b.down.sql"), is(3, "a__b", Kind::Down));
        for name in
            ["V1_a.sql", "V__a.sql", "V1__.sql", "V1__a b.sql", "R1__a.sql", "V1__a.sql.bak"]
        {
            assert_eq!(part(name), Ok(None), "{name}");
        }
        for name in ["V1.1__a.sql", "V99999999999999999999__a.sql"] {
            assert!(part(name).is_err(), "{name}");
        }
        assert_eq!(down_file("V3__a.sql"), "V3__a.down.sql");
    }

    /// The first made with refinery's own library.
    #[test]
    fn checksums_are_those_of_refinery() {
        let sql = "CREATE TABLE persons (id int);\n";
        assert_eq!(checksum("initial", 1_i32, sql), 1_091_441_964_215_326_441);
        assert_ne!(checksum("initial", 1_i64, sql), 1_091_441_964_215_326_441);
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_refused(name in "(?s).{0,60}", tail in "(\\.down)?\\.(sql|rs)") {
            drop(part(&name));
            if let Ok(Some(part)) = part(&format!("V{name}{tail}")) {
                prop_assert!(part.version >= 0 && !part.name.is_empty());
            }
        }
    }
}
