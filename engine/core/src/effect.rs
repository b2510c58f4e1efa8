//! What should be happening now: read from the state alone, never from a transition, so that after
//! a crash it is the same question.

use std::sync::Arc;

use serde_json::Value;

use crate::contract::Prepared;
use crate::event::Sending;
use crate::id::{ActionName, EffectKey, LockToken, StepId, Timestamp};
use crate::state::{Made, RunState};

/// One thing that the shell should have under way. Its report carries the same names back.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Read the target. May start from state that is not yet durable.
    Prepare {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// Which look of this attempt.
        look: u32,
        /// The action.
        action: ActionName,
        /// Its input.
        input: Value,
        /// How long it may take.
        timeout_ms: u64,
        /// Whether it computes only.
        pure: bool,
    },
    /// Make an effect. Starts when its intent is durable; a read-only one at once.
    Apply(Box<Dispatch>),
    /// Find out what became of a sending.
    Settle(Box<Dispatch>),
    /// Find out how an effect is put back.
    Revert {
        /// The step that made it.
        step: StepId,
        /// The index into what it made.
        made: usize,
        /// The action that made it.
        action: ActionName,
        /// What it made.
        effect: Box<Made>,
        /// How long it may take.
        timeout_ms: u64,
    },
}

/// All that `apply` and `settle` need.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// Which.
    pub sending: Sending,
    /// Its key.
    pub key: EffectKey,
    /// The highest token of the step's locks.
    pub token: LockToken,
    /// The action.
    pub action: ActionName,
    /// Its input.
    pub input: Value,
    /// The step as prepared.
    pub prepared: Arc<Prepared>,
    /// How long it may take.
    pub timeout_ms: u64,
    /// How often this sending was settled before: a look is named by it.
    pub look: u32,
}

/// What should be happening now, in step order. Walks only the steps that are not at rest.
pub fn effects(_state: &RunState) -> Vec<Wanted> {
    Vec::new()
}

/// The earliest moment at which [`crate::Command::Advance`] will find something to do.
pub fn next_due(_state: &RunState) -> Option<Timestamp> {
    None
}
