//! An engine in a process of its own, so that it can be killed: this test binary again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backout_plugin_api::Action;
use serde_json::{Value, json};

use crate::support::{action, call, context};

const JOB: &str = "EXEC_TEST_ENGINE";

/// Starts an engine that applies the input once.
pub(crate) fn start(scratch: &Path, input: &Value, timeout: Duration) -> Child {
    let job = json!({"scratch": scratch, "input": input, "timeout_ms": timeout.as_millis()});
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::applies_when_told", "--nocapture"])
        .env(JOB, job.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The engine itself; as an ordinary test it does nothing.
#[tokio::test]
async fn applies_when_told() {
    let Ok(job) = std::env::var(JOB) else { return };
    let job: Value = serde_json::from_str(&job).unwrap();
    let scratch = Path::new(job["scratch"].as_str().unwrap());
    let timeout = Duration::from_millis(job["timeout_ms"].as_u64().unwrap());
    let ctx = context(scratch, timeout);
    let call = call(&ctx, &job["input"], 1).await;
    action().apply(&ctx, &call).await;
}
