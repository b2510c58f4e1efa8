//! What is kept of one sending.

use backout_plugin_api::{Context, EffectKey, Kept};
use serde::{Deserialize, Serialize};

/// What came of a sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sent {
    /// The receiver took it.
    Taken(String),
    /// Proven: it did not.
    Not(String),
    /// The receiver says that it never will.
    Wrong(String),
    /// Nobody knows.
    NoAnswer(String),
}

/// The folder of one sending.
pub(crate) fn folder(ctx: &Context, key: &EffectKey, dispatch: u32) -> Kept<Sent> {
    Kept::of(ctx, "notify", key, dispatch)
}
