//! What every test needs: a folder of its own, the binary, and patience with a limit.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for a condition before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a store, in which the binary runs.
pub(crate) struct TestEnv {
    folder: TempDir,
    store: PathBuf,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl TestEnv {
    /// A new folder; its store does not exist yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("backout-it-").tempdir().unwrap();
        let store = folder.path().join("store");
        Self { folder, store }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store's folder.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// Writes a file in the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The binary with these arguments, in the folder, on the store, without a terminal.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backout"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("BACKOUT_LOG")
            .env("BACKOUT_STORE", &self.store)
            .env("USER", "tester")
            .env_remove("SUDO_USER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn backout<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Said {
        self.spawn(args).wait()
    }

    /// The same with one more variable of the environment.
    pub(crate) fn backout_with<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        name: &str,
        value: &str,
    ) -> Said {
        Running(Some(self.command(args).env(name, value).spawn().unwrap())).wait()
    }

    /// The events of a run, as `history --json` prints them; none where there is no run yet.
    pub(crate) fn history(&self, run: &str) -> Vec<Value> {
        let said = self.backout(["history", run, "--json"]);
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts the binary and leaves it running; it is killed when the guard goes.
    pub(crate) fn spawn<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Running {
        Running(Some(self.command(args).spawn().unwrap()))
    }

    /// `status RUN --json`.
    pub(crate) fn status(&self, run: &str) -> Value {
        let said = self.backout(["status", run, "--json"]);
        assert_eq!(said.code, 0, "{}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    /// Waits until the latest run's state is this.
    pub(crate) fn wait_for_state(&self, state: &str) -> Value {
        let mut last = Value::Null;
        wait_until(&format!("the run is {state}"), || {
            let said = self.backout(["status", "latest", "--json"]);
            last = serde_json::from_str(&said.out).unwrap_or_default();
            last["state"] == state
        });
        last
    }
}

impl Said {
    /// Fails with all that was said where the exit code is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}", self.out))
    }
}

/// A command that still runs.
pub(crate) struct Running(Option<Child>);

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Sends a signal by its name, `TERM` for instance.
    pub(crate) fn signal(&self, name: &str) {
        kill(name, &self.pid().to_string());
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end, with a limit.
    pub(crate) fn wait(mut self) -> Said {
        let mut child = self.0.take().unwrap();
        let out = reader(child.stdout.take());
        let err = reader(child.stderr.take());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (out, err) = (out.join().unwrap(), err.join().unwrap());
        let Some(status) = status else { panic!("it did not end\n{out}\n{err}") };
        Said { code: status.code().unwrap_or(-1), out, err }
    }
}

/// Reads a stream to its end beside the process, so that no pipe fills up.
fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stream) = stream {
            stream.read_to_string(&mut text).unwrap();
        }
        text
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill().is_ok();
            let _ = child.wait().is_ok();
        }
    }
}

/// Sends a signal by its name to a process by its id.
pub(crate) fn kill(name: &str, pid: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid).status();
    assert!(sent.unwrap().success());
}

/// Waits for a condition, with a limit.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
