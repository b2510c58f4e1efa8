//! Containers of Docker Engine, and of Podman by its compatible interface: `containers.rollback`,
//! `containers.stop`, `containers.start`, `containers.restart`, `containers.assert`.
//!
//! | file | what is in it |
//! |---|---|
//! | `host` | the one place that speaks to an engine, and plain data of what it says |
//! | `place` | names made from keys, labels, seals |
//! | `rollback/scene` | what is there, and what is next: pure, the same when beginning and going on |
//! | `rollback/work` | doing what is next |
//! | `power` | stop, start, restart |
//!
//! Another kind of engine, Kubernetes for instance, has other effects (it rolls replicas itself), so
//! it comes in beside `rollback` and `power`, behind the same actions and their inputs' `engine`.

use std::sync::Arc;

use backout_plugin_api::Action;

mod assert;
mod by_hand;
mod credentials;
mod faults;
mod host;
mod input;
mod place;
mod power;
mod reference;
mod rollback;
mod select;
mod wait;
mod wanted;

pub use assert::ContainersAssert;
pub use faults::Point;
pub use power::ContainersPower;
pub use rollback::ContainersRollback;

use credentials::credentials;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(ContainersRollback::default()),
        Arc::new(ContainersPower::stop()),
        Arc::new(ContainersPower::start()),
        Arc::new(ContainersPower::restart()),
        Arc::new(ContainersAssert),
    ]
}
