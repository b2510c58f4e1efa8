//! The hidden `__shim`: the process that owns a command's pipes, so that a killed engine leaves it
//! and its record behind.

use std::ffi::OsString;
use std::process::ExitCode;

/// The word that asks for it; the exec plugin starts this binary with it.
pub(crate) const SHIM: &str = "__shim";

/// Runs the shim where the first argument asks for it.
pub(crate) fn if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SHIM {
        return None;
    }
    let status = backout_plugin_exec::shim_main(args);
    Some(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// How the shim is started.
pub(crate) fn command() -> Vec<OsString> {
    // The file may be replaced by an upgrade while the engine runs; the system still knows ours.
    let own = std::env::current_exe().unwrap_or_else(|_| "backout".into());
    vec![own.into_os_string(), SHIM.into()]
}
