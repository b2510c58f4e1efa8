//! Releases in folders behind a symlink, and the processes that run them: `releases.activate`,
//! `releases.restart`.

use std::sync::Arc;

use backout_plugin_api::Action;

mod activate;
mod folder;
mod manager;
mod process;
mod restart;
mod source;
mod unpack;

pub use activate::ReleasesActivate;
pub use restart::{Point as RestartPoint, ReleasesRestart};

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![Arc::new(ReleasesActivate::default()), Arc::new(ReleasesRestart::default())]
}
