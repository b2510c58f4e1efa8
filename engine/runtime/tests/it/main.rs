//! The engine over a store in memory, on a virtual clock.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by a panic")]

mod bench;
mod faults;
mod herald;
mod runs;
mod tidy;
mod watch;
mod world;
