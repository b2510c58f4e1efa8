//! Looks at backups before something goes that only they could bring back: `backups.assert`.

use std::sync::Arc;

use backout_plugin_api::Action;
use backout_plugin_api::look::Gate;

mod assert;
mod index;
mod place;
mod sidecar;

pub use assert::BackupsCheck;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![Arc::new(Gate(BackupsCheck))]
}
