//! What `apply`, `settle` and `revert` need of what was prepared. None of it is a secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::{Endpoint, Restart};

/// The version of [`Data`].
pub(crate) const DATA_VERSION: u32 = 1;

/// One replica and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// The engine's identity when it was looked at: a socket may lead to another one later.
    pub(crate) engine: String,
    /// The replica's name, which its replacement takes over.
    pub(crate) name: String,
    /// The id of the container that has the name now. A container's settings never change under
    /// one id, so this is its version.
    pub(crate) old: String,
    /// Its image's own digest.
    pub(crate) old_image: String,
    pub(crate) source: Source,
    /// Whether both run side by side for a moment.
    pub(crate) overlap: bool,
    /// Every network that the replacement joins.
    pub(crate) networks: BTreeMap<String, Endpoint>,
    /// The old one's restart policy.
    pub(crate) restart: Restart,
    pub(crate) was_running: bool,
    /// Whether the engine removes the old one when it ends.
    pub(crate) auto_remove: bool,
}

/// What takes the place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// A new container like the old one, of another image.
    Image {
        /// By what name the engine is asked for it.
        name: String,
    },
    /// A container that was kept, as it is.
    Kept {
        id: String,
        /// The name that it has out of service.
        name: String,
        /// The restart policy that it gets back.
        restart: Restart,
    },
}
