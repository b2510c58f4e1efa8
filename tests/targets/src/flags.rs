//! Flag systems: Unleash's server, and files of flags served by go-feature-flag's relay and by flagd.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::postgres::Postgres;
use crate::{Daemon, answers, free_port, missing, program};

/// What [`Unleash`] is asked with by Backout; its event log says `backout`.
pub const OUR_TOKEN: &str = "*:*.backout-0123456789abcdef";
/// What somebody else asks it with; its event log says `alice`.
pub const THEIR_TOKEN: &str = "*:*.alice-0123456789abcdef";

const UNLEASH_FOLDER: &str = "unleash-7.5.1";
const RELAY: &str = "goff-relay";
const FLAGD: &str = "flagd";
const SETUP: &str = "TOOLS=… bash tests/setup/flags.sh";

/// A folder that `tests/setup/flags.sh` made.
fn tools(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = std::env::var_os("TOOLS").map(PathBuf::from);
    tools
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|folder| folder.join("complete").is_file())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("flags").join(name)
}

fn not_found(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{what} is missing"))
}

/// Unleash with an empty database of its own.
#[derive(Debug)]
pub struct Unleash {
    daemon: Daemon,
    port: u16,
    _folder: TempDir,
}

impl Unleash {
    /// Whether it can be started; see [`missing`].
    pub fn is_here() -> bool {
        let here = tools(UNLEASH_FOLDER).is_some() && program("node").is_some();
        (here || missing("Unleash", SETUP)) && Postgres::is_here()
    }

    /// A new server on a new database of `postgres`.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start(postgres: &Postgres) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let database = postgres.new_database()?;
        let mut command = Command::new(program("node").ok_or_else(|| not_found("node"))?);
        let unleash = tools(UNLEASH_FOLDER).ok_or_else(|| not_found("Unleash"))?;
        command
            .arg(script("unleash.mjs"))
            .env("UNLEASH_FOLDER", unleash)
            .env("UNLEASH_PORT", port.to_string())
            .env("UNLEASH_DATABASE", postgres.url(&database))
            .env_remove("DATABASE_URL")
            .current_dir(folder.path());
        let mut daemon = Daemon::start(&command, &folder.path().join("log"))?;
        wait_for_ready(&mut daemon, &folder.path().join("log"))?;
        Ok(Self { daemon, port, _folder: folder })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

fn wait_for_ready(daemon: &mut Daemon, log: &Path) -> io::Result<()> {
    daemon.wait_ready(|| {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        if said.lines().any(|line| line == "ready") { Ok(()) } else { Err("not yet".to_owned()) }
    })
}

/// Whose server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// go-feature-flag's relay proxy.
    GoFeatureFlag,
    /// flagd.
    Flagd,
}

/// How a [`Relay`] works. flagd knows none of it: it has no keys, and sees a changed file by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayOptions<'a> {
    /// Reads its file again so often, in seconds; 0 is only when it is asked to.
    pub poll_seconds: u32,
    /// The key that an evaluation needs.
    pub key: &'a str,
    /// The key that a refresh needs.
    pub admin_key: &'a str,
}

/// A file of flags that is served over OFREP by its system's own server.
#[derive(Debug)]
pub struct Relay {
    daemon: Daemon,
    port: u16,
    _folder: TempDir,
}

impl Relay {
    /// Whether it can be started; see [`missing`].
    pub fn is_here() -> bool {
        let here = [RELAY, FLAGD].iter().all(|name| program(name).is_some());
        here || missing("the servers of go-feature-flag and flagd", SETUP)
    }

    /// Serves `file`.
    ///
    /// # Errors
    /// It does not start, the file cannot be read for instance; with what it said.
    pub fn start(system: System, file: &Path, options: RelayOptions<'_>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let (mut command, health, health_path) = match system {
            System::GoFeatureFlag => {
                let config = folder.path().join("relay.yaml");
                std::fs::write(&config, relay_config(port, file, options))?;
                let mut command = Command::new(program(RELAY).ok_or_else(|| not_found(RELAY))?);
                command.arg("--config").arg(config);
                (command, port, "/health")
            }
            System::Flagd => {
                let [evaluation, management, sync] = [free_port()?, free_port()?, free_port()?];
                let mut command = Command::new(program(FLAGD).ok_or_else(|| not_found(FLAGD))?);
                command.arg("start").arg("--uri").arg(format!("file:{}", file.display()));
                let ports = [
                    ("--ofrep-port", port),
                    ("--port", evaluation),
                    ("--management-port", management),
                    ("--sync-port", sync),
                ];
                for (name, port) in ports {
                    command.arg(name).arg(port.to_string());
                }
                (command, management, "/readyz")
            }
        };
        command.current_dir(folder.path());
        let mut daemon = Daemon::start(&command, &folder.path().join("log"))?;
        daemon.wait_ready(|| answers(health, health_path))?;
        Ok(Self { daemon, port, _folder: folder })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        self.daemon.stop().map(|_| ())
    }
}

/// The relay's configuration, after its `config` package.
fn relay_config(port: u16, file: &Path, options: RelayOptions<'_>) -> String {
    let format = file.extension().map_or("yaml".into(), |kind| kind.to_string_lossy());
    let RelayOptions { poll_seconds, key, admin_key } = options;
    // Below zero it never polls; zero is its default of a minute.
    let poll_ms = if poll_seconds == 0 { -1 } else { i64::from(poll_seconds) * 1_000 };
    let keys = |name: &str, key: &str| match key {
        "" => String::new(),
        key => format!("  {name}: [{key:?}]\n"),
    };
    let keys = keys("evaluation", key) + &keys("admin", admin_key);
    let keys = if keys.is_empty() { keys } else { format!("authorizedKeys:\n{keys}") };
    format!(
        "server: {{mode: http, host: 127.0.0.1, port: {port}}}\nhideBanner: true\n\
         pollingInterval: {poll_ms}\nfileFormat: {format}\n\
         retrievers:\n  - {{kind: file, path: '{}'}}\n{keys}",
        file.display()
    )
}
