//! Configuration back to a digest: `config.restore`.

use std::sync::Arc;

use backout_plugin_api::Action;

mod input;
mod manifest;
mod plan;
mod restore;
mod source;

pub use restore::ConfigRestore;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![Arc::new(ConfigRestore::default())]
}
