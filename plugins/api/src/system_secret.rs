//! Secrets from where a machine keeps them: the environment, files, and commands.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::secret::{Secret, SecretError, SecretRef, SecretSource};

/// Bytes of one secret: a certificate chain with its key fits, a disk image does not.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// How long a secret's command may take: a password manager over a bad line, not a person typing.
pub const SECRET_COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// Resolves `env:NAME`, `file:PATH` and `cmd:["prog", "arg"]` on this machine.
///
/// One newline at the end of a file or of a command's output is no part of the value. An empty
/// value is refused: it is a mistake each time, and it could not be masked in output. It blocks for
/// as long as a command takes; [`crate::Context::secret`] moves it off the async threads.
#[derive(Clone, Debug)]
pub struct SystemSecrets {
    command_timeout: Duration,
}

impl Default for SystemSecrets {
    fn default() -> Self {
        Self { command_timeout: SECRET_COMMAND_TIMEOUT }
    }
}

impl SystemSecrets {
    /// A source whose commands may take that long.
    pub fn with_command_timeout(command_timeout: Duration) -> Self {
        Self { command_timeout }
    }
}

impl SecretSource for SystemSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let value = match Place::parse(&reference.0) {
            Ok(Place::Env(name)) => from_env(name),
            Ok(Place::File(path)) => from_file(path),
            Ok(Place::Cmd(command)) => from_command(&command, self.command_timeout),
            Err(reason) => Err(reason),
        };
        value
            .and_then(as_value)
            .map_err(|reason| SecretError { reference: reference.0.clone(), reason })
    }
}

/// Whether the text is a reference that [`SystemSecrets`] understands. It looks at nothing but the
/// text; a text that still holds `${…}` passes.
///
/// # Errors
/// What is wrong with the text.
pub fn check_reference(text: &str) -> Result<(), SecretError> {
    if text.contains("${") {
        return Ok(());
    }
    Place::parse(text).map(|_| ()).map_err(|reason| SecretError { reference: text.into(), reason })
}

/// Where a reference points.
enum Place<'a> {
    Env(&'a str),
    File(&'a str),
    Cmd(Vec<String>),
}

impl<'a> Place<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name)),
            Some(("env", _)) => Err("a variable's name is letters, digits and `_`".into()),
            Some(("file", "")) => Err("the path is missing; write `file:/path/to/it`".into()),
            Some(("file", path)) => Ok(Self::File(path)),
            Some(("cmd", list)) => parse_command(list).map(Self::Cmd),
            _ => Err("it is none of `env:NAME`, `file:PATH`, `cmd:[\"prog\", \"arg\"]`; a value \
                      itself never stands in a runbook"
                .into()),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn parse_command(list: &str) -> Result<Vec<String>, String> {
    match serde_json::from_str::<Vec<String>>(list) {
        Ok(command) if command.first().is_some_and(|program| !program.is_empty()) => Ok(command),
        Ok(_) => Err("the command has no program".into()),
        Err(_) => Err("the command must be a JSON list of texts: `cmd:[\"prog\", \"arg\"]`".into()),
    }
}

fn from_env(name: &str) -> Result<Vec<u8>, String> {
    use std::os::unix::ffi::OsStringExt;
    match std::env::var_os(name) {
        Some(value) => Ok(value.into_vec()),
        None => Err("the variable is not set in the environment of the engine".into()),
    }
}

fn from_file(path: &str) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| format!("cannot open the file: {error}"))?;
    let bytes = read_limited(file).map_err(|error| format!("cannot read the file: {error}"))?;
    Ok(without_newline(bytes))
}

