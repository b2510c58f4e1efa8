//! The routes over an engine and a port, as a client meets them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;
mod document;
mod load;
mod reads;
mod streams;
mod world;
