//! Where in a record a view stands that is not of now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The event after which a run is shown, and where to go from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayView {
    /// The event: what happened later was not known.
    pub at: u64,
    /// The last event of the record.
    pub last: u64,
    /// When it happened, RFC 3339.
    pub moment: String,
    /// The step that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What happened, in words.
    pub says: String,
    /// Who did it.
    pub by: String,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds from it to each of those that follow, as far as they are told.
    pub ahead_ms: Vec<u64>,
    /// The last decision of a person before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_before: Option<u64>,
    /// The next decision of a person after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_next: Option<u64>,
    /// Where people decided, for marks: of very many not all.
    pub decisions: Vec<u64>,
}
