//! The engine's side of the shim: it starts one, follows it, and may go away at any moment.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use backout_plugin_api::{Context, Emit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::shim::{Job, Report};
use crate::watch::CANCEL;

/// Between two looks at the output that grows.
const OUTPUT_POLL: Duration = Duration::from_millis(100);
/// Beyond the command's own time and its grace: the shim's records on a busy disk.
const SHIM_MARGIN: Duration = Duration::from_secs(10);
/// Bytes of output passed on at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// What came of starting a shim.
#[derive(Debug)]
pub(crate) enum Followed {
    /// What it said.
    Told(Report),
    /// It could not be started.
    NotStarted(String),
    /// It went away, or did not answer: its records tell.
    Lost(String),
}

/// Starts a shim for the job and follows it until the command ended.
pub(crate) async fn run(ctx: &Context, shim: &[OsString], job: &Job, output: PathBuf) -> Followed {
    let (mut child, stdin) = match start(shim, job).await {
        Ok(started) => started,
        Err(reason) => return Followed::NotStarted(reason),
    };
    let Some(stdout) = child.stdout.take() else {
        return Followed::Lost("the shim has no line back".into());
    };
    let mut tail = Output { path: output, at: 0 };
    let margin = Duration::from_millis(job.grace_ms) + SHIM_MARGIN;
    let followed = follow(ctx, margin, Lines { stdout, stdin }, &mut tail).await;
    tail.pass_on(ctx).await;
    followed
}

/// The shim reads its whole job before it does anything, so a job that could not be written whole
/// is one that was never begun.
async fn start(shim: &[OsString], job: &Job) -> Result<(Child, ChildStdin), String> {
    let (program, arguments) = shim.split_first().ok_or("there is no shim to start")?;
    // Its error could quote a secret.
    let mut line = serde_json::to_vec(job).map_err(|_| "the store's path is not UTF-8")?;
    line.push(b'\n');
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start the shim {}: {error}", program.display()))?;
    let mut stdin = child.stdin.take().ok_or("the shim has no stdin")?;
    let written = stdin.write_all(&line).await;
    written.map_err(|error| format!("the shim did not take its job: {error}"))?;
    Ok((child, stdin))
}

/// The lines between the engine and a shim.
struct Lines {
    stdout: ChildStdout,
    stdin: ChildStdin,
}

async fn follow(ctx: &Context, margin: Duration, lines: Lines, output: &mut Output) -> Followed {
    let Lines { stdout, mut stdin } = lines;
    let mut lines = BufReader::new(stdout).lines();
    let mut until = Instant::now() + ctx.timeout + margin;
    let mut cancelled = false;
    let mut tick = tokio::time::interval(OUTPUT_POLL);
    loop {
        tokio::select! {
            line = lines.next_line() => return told(line),
            _ = tick.tick() => output.pass_on(ctx).await,
            () = ctx.cancel.cancelled(), if !cancelled => {
                cancelled = true;
                until = until.min(Instant::now() + margin);
                // A shim that is gone is noticed by its line back.
                drop(stdin.write_all(format!("{CANCEL}\n").as_bytes()).await);
            }
            () = tokio::time::sleep_until(until) => {
                return Followed::Lost("the shim did not answer in time".into());
            }
        }
    }
}

fn told(line: io::Result<Option<String>>) -> Followed {
    match line {
        Ok(Some(line)) => match serde_json::from_str(&line) {
            Ok(report) => Followed::Told(report),
            Err(error) => Followed::Lost(format!("the shim said what nobody knows: {error}")),
        },
        Ok(None) => Followed::Lost("the shim ended without a word".into()),
        Err(error) => Followed::Lost(format!("the shim's line back broke: {error}")),
    }
}

/// The file that the shim writes, as far as it was passed on.
struct Output {
    path: PathBuf,
    at: u64,
}

impl Output {
    async fn pass_on(&mut self, ctx: &Context) {
        while let Ok(piece) = self.next().await {
            if piece.is_empty() {
                return;
            }
            self.at += piece.len() as u64;
            (ctx.emit)(Emit::Output(piece));
        }
    }

    async fn next(&self) -> io::Result<Vec<u8>> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.seek(io::SeekFrom::Start(self.at)).await?;
        let mut piece = Vec::new();
        file.take(PIECE_BYTES).read_to_end(&mut piece).await?;
        Ok(piece)
    }
}
