//! Exercises from the outside: a runbook, a scenario, decisions, and what comes of them.

mod drills;
mod exercises;
mod explores;
mod replays;
mod scenarios;
mod support;
