//! Runs a command that changes nothing, a probe for instance: no shim, no record, and it ends with
//! the engine's interest in it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use backout_plugin_api::{Context, Emit, Masker};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::capture::Tail;
use crate::environment::Environment;
use crate::process::signal_group;
use crate::record::{Exit, How, STDERR_BYTES_MAX, STDOUT_BYTES_MAX, Why};
use crate::watch::{DRAIN, now_ms};

/// Bytes read at once: what a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;

/// How long it has to end politely: it changes nothing, so nothing is lost.
const GRACE: Duration = Duration::from_secs(1);

/// Whether what it says is shown while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Yes,
    No,
}

/// Runs it to its end, or until `ctx` says that it took long enough.
///
/// # Errors
/// It could not be started.
pub(crate) async fn run(
    ctx: &Context,
    command: &[String],
    cwd: Option<&str>,
    environment: &Environment,
    show: Show,
) -> Result<Exit, String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let mut starting = Command::new(program);
    starting.args(arguments).envs(&environment.variables);
    if let Some(cwd) = cwd {
        starting.current_dir(cwd);
    }
    starting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child =
        starting.spawn().map_err(|error| format!("cannot start `{program}`: {error}"))?;
    let mut group = Group::of(&child);
    let said = Streams::of(&mut child, ctx, environment, show);
    let how = follow(ctx, &mut child, &mut group).await;
    Ok(said.end(how).await)
}

/// Waits for it, and ends it when it must be.
async fn follow(ctx: &Context, child: &mut Child, group: &mut Group) -> How {
    let why = tokio::select! {
        status = child.wait() => {
            group.0 = None;
            return how(status.ok());
        }
        () = tokio::time::sleep(ctx.timeout) => Why::Timeout,
        () = ctx.cancel.cancelled() => Why::Cancel,
    };
    group.signal(Signal::TERM);
    // Whether it heard, or the group is ended firmly when it is dropped.
    drop(timeout(GRACE, child.wait()).await);
    How::Ended(why)
}

fn how(status: Option<ExitStatus>) -> How {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => How::Status(code),
        Some((None, signal)) => How::Signal(signal.unwrap_or(0)),
        None => How::Signal(0),
    }
}

/// The group of a command that nobody needs any more once this is dropped.
struct Group(Option<i32>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|pid| i32::try_from(pid).ok()))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            signal_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The two streams, each read by a task of its own.
struct Streams {
    stdout: tokio::task::JoinHandle<Tail>,
    stderr: tokio::task::JoinHandle<Tail>,
}

impl Streams {
    fn of(child: &mut Child, ctx: &Context, environment: &Environment, show: Show) -> Self {
        let masker = || Masker::new(&environment.secrets);
        let show = (show == Show::Yes).then(|| ctx.clone());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self {
            stdout: tokio::spawn(read(stdout, masker(), STDOUT_BYTES_MAX, show.clone())),
            stderr: tokio::spawn(read(stderr, masker(), STDERR_BYTES_MAX, show)),
        }
    }

    async fn end(self, how: How) -> Exit {
        let (stdout, stdout_cut) = ended(self.stdout).await;
        let (stderr, _) = ended(self.stderr).await;
        Exit { at_ms: now_ms(), how, stdout, stdout_cut, stderr }
    }
}

/// What a stream gave; nothing where something that the command left behind holds it.
async fn ended(reading: tokio::task::JoinHandle<Tail>) -> (String, bool) {
    let abort = reading.abort_handle();
    let tail = timeout(DRAIN, reading).await;
    abort.abort();
    match tail {
        Ok(Ok(tail)) => tail.text(),
        Ok(Err(_)) | Err(_) => (String::new(), true),
    }
}

async fn read(
    stream: Option<impl AsyncRead + Unpin>,
    mut masker: Masker,
    bytes_max: usize,
    show: Option<Context>,
) -> Tail {
    let mut tail = Tail::new(bytes_max);
    let Some(mut stream) = stream else { return tail };
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = stream.read(&mut piece).await.unwrap_or(0);
        let said = if length == 0 { masker.finish() } else { masker.push(&piece[..length]) };
        tail.push(&said);
        if let Some(ctx) = show.as_ref().filter(|_| !said.is_empty()) {
            (ctx.emit)(Emit::Output(said));
        }
        if length == 0 {
            return tail;
        }
    }
}
