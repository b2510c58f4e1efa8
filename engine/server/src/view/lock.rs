//! Targets that are held.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A target that a run holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockView {
    /// What is held.
    pub target: String,
    /// The run that holds it.
    pub run: String,
    /// That run's runbook.
    pub runbook: String,
    /// Who commands that run.
    pub commander: String,
    /// The word of its state.
    pub state: String,
    /// The runs that wait for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}
