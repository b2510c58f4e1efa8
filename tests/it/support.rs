//! What every test needs: a folder of its own, the binary, and patience with a limit.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use backout_test_targets::docker::Docker;
use backout_test_targets::postgres::Postgres;
use serde_json::Value;
use tempfile::TempDir;

/// One Docker Engine for all tests of this process; nothing where it is not installed.
pub(crate) static DOCKER: LazyLock<Option<Docker>> = LazyLock::new(|| Docker::start().unwrap());

/// One PostgreSQL for all tests of this process; ask `Postgres::is_here` first.
pub(crate) static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap());

/// How long a test waits for a condition before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

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
            // Nobody outside hears of a test, whatever this machine is set up for.
            .env_remove("BACKOUT_CHANNELS")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env_remove("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
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
        Running::new(self.command(args).env(name, value)).wait()
    }

    /// The events of a run, as `history --json` prints them; none where there is no run yet.
    pub(crate) fn history(&self, run: &str) -> Vec<Value> {
        let said = self.backout(["history", run, "--json"]);
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts the binary and leaves it running; it is killed when the guard goes.
    pub(crate) fn spawn<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Running {
        Running::new(&mut self.command(args))
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

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
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

/// A command that still runs. What it says is read beside it, so that no pipe fills up.
pub(crate) struct Running {
    child: Child,
    out: Stream,
    err: Stream,
}

struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn new(stream: Option<impl Read + Send + 'static>) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = text.clone();
        let reader = std::thread::spawn(move || {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn end(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.text()
    }
}

impl Running {
    /// Starts it.
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (out, err) = (Stream::new(child.stdout.take()), Stream::new(child.stderr.take()));
        Self { child, out, err }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, `TERM` for instance.
    pub(crate) fn signal(&self, name: &str) {
        kill(name, &self.pid().to_string());
    }

    /// What it said on stdout so far.
    pub(crate) fn out(&self) -> String {
        self.out.text()
    }

    /// What it said on stderr so far.
    pub(crate) fn err(&self) -> String {
        self.err.text()
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, with a limit.
    pub(crate) fn wait(mut self) -> Said {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_over() {
            let said = || format!("{}\n{}", self.out.text(), self.err.text());
            assert!(Instant::now() < deadline, "it did not end\n{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Said { code, out: self.out.end(), err: self.err.end() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over() {
            // It may end by itself at this moment.
            let _ = self.child.kill().is_ok();
            let _ = self.child.wait().is_ok();
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
