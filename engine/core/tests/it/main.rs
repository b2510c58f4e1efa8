//! Tests of the core through its public face.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by a panic")]

mod plans;
mod walk;
mod world;
