//! Releases in folders behind a symlink: `releases.activate`.

use std::sync::Arc;

use backout_plugin_api::Action;

mod activate;
mod folder;

pub use activate::ReleasesActivate;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![Arc::new(ReleasesActivate::default())]
}
