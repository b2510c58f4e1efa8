//! `http.request` against a real server on this machine that can be told to misbehave.

#![expect(clippy::unwrap_used, reason = "a helper of a test ends it as a test does")]

mod conforms;
mod fuzz;
mod server;
mod settles;
mod support;
mod tells;
