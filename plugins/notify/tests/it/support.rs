//! The verbs as the engine calls them, with a channels file of the test's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{
    Action, Call, CancellationToken, Claim, Claimed, Context, EffectKey, Fence, LockToken, Outcome,
    PrepareFailure, Prepared, RunId, Settled, StepId, SystemSecrets, folder_name,
};
use backout_plugin_notify::NotifySend;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Secrets that may stand nowhere but where they belong.
pub(crate) const ROUTING_KEY: &str = "r0uting-k3y";
pub(crate) const HOOK_KEY: &str = "h00k-k3y-of-the-status-page";

/// An engine's place with a channels file.
pub(crate) struct World {
    pub(crate) action: NotifySend,
    pub(crate) timeout: Duration,
    dir: TempDir,
}

impl World {
    /// With these channels, in RON.
    pub(crate) fn new(channels: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("channels.ron");
        std::fs::write(&file, format!("Channels(format: 1, channels: {{{channels}}})")).unwrap();
        let action = NotifySend::with_channels(file);
        Self { action, timeout: Duration::from_secs(20), dir }
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            run: RunId::new("testrun000"),
            step: StepId::new("tell"),
            attempt: 1,
            epoch: 1,
            timeout: self.timeout,
            cancel: CancellationToken::new(),
            emit: Arc::new(|_| {}),
            secrets: Arc::new(SystemSecrets::default()),
            scratch: self.scratch(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            now_ms: 1_000_000,
        }
    }

    pub(crate) async fn prepare(&self, input: &Value) -> Result<Prepared, PrepareFailure> {
        self.action.prepare(&self.context(), input).await
    }

    async fn call(&self, input: &Value, dispatch: u32) -> Call {
        Call {
            input: input.clone(),
            prepared: Arc::new(self.prepare(input).await.unwrap()),
            effect: 0,
            key: key(),
            fence: Fence { store: "test".into(), token: LockToken(0), dispatch },
        }
    }

    pub(crate) async fn apply(&self, input: &Value, dispatch: u32) -> Outcome {
        let call = self.call(input, dispatch).await;
        self.action.apply(&self.context(), &call).await
    }

    pub(crate) async fn settle(&self, input: &Value, dispatch: u32) -> Settled {
        let call = self.call(input, dispatch).await;
        self.action.settle(&self.context(), &call).await
    }

    /// What an engine leaves that is killed between its claim and the answer.
    pub(crate) fn claim_as_a_killed_engine(&self, dispatch: u32) {
        let folder = self.scratch().join("notify").join(folder_name(&key(), dispatch));
        Claim::at(folder).take(&Claimed::sender(0, Value::Null)).unwrap();
    }
}

/// A file with a secret, as a reference in RON.
pub(crate) fn secret(dir: &TempDir, name: &str, value: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, value).unwrap();
    format!("file:{}", path.display())
}

pub(crate) fn message(channel: &str, kind: &str) -> Value {
    json!({
        "channel": channel, "kind": kind, "run": "testrun000",
        "title": "checkout is being rolled back", "text": "The flag is off.\nNext: the release.",
    })
}

pub(crate) fn key() -> EffectKey {
    EffectKey::from_text("testrun000/tell/1/0")
}
