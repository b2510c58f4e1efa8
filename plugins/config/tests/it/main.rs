//! `config.restore` on real files and against a real web server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod contract;
mod files;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::files::sha256_hex;
use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Fence, LockToken, PrepareFailure,
    Prepared, RunId, StepId, SystemSecrets,
};
use backout_plugin_config::ConfigRestore;
use serde_json::{Value, json};

const OLD: &str = "timeout = 5\n";
const NEW: &str = "timeout = 50\n";

/// A file with its new content, and the old one elsewhere.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("etc/app.toml", NEW),
            ("etc/conf.d/same.toml", "same\n"),
            ("old/app.toml", OLD),
            ("old/conf.d/same.toml", "same\n"),
        ] {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn at(&self, path: &str) -> String {
        self.path().join(path).display().to_string()
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    fn put(&self, path: &str, text: &str) {
        std::fs::write(self.path().join(path), text).unwrap();
    }

    /// The one file.
    fn file(&self) -> Value {
        json!({"path": self.at("etc/app.toml"), "sha256": sha256_hex(OLD.as_bytes()),
            "from": self.at("old/app.toml")})
    }

    /// The one file where none is.
    fn missing(&self) -> Value {
        std::fs::remove_file(self.path().join("etc/app.toml")).unwrap();
        self.file()
    }

    /// No file where one is.
    fn absent(&self) -> Value {
        json!({"path": self.at("etc/app.toml"), "absent": true})
    }

    /// What the one file holds.
    fn content(&self) -> Option<String> {
        std::fs::read_to_string(self.path().join("etc/app.toml")).ok()
    }

    /// The folder.
    fn folder(&self) -> Value {
        let files = json!({
            "app.toml": sha256_hex(OLD.as_bytes()),
            "conf.d/same.toml": sha256_hex(b"same\n"),
        });
        json!({"path": self.at("etc"), "files": files, "from": self.at("old")})
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
    ConfigRestore::default().prepare(&context(), input).await
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
    for action in backout_plugin_config::actions() {
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
