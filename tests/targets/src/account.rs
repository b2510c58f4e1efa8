//! What servers need that refuse to run as root: an account of their own, and a folder it owns.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::program;

/// Whether this process is root.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// `program` as the account `user`, where this process is root; else as whoever runs the tests.
///
/// It gets `signal` when the test's process ends. The kernel forgets that wish when the account
/// changes, so it stands after that.
pub(crate) fn command_as(user: &str, program: &Path, signal: &str) -> Command {
    let Some(setpriv) = crate::program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(&setpriv);
    if is_root() {
        command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(&setpriv);
    }
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// A folder that `user` owns. Servers in a static leave theirs behind: those of test processes that
/// ended are removed here.
pub(crate) fn folder_of(user: &str, kind: &str) -> io::Result<TempDir> {
    let prefix = format!("backout-{kind}-");
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next());
        let alive = owner.is_none_or(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            // Another test's process may remove it at the same time.
            std::fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
    let prefix = format!("{prefix}{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    if is_root() {
        done(Command::new("chown").arg(user).arg(folder.path()))?;
    }
    Ok(folder)
}

/// Runs a command to its end; its output, or an error that holds what it said.
pub(crate) fn done(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, said.trim())))
}

/// Sends a signal, `INT` for instance.
pub(crate) fn signal(pid: u32, name: &str) -> io::Result<()> {
    let kill = program("kill").unwrap_or_else(|| "kill".into());
    done(Command::new(kill).arg(format!("-{name}")).arg(pid.to_string())).map(|_| ())
}
