//! A place to run commands in, and the four verbs as the engine calls them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Emit, Fence, LockToken, Outcome, RunId,
    Settled, StepId, SystemSecrets,
};
use backout_plugin_exec::ExecRun;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// The action with the shim that this crate builds.
pub(crate) fn action() -> ExecRun {
    ExecRun::new(vec![env!("CARGO_BIN_EXE_backout-exec-shim").into()])
        .with_grace(Duration::from_millis(300))
}

/// A folder with a scratch folder beside it.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) said: Arc<Mutex<Vec<u8>>>,
    pub(crate) cancel: CancellationToken,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        Self { dir, said: Arc::default(), cancel: CancellationToken::new() }
    }

    /// Where commands run.
    pub(crate) fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    /// The input of a shell text in the target folder.
    pub(crate) fn sh(&self, text: &str) -> Value {
        json!({"command": ["sh", "-c", text], "cwd": self.target()})
    }

    pub(crate) fn context(&self, timeout: Duration) -> Context {
        let said = Arc::clone(&self.said);
        Context {
            emit: Arc::new(move |emit| {
                if let Emit::Output(bytes) = emit {
                    said.lock().unwrap().extend(bytes);
                }
            }),
            cancel: self.cancel.clone(),
            ..context(&self.scratch(), timeout)
        }
    }

    pub(crate) async fn call(&self, input: &Value, dispatch: u32) -> Call {
        call(&self.context(DEADLINE), input, dispatch).await
    }

    pub(crate) async fn apply(&self, input: &Value, dispatch: u32) -> Outcome {
        self.apply_within(input, dispatch, DEADLINE).await
    }

    pub(crate) async fn apply_within(
        &self,
        input: &Value,
        dispatch: u32,
        timeout: Duration,
    ) -> Outcome {
        let call = self.call(input, dispatch).await;
        action().apply(&self.context(timeout), &call).await
    }

    pub(crate) async fn settle(&self, input: &Value, dispatch: u32) -> Settled {
        let call = self.call(input, dispatch).await;
        action().settle(&self.context(DEADLINE), &call).await
    }

    /// Settles until it runs no more.
    pub(crate) async fn settle_to_the_end(&self, input: &Value, dispatch: u32) -> Settled {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.settle(input, dispatch).await {
                Settled::Running { evidence } => assert!(Instant::now() < deadline, "{evidence}"),
                settled => return settled,
            }
            pause().await;
        }
    }

    pub(crate) fn write(&self, name: &str) {
        fs::write(self.target().join(name), "").unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.target().join(name)).unwrap_or_default()
    }

    /// Waits until a command wrote a line to a file.
    pub(crate) async fn wait_for_line(&self, name: &str) -> String {
        let mut text = String::new();
        wait_until(&format!("{name} is written"), || {
            text = self.read(name);
            text.ends_with('\n')
        })
        .await;
        text.trim().to_owned()
    }

    /// The number of the shim's process, by the claim of the first sending.
    pub(crate) fn shim(&self) -> i32 {
        let folder = self.scratch().join("exec/testrun000.step.1.0.d1");
        let claim = fs::read(folder.join("claim")).unwrap();
        let claim: Value = serde_json::from_slice(&claim).unwrap();
        claim["note"]["pid"].as_i64().unwrap().try_into().unwrap()
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }
}

pub(crate) fn context(scratch: &Path, timeout: Duration) -> Context {
    Context {
        run: RunId::new("testrun000"),
        step: StepId::new("step"),
        attempt: 1,
        epoch: 3,
        timeout,
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| {}),
        secrets: Arc::new(SystemSecrets::default()),
        scratch: scratch.to_owned(),
        traceparent: Some("00-trace-01".into()),
        now_ms: 1,
    }
}

pub(crate) async fn call(ctx: &Context, input: &Value, dispatch: u32) -> Call {
    Call {
        input: input.clone(),
        prepared: Arc::new(action().prepare(ctx, input).await.unwrap()),
        effect: 0,
        key: EffectKey::new(&ctx.run, &ctx.step, ctx.attempt, 0),
        fence: Fence { store: "test".into(), token: LockToken(1), dispatch },
    }
}

pub(crate) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        pause().await;
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Ends one process, firmly.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Whether a process runs.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}
