//! The reader of runbooks from outside.

mod actions;
mod differential;
mod fixtures;
mod order;
mod pages;
mod plans;
mod releases;
