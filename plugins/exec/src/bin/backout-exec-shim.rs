//! The shim by itself, for tests and for programs that embed the engine without the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    let status = backout_plugin_exec::shim_main(std::env::args_os().skip(1));
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
