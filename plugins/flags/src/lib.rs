//! Feature flags in a configuration file: `flags.off`, `flags.set`, `flags.restore`,
//! `flags.assert`.
//!
//! So far go-feature-flag's file in YAML and JSON. `goff` holds what that system's flags mean;
//! everything else works on any file of flags.

use std::sync::Arc;

use backout_plugin_api::Action;

mod assert;
mod change;
mod force;
mod goff;
mod input;
mod json;
mod restore;
mod tree;
mod yaml;

pub use assert::FlagsAssert;
pub use force::FlagsForce;
pub use restore::FlagsRestore;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(FlagsForce::off()),
        Arc::new(FlagsForce::set()),
        Arc::new(FlagsRestore::default()),
        Arc::new(FlagsAssert),
    ]
}
