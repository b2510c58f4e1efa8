//! Exercises from the outside: a runbook, a scenario, decisions, and what comes of them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod drills;
mod exercises;
mod explores;
mod replays;
mod scenarios;
mod support;
mod tables;
