//! Flag systems: Unleash's server, and files of flags served by the systems' own evaluators.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::postgres::Postgres;
use crate::{Daemon, free_port, missing, program};

/// What [`Unleash`] is asked with by Backout; its event log says `backout`.
pub const OUR_TOKEN: &str = "*:*.backout-0123456789abcdef";
/// What somebody else asks it with; its event log says `alice`.
pub const THEIR_TOKEN: &str = "*:*.alice-0123456789abcdef";

const UNLEASH_FOLDER: &str = "unleash-7.5.1";
const EVALUATORS_FOLDER: &str = "flag-evaluators";
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

/// Whose evaluator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluator {
    /// go-feature-flag's.
    GoFeatureFlag,
    /// flagd's.
    Flagd,
}

/// How a [`Relay`] works.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayOptions<'a> {
    /// Reads its file again so often, in seconds; 0 is only when it is asked to.
    pub poll_seconds: f64,
    /// The key that an evaluation needs.
    pub key: &'a str,
    /// The key that a refresh needs.
    pub admin_key: &'a str,
}

/// A file of flags that is served over OFREP, evaluated by the flag system's own evaluator.
#[derive(Debug)]
pub struct Relay {
    daemon: Daemon,
    port: u16,
    _folder: TempDir,
}

impl Relay {
    /// Whether it can be started; see [`missing`].
    pub fn is_here() -> bool {
        let here = tools(EVALUATORS_FOLDER).is_some() && program("python3").is_some();
        here || missing("the evaluators of go-feature-flag and flagd", SETUP)
    }

    /// Serves `file`.
    ///
    /// # Errors
    /// It does not start, the file cannot be read for instance; with what it said.
    pub fn start(evaluator: Evaluator, file: &Path, options: RelayOptions<'_>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let system = match evaluator {
            Evaluator::GoFeatureFlag => "go-feature-flag",
            Evaluator::Flagd => "flagd",
        };
        let packages = tools(EVALUATORS_FOLDER).ok_or_else(|| not_found("the evaluators"))?;
        let mut command = Command::new(program("python3").ok_or_else(|| not_found("python3"))?);
        command
            .arg(script("ofrep.py"))
            .args(["--system", system, "--port", &port.to_string()])
            .args(["--poll", &options.poll_seconds.to_string()])
            .args(["--key", options.key, "--admin-key", options.admin_key])
            .arg("--file")
            .arg(file)
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(folder.path());
        let log = folder.path().join("log");
        let mut daemon = Daemon::start(&command, &log)?;
        wait_for_ready(&mut daemon, &log)?;
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
