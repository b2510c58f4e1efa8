//! The `backout` command.

use std::process::ExitCode;

mod access;
mod app;
mod args;
mod catalogue;
mod command;
mod demo;
mod exercise;
mod exit;
#[cfg(debug_assertions)]
mod inside;
mod live;
mod names;
mod outside;
mod params;
mod people;
mod reach;
mod reading;
mod runbook_file;
mod store_dir;
mod ui;
mod view;

fn main() -> ExitCode {
    // Before anything else: the shim must not inherit threads, sockets or a runtime.
    if let Some(code) = command::shim::if_asked() {
        return code;
    }
    if let Some(code) = demo::service::if_asked() {
        return code;
    }
    app::main().into()
}
