//! One message to a command, as JSON on its input.

use std::process::Stdio;

use backout_plugin_api::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use crate::message::Message;
use crate::record::Sent;

/// Bytes of what a command prints that are read: a reason, not a log.
const SAID_BYTES_MAX: u64 = 16 * 1024;
/// Characters of it that are told.
const QUOTE_CHARS_MAX: usize = 200;

/// Runs it to its end.
pub(crate) async fn run(
    ctx: &Context,
    command: &[String],
    message: &Message,
    until: Instant,
) -> Sent {
    let Some((program, args)) = command.split_first() else {
        return Sent::Not("the channel names no program".to_owned());
    };
    let spawned = Command::new(program)
        .args(args)
        .env("BACKOUT_KEY", &message.id)
        .env("BACKOUT_RUN", &message.run)
        .env("BACKOUT_KIND", message.kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) => return Sent::Not(format!("`{program}` cannot be started: {error}")),
    };
    tokio::select! {
        ended = timeout_at(until, finish(child, message)) => {
            ended.unwrap_or_else(|_| Sent::NoAnswer(format!("`{program}` did not end in time")))
        }
        () = ctx.cancel.cancelled() => Sent::NoAnswer(format!("`{program}` was ended on request")),
    }
}

async fn finish(mut child: Child, message: &Message) -> Sent {
    let text = serde_json::to_vec(message).unwrap_or_default();
    if let Some(mut input) = child.stdin.take() {
        // One that does not read it decides by its exit status all the same.
        drop(input.write_all(&text).await);
    }
    let mut said = Vec::new();
    if let Some(errors) = child.stderr.take() {
        drop(errors.take(SAID_BYTES_MAX).read_to_end(&mut said).await);
    }
    let said = String::from_utf8_lossy(&said);
    let line: String =
        said.trim().lines().next_back().unwrap_or_default().chars().take(QUOTE_CHARS_MAX).collect();
    match child.wait().await {
        Ok(status) if status.success() => Sent::Taken("the command ended well".to_owned()),
        Ok(status) => Sent::Wrong(format!("the command ended with {status}: {line}")),
        Err(error) => Sent::NoAnswer(format!("nobody knows how the command ended: {error}")),
    }
}
