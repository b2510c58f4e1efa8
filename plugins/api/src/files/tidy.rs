//! What a swap kept goes, once nobody can ask for it any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::place::{Mark, MarkState, Places, lock};
use super::{EffectKey, Path, PathBuf, Patience, SETTLE_WAIT, io};
use crate::Tidied;

/// Removes what the swap of this key displaced, and its mark. The lock file stays: it is no key's
/// own. Blocks; call it off the async threads.
pub fn tidy(target: &Path, key: &EffectKey) -> Tidied {
    match try_tidy(target, key) {
        Ok(removed) => Tidied {
            removed: removed.iter().map(|path| path.display().to_string()).collect(),
            left: Vec::new(),
        },
        Err(error) => {
            let what = format!("what an undo of {} would need: {error}", target.display());
            Tidied { removed: Vec::new(), left: vec![what] }
        }
    }
}

fn try_tidy(target: &Path, key: &EffectKey) -> io::Result<Vec<PathBuf>> {
    let places = Places::of(target, key)?;
    if !places.mark.exists() {
        return Ok(Vec::new());
    }
    let patience = Patience { timeout: Duration::MAX, cancel: CancellationToken::new() };
    let Some(_lock) = lock(&places.lock, SETTLE_WAIT, &patience)? else {
        let what = format!("{} is held by another process", places.lock.display());
        return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
    };
    match places.read_mark(key)? {
        Some(Mark { state: MarkState::Done | MarkState::Sealed, .. }) => {}
        Some(Mark { state: MarkState::Begun { .. }, .. }) => {
            let what = format!("its swap was never settled; look at {}", places.staged.display());
            return Err(io::Error::other(what));
        }
        None => return Ok(Vec::new()),
    }
    // The mark last: it alone says whose the rest is.
    let mut removed = Vec::new();
    for path in [places.staged, places.aside, places.mark] {
        match std::fs::remove_file(&path) {
            Ok(()) => removed.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    super::sync_folder(&places.folder)?;
    Ok(removed)
}
