//! The page over an engine of its own, without a browser; `tests/it/page.rs` has one.
#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod look;
mod pages;
mod world;
