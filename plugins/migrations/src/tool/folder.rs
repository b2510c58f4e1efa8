//! Files of migrations, for every tool.

use std::io::Read;
use std::path::{Path, PathBuf};

use backout_plugin_api::PrepareFailure;
use backout_plugin_api::files::sha256_hex;

use super::Migration;

/// Bytes of one migration file: it stands in the journal, and nobody reads a longer one.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files and folders in one folder of migrations: nobody has more, and a plan has seconds.
const ENTRIES_MAX: usize = 20_000;

/// Names and paths in a folder, by name; what is not UTF-8 is no migration and left out.
pub(crate) fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, PrepareFailure> {
    let failed = |error: std::io::Error| {
        let reason = format!("cannot read the folder of migrations {}: {error}", dir.display());
        if error.kind() == std::io::ErrorKind::NotFound {
            PrepareFailure::Refused { reason }
        } else {
            PrepareFailure::Unreachable { reason }
        }
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
        if found.len() > ENTRIES_MAX {
            let dir = dir.display();
            let reason = format!("{dir} has more files than ENTRIES_MAX ({ENTRIES_MAX})");
            return Err(PrepareFailure::Refused { reason });
        }
    }
    found.sort();
    Ok(found)
}

/// A file's text and the SHA-256 of its bytes, in lower-case hex.
pub(crate) fn read_text(path: &Path) -> Result<(String, String), String> {
    let io = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let path = path.display();
        return Err(format!("{path} is larger than FILE_BYTES_MAX ({FILE_BYTES_MAX} bytes)"));
    }
    let digest = sha256_hex(&bytes);
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    Ok((text, digest))
}

/// In the order of their numbers, which every version here is; each number once.
pub(crate) fn by_number(
    dir: &Path,
    mut found: Vec<Migration>,
) -> Result<Vec<Migration>, PrepareFailure> {
    let number = |migration: &Migration| migration.version.parse::<u64>().unwrap_or(u64::MAX);
    found.sort_by_key(number);
    let twice = found.windows(2).find_map(|pair| match pair {
        [a, b] if number(a) == number(b) => Some((a, b)),
        _ => None,
    });
    match twice {
        None => Ok(found),
        Some((a, b)) => Err(PrepareFailure::Refused {
            reason: format!(
                "{} has two migrations {}: {} and {}; rename one",
                dir.display(),
                a.version,
                a.name,
                b.name
            ),
        }),
    }
}
