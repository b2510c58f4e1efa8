//! Actions without an outside target: `noop.run`, `wait.for` and `wait.approval`.

use std::sync::Arc;

use backout_plugin_api::Action;

mod noop;
mod wait;

pub use noop::Noop;
pub use wait::{WaitApproval, WaitFor};

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![Arc::new(Noop), Arc::new(WaitFor), Arc::new(WaitApproval)]
}

/// The version of [`backout_plugin_api::PreparedEffect::data`] that these actions write.
const DATA_VERSION: u32 = 1;
