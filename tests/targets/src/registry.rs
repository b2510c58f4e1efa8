//! An image registry on loopback, open or with one user.

use std::io;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use crate::{Daemon, free_port, missing, program};

/// The one user of a registry that asks.
pub const USER: &str = "shop";
/// That user's password.
pub const PASSWORD: &str = "registry-pass-7f3a";
/// The password as bcrypt writes it, at its least cost.
const HTPASSWD: &str = "shop:$2b$05$abcdefghijklmnopqrstuuveNdL96bN/EeFQcNK5QKo.fLpJsQgGy\n";

/// A registry that belongs to a test.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Registry {
    /// Starts one; nothing where it is not installed, having said so.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(asks_who: bool) -> io::Result<Option<Self>> {
        let Some(registry) = program("docker-registry") else {
            missing("docker-registry", "run tests/setup/containers.sh as root");
            return Ok(None);
        };
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let users = folder.path().join("htpasswd");
        std::fs::write(&users, HTPASSWD)?;
        let auth = if asks_who {
            format!("auth:\n  htpasswd: {{realm: tests, path: '{}'}}\n", users.display())
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: '127.0.0.1:{port}'}}\nstorage:\n  \
             filesystem: {{rootdirectory: '{}'}}\n  delete: {{enabled: true}}\n{auth}",
            folder.path().join("images").display()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(registry);
        command.arg("serve").arg(&file);
        let mut daemon = Daemon::start(&command, &folder.path().join("log"))?;
        daemon.wait_ready(|| {
            TcpStream::connect(("127.0.0.1", port)).map(|_| ()).map_err(|error| error.to_string())
        })?;
        Ok(Some(Self { port, _daemon: daemon, _folder: folder }))
    }

    /// What stands before the name of each of its images.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
