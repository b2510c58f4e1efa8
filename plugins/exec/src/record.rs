//! What stands in the folder of one sending, and what it says of the command.
//!
//! ```text
//! claim         who has this sending: the shim with its process, or a seal
//! started.json  durable before the command begins
//! output        what the command said, without secrets, as it comes
//! exit.json     how it ended
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backout_plugin_api::{
    Claim, Claimant, Context, EffectKey, folder_name, limits, sync_dir, write_durably,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::input::Keep;
use crate::process::{Life, Process};

/// Bytes of stdout that are kept for later steps.
pub(crate) const STDOUT_BYTES_MAX: usize = limits::OUTPUT_BYTES_MAX / 4;
/// Bytes of stderr that are kept for the reason of a failure.
pub(crate) const STDERR_BYTES_MAX: usize = 1024;

const STARTED: &str = "started.json";
const EXIT: &str = "exit.json";
const OUTPUT: &str = "output";

/// A command was about to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) at_ms: i64,
    pub(crate) child: Process,
}

/// A command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) at_ms: i64,
    pub(crate) how: How,
    /// The end of what it said on stdout, without secrets.
    #[serde(default)]
    pub(crate) stdout: String,
    /// Whether there was more before it.
    #[serde(default)]
    pub(crate) stdout_cut: bool,
    /// The end of what it said on stderr, without secrets.
    #[serde(default)]
    pub(crate) stderr: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// By itself.
    Status(i32),
    /// By somebody's signal.
    Signal(i32),
    /// We ended it.
    Ended(Why),
    /// It could not be started: nothing of it ran.
    NeverBegan(String),
}

/// Why we ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Why {
    /// It took longer than it may.
    Timeout,
    /// The engine asked.
    Cancel,
}

impl Exit {
    pub(crate) fn never_began(at_ms: i64, reason: String) -> Self {
        Self {
            at_ms,
            how: How::NeverBegan(reason),
            stdout: String::new(),
            stdout_cut: false,
            stderr: String::new(),
        }
    }

    /// One line for people, with the last line of stderr.
    pub(crate) fn says(&self) -> String {
        let how = match &self.how {
            How::Status(status) => format!("it ended with exit status {status}"),
            How::Signal(signal) => format!("signal {signal} ended it"),
            How::Ended(Why::Timeout) => "it took too long and was ended".to_owned(),
            How::Ended(Why::Cancel) => "it was ended on request".to_owned(),
            How::NeverBegan(reason) => format!("it was not started: {reason}"),
        };
        match self.stderr.trim().lines().last() {
            Some(line) => format!("{how}: {line}"),
            None => how,
        }
    }

    /// What later steps may use; never longer than an output may be.
    pub(crate) fn output(&self, keep: Keep) -> Value {
        let status = match self.how {
            How::Status(status) => json!(status),
            How::Signal(_) | How::Ended(_) | How::NeverBegan(_) => Value::Null,
        };
        if keep == Keep::Nothing {
            return json!({ "exit_status": status });
        }
        let stdout = self.stdout.trim();
        let mut output = json!({ "exit_status": status, "stdout": stdout });
        if self.stdout_cut {
            output["stdout_cut"] = json!(true);
        }
        if let Some(object) = last_object(stdout) {
            output["json"] = object;
        }
        fitted(output)
    }
}

/// The last line, where it is a JSON object.
fn last_object(stdout: &str) -> Option<Value> {
    let line = stdout.lines().last()?;
    serde_json::from_str(line).ok().filter(Value::is_object)
}

/// Control characters grow when they are written as JSON: what is too long then loses its begin.
fn fitted(mut output: Value) -> Value {
    while output.to_string().len() > limits::OUTPUT_BYTES_MAX {
        let stdout = output["stdout"].as_str().unwrap_or_default();
        let middle = (stdout.len() / 2..stdout.len()).find(|&at| stdout.is_char_boundary(at));
        let half = stdout[middle.unwrap_or(stdout.len())..].to_owned();
        output["stdout"] = json!(half);
        output["stdout_cut"] = json!(true);
    }
    output
}

/// The folder of one sending.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

/// What a folder says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Look {
    /// Nobody has it.
    Unclaimed,
    /// The command never began and never will.
    Never,
    /// It ended.
    Exited(Exit),
    /// It runs, and this shows it.
    Running(String),
    /// How it ended was not recorded.
    Lost {
        /// What is known.
        evidence: String,
        /// Whether all that it started is known to be over.
        over: bool,
    },
}

