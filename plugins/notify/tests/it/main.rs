//! Messages to receivers that speak the real formats, a real mail server among them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conforms;
mod mail;
mod sends;
mod server;
mod support;
