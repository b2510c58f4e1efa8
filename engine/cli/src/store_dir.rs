//! Which store: `--store DIR` or `BACKOUT_STORE`, else the XDG state folder.

use std::env;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// The store's folder.
pub(crate) fn resolve(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => of_user(env::var_os("XDG_STATE_HOME"), env::home_dir()).ok_or_else(|| {
            Failure::usage(
                "no store: neither XDG_STATE_HOME nor a home folder is set",
                "name one with `--store DIR`",
            )
        })?,
    };
    std::path::absolute(&path)
        .map_err(|error| Failure::file(format!("store {}", path.display()), error))
}

/// The XDG rules: a relative `XDG_STATE_HOME` is ignored.
fn of_user(state: Option<std::ffi::OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let state = state.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|path| path.is_absolute()).map(|home| home.join(".local/state"));
    state.or(home).map(|folder| folder.join("backout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xdg_state_folder_is_used_where_it_is_absolute() {
        let home = || Some(PathBuf::from("/home/ana"));
        assert_eq!(of_user(Some("/var/state".into()), home()), Some("/var/state/backout".into()));
        assert_eq!(
            of_user(Some("rel".into()), home()),
            Some("/home/ana/.local/state/backout".into())
        );
        assert_eq!(of_user(None, None), None);
    }
}
