//! `releases.activate` on real folders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod contract;
mod links;
mod restarts;
mod sources;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::files::sha256_hex;
use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Fence, LockToken, PrepareFailure,
    Prepared, RunId, StepId, SystemSecrets,
};
use backout_plugin_releases::ReleasesActivate;
use serde_json::{Value, json};

/// Two releases and a link to the newer one.
struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        let root = Self { dir: tempfile::tempdir().unwrap() };
        for release in ["1.4.2", "1.5.0"] {
            let bin = root.path().join("releases").join(release).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("shop"), release).unwrap();
        }
        root.link("releases/1.5.0");
        root
    }

    fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn link(&self, to: impl AsRef<Path>) {
        let link = self.path().join("current");
        let fresh = self.path().join("fresh");
        std::os::unix::fs::symlink(to, &fresh).unwrap();
        std::fs::rename(fresh, link).unwrap();
    }

    fn current(&self) -> String {
        let target = std::fs::read_link(self.path().join("current")).unwrap();
        target.to_str().unwrap().to_owned()
    }

    /// The artifact that a process behind the link would run.
    fn served(&self) -> String {
        std::fs::read_to_string(self.path().join("current/bin/shop")).unwrap()
    }

    fn input(&self) -> Value {
        json!({
            "root": self.path(),
            "release": "1.4.2",
            "artifact": {"path": "bin/shop", "sha256": sha256_hex(b"1.4.2")},
        })
    }
}

fn context() -> Context {
    Context {
        run: RunId::new("0123456789"),
        step: StepId::new("s"),
        attempt: 1,
        epoch: 1,
        timeout: Duration::from_secs(30),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| ()),
        secrets: Arc::new(SystemSecrets::default()),
        scratch: PathBuf::from("/nonexistent"),
        traceparent: None,
        now_ms: 0,
    }
}

async fn prepare(input: &Value) -> Result<Prepared, PrepareFailure> {
    ReleasesActivate::default().prepare(&context(), input).await
}

fn call(input: &Value, prepared: Prepared, dispatch: u32) -> Call {
    Call {
        input: input.clone(),
        prepared: Arc::new(prepared),
        effect: 0,
        key: EffectKey::from_text("0123456789/s/1/0"),
        fence: Fence { store: "st".to_owned(), token: LockToken(1), dispatch },
    }
}

#[test]
fn each_example_is_an_input_that_check_accepts() {
    for action in backout_plugin_releases::actions() {
        let manifest = action.manifest();
        let input: Value = ron::from_str(manifest.example).unwrap();
        let checked = action.check(&input);
        assert!(checked.problems.is_empty(), "{}: {:?}", manifest.name, checked.problems);
        let schema = (manifest.input)();
        let fields = schema.get("properties").and_then(Value::as_object).unwrap();
        for name in input.as_object().unwrap().keys() {
            assert!(fields.contains_key(name), "{}: {name}", manifest.name);
        }
        assert!(!action.by_hand(&input).commands.is_empty(), "{}", manifest.name);
    }
}
