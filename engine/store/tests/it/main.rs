//! Tests of the store as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail the test, and say what was skipped"
)]

mod child;
mod conformance;
mod crash;
mod damage;
mod fuzz;
mod histories;
mod kill;
mod lives;
mod power;
mod support;
