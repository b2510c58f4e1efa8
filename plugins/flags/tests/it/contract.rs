//! The conformance suite on each action.

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName};
use backout_plugin_flags::{FlagsAssert, FlagsForce, FlagsRestore};
use serde_json::{Value, json};

use super::{Folder, JSON, YAML};
use std::path::PathBuf;

struct FileCase {
    folder: Folder,
    action: Box<dyn Action>,
    restore: FlagsRestore,
    input: Value,
}

impl FileCase {
    fn new(folder: Folder, action: impl Action + 'static, input: Value) -> Self {
        Self { folder, action: Box::new(action), restore: FlagsRestore::default(), input }
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
}

#[tokio::test]
async fn off_on_yaml_conforms() {
    check(async || {
        let folder = Folder::new("flags.yaml", YAML);
        let input = folder.off();
        FileCase::new(folder, FlagsForce::off(), input)
    })
    .await
    .assert_kept();
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
    .assert_kept();
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
    .assert_kept();
}

#[tokio::test]
async fn assert_conforms() {
    check(async || {
        let folder = Folder::new("flags.yaml", YAML);
        let input = json!({"file": folder.file(), "flag": "first-flag", "variation": "yes"});
        FileCase::new(folder, FlagsAssert, input)
    })
    .await
    .assert_kept();
}
