//! What is kept of one sending.

use backout_plugin_api::{Context, EffectKey, Kept};
use serde::{Deserialize, Serialize};

use crate::wire::Sent;

/// What came of a sending, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Came {
    /// When it was over, milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) sent: Sent,
}

/// The folder of one sending.
pub(crate) fn folder(ctx: &Context, key: &EffectKey, dispatch: u32) -> Kept<Came> {
    Kept::of(ctx, "http", key, dispatch)
}
