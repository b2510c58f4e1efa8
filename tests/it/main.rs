//! The binary as a person meets it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cli;
mod crash;
mod demo;
mod docs;
mod random_kills;
mod support;
mod targets;