impl Folder {
    pub(crate) fn of(ctx: &Context, key: &EffectKey, dispatch: u32) -> Self {
        Self { dir: ctx.scratch.join("exec").join(folder_name(key, dispatch)) }
    }

    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim::at(&self.dir)
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.dir.join(OUTPUT)
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        self.read(EXIT)
    }

    pub(crate) fn write_started(&self, started: &Started) -> io::Result<()> {
        self.write(STARTED, started)
    }

    pub(crate) fn write_exit(&self, exit: &Exit) -> io::Result<()> {
        self.write(EXIT, exit)
    }

    /// What it says now. Processes are looked at before the records that they write, so that a
    /// record that is missing although its writer is gone will never come.
    pub(crate) fn look(&self) -> io::Result<Look> {
        let Some(claimed) = self.claim().read()? else { return Ok(Look::Unclaimed) };
        if claimed.by == Claimant::Seal {
            return Ok(Look::Never);
        }
        let shim: Process = serde_json::from_value(claimed.note)?;
        let life = shim.life()?;
        if let Some(exit) = self.exit()? {
            return Ok(match exit.how {
                How::NeverBegan(_) => Look::Never,
                How::Status(_) | How::Signal(_) | How::Ended(_) => Look::Exited(exit),
            });
        }
        match (life, self.read::<Started>(STARTED)?) {
            (Life::Alive, _) => Ok(Look::Running(format!("its shim is process {}", shim.pid))),
            (Life::Gone, None) => Ok(Look::Never),
            (Life::Gone, Some(started)) => lost(&shim, &started.child),
            (Life::OutOfSight, _) => Ok(Look::Lost {
                evidence:
                    "it was started on another machine or in another container, which cannot \
                           be seen from here"
                        .into(),
                over: false,
            }),
        }
    }

    /// Whether anything that this sending started is still there.
    pub(crate) fn is_over(&self) -> io::Result<bool> {
        let Some(claimed) = self.claim().read()? else { return Ok(true) };
        if claimed.by == Claimant::Seal {
            return Ok(true);
        }
        let shim: Process = serde_json::from_value(claimed.note)?;
        Ok(shim.session_life()? == Life::Gone)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.dir.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write<T: Serialize>(&self, name: &str, record: &T) -> io::Result<()> {
        let temporary = self.dir.join(format!(".{name}"));
        write_durably(&temporary, &serde_json::to_vec(record)?)?;
        fs::rename(&temporary, self.dir.join(name))?;
        sync_dir(&self.dir)
    }
}

/// The shim died: its command may have outlived it.
fn lost(shim: &Process, child: &Process) -> io::Result<Look> {
    if child.life()? == Life::Alive {
        return Ok(Look::Running(format!(
            "its shim is gone, the command is process {}",
            child.pid
        )));
    }
    Ok(Look::Lost {
        evidence: "it was started, and its shim ended before it could record how it ended".into(),
        over: shim.session_life()? == Life::Gone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(stdout: &str) -> Exit {
        let how = How::Status(0);
        Exit { at_ms: 0, how, stdout: stdout.into(), stdout_cut: false, stderr: String::new() }
    }

    #[test]
    fn output_offers_the_object_on_the_last_line() {
        let output = exit("hello\n{\"a\":1}\n").output(Keep::Stdout);
        assert_eq!(
            output,
            json!({"exit_status": 0, "stdout": "hello\n{\"a\":1}", "json": {"a": 1}})
        );
        assert_eq!(exit("{\"a\":1}").output(Keep::Nothing), json!({"exit_status": 0}));
        assert_eq!(exit("x\n7\n").output(Keep::Stdout).get("json"), None);
    }

    #[test]
    fn output_never_grows_beyond_its_limit() {
        let output = exit(&format!("x{}x", "\u{1}".repeat(STDOUT_BYTES_MAX - 2)));
        let output = output.output(Keep::Stdout);
        assert!(output.to_string().len() <= limits::OUTPUT_BYTES_MAX);
        assert_eq!(output["stdout_cut"], json!(true));
    }

    #[test]
    fn a_shim_that_is_gone_and_recorded_no_start_never_began() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(&dir.path().join("x"));
        assert_eq!(folder.look().unwrap(), Look::Unclaimed);
        let me = Process::me().unwrap();
        let gone = Process { began: me.began + 1, ..me.clone() };
        let note = serde_json::to_value(&gone).unwrap();
        folder.claim().take(&backout_plugin_api::Claimed::sender(1, note)).unwrap();
        assert_eq!(folder.look().unwrap(), Look::Never);
        folder.write_started(&Started { at_ms: 2, child: gone.clone() }).unwrap();
        assert!(matches!(folder.look().unwrap(), Look::Lost { over: true, .. }));
        folder.write_started(&Started { at_ms: 2, child: me }).unwrap();
        assert!(matches!(folder.look().unwrap(), Look::Running(_)));
        folder.write_exit(&exit("")).unwrap();
        assert!(matches!(folder.look().unwrap(), Look::Exited(_)));
    }
}
