//! The binary as a person meets it.

mod cli;
mod support;
