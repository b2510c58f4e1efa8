//! The binary as a person meets it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it says its seed, and what it skips"
)]

mod access;
mod around;
mod checkout;
mod cli;
mod commander;
mod containers;
mod crash;
mod demo;
mod docs;
mod drill;
mod exits;
mod flags;
mod guarantees;
mod monitoring;
mod page;
mod people;
mod random_kills;
mod schema;
mod secrets;
mod serve;
mod support;
mod targets;
mod watch;
