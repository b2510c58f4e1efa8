//! The pure core of Backout: no clock, no randomness, no IO, no async.
//!
//! [`decide`] turns a command into events, [`evolve`] folds an event into the state, [`effects`]
//! reads from the state what should be happening now. To start a run is to resume from an empty
//! journal.

pub mod adopt;
pub mod command;
pub mod contract;
mod decide;
pub mod drive;
mod effect;
pub mod event;
mod evolve;
pub mod exercise;
pub mod expr;
pub mod id;
pub mod invariant;
pub mod limits;
pub mod plan;
pub mod redact;
pub mod retry;
pub mod snapshot;
mod stage;
pub mod state;
pub mod trace;
pub mod watch;

pub use command::Command;
pub use decide::{Rejection, claims, decide, freed_by_skip, releases};
pub use effect::{Dispatch, Name, Wanted, effects, effects_of, next_due, watches};
pub use evolve::{IllegalEvent, evolve};
