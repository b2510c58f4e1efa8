//! Who may do what: policies, issuers with real keys, and TLS with real certificates.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
mod issuer;
mod matrix;
mod policy;
mod table;
mod tls;
mod world;
