//! Tests of the core through its public face.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by a panic")]

mod commander;
mod cuts;
mod dags;
mod plans;
mod redact;
mod rules;
mod scale;
mod sim;
mod walk;
mod watch;
mod words;
mod world;
