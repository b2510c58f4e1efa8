//! The hidden `__shim`: the process that owns a command's pipes, so that a killed engine leaves it
//! and its record behind.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The word that asks for it; the exec plugin starts this binary with it.
pub(crate) const SHIM: &str = "__shim";

/// What is looked for on the path where there is no `/proc`.
const SELF: &str = "backout";

/// Runs the shim where the first argument asks for it.
pub(crate) fn if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SHIM {
        return None;
    }
    let status = backout_plugin_exec::shim_main(args);
    Some(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// How the shim is started: by this process's own entry under `/proc`, which leads to the binary that
/// runs here even where an upgrade replaced the file or took it away. Its path would name the new
/// release then, or nothing. Only this process starts shims, so the entry is there as long as it is
/// needed; a shim that runs already needs it no more.
pub(crate) fn command() -> Vec<OsString> {
    let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let own =
        if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| SELF.into()) };
    vec![own.into_os_string(), SHIM.into()]
}
