//! `releases.restart`.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backout_plugin_api::words::problem;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Claim, Claimant, Claimed, Context, Emit, Guarantee,
    Image, MadeEffect, Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility,
    Reverted, Satisfied, Settled, Take, folder_name, parse_input, sync_dir, write_durably,
};
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::schema_for;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::manager::{Kind, RestartInput, changed_ms, line};
use crate::process::Process;

const NAME: &str = "releases.restart";
/// The version of [`Data`].
const DATA_VERSION: u32 = 1;
/// Between two looks for the new process.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a command that is to end has before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of what a command said that a reason quotes, from its end.
const TAIL_BYTES: usize = 300;
/// The file of a claim's folder that names the process of the command.
const CHILD: &str = "child";
/// The file that takes what the command says: a pipe would die with us, and the command with it.
const SAID: &str = "said";

/// What `apply` and `settle` need.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Data {
    /// The process that was there; absent where none was.
    before: Option<Process>,
}

/// The sub-steps of `apply`, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The sending is claimed; nothing has begun.
    Claimed,
    /// The command runs; nothing says so yet.
    Begun,
    /// Which process the command is, is on disk.
    Noted,
    /// The command has ended.
    Ended,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Claimed, Self::Begun, Self::Noted, Self::Ended];
}

type Fault = dyn Fn(Point) -> bool + Send + Sync;

/// The action `releases.restart`.
#[derive(Clone, Default)]
pub struct ReleasesRestart {
    fault: Option<Arc<Fault>>,
}

impl fmt::Debug for ReleasesRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleasesRestart").finish_non_exhaustive()
    }
}

