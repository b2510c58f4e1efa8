//! Docker Engine in a folder of its own.
//!
//! It gets no default bridge and no iptables rules: networks of one's own, their name service,
//! aliases and published ports work without, and the machine stays as it was. It runs under a small
//! keeper that clears up when the test's process ends, however that happens.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::{Daemon, free_port, missing, program};

const KEEPER: &str = include_str!("docker/keeper.sh");
const APP: &str = include_str!("docker/app.go");
/// A check that passes soon after the start, and is patient on a busy machine.
const HEALTHCHECK: &str =
    "HEALTHCHECK --interval=400ms --timeout=5s --retries=3 CMD [\"/app\", \"health\"]";

/// A container engine that answers the `docker` client.
pub trait Engine: Send + Sync {
    /// Where it listens: `unix:///…`.
    fn host(&self) -> String;

    /// What the `docker` client prints, without space at its ends.
    ///
    /// # Errors
    /// It failed, and what it said.
    fn docker(&self, args: &[&str]) -> io::Result<String> {
        let mut command = Command::new("docker");
        // The builder of before needs no plugin, and every engine here has it.
        command.args(["-H", &self.host()]).args(args).env("DOCKER_BUILDKIT", "0");
        output(&mut command)
    }

    /// Builds an image of the tests' service from scratch, with these variables, and a health
    /// check that is made all the time unless `NOCHECK` is among them. Its id.
    ///
    /// # Errors
    /// The engine, or the compiler of the service, says why.
    fn image(&self, tag: &str, env: &[(&str, &str)]) -> io::Result<String> {
        let folder = tempfile::tempdir()?;
        std::fs::copy(service()?, folder.path().join("app"))?;
        let mut text = "FROM scratch\nCOPY app /app\n".to_owned();
        for (name, value) in env {
            text.extend(["ENV ", name, "=", value, "\n"]);
        }
        if !env.iter().any(|(name, _)| *name == "NOCHECK") {
            text.push_str(HEALTHCHECK);
            text.push('\n');
        }
        text.push_str("CMD [\"/app\"]\n");
        std::fs::write(folder.path().join("Dockerfile"), text)?;
        let context = folder.path().to_string_lossy();
        self.docker(&["build", "-q", "-t", tag, &context])?;
        self.docker(&["image", "inspect", tag, "--format", "{{.Id}}"])
    }
}

/// A Docker Engine that belongs to a test.
#[derive(Debug)]
pub struct Docker {
    folder: PathBuf,
    tls_port: u16,
    daemon: Daemon,
}

impl Engine for Docker {
    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }
}

impl Docker {
    /// Starts one; nothing where it is not installed, having said so.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> io::Result<Option<Self>> {
        for name in ["dockerd", "docker", "containerd", "runc", "openssl", "go"] {
            if program(name).is_none() {
                missing(name, "run tests/setup/containers.sh as root");
                return Ok(None);
            }
        }
        let folder = keep(tempfile::Builder::new().prefix("backout-docker-").tempdir()?);
        let mut command = Command::new("bash");
        let tls_port = free_port()?;
        command.args(["-c", KEEPER, "keeper"]).arg(&folder);
        command.arg(pool()?).arg(tls_port.to_string());
        let log = folder.with_extension("log");
        let daemon = Daemon::start(&command, &log)?;
        let mut docker = Self { folder, tls_port, daemon };
        let host = docker.host();
        docker.daemon.wait_ready(|| answers(&host))?;
        // Nobody reads it any more unless the engine lives.
        std::fs::remove_file(log)?;
        Ok(Some(docker))
    }

    /// Where it also listens, with TLS and for clients with a certificate only: `tcp://…`.
    pub fn tls_host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.tls_port)
    }

    /// The folder of `ca.pem`, and of `client.pem` and `client-key.pem`.
    pub fn tls_folder(&self) -> PathBuf {
        self.folder.join("tls")
    }
}

/// The keeper removes the folder.
pub(crate) fn keep(folder: TempDir) -> PathBuf {
    folder.keep()
}

pub(crate) fn answers(host: &str) -> Result<(), String> {
    let mut command = Command::new("docker");
    command.args(["-H", host, "version"]);
    output(&mut command).map(|_| ()).map_err(|error| error.to_string())
}

/// A range of addresses that another engine of the tests hardly has at the same time.
fn pool() -> io::Result<String> {
    let number = free_port()? % 1024;
    Ok(format!("10.{}.{}.0/20", 200 + number / 16 % 50, number % 16 * 16))
}

/// What a program prints, without space at its ends.
///
/// # Errors
/// It failed, and what it said.
pub(crate) fn output(command: &mut Command) -> io::Result<String> {
    let done = command.output()?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(io::Error::other(format!("{command:?}: {}: {said}", done.status)))
}

/// The tests' service, compiled once for the process.
fn service() -> io::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| error.to_string()));
    built.clone().map_err(io::Error::other)
}

fn build() -> io::Result<PathBuf> {
    let folder =
        std::env::temp_dir().join(format!("backout-service-{}", env!("CARGO_PKG_VERSION")));
    std::fs::create_dir_all(&folder)?;
    let (source, app) = (folder.join("app.go"), folder.join("app"));
    if std::fs::read_to_string(&source).is_ok_and(|text| text == APP) && app.is_file() {
        return Ok(app);
    }
    // Under another name until it is whole: several test binaries may be at it.
    let ours = tempfile::tempdir_in(&folder)?;
    std::fs::write(ours.path().join("app.go"), APP)?;
    let go = program("go").unwrap_or_else(|| PathBuf::from("go"));
    let mut command = Command::new(go);
    command.args(["build", "-ldflags=-s -w", "-o", "app", "app.go"]);
    command.current_dir(ours.path()).env("CGO_ENABLED", "0").env("GOFLAGS", "");
    output(&mut command)?;
    std::fs::rename(ours.path().join("app"), &app)?;
    std::fs::rename(ours.path().join("app.go"), &source)?;
    Ok(app)
}
