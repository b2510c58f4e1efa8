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
