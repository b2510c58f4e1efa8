//! Tests of the store as its users see it.

mod conformance;
mod crash;
mod support;
