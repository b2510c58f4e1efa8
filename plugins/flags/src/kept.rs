//! What an effect keeps for `apply`, `settle` and `revert`, by the version of its shape.

use backout_plugin_api::{Call, MadeEffect};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change;
use crate::proof;
use crate::server;

/// The version that this release writes.
pub(crate) const DATA_VERSION: u32 = 2;
/// Every version that it reads. In version 1 each effect was a file's.
pub(crate) const DATA_VERSIONS: &[u32] = &[1, DATA_VERSION];

/// One effect's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Kept {
    /// Some flags of one file.
    File(change::Data),
    /// One flag on a server.
    Server(server::Data),
    /// The proof by evaluation.
    Proof(proof::Data),
}

impl Kept {
    pub(crate) fn to_value(&self) -> Result<Value, String> {
        serde_json::to_value(self).map_err(|error| error.to_string())
    }

    pub(crate) fn of_call(call: &Call) -> Result<Self, String> {
        match call.prepared.data_version {
            1 => call.data().map(Self::File),
            DATA_VERSION => call.data(),
            version => Err(unknown(version)),
        }
    }

    pub(crate) fn of_made(made: &MadeEffect) -> Result<Self, String> {
        let effect = made.prepared.effects.get(made.effect);
        let data = &effect.ok_or("the effect is not in what was prepared")?.data;
        let read = match made.prepared.data_version {
            1 => change::Data::deserialize(data).map(Self::File),
            DATA_VERSION => Self::deserialize(data),
            version => return Err(unknown(version)),
        };
        read.map_err(|error| format!("the record of what was there cannot be read: {error}"))
    }
}

fn unknown(version: u32) -> String {
    format!("flag data of version {version} is not known to this release")
}
