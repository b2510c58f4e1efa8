//! The conformance suite.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::Action;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_releases::ReleasesActivate;
use serde_json::{Value, json};

use super::Root;

struct LinkCase {
    root: Root,
    action: ReleasesActivate,
}

#[async_trait]
impl Case for LinkCase {
    fn action(&self) -> &dyn Action {
        &self.action
    }

    fn input(&self) -> Value {
        self.root.input()
    }

    fn scratch(&self) -> PathBuf {
        self.root.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        let inode = self.root.path().join("current").symlink_metadata().unwrap().ino();
        json!({"link": self.root.current(), "inode": inode})
    }

    async fn image(&self) -> Value {
        json!(self.root.current())
    }

    async fn interfere(&self) -> bool {
        self.root.link("releases/1.5.0");
        true
    }

    fn unreachable(&self) -> Option<Value> {
        let mut input = self.input();
        input["root"] = json!("/nonexistent/shop");
        Some(input)
    }
}

#[tokio::test]
async fn activate_conforms() {
    check(async || LinkCase { root: Root::new(), action: ReleasesActivate::default() })
        .await
        .assert_kept_on("a folder");
}
