//! What any file in RON is read with, so that its problems are told like those of a runbook: at
//! their lines, with advice, and all of them at once.

pub use crate::fields::{At, Record, text, texts};
pub use crate::problem::{advice, settle};
pub use crate::read::read;
pub use crate::tables::{FieldDoc, StructDoc};
pub use crate::tree::{Node, Span};