impl ReleasesRestart {
    /// The same, asked after each sub-step of `apply`; true stops it there. For tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { fault: Some(Arc::new(fault)) }
    }

    fn pass(&self, point: Point) -> Result<(), Outcome> {
        match &self.fault {
            Some(fault) if fault(point) => {
                Err(Outcome::Unclear { reason: format!("stopped by a test after `{point:?}`") })
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Action for ReleasesRestart {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(NAME),
            summary: "Restarts the process of a service once.",
            docs: include_str!("docs/restart.md"),
            input: || schema_for!(RestartInput),
            example: r#"(manager: "systemd", name: "shop.service", newer_than: "/srv/shop/current")"#,
            guarantee: Guarantee::Probed,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        RestartInput::deserialize(input).map_or_else(|_| Checked::default(), |input| check(&input))
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let Ok(input) = RestartInput::deserialize(input) else { return ByHand::default() };
        ByHand {
            does: format!("restarts {}", input.what()),
            commands: vec![line(&input.show()), line(&input.restart())],
            verify: vec![format!("{}   # another pid than before", line(&input.show()))],
        }
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: RestartInput = parse_input(input)?;
        check(&input).accepted()?;
        let before = input.look(ctx.timeout).await?;
        let satisfied = satisfied(&input, before.as_ref())?;
        prepared(&input, before.as_ref(), satisfied)
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        self.restart(ctx, call).await.unwrap_or_else(|outcome| outcome)
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        settle(ctx, call).await.unwrap_or_else(|settled| settled)
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        // A younger process than `newer_than` is left alone by it.
        Reverted::By { action: ActionName::new(NAME), input: made.input.clone() }
    }
}

fn check(input: &RestartInput) -> Checked {
    let mut checked = Checked { guarantee: Some(Guarantee::Probed), ..Checked::default() };
    let is_command = input.manager == Kind::Command;
    if is_command && (input.command.is_empty() || input.pid_file.is_none()) {
        let help = "give `command` and `pid_file`";
        problem(&mut checked, "/command", "nothing tells how, or which process", help);
    }
    if !is_command && input.name.as_ref().is_none_or(String::is_empty) {
        problem(&mut checked, "/name", "nothing tells which process", "name it");
    }
    if !is_command && (!input.command.is_empty() || input.pid_file.is_some()) {
        let help = "leave them out, or write `manager: command`";
        problem(&mut checked, "/command", "`command` and `pid_file` are for `command`", help);
    }
    if input.config.is_some() && input.manager != Kind::Supervisord {
        problem(&mut checked, "/config", "only supervisord has one", "leave it out");
    }
    if input.name.as_ref().is_some_and(|name| name.starts_with('-')) {
        problem(&mut checked, "/name", "this would be read as an option", "write its name");
    }
    let words = [&input.name, &input.pid_file, &input.config];
    if !words.into_iter().flatten().any(|word| word.contains("${")) {
        checked.targets.push(input.target());
    }
    checked
}

fn satisfied(input: &RestartInput, now: Option<&Process>) -> Result<Satisfied, PrepareFailure> {
    let Some(path) = &input.newer_than else { return Ok(Satisfied::CannotTell) };
    let changed = changed_ms(Path::new(path))?;
    let started = now.and_then(Process::started_ms);
    let is_newer = started.is_some_and(|started| started >= changed);
    Ok(if is_newer { Satisfied::Yes } else { Satisfied::No })
}

fn prepared(
    input: &RestartInput,
    before: Option<&Process>,
    satisfied: Satisfied,
) -> Result<Prepared, PrepareFailure> {
    let now = before.map_or_else(|| "nothing runs".to_owned(), Process::words);
    let what = input.what();
    let difference = match satisfied {
        Satisfied::Yes => Vec::new(),
        Satisfied::No | Satisfied::CannotTell => vec![format!("{what}: {now} -> a new process")],
    };
    let data = serde_json::to_value(Data { before: before.cloned() })
        .map_err(|error| PrepareFailure::Refused { reason: error.to_string() })?;
    let effect = PreparedEffect {
        title: format!("restart {what}"),
        wave: 0,
        satisfied,
        before: before.map_or(Image::Absent, |process| Image::Plain(json!(process))),
        wanted: Image::Plain(json!({ "other_than": before })),
        difference,
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data,
    };
    Ok(Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Probed,
        remembered_ms: None,
        locks: vec![input.target()],
        effects: vec![effect],
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen: json!({ "process": before }),
    })
}

fn refused(reason: impl Into<String>) -> Outcome {
    Outcome::Refused { reason: reason.into() }
}

fn unclear(reason: impl Into<String>) -> Outcome {
    Outcome::Unclear { reason: reason.into() }
}

fn read(call: &Call) -> Result<(RestartInput, Data), String> {
    if call.prepared.data_version != DATA_VERSION {
        let version = call.prepared.data_version;
        return Err(format!("restart data of version {version} is not known to this release"));
    }
    let input = parse_input(&call.input).map_err(|failure| failure.reason().to_owned())?;
    Ok((input, call.data()?))
}

fn folder(ctx: &Context, call: &Call) -> PathBuf {
    ctx.scratch.join("restart").join(folder_name(&call.key, call.fence.dispatch))
}

fn output(now: &Process) -> Value {
    json!({ "pid": now.pid, "start_ticks": now.start_ticks })
}

impl ReleasesRestart {
    async fn restart(&self, ctx: &Context, call: &Call) -> Result<Outcome, Outcome> {
        let (input, data) = read(call).map_err(refused)?;
        let now = input.look(ctx.timeout).await;
        let now = now.map_err(|failure| refused(failure.reason()))?;
        if now != data.before {
            let now = now.map_or_else(|| "nothing".to_owned(), |now| now.words());
            return Err(refused(format!(
                "{} is {now} now, not what was prepared; nothing was restarted",
                input.what()
            )));
        }
        let folder = folder(ctx, call);
        claim(ctx, &folder).await?;
        self.pass(Point::Claimed)?;
        let mut child = start(&input, &folder)?;
        self.pass(Point::Begun)?;
        note(&child, &folder);
        self.pass(Point::Noted)?;
        let end = Instant::now() + ctx.timeout;
        let status = wait(ctx, &mut child, end).await?;
        tell(ctx, &folder);
        self.pass(Point::Ended)?;
        if !status.success() {
            return Ok(Outcome::Failed {
                reason: format!("{}: {status}{}", line(&input.restart()), tail(&folder)),
                output: json!({ "status": status.code() }),
            });
        }
        Ok(seen_anew(ctx, &input, &data, end).await)
    }
}

/// The sending is ours from here on, also for one who looks after a crash.
async fn claim(ctx: &Context, folder: &Path) -> Result<(), Outcome> {
    let (claim, wanted) = (Claim::at(folder), Claimed::sender(ctx.now_ms, Value::Null));
    let taken = tokio::task::spawn_blocking(move || claim.take(&wanted)).await;
    match taken.map_err(|error| refused(error.to_string()))? {
        Ok(Take::Ours) => Ok(()),
        Ok(Take::Theirs(Claimed { by: Claimant::Seal, .. })) => {
            Err(refused("this sending was settled as not done before it was sent"))
        }
        Ok(Take::Theirs(_)) => Err(unclear("this sending was made before")),
        Err(error) => Err(refused(format!("cannot record that it is sent: {error}"))),
    }
}

/// In a group of its own, so that what ends us does not end it.
fn start(input: &RestartInput, folder: &Path) -> Result<Child, Outcome> {
    let words = input.restart();
    let (program, arguments) = words.split_first().ok_or_else(|| refused("no command"))?;
    let unkept = |error: std::io::Error| refused(format!("cannot keep what it says: {error}"));
    let said = File::create(folder.join(SAID)).map_err(unkept)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(unkept)?)
        .stderr(said)
        .process_group(0)
        .env("LC_ALL", "C");
    command.spawn().map_err(|error| refused(format!("{program}: {error}; nothing was restarted")))
}

