//! Where backups are: files, or one file of a web server.

use std::time::SystemTime;

use backout_plugin_api::look::{refused, unreachable};
use backout_plugin_api::web::{self, Access, Ask};
use backout_plugin_api::{Context, PrepareFailure};
use chrono::DateTime;

/// Files that a pattern may name: more is a mistake in it.
const FILES_MAX: usize = 100_000;

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// Its path or URL.
    pub(crate) name: String,
    /// When it was written last, milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) bytes: u64,
}

pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The newest file that a pattern names.
pub(crate) async fn newest_file(pattern: String) -> Result<Option<Backup>, PrepareFailure> {
    let found = tokio::task::spawn_blocking(move || newest(&pattern)).await;
    found.unwrap_or_else(|error| Err(refused(error.to_string())))
}

fn newest(pattern: &str) -> Result<Option<Backup>, PrepareFailure> {
    let paths = glob::glob(pattern).map_err(|error| refused(error.to_string()))?;
    let folder = fixed_folder(pattern);
    // What cannot be looked into is not empty: a disk that is not mounted, a right that is missing.
    std::fs::read_dir(&folder)
        .map_err(|error| unreachable(format!("cannot look into {folder}: {error}")))?;
    let mut newest: Option<Backup> = None;
    for (count, path) in paths.enumerate() {
        let path = path.map_err(|error| unreachable(error.to_string()))?;
        if count >= FILES_MAX {
            return Err(refused(format!("{pattern} names more than {FILES_MAX} files")));
        }
        let Some(found) = look(&path)? else { continue };
        if newest.as_ref().is_none_or(|known| found.at_ms > known.at_ms) {
            newest = Some(found);
        }
    }
    Ok(newest)
}

/// A folder is no backup, and neither are checksums.
fn look(path: &std::path::Path) -> Result<Option<Backup>, PrepareFailure> {
    let unread = |error| unreachable(format!("cannot look at {}: {error}", path.display()));
    let found = path.metadata().map_err(unread)?;
    if !found.is_file() || path.extension().is_some_and(|extension| extension == "sha256") {
        return Ok(None);
    }
    let since = found.modified().map_err(unread)?.duration_since(SystemTime::UNIX_EPOCH);
    let at_ms = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    Ok(Some(Backup { name: path.display().to_string(), at_ms, bytes: found.len() }))
}

/// The folder before the first part that is a pattern.
fn fixed_folder(pattern: &str) -> String {
    let special = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    let fixed = pattern.get(..special).unwrap_or_default();
    match fixed.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((folder, _)) => folder.to_owned(),
    }
}

/// One file of a web server, by what it says of it.
pub(crate) async fn at_url(
    ctx: &Context,
    url: &str,
    access: Access,
) -> Result<Option<Backup>, PrepareFailure> {
    let answer = web::read(ctx, &Ask::head(url, access), 0).await?;
    let shown = web::shown(url);
    match answer.status {
        200 => {}
        404 | 410 => return Ok(None),
        401 | 403 => return Err(refused(format!("{shown}: {}", answer.says()))),
        _ => return Err(unreachable(format!("{shown}: {}", answer.says()))),
    }
    let at = answer.last_modified.as_deref().and_then(http_date_ms);
    let at_ms = at.ok_or_else(|| refused(format!("{shown}: it does not say Last-Modified")))?;
    let bytes = answer.length;
    let bytes = bytes.ok_or_else(|| refused(format!("{shown}: it does not say its length")))?;
    Ok(Some(Backup { name: shown.to_owned(), at_ms, bytes }))
}

/// Milliseconds since 1970 of a time as HTTP writes it.
pub(crate) fn http_date_ms(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::{fixed_folder, http_date_ms};

    #[test]
    fn a_pattern_begins_with_a_folder() {
        assert_eq!(fixed_folder("/var/backups/*.dump"), "/var/backups");
        assert_eq!(fixed_folder("/var/backups/shop-2*/x"), "/var/backups");
        assert_eq!(fixed_folder("/var/backups/shop.dump"), "/var/backups");
        assert_eq!(fixed_folder("/*"), "/");
    }

    #[test]
    fn times_of_http_are_read() {
        assert_eq!(http_date_ms("Thu, 01 Jan 1970 00:00:10 GMT"), Some(10_000));
        assert_eq!(http_date_ms("yesterday"), None);
    }
}
