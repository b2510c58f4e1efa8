//! Who runs a process: systemd, supervisord, runit, or a command with a pid file.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use backout_plugin_api::words::quoted;
use backout_plugin_api::{PrepareFailure, TargetId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::process::{Process, of_pid_file};

/// Bytes of what a manager says that are read.
const SAID_BYTES_MAX: usize = 16 * 1024;

/// A manager of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(crate) enum Kind {
    /// By `systemctl`.
    Systemd,
    /// By `supervisorctl`.
    Supervisord,
    /// By `sv`.
    Runit,
    /// By a command of yours; a pid file tells which process it is.
    Command,
}

/// What `releases.restart` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartInput {
    /// Who runs the process: `systemd`, `supervisord`, `runit` or `command`.
    pub(crate) manager: Kind,
    /// Its name there: systemd's unit, supervisord's program, runit's folder of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// For supervisord: its configuration file, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<String>,
    /// For `command`: what restarts it, and ends once that is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    /// For `command`: the file that holds the pid of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid_file: Option<String>,
    /// A file or link that the process must be younger than: the link of `releases.activate`. A
    /// process that is, is left alone; without it, every run restarts it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newer_than: Option<String>,
}

impl RestartInput {
    fn given(&self) -> &str {
        self.name.as_deref().or(self.pid_file.as_deref()).unwrap_or_default()
    }

    /// What people call it.
    pub(crate) fn what(&self) -> String {
        match self.manager {
            Kind::Systemd | Kind::Supervisord | Kind::Runit => self.given().to_owned(),
            Kind::Command => format!("the process of {}", self.given()),
        }
    }

    /// The words that restart it.
    pub(crate) fn restart(&self) -> Vec<String> {
        match self.manager {
            Kind::Systemd => self.systemctl(&["restart"]),
            Kind::Supervisord => self.supervisorctl("restart"),
            Kind::Runit => self.sv("restart"),
            Kind::Command => self.command.clone(),
        }
    }

    /// The words that show its process.
    pub(crate) fn show(&self) -> Vec<String> {
        match self.manager {
            Kind::Systemd => self.systemctl(&["show", "--property=LoadState,MainPID"]),
            Kind::Supervisord => self.supervisorctl("pid"),
            Kind::Runit => self.sv("status"),
            Kind::Command => vec!["cat".to_owned(), self.given().to_owned()],
        }
    }