/// Reads one byte beyond the limit at most, so that what is too long is known as such.
fn read_limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// Runs the command in a process group of its own. What it says on stderr is dropped, since it may
/// hold the value.
fn from_command(command: &[String], timeout: Duration) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("the command has no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start `{program}`: {error}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let read = child.stdout.take().map_or_else(|| Ok(Vec::new()), read_limited);
        let ended = read.and_then(|bytes| child.wait().map(|status| (status, bytes)));
        // Nobody listens any more after a timeout.
        drop(send.send(ended));
    });
    match receive.recv_timeout(timeout) {
        Ok(Ok((status, bytes))) if status.success() => Ok(without_newline(bytes)),
        Ok(Ok((status, _))) => Err(format!("the command ended with {status}; run it to see why")),
        Ok(Err(error)) => Err(format!("cannot read what the command says: {error}")),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            end_group(group);
            Err(format!("the command did not end within {} s", timeout.as_secs_f32()))
        }
    }
}

fn end_group(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended by itself in this moment.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn as_value(bytes: Vec<u8>) -> Result<Secret, String> {
    if bytes.is_empty() {
        return Err("the value is empty".into());
    }
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(format!("the value is longer than {SECRET_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map(Secret::new).map_err(|_| "the value is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_reference_or_refused_with_a_reason(
            kind in "(env|file|cmd|)", text in "(?s).{0,40}|\\[.{0,20}\\]|[A-Z_0-9]{0,9}",
        ) {
            for text in [format!("{kind}:{text}"), text] {
                match check_reference(&text) {
                    Ok(()) if !text.contains("${") => {
                        prop_assert!(Place::parse(&text).is_ok());
                        prop_assert!(["env:", "file:", "cmd:"].iter().any(|k| text.starts_with(k)));
                    }
                    Ok(()) => {}
                    Err(error) => {
                        prop_assert!(!error.reason.is_empty());
                        let source = SystemSecrets::default();
                        prop_assert!(source.resolve(&SecretRef(text)).is_err());
                    }
                }
            }
        }

        #[test]
        fn what_reads_from_files_keeps_the_value(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let kept = without_newline([&bytes[..], b"\n"].concat());
            prop_assert!(bytes.starts_with(&kept) && bytes.len() - kept.len() <= 1);
            drop(as_value(bytes));
        }
    }

    fn resolve(reference: &str) -> Result<String, String> {
        SystemSecrets::with_command_timeout(Duration::from_millis(300))
            .resolve(&SecretRef(reference.into()))
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
    }

    fn check_refused(reference: &str, part: &str) {
        let error = resolve(reference).unwrap_err();
        assert!(error.contains(part), "{reference} gave: {error}");
        assert!(error.contains(reference), "{error} does not name {reference}");
    }

    #[test]
    fn resolves_each_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n\n").unwrap();
        assert_eq!(resolve(&format!("file:{}", path.display())).unwrap(), "s3cret\n");
        assert_eq!(resolve("cmd:[\"printf\", \"a b\\n\"]").unwrap(), "a b");
        assert_eq!(resolve("env:PATH").unwrap(), std::env::var("PATH").unwrap());
    }

    #[test]
    fn refuses_what_gives_no_value() {
        check_refused("env:BACKOUT_NOT_SET_ANYWHERE", "is not set");
        check_refused("env:1X", "letters");
        check_refused("file:/nowhere/at/all", "cannot open");
        check_refused("file:/tmp", "cannot read");
        check_refused("file:/dev/zero", "longer than");
        check_refused("cmd:[]", "no program");
        check_refused("cmd:echo hi", "JSON list");
        check_refused("cmd:[\"/nowhere/prog\"]", "cannot start");
        check_refused("cmd:[\"true\"]", "is empty");
        check_refused("cmd:[\"sleep\",\"60\"]", "did not end within 0.3 s");
        check_refused("cmd:[\"printf\",\"\\\\377\"]", "not UTF-8");
        check_refused("hunter2", "never stands");
    }

    #[test]
    fn an_error_never_holds_what_a_command_said() {
        let error =
            resolve("cmd:[\"sh\",\"-c\",\"x=hid; echo ${x}den; echo ${x}den >&2; exit 3\"]")
                .unwrap_err();
        assert!(!error.contains("hidden"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_reference_with_an_expression_passes_the_check() {
        assert!(check_reference("env:${params.name}").is_ok());
        assert!(check_reference("vault:x").is_err());
    }
}
