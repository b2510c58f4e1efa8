//! The checksum that stands beside a file: `NAME.sha256`, as `sha256sum` writes it.

use std::fs::File;
use std::io::Read;

use backout_plugin_api::look::{refused, unreachable};
use backout_plugin_api::{CancellationToken, Context, PrepareFailure, hex};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Bytes of a file with a checksum.
const SIDECAR_BYTES_MAX: u64 = 4 * 1024;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What came of the comparison.
#[derive(Debug)]
pub(crate) struct Proven {
    /// The file's own.
    pub(crate) sha256: Option<String>,
    pub(crate) wrong: Option<String>,
}

/// Reads the file whole, unless the time is over first.
pub(crate) async fn check(ctx: &Context, path: &str) -> Result<Proven, PrepareFailure> {
    let (path, cancel, end) = (path.to_owned(), ctx.cancel.clone(), Instant::now() + ctx.timeout);
    let work = move || compare(&path, &cancel, end);
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(refused(error.to_string())))
}

fn compare(path: &str, cancel: &CancellationToken, end: Instant) -> Result<Proven, PrepareFailure> {
    let sidecar = format!("{path}.sha256");
    let wanted = match File::open(&sidecar) {
        Ok(file) => read(&sidecar, file)?,
        Err(error) => {
            let wrong = Some(format!("{sidecar}: {error}"));
            return Ok(Proven { sha256: None, wrong });
        }
    };
    let found = digest(path, cancel, end)?;
    let wrong = (found != wanted).then(|| format!("{path} has the SHA-256 {found}, not {wanted}"));
    Ok(Proven { sha256: Some(found), wrong })
}

fn read(sidecar: &str, file: File) -> Result<String, PrepareFailure> {
    let mut text = Vec::new();
    file.take(SIDECAR_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| unreachable(format!("cannot read {sidecar}: {error}")))?;
    first_digest(&String::from_utf8_lossy(&text))
        .ok_or_else(|| refused(format!("{sidecar} holds no SHA-256")))
}

/// The first word, where it is a digest.
fn first_digest(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    let is_digest = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| word.to_ascii_lowercase())
}

fn digest(path: &str, cancel: &CancellationToken, end: Instant) -> Result<String, PrepareFailure> {
    let unread = |error| unreachable(format!("cannot read {path}: {error}"));
    let mut file = File::open(path).map_err(unread)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if cancel.is_cancelled() || Instant::now() >= end {
            let help = "give the step a longer `timeout`";
            return Err(unreachable(format!("{path} was not read whole in time; {help}")));
        }
        let read = file.read(&mut chunk).map_err(unread)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::first_digest;

    #[test]
    fn a_checksum_is_the_first_word() {
        let sha = "ab".repeat(32);
        assert_eq!(first_digest(&format!("{}  x.dump\n", sha.to_uppercase())), Some(sha.clone()));
        assert_eq!(first_digest(&sha), Some(sha));
        assert_eq!(first_digest("x.dump"), None);
        assert_eq!(first_digest(""), None);
    }
}
