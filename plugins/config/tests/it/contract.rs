//! The conformance suite: a file from a file, a folder from a web server.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::files::sha256_hex;
use backout_plugin_api::{Action, Secret, SecretError, SecretRef, SecretSource};
use backout_plugin_config::ConfigRestore;
use backout_test_targets::web::{Silent, Trickle, Web, closed};
use serde_json::{Value, json};

use super::{NEW, OLD, Place};

const SECRET: &str = "hunter2-of-the-store";

struct Token;

impl SecretSource for Token {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Ok(Secret::new(SECRET.to_owned()))
    }
}

struct ConfigCase {
    place: Place,
    input: Value,
    silent: Silent,
    slow: Trickle,
    /// It knows nobody.
    strict: Web,
    action: ConfigRestore,
}

impl ConfigCase {
    fn new(place: Place, input: Value) -> Self {
        let strict = Web::start().unwrap();
        strict.say(401, "who are you?");
        let (silent, slow) = (Silent::start().unwrap(), Trickle::web().unwrap());
        Self { place, input, silent, slow, strict, action: ConfigRestore::default() }
    }

    fn store_at(&self, address: &str) -> Value {
        let mut input = self.place.file();
        input["bearer"] = json!("env:STORE_TOKEN");
        if self.input["absent"] == json!(true) || self.place.content().is_none() {
            input["path"] = json!(self.place.at("etc/other.toml"));
        }
        input["from"] = json!(format!("http://{address}/{{sha256}}"));
        input
    }
}

#[async_trait]
impl Case for ConfigCase {
    fn action(&self) -> &dyn Action {
        &self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.place.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        let inode = self.place.path().join("etc/app.toml").metadata().map(|found| found.ino()).ok();
        json!({"text": self.place.content(), "inode": inode})
    }

    async fn image(&self) -> Value {
        json!(self.place.content())
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Token)
    }

    fn secret_values(&self) -> Vec<String> {
        // What stands in the files may be secret too.
        vec![SECRET.to_owned(), OLD.trim().to_owned(), NEW.trim().to_owned()]
    }

    async fn interfere(&self) -> bool {
        self.place.put("etc/app.toml", "timeout = 7\n");
        true
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.store_at(&closed().unwrap()))
    }

    fn silent(&self) -> Option<Value> {
        Some(self.store_at(&self.silent.address()))
    }

    fn slow(&self) -> Option<Value> {
        Some(self.store_at(&self.slow.address()))
    }

    fn denied(&self) -> Option<Value> {
        Some(self.store_at(&self.strict.address()))
    }
}

#[tokio::test]
async fn a_file_from_a_file_conforms() {
    check(async || {
        let place = Place::new();
        let input = place.file();
        ConfigCase::new(place, input)
    })
    .await
    .assert_kept_on("a file from a file");
}

#[tokio::test]
async fn a_file_that_is_made_conforms() {
    check(async || {
        let place = Place::new();
        let input = place.missing();
        ConfigCase::new(place, input)
    })
    .await
    .assert_kept_on("a file that is made");
}

#[tokio::test]
async fn a_file_that_is_taken_away_conforms() {
    check(async || {
        let place = Place::new();
        let input = place.absent();
        ConfigCase::new(place, input)
    })
    .await
    .assert_kept_on("a file that is taken away");
}

#[tokio::test]
async fn a_folder_from_a_store_conforms() {
    let web = Web::start().unwrap();
    web.say(404, "no such blob");
    web.put(&format!("/{}", sha256_hex(OLD.as_bytes())), OLD.as_bytes());
    check(async || {
        let place = Place::new();
        let mut input = place.folder();
        input["from"] = json!(web.url("/{sha256}"));
        input["bearer"] = json!("env:STORE_TOKEN");
        ConfigCase::new(place, input)
    })
    .await
    .assert_kept_on("a folder from a web store");
}
