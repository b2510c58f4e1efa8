//! The migrations in a folder.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;
use backout_plugin_api::files::sha256_hex;

use crate::goose::version_of;

/// Bytes of one migration file: it stands in the journal, and nobody reads a longer one.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One migration of a folder.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Written in Go, compiled into its owner's binary.
    pub(crate) is_code: bool,
}

/// The migrations of a folder by version. Files without a version are no migrations.
pub(crate) fn list(dir: &str) -> Result<BTreeMap<i64, File>, PrepareFailure> {
    let failed = |error: std::io::Error| {
        let reason = format!("cannot read the folder of migrations {dir}: {error}");
        if error.kind() == std::io::ErrorKind::NotFound {
            PrepareFailure::Refused { reason }
        } else {
            PrepareFailure::Unreachable { reason }
        }
    };
    let mut found: BTreeMap<i64, File> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some((version, file)) = migration(path) else { continue };
        if let Some(other) = found.get(&version) {
            let reason = format!(
                "{dir} has two migrations {version}: {} and {}; rename one",
                other.name, file.name
            );
            return Err(PrepareFailure::Refused { reason });
        }
        found.insert(version, file);
    }
    Ok(found)
}

fn migration(path: PathBuf) -> Option<(i64, File)> {
    let name = path.file_name()?.to_str()?.to_owned();
    let is_code = match Path::new(&name).extension()?.to_str()? {
        "sql" => false,
        "go" if !name.ends_with("_test.go") => true,
        _ => return None,
    };
    let version = version_of(&name)?;
    Some((version, File { name, path, is_code }))
}

impl File {
    /// Its text and the SHA-256 of its bytes.
    pub(crate) fn read(&self) -> Result<(String, String), String> {
        let io = |error: std::io::Error| format!("cannot read {}: {error}", self.path.display());
        let file = std::fs::File::open(&self.path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!(
                "{} is larger than FILE_BYTES_MAX ({FILE_BYTES_MAX} bytes)",
                self.name
            ));
        }
        let digest = sha256_hex(&bytes);
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", self.name))?;
        Ok((text, digest))
    }
}
