//! The binary as a person meets it.

mod cli;
mod crash;
mod demo;
mod docs;
mod random_kills;
mod support;
mod targets;
