//! `exec.run` with real processes, one of them an engine that is killed.

#![expect(clippy::unwrap_used, reason = "a helper of a test ends it as a test does")]

mod conforms;
mod engine;
mod fuzz;
mod support;
mod survives;
mod tells;
