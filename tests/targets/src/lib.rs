//! Real systems for tests: each is started on loopback, on a free port, in a folder of its own, and
//! ended by its own pid. Only tests use this crate.
//!
//! A system that is not installed is a failure where `CI` is set; elsewhere the test says what it
//! skipped and how to get it, and returns. The folder `tests/setup` installs what is wanted.

#![expect(
    clippy::print_stderr,
    reason = "a test that is skipped says so, and what a system wrote helps to see why it failed"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

mod account;
pub mod authority;
pub mod collector;
pub mod docker;
pub mod flags;
pub mod mariadb;
pub mod mysql;
pub mod podman;
pub mod postgres;
pub mod prometheus;
pub mod registry;
pub mod web;

/// How long a system may take until it answers; the slowest here takes half a minute on a busy
/// machine.
pub const START_WITHIN: Duration = Duration::from_mins(2);
/// How long it may take to end when it is asked to, before it is killed.
pub const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Says that `what` is missing: fails where `CI` is set, else prints what is skipped and how to get
/// it. Always false, to be returned by a test's own question whether it can run.
pub fn missing(what: &str, how: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing here: {how}");
    eprintln!("skipped: {what} is missing; {how}");
    false
}

/// The full path of a program, looked for in `PATH` and where Debian keeps servers.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/local/bin"];
    std::env::split_paths(&path)
        .chain(servers.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A port of loopback that was free a moment ago.
///
/// # Errors
/// No port is to be had.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until `holds` says yes.
///
/// # Errors
/// It did not within `within`; the last thing it said.
pub fn wait_until<T>(
    within: Duration,
    mut holds: impl FnMut() -> Result<T, String>,
) -> io::Result<T> {
    let end = Instant::now() + within;
    loop {
        match holds() {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() >= end => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// A server that belongs to a test: it ends with the value, and with the test's process however that
/// ends.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    // Its death is the server's: see `start`.
    _keeper: mpsc::Sender<()>,
}

impl Daemon {
    /// Starts `command`, its output in the file `log`.
    ///
    /// Where `setpriv` is there the server also dies when the test's process is killed. The kernel
    /// watches the thread that started it, so a thread of its own does that and lives as long.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &Command, log: &Path) -> io::Result<Self> {
        let mut wrapped = dying_with_us(command);
        let out = File::create(log)?;
        wrapped.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let (keeper, kept) = mpsc::channel::<()>();
        let (started, start) = mpsc::channel();
        std::thread::spawn(move || {
            // Whoever asked waits below.
            let _asked = started.send(wrapped.spawn());
            // Ends when the sender is dropped.
            let _ended = kept.recv();
        });
        let child = start.recv().map_err(io::Error::other)??;
        Ok(Self { child, log: log.to_owned(), _keeper: keeper })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until it answers as `ready` wants.
    ///
    /// # Errors
    /// It ended, or did not answer in time; with the end of what it wrote.
    pub fn wait_ready(&mut self, mut ready: impl FnMut() -> Result<(), String>) -> io::Result<()> {
        let end = Instant::now() + START_WITHIN;
        loop {
            let why = match ready() {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() >= end {
                let said = self.output();
                let tail: Vec<&str> = said.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let why = format!("not ready ({why}), ended: {ended:?}\n{}", tail.join("\n"));
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks it to end, then ends it.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let end = Instant::now() + STOP_WITHIN;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill()
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("pid {} could not be ended: {error}", self.child.id());
        }
    }
}

fn dying_with_us(command: &Command) -> Command {
    let Some(setpriv) = program("setpriv") else { return copy_of(command, None) };
    copy_of(command, Some(setpriv))
}

fn copy_of(command: &Command, setpriv: Option<PathBuf>) -> Command {
    let mut copy = match setpriv {
        Some(setpriv) => {
            let mut copy = Command::new(setpriv);
            copy.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
            copy
        }
        None => Command::new(command.get_program()),
    };
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        copy.current_dir(folder);
    }
    copy
}

/// Whether a server on loopback answers a GET with 200; else what it says.
fn answers(port: u16, path: &str) -> Result<(), String> {
    let answer = get(port, path).map_err(|error| error.to_string())?;
    if answer.split_ascii_whitespace().nth(1) == Some("200") { Ok(()) } else { Err(answer) }
}

fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