    fn systemctl(&self, verb: &[&str]) -> Vec<String> {
        let words = [&["systemctl"], verb, &["--", self.given()]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn supervisorctl(&self, verb: &str) -> Vec<String> {
        let config = self.config.iter().flat_map(|path| ["-c".to_owned(), path.clone()]);
        let mut words = vec!["supervisorctl".to_owned()];
        words.extend(config);
        words.extend([verb.to_owned(), self.given().to_owned()]);
        words
    }

    fn sv(&self, verb: &str) -> Vec<String> {
        ["sv", verb, self.given()].map(str::to_owned).to_vec()
    }

    /// The identity of the process on its machine.
    pub(crate) fn target(&self) -> TargetId {
        let manager = match self.manager {
            Kind::Systemd => "systemd",
            Kind::Supervisord => "supervisord",
            Kind::Runit => "runit",
            Kind::Command => "pid-file",
        };
        let config = self.config.as_deref().unwrap_or_default();
        TargetId::new(format!("{manager}:{}:{config}:{}", machine(), self.given()))
    }

    /// The process that runs now; `None` where the manager says that none does.
    pub(crate) async fn look(&self, timeout: Duration) -> Result<Option<Process>, PrepareFailure> {
        if self.manager == Kind::Command {
            let path = PathBuf::from(self.given());
            return of_pid_file(&path).map_err(refused);
        }
        let said = said(&self.show(), timeout).await?;
        let pid = match self.manager {
            Kind::Systemd => systemd(&said),
            Kind::Supervisord => supervisord(&said),
            Kind::Runit => runit(&said),
            Kind::Command => Ok(None),
        };
        let pid = pid.map_err(|why| refused(format!("{}: {why}", self.show().join(" "))))?;
        Ok(pid.and_then(Process::of))
    }
}

/// For people, to type.
pub(crate) fn line(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=,@:".contains(&b))
    };
    let quoted = |word: &String| if plain(word) { word.clone() } else { quoted(word) };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

fn machine() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let name = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let id = if id.trim().is_empty() { name() } else { id };
    id.trim().to_owned()
}

/// What a command that only looks says: its output, then its errors.
async fn said(words: &[String], timeout: Duration) -> Result<String, PrepareFailure> {
    let unreachable = |reason: String| PrepareFailure::Unreachable { reason };
    let (program, arguments) = words.split_first().ok_or_else(|| refused("no command".into()))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env("LC_ALL", "C");
    let Ok(output) = tokio::time::timeout(timeout, command.output()).await else {
        return Err(unreachable(format!("{}: no answer within {timeout:?}", line(words))));
    };
    let output = output.map_err(|error| unreachable(format!("{program}: {error}")))?;
    let mut bytes = output.stdout;
    bytes.extend_from_slice(&output.stderr);
    bytes.truncate(SAID_BYTES_MAX);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `LoadState=loaded`, `MainPID=0` where none runs.
fn systemd(said: &str) -> Result<Option<u32>, String> {
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
    match (field("LoadState="), field("MainPID=").and_then(|text| text.trim().parse().ok())) {
        (Some("not-found"), _) => Err("there is no such unit".to_owned()),
        (Some(_), Some(pid)) => Ok(Some(pid).filter(|pid| *pid != 0)),
        _ => Err(first_line(said)),
    }
}

/// The pid, 0 where none runs; anything else is an error.
fn supervisord(said: &str) -> Result<Option<u32>, String> {
    let pid: u32 = said.trim().parse().map_err(|_| first_line(said))?;
    Ok(Some(pid).filter(|pid| *pid != 0))
}

/// `run: DIR: (pid 123) 4s; …` or `down: DIR: 3s, …`.
fn runit(said: &str) -> Result<Option<u32>, String> {
    let first = first_line(said);
    match first.split_once(": ") {
        Some(("run" | "finish", _)) => {
            let (_, after) = first.split_once("(pid ").ok_or_else(|| first.clone())?;
            let pid = after.split(')').next().and_then(|pid| pid.parse().ok());
            pid.map(Some).ok_or(first)
        }
        Some(("down", _)) => Ok(None),
        _ => Err(first),
    }
}

fn first_line(said: &str) -> String {
    /// Characters that a reason quotes.
    const QUOTE_CHARS_MAX: usize = 200;
    let line = said.trim().lines().next().unwrap_or("it says nothing");
    line.chars().take(QUOTE_CHARS_MAX).collect()
}

/// When a file, or a link itself, was changed last; milliseconds since 1970.
pub(crate) fn changed_ms(path: &Path) -> Result<i64, PrepareFailure> {
    let unread =
        |error: std::io::Error| refused(format!("cannot look at {}: {error}", path.display()));
    let changed = path.symlink_metadata().and_then(|found| found.modified()).map_err(unread)?;
    let since = changed.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn managers_tell_the_pid() {
        assert_eq!(systemd("LoadState=loaded\nMainPID=12\n"), Ok(Some(12)));
        assert_eq!(systemd("MainPID=0\nLoadState=loaded\n"), Ok(None));
        assert!(systemd("MainPID=0\nLoadState=not-found\n").is_err());
        assert!(systemd("Failed to connect to bus").is_err());
        assert_eq!(supervisord("12\n"), Ok(Some(12)));
        assert_eq!(supervisord("0\n"), Ok(None));
        assert!(supervisord("unix:///x.sock no such file").is_err());
        assert_eq!(runit("run: /s/shop: (pid 12) 4s\n"), Ok(Some(12)));
        assert_eq!(runit("down: /s/shop: 3s, normally up\n"), Ok(None));
        assert!(runit("warning: /s/shop: unable to open supervise/ok").is_err());
    }

    #[test]
    fn words_are_typed_as_they_are_meant() {
        let words = ["a", "b c", "d'e", "/x=1"].map(str::to_owned);
        assert_eq!(line(&words), r"a 'b c' 'd'\''e' /x=1");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            drop((systemd(&text), supervisord(&text), runit(&text)));
        }
    }
}
