//! Podman's compatible service, in a folder and a network namespace of its own: its rules for the
//! packet filter and its bridges go with the namespace. So its published ports are not to be
//! reached from the tests, and no registry of theirs from it; its socket is. A registry in the same
//! namespace is its own.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::docker::{Engine, answers, keep};
use crate::{Daemon, missing, program};

const KEEPER: &str = include_str!("podman/keeper.sh");
/// Limits that every machine allows, and a runtime that needs no newer kernel feature.
const CONFIG: &str = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \
                      \"nproc=32768:32768\"]\n[engine]\nruntime = \"runc\"\n";

/// What stands before the name of each image of the registry that this Podman alone reaches: the
/// namespace is its own, so the port is free.
pub const REGISTRY: &str = "127.0.0.1:5000";
const REGISTRIES: &str = "[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n";

/// A Podman service that belongs to a test.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
    daemon: Daemon,
}

impl Engine for Podman {
    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("podman.sock").display())
    }
}

impl Podman {
    /// Starts one; nothing where it is not installed, having said so.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> io::Result<Option<Self>> {
        for name in ["podman", "docker", "docker-registry", "runc", "unshare", "go"] {
            if program(name).is_none() {
                missing(name, "run tests/setup/containers.sh as root");
                return Ok(None);
            }
        }
        let folder = keep(tempfile::Builder::new().prefix("backout-podman-").tempdir()?);
        std::fs::write(folder.join("containers.conf"), CONFIG)?;
        std::fs::write(folder.join("registries.conf"), REGISTRIES)?;
        let registry = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: '{REGISTRY}'}}\nstorage:\n  \
             filesystem: {{rootdirectory: '{}'}}\n",
            folder.join("images").display()
        );
        std::fs::write(folder.join("registry.yml"), registry)?;
        let mut command = Command::new("unshare");
        command.args(["--net", "bash", "-c", KEEPER, "keeper"]).arg(&folder);
        let log = folder.with_extension("log");
        let daemon = Daemon::start(&command, &log)?;
        let mut podman = Self { folder, daemon };
        let host = podman.host();
        podman.daemon.wait_ready(|| answers(&host))?;
        std::fs::remove_file(log)?;
        Ok(Some(podman))
    }
}
