//! diesel: its folders and its ledger `__diesel_schema_migrations`. Read in `diesel_migrations` 2.3; it
//! takes no lock.

use std::path::Path;

use backout_plugin_api::PrepareFailure;

use super::whole::{self, refused};
use super::{
    Applied, Change, Dialect, Direction, Driver, Hand, HandLines, Ledger, LedgerChange, Migration,
    NOTHING, Row, Script, entries, read_text,
};

/// Beside `up.sql`, whether it runs in a transaction.
const METADATA: &str = "metadata.toml";

/// The driver of diesel.
pub(crate) struct Diesel;

impl Driver for Diesel {
    fn name(&self) -> &'static str {
        "diesel"
    }

    fn table(&self) -> &'static str {
        "__diesel_schema_migrations"
    }

    fn columns(&self) -> &'static [&'static str] {
        &["version", "run_on"]
    }

    fn list(&self, dir: &Path) -> Result<Vec<Migration>, PrepareFailure> {
        let mut found = Vec::new();
        for (name, path) in entries(dir)? {
            if path.is_file() || name.starts_with('.') {
                continue;
            }
            found.push(migration(name, &path).map_err(refused)?);
        }
        found.sort_by(|a, b| a.version.cmp(&b.version));
        let twice = found.windows(2).find_map(|pair| match pair {
            [a, b] if a.version == b.version => Some((a, b)),
            _ => None,
        });
        match twice {
            None => Ok(found),
            Some((a, b)) => Err(refused(format!(
                "two folders have version {}: {} and {}; rename one",
                a.version, a.name, b.name
            ))),
        }
    }

    /// A text, with or without dashes: `00000000000000` is the first version of many databases, not
    /// the schema before it.
    fn means(&self, version: &str, written: &str) -> bool {
        version == written || version == written.replace('-', "")
    }

    fn script(&self, migration: &Migration, direction: Direction) -> Result<Script, String> {
        let missing = "diesel would stop here; write its `down.sql`, or stop at its version";
        let mut script = whole::script(migration, direction, missing)?;
        script.file = format!("{}/{}", migration.name, script.file);
        let folder = migration.up.as_deref().and_then(Path::parent);
        let metadata = folder.map(|folder| folder.join(METADATA)).filter(|path| path.exists());
        if let Some(path) = metadata {
            let (text, _) = read_text(&path)?;
            script.transactional = is_transactional(&text)
                .map_err(|why| format!("{}/{METADATA}: {why}", migration.name))?;
        }
        Ok(script)
    }

    fn query(&self, _: Dialect, table: &str) -> String {
        format!("SELECT version FROM {table} ORDER BY run_on, version")
    }

    fn ledger(&self, rows: &[Row]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        for row in rows {
            let [Some(version)] = row.as_slice() else {
                return Err(format!("a row of the ledger is not readable: {row:?}"));
            };
            ledger.applied.push(Applied { version: version.clone(), checksum: None });
        }
        Ok(ledger)
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
        "apply it with `diesel migration run`"
    }

    fn by_hand(&self, hand: &Hand<'_>) -> HandLines {
        let (database, dir, to) = (&hand.database, hand.dir, hand.to);
        let diesel = |verb: &str| {
            format!("diesel migration {verb} --database-url {database} --migration-dir '{dir}'")
        };
        let move_it = match (hand.direction, to) {
            (Direction::Down, NOTHING) => format!("{} --all", diesel("revert")),
            (Direction::Down, to) => {
                format!("{}  # once for each version above {to}", diesel("revert"))
            }
            (Direction::Up, _) => format!("{}  # goes to the newest", diesel("run")),
        };
        HandLines {
            commands: vec![diesel("list"), move_it],
            verify: vec![format!("{}  # nothing above {to} is marked [X]", diesel("list"))],
        }
    }
}

fn migration(name: String, folder: &Path) -> Result<Migration, String> {
    let (up, down) = (folder.join("up.sql"), folder.join("down.sql"));
    if !up.is_file() {
        return Err(format!(
            "{} has no up.sql; diesel then reads none of the migrations",
            folder.display()
        ));
    }
    let version = version(&name);
    let down = down.is_file().then_some(down);
    Ok(Migration { version, name, up: Some(up), down, is_code: false })
}

/// What stands before the first `_`, without dashes.
fn version(name: &str) -> String {
    let (version, _) = name.split_once('_').unwrap_or((name, ""));
    version.replace('-', "")
}

/// What a `metadata.toml` says; a file that does not name it means no, as in diesel.
///
/// # Errors
/// It is not readable: diesel would then take a transaction, which nobody wrote.
fn is_transactional(text: &str) -> Result<bool, String> {
    let document =
        toml_edit::Document::parse(text).map_err(|error| format!("it is no TOML: {error}"))?;
    document.get("run_in_transaction").map_or(Ok(false), |value| {
        let is = value.as_bool();
        is.ok_or_else(|| "`run_in_transaction` is neither true nor false".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{is_transactional, version};

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version("2024-01-02-030405_create_users"), "20240102030405");
        assert_eq!(version("00000000000000_diesel_initial_setup"), "00000000000000");
        assert_eq!(version("plain"), "plain");
    }

    #[test]
    fn metadata_is_read_as_diesel_reads_it() {
        assert_eq!(is_transactional("run_in_transaction = true"), Ok(true));
        assert_eq!(is_transactional("run_in_transaction = false # why"), Ok(false));
        assert_eq!(is_transactional("# nothing\n"), Ok(false));
        assert!(is_transactional("run_in_transaction = 'no'").is_err());
        assert!(is_transactional("run_in_transaction").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,100}") {
            drop(is_transactional(&text));
            prop_assert!(!version(&text).contains(['_', '-']));
        }
    }
}
