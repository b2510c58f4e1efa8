//! Where content comes from: files, or an HTTP(S) store.

use std::io::{Read, Seek};

use backout_plugin_api::files::{FILE_BYTES_MAX, sha256_hex};
use backout_plugin_api::web::{self, Access, Ask};
use backout_plugin_api::{Context, PrepareFailure, hex};
use serde::{Deserialize, Serialize};

/// The place of one content, and the digest that it must have; journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// A path, or a URL.
    pub(crate) at: String,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl Place {
    /// The place of one file; `inside` is its path in its folder, absent for a single file.
    pub(crate) fn of(from: &str, inside: Option<&str>, sha256: &str) -> Self {
        let at = match inside {
            _ if from.contains("{path}") || from.contains("{sha256}") => from
                .replace("{path}", &encoded(from, inside.unwrap_or_default()))
                .replace("{sha256}", sha256),
            Some(inside) => {
                format!("{}/{}", from.trim_end_matches('/'), encoded(from, inside))
            }
            None => from.to_owned(),
        };
        Self { at, sha256: sha256.to_owned() }
    }

    /// The content, where it is there and is what it should be.
    pub(crate) async fn read(
        &self,
        ctx: &Context,
        access: &Access,
    ) -> Result<Vec<u8>, PrepareFailure> {
        let bytes = if is_url(&self.at) {
            fetched(ctx, &self.at, access).await?
        } else {
            let path = self.at.clone();
            let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
            read.unwrap_or_else(|error| Err(refused(error.to_string())))?
        };
        let found = sha256_hex(&bytes);
        if found == self.sha256 {
            return Ok(bytes);
        }
        let Self { at, sha256 } = self;
        Err(refused(format!("{} has the SHA-256 {found}, not {sha256}", web::shown(at))))
    }
}

/// A path as a part of a URL, where it goes into one.
fn encoded(from: &str, path: &str) -> String {
    if !is_url(from) {
        return path.to_owned();
    }
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => text.extend(["%".to_owned(), hex(&[byte])]),
        }
    }
    text
}

async fn fetched(ctx: &Context, url: &str, access: &Access) -> Result<Vec<u8>, PrepareFailure> {
    let unkept = |error: std::io::Error| refused(format!("cannot keep it: {error}"));
    let mut file = tempfile::tempfile().map_err(unkept)?;
    web::download(ctx, &Ask::get(url, access.clone()), &mut file, FILE_BYTES_MAX).await?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(unkept)?;
    Ok(bytes)
}

fn read_file(path: &str) -> Result<Vec<u8>, PrepareFailure> {
    let unread = |error| refused(format!("cannot read {path}: {error}"));
    let file = std::fs::File::open(path).map_err(unread)?;
    if !file.metadata().map_err(unread)?.is_file() {
        return Err(refused(format!("{path} is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let limit = format!("larger than FILE_BYTES_MAX ({FILE_BYTES_MAX} bytes)");
        return Err(refused(format!("{path} is {limit}")));
    }
    Ok(bytes)
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_is_found_by_path_or_by_digest() {
        let at = |from: &str, inside: Option<&str>| Place::of(from, inside, "ab").at;
        assert_eq!(at("/srv/config/", Some("conf.d/a b")), "/srv/config/conf.d/a b");
        assert_eq!(at("/srv/app.toml", None), "/srv/app.toml");
        assert_eq!(at("https://store/{sha256}", Some("x")), "https://store/ab");
        assert_eq!(at("https://store/v1", Some("a b?c")), "https://store/v1/a%20b%3fc");
        assert_eq!(at("https://store/{path}?v=1", Some("x")), "https://store/x?v=1");
    }
}
