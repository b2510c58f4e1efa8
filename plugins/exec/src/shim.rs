//! The shim: a process between the engine and a command, in a session of its own, that owns the
//! command's pipes and records. It outlives the engine.
//!
//! It reads its [`Job`] from stdin, so that secrets stand in no argument list and no file. Then, in
//! this order, each step on disk before the next:
//!
//! 1. It takes the claim, with its own process in it. Where the claim is sealed it ends.
//! 2. It starts a second copy of itself, the *stage*, which waits: a process that will be the
//!    command, but is not yet.
//! 3. It records the stage's process as `started`.
//! 4. It lets the stage go on, which then becomes the command. If the shim dies before, the stage
//!    sees that and ends.
//! 5. It records how the command ended.
//!
//! So a claim without `started`, whose shim is gone, is proof that the command never began.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use backout_plugin_api::{Claimed, Take};
use serde::{Deserialize, Serialize};

use crate::process::Process;
use crate::record::{Exit, Folder, Started};
use crate::watch;

/// The argument that makes a shim a stage.
const STAGE: &str = "stage";
/// What the shim says to let the stage go on.
const GO: u8 = b'g';
/// Bytes of a job: an environment with a certificate or two.
const JOB_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// All that the shim needs to know; one line of JSON on its stdin.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    /// The folder of this sending.
    pub(crate) folder: PathBuf,
    /// How the shim is started.
    pub(crate) shim: Vec<OsString>,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Variables besides those of the shim itself.
    pub(crate) env: BTreeMap<String, String>,
    /// The folder to run in.
    pub(crate) cwd: Option<String>,
    /// The values that are masked.
    pub(crate) secrets: Vec<String>,
    /// How long the command may take.
    pub(crate) timeout_ms: u64,
    /// How long it has then to end politely.
    pub(crate) grace_ms: u64,
}

/// What the shim tells the engine; one line of JSON on its stdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// This sending was sealed: nothing was started.
    Sealed,
    /// This sending was made before.
    Claimed,
    /// Nothing was started, and why.
    Refused(String),
    /// The exit record is there.
    Ended,
    /// The command ended, and how could not be recorded.
    Unrecorded(String),
}

/// Runs the shim with the arguments after the ones that name it; the exit status to end with.
///
/// It must be called before any other thread is started and before anything reads stdin. It needs
/// no async runtime.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.split_first() {
        None => shim(),
        Some((first, command)) if first == STAGE => stage(command),
        Some(_) => 2,
    }
}

fn shim() -> i32 {
    // It fails only where this process leads a group already, which is as good.
    let _ = rustix::process::setsid();
    let mut stdin = BufReader::new(io::stdin());
    let Some(job) = read_job(&mut stdin) else {
        tell(&Report::Refused("the shim could not read its job".into()));
        return 1;
    };
    let folder = Folder::at(&job.folder);
    match claim(&folder).and_then(|()| start(&job, &folder)) {
        Ok(stage) => watch::watch(&job, &folder, stage, stdin),
        Err(report) => tell(&report),
    }
    0
}

/// The engine may have died before it wrote all of it: then nothing is started.
fn read_job(stdin: &mut impl BufRead) -> Option<Job> {
    let mut line = String::new();
    stdin.take(JOB_BYTES_MAX).read_line(&mut line).ok()?;
    // What serde says of it could hold a secret.
    line.ends_with('\n').then(|| serde_json::from_str(&line).ok()).flatten()
}

/// Tells the engine, if it is still there.
pub(crate) fn tell(report: &Report) {
    let Ok(mut line) = serde_json::to_vec(report) else { return };
    line.push(b'\n');
    let mut stdout = io::stdout();
    drop(stdout.write_all(&line).and_then(|()| stdout.flush()));
}

fn claim(folder: &Folder) -> Result<(), Report> {
    let refused =
        |error: io::Error| Report::Refused(format!("cannot record that it starts: {error}"));
    let me = Process::me().map_err(refused)?;
    let note = serde_json::to_value(me).map_err(|error| refused(error.into()))?;
    match folder.claim().take(&Claimed::sender(watch::now_ms(), note)).map_err(refused)? {
        Take::Ours => Ok(()),
        Take::Theirs(Claimed { by: backout_plugin_api::Claimant::Seal, .. }) => Err(Report::Sealed),
        Take::Theirs(_) => Err(Report::Claimed),
    }
}

/// A stage that was let go.
pub(crate) struct Stage {
    pub(crate) child: Child,
    pub(crate) pid: i32,
    /// It is closed when the stage has become the command; before that, why it could not.
    pub(crate) word: UnixStream,
}

/// Steps 2 to 4.
fn start(job: &Job, folder: &Folder) -> Result<Stage, Report> {
    let not_begun = |reason: String| {
        let exit = Exit::never_began(watch::now_ms(), reason.clone());
        // Without this record it is known all the same: there is no `started`.
        drop(folder.write_exit(&exit));
        Report::Refused(reason)
    };
    let (word, theirs) = UnixStream::pair().map_err(|error| not_begun(error.to_string()))?;
    let child = spawn_stage(job, theirs).map_err(&not_begun)?;
    let pid = i32::try_from(child.id()).map_err(|error| not_begun(error.to_string()))?;
    let mut stage = Stage { child, pid, word };
    let recorded = Process::of(pid)
        .and_then(|child| folder.write_started(&Started { at_ms: watch::now_ms(), child }))
        .and_then(|()| stage.word.write_all(&[GO]));
    if let Err(error) = recorded {
        // The stage ends when its line to us does.
        drop(stage.word.shutdown(Shutdown::Both));
        drop(stage.child.wait());
        return Err(not_begun(format!("cannot record that it starts: {error}")));
    }
    Ok(stage)
}

fn spawn_stage(job: &Job, word: UnixStream) -> Result<Child, String> {
    // The very same binary, also where its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let (name, arguments) = job.shim.split_first().ok_or("the shim has no name")?;
    command.arg0(name).args(arguments).arg(STAGE).args(&job.command).envs(&job.env);
    if let Some(cwd) = &job.cwd {
        if !std::path::Path::new(cwd).is_dir() {
            return Err(format!("there is no folder `{cwd}`"));
        }
        command.current_dir(cwd);
    }
    command
        .stdin(Stdio::from(OwnedFd::from(word)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command.spawn().map_err(|error| format!("cannot start a process: {error}"))
}

/// Waits for the word to go on, then becomes the command.
fn stage(command: &[OsString]) -> i32 {
    use std::os::fd::AsFd;
    // The copy is closed when the command begins; stdin itself becomes empty then.
    let Ok(word) = io::stdin().as_fd().try_clone_to_owned() else { return 1 };
    let mut word = UnixStream::from(word);
    let mut go = [0];
    let Some((program, arguments)) = command.split_first() else { return 1 };
    if word.read_exact(&mut go).is_err() || go != [GO] {
        return 1;
    }
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    let reason = format!("cannot start {}: {error}", program.display());
    drop(word.write_all(reason.as_bytes()));
    1
}
