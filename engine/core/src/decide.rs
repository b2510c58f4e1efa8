//! What follows from a command.

use crate::command::Command;
use crate::event::{Cause, Event};
use crate::id::Timestamp;
use crate::state::RunState;

/// A command that cannot be followed, in words for the person who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What stands in the way.
    pub message: String,
    /// What to type instead.
    pub help: Option<String>,
}

/// The events that follow from a command; none where nothing follows. `state` is absent before the
/// run exists.
pub fn decide(
    _state: Option<&RunState>,
    _now: Timestamp,
    _cause: &Cause,
    _command: &Command,
) -> Result<Vec<Event>, Rejection> {
    Ok(Vec::new())
}
