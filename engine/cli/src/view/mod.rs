//! Texts for people, each a pure function from the structures that `--json` prints.

pub(crate) mod by_hand;
pub(crate) mod history;
pub(crate) mod plan;
pub(crate) mod plugins;
#[cfg(test)]
mod reference;
pub(crate) mod status;
pub(crate) mod style;
pub(crate) mod text;
