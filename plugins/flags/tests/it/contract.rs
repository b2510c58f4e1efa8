//! The conformance suite on each action.

use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName, Guarantee};
use backout_plugin_flags::{FlagsAssert, FlagsForce, FlagsRestore};
use serde_json::{Value, json};

use super::{Folder, JSON, TOML, YAML};

struct FileCase {
    folder: Folder,
    action: Box<dyn Action>,
    restore: FlagsRestore,
    input: Value,
    held: Mutex<Vec<std::fs::File>>,
}

impl FileCase {
    fn new(folder: Folder, action: impl Action + 'static, input: Value) -> Self {
        let restore = FlagsRestore::default();
        Self { folder, action: Box::new(action), restore, input, held: Mutex::default() }
    }
}

#[async_trait]
impl Case for FileCase {
    fn action(&self) -> &dyn Action {
        &*self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.folder.dir.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        use std::os::unix::fs::MetadataExt;
        let inode = self.folder.file().metadata().unwrap().ino();
        json!({"text": self.folder.text(), "inode": inode})
    }

    async fn image(&self) -> Value {
        json!(self.folder.text())
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        (name.as_str() == "flags.restore").then_some(&self.restore as &dyn Action)
    }

    async fn interfere(&self) -> bool {
        let text = self.folder.text();
        std::fs::write(self.folder.file(), format!("{text}\n")).unwrap();
        true
    }

    fn unreachable(&self) -> Option<Value> {
        let mut input = self.input.clone();
        input["file"] = json!("/nonexistent/flags.yaml");
        Some(input)
    }

    /// Another process holds the lock beside the file and does not let go.
    fn silent(&self) -> Option<Value> {
        if self.action.manifest().guarantee == Guarantee::ReadOnly {
            return None;
        }
        let path = self.folder.dir.path().join(format!(".{}.backout-lock", self.folder.name));
        let lock = std::fs::File::create(path).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        self.held.lock().unwrap().push(lock);
        Some(self.input.clone())
    }
}

#[tokio::test]
async fn off_on_yaml_conforms() {
    check(async || {
        let folder = Folder::new("flags.yaml", YAML);
        let input = folder.off();
        FileCase::new(folder, FlagsForce::off(), input)
    })
    .await
    .assert_kept_on("a YAML file");
}

#[tokio::test]
async fn set_on_json_conforms() {
    check(async || {
        let folder = Folder::new("flags.json", JSON);
        let input =
            json!({"file": folder.file(), "flags": ["new_checkout", "first"], "variation": "off"});
        FileCase::new(folder, FlagsForce::set(), input)
    })
    .await
    .assert_kept_on("a JSON file");
}

#[tokio::test]
async fn off_on_toml_conforms() {
    check(async || {
        let folder = Folder::new("flags.toml", TOML);
        let input = folder.off();
        FileCase::new(folder, FlagsForce::off(), input)
    })
    .await
    .assert_kept_on("a TOML file");
}

#[tokio::test]
async fn restore_conforms() {
    check(async || {
        let folder = Folder::new("flags.yaml", YAML);
        let text = "new_checkout:\n  variations: {a: 1}\n  defaultRule: {variation: a}";
        let input = json!({"file": folder.file(), "blocks": {"new_checkout": text}});
        FileCase::new(folder, FlagsRestore::default(), input)
    })
    .await
    .assert_kept_on("a YAML file");
}

#[tokio::test]
async fn assert_conforms() {
    check(async || {
        let folder = Folder::new("flags.yaml", YAML);
        let input = json!({"file": folder.file(), "flag": "first-flag", "variation": "yes"});
        FileCase::new(folder, FlagsAssert, input)
    })
    .await
    .assert_kept_on("a YAML file");
}
