//! One file for each command: its arguments, and what it does.

pub(crate) mod ask;
pub(crate) mod by_hand;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod follow;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod new;
pub(crate) mod plan;
pub(crate) mod plugins;
pub(crate) mod preflight;
pub(crate) mod prompt;
pub(crate) mod ready;
pub(crate) mod resume;
pub(crate) mod retain;
pub(crate) mod run;
pub(crate) mod settle;
pub(crate) mod shim;
pub(crate) mod status;
pub(crate) mod tidy;
pub(crate) mod verify;
