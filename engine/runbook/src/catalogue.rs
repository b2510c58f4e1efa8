//! What this crate must know of the actions. Whoever has the plugins implements [`Catalogue`].

use std::fmt;

use backout_core::contract::Guarantee;
use backout_core::id::TargetId;
use serde_json::Value;

/// A thing wrong with an input that its schema cannot say, or doubtful in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputProblem {
    /// Where, as a JSON pointer: `/command/0`.
    pub at: String,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What an action says of an input without looking at any target.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub problems: Vec<InputProblem>,
    /// What is doubtful.
    pub warnings: Vec<InputProblem>,
    /// The best guarantee that this input allows; absent where that depends on an expression.
    pub guarantee: Option<Guarantee>,
    /// The targets that it will lock, as far as the input tells.
    pub targets: Vec<TargetId>,
}

/// What an action says of an input that fits its schema; texts in it may still hold `${…}`.
pub type Check<'c> = Box<dyn Fn(&Value) -> Checked + 'c>;

/// One action.
pub struct ActionInfo<'c> {
    /// The input as a JSON schema. A field that takes a secret's reference has
    /// `"format": "secret-ref"`.
    pub input_schema: Value,
    /// The best guarantee that any input allows.
    pub guarantee: Guarantee,
    /// Whether its `prepare` computes only.
    pub pure: bool,
    /// What it says of an input.
    pub check: Check<'c>,
}

impl fmt::Debug for ActionInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionInfo").field("guarantee", &self.guarantee).finish_non_exhaustive()
    }
}

/// The actions that there are.
pub trait Catalogue {
    /// Their names, `plugin.verb`.
    fn actions(&self) -> Vec<String>;

    /// One of them. Asked once for each name in a file.
    fn find(&self, name: &str) -> Option<ActionInfo<'_>>;
}