/// A note that cannot be kept makes a crash from here on unclear, no more.
fn note(child: &Child, folder: &Path) {
    let process = child.id().and_then(Process::of);
    let bytes = serde_json::to_vec(&process).unwrap_or_default();
    let kept = write_durably(&folder.join(CHILD), &bytes).and_then(|()| sync_dir(folder));
    drop(kept);
}

async fn wait(
    ctx: &Context,
    child: &mut Child,
    end: Instant,
) -> Result<std::process::ExitStatus, Outcome> {
    let why = tokio::select! {
        status = child.wait() => return status.map_err(|error| unclear(error.to_string())),
        () = tokio::time::sleep_until(end) => format!("no end within {:?}", ctx.timeout),
        () = ctx.cancel.cancelled() => "ended on request".to_owned(),
    };
    stop(child).await;
    Err(unclear(format!("the command that restarts: {why}")))
}

/// Politely, then firmly.
async fn stop(child: &mut Child) {
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let Some(group) = group else { return };
    let _gone = kill_process_group(group, Signal::TERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _gone = kill_process_group(group, Signal::KILL);
        drop(child.wait().await);
    }
}

fn tell(ctx: &Context, folder: &Path) {
    if let Ok(said) = std::fs::read(folder.join(SAID)) {
        (ctx.emit)(Emit::Output(said));
    }
}

fn tail(folder: &Path) -> String {
    let said = std::fs::read(folder.join(SAID)).unwrap_or_default();
    let start = said.len().saturating_sub(TAIL_BYTES);
    let text = String::from_utf8_lossy(said.get(start..).unwrap_or_default()).trim().to_owned();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// Looks until another process runs.
async fn seen_anew(ctx: &Context, input: &RestartInput, data: &Data, end: Instant) -> Outcome {
    loop {
        match input.look(ctx.timeout).await {
            Ok(Some(now)) if Some(&now) != data.before.as_ref() => {
                return Outcome::Done { output: output(&now) };
            }
            Ok(_) | Err(_) if Instant::now() < end && !ctx.cancel.is_cancelled() => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(Some(now)) => {
                let reason = format!("the command ended well, but {} runs still", now.words());
                return Outcome::Failed { reason, output: output(&now) };
            }
            Ok(None) => return unclear("the command ended well, but nothing runs"),
            Err(failure) => return unclear(failure.reason()),
        }
    }
}

async fn settle(ctx: &Context, call: &Call) -> Result<Settled, Settled> {
    let unknown = |evidence: String| Settled::Unknown { evidence };
    let unreachable = |reason: String| Settled::Unreachable { reason };
    let (input, data) = read(call).map_err(unknown)?;
    let folder = folder(ctx, call);
    let (claim, seal) = (Claim::at(&folder), Claimed::seal(ctx.now_ms));
    let taken = tokio::task::spawn_blocking(move || claim.take(&seal)).await;
    let taken = taken.map_err(|error| unreachable(error.to_string()))?;
    match taken.map_err(|error| unreachable(format!("cannot read its claim: {error}")))? {
        Take::Ours | Take::Theirs(Claimed { by: Claimant::Seal, .. }) => {
            return Ok(Settled::NotDone);
        }
        Take::Theirs(Claimed { by: Claimant::Sender, .. }) => {}
    }
    if let Some(child) = child(&folder).filter(Process::lives) {
        let evidence = format!("the command that restarts runs still: {}", child.words());
        return Ok(Settled::Running { evidence });
    }
    let now = input.look(ctx.timeout).await;
    let now = now.map_err(|failure| unreachable(failure.reason().to_owned()))?;
    Ok(match now {
        Some(now) if Some(&now) != data.before.as_ref() => Settled::Done { output: output(&now) },
        Some(now) => unknown(format!(
            "{} was to be restarted, and {} from before runs still; its manager may restart it later",
            input.what(),
            now.words()
        )),
        None => unknown(format!("{} was to be restarted, and nothing runs", input.what())),
    })
}

fn child(folder: &Path) -> Option<Process> {
    let bytes = std::fs::read(folder.join(CHILD)).ok()?;
    serde_json::from_slice(&bytes).ok().flatten()
}
