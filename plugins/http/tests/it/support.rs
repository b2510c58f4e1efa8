//! The four verbs as the engine calls them, by a clock that the test sets.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backout_plugin_api::{
    Action, Call, CancellationToken, Claim, Claimed, Context, EffectKey, Fence, LockToken, Outcome,
    PrepareFailure, Prepared, RunId, Settled, StepId, SystemSecrets, folder_name,
};
use backout_plugin_http::HttpRequest;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::Server;

/// A server and an engine's place beside it.
pub(crate) struct World {
    pub(crate) server: Server,
    dir: TempDir,
    now_ms: AtomicI64,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Server::start().await;
        Self { server, dir: tempfile::tempdir().unwrap(), now_ms: AtomicI64::new(1_000_000) }
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    /// A secret's reference.
    pub(crate) fn secret(&self, value: &str) -> String {
        let path = self.dir.path().join("token");
        std::fs::write(&path, value).unwrap();
        format!("file:{}", path.display())
    }

    /// Lets time pass on the engine's clock.
    pub(crate) fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn context(&self) -> Context {
        Context {
            run: RunId::new("testrun000"),
            step: StepId::new("step"),
            attempt: 1,
            epoch: 1,
            timeout: Duration::from_secs(5),
            cancel: CancellationToken::new(),
            emit: Arc::new(|_| {}),
            secrets: Arc::new(SystemSecrets::default()),
            scratch: self.scratch(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            now_ms: self.now_ms.load(Ordering::Relaxed),
        }
    }

    pub(crate) async fn prepare(&self, input: &Value) -> Result<Prepared, PrepareFailure> {
        HttpRequest.prepare(&self.context(), input).await
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
        HttpRequest.apply(&self.context(), &call).await
    }

    pub(crate) async fn settle(&self, input: &Value, dispatch: u32) -> Settled {
        let call = self.call(input, dispatch).await;
        HttpRequest.settle(&self.context(), &call).await
    }

    /// What an engine leaves that is killed between its claim and the answer.
    pub(crate) fn claim_as_a_killed_engine(&self, dispatch: u32) {
        let folder = self.scratch().join("http").join(folder_name(&key(), dispatch));
        Claim::at(folder).take(&Claimed::sender(0, Value::Null)).unwrap();
    }
}

fn key() -> EffectKey {
    EffectKey::from_text("testrun000/step/1/0")
}
