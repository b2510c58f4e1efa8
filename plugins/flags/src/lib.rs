//! Feature flags: `flags.off`, `flags.set`, `flags.restore`, `flags.assert`.
//!
//! Flags in a file (go-feature-flag's in YAML, JSON and TOML, flagd's in YAML and JSON) are edited
//! in place: `document` finds the bytes, `goff` and `flagd` know what a flag means, `change` swaps
//! the file. Flags on a server (`unleash`, `launchdarkly`) are written under a claim of our own
//! (`server`). Whatever holds them, `proof` asks what users get.

use std::sync::Arc;

use backout_plugin_api::Action;

mod api;
mod assert;
mod by_hand;
mod change;
mod check;
mod document;
mod evaluate;
mod flagd;
mod force;
mod goff;
mod input;
mod json;
mod kept;
mod launchdarkly;
mod proof;
mod restore;
mod server;
mod step;
mod toml;
mod tree;
mod unleash;
mod unleash_state;
mod variation;
mod wire;
mod yaml;

pub use assert::FlagsAssert;
pub use force::FlagsForce;
pub use input::{Endpoint, EndpointKind, Prove, Server, System};
pub use restore::FlagsRestore;
pub use server::ServerPoint;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(FlagsForce::off()),
        Arc::new(FlagsForce::set()),
        Arc::new(FlagsRestore::default()),
        Arc::new(FlagsAssert),
    ]
}
