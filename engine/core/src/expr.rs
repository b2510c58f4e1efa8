//! Expressions: CEL over `params.x`, `steps.id.output.y` (for an item of `for_each`:
//! `steps.id["key"].output.y`) and `item`; and templates, texts that hold `${…}`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::ParamValue;

/// What an expression may see.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The parameters; a secret's value is its reference.
    pub params: &'a BTreeMap<String, ParamValue>,
    /// Looks up a step's output: `(step id, field)`; absent where there is none.
    pub item: Option<&'a Value>,
    /// Outputs of the steps that the expression names, by step id. A step without output is absent.
    pub outputs: BTreeMap<String, Value>,
}

/// Why an expression gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It is not CEL.
    #[error("{message}")]
    Syntax {
        /// Byte offset in the text given.
        at: usize,
        /// What is wrong.
        message: String,
    },
    /// A value that it names is not there, and it gives no default.
    #[error("`{name}` is not there")]
    Absent {
        /// `steps.id.output.y`.
        name: String,
    },
    /// It does not compute.
    #[error("{message}")]
    Eval {
        /// What is wrong.
        message: String,
    },
}
