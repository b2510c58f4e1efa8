//! `backups.assert` on real files and a real web server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::files::sha256_hex;
use backout_plugin_api::look::Gate;
use backout_plugin_api::{
    Action, CancellationToken, Context, Prepared, RunId, Secret, SecretError, SecretRef,
    SecretSource, StepId,
};
use backout_plugin_backups::BackupsCheck;
use backout_test_targets::web::{Silent, Trickle, Web, closed};
use serde_json::{Value, json};

const CHECK: Gate<BackupsCheck> = Gate(BackupsCheck);
const SECRET: &str = "hunter2-of-the-backups";

struct Token;

impl SecretSource for Token {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Ok(Secret::new(SECRET.to_owned()))
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
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
        secrets: Arc::new(Token),
        scratch: PathBuf::from("/nonexistent"),
        traceparent: None,
        now_ms: now_ms(),
    }
}

/// Why it does not hold, or why nothing was seen.
async fn look(input: &Value) -> Result<Prepared, String> {
    match CHECK.prepare(&context(), input).await {
        Ok(prepared) if prepared.is_satisfied() => Ok(prepared),
        Ok(prepared) => Err(format!("wrong: {}", prepared.difference().join("; "))),
        Err(failure) => Err(format!("unknown: {}", failure.reason())),
    }
}

async fn says(input: &Value, parts: &[&str]) {
    let said = look(input).await.unwrap_err();
    assert!(parts.iter().all(|part| said.contains(part)), "{said}: {parts:?}");
}

fn backup(folder: &Path, name: &str, hours: u64, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    let at = SystemTime::now() - Duration::from_secs(hours * 3_600);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

fn input(folder: &Path) -> Value {
    json!({"at": folder.join("*.dump"), "younger_than": "24h", "larger_than": 3})
}

#[tokio::test]
async fn the_newest_file_counts() {
    let dir = tempfile::tempdir().unwrap();
    let input = input(dir.path());
    says(&input, &["wrong", "there is no backup"]).await;
    backup(dir.path(), "old.dump", 30, "large enough");
    says(&input, &["wrong", "old.dump is 1day 6h old"]).await;
    backup(dir.path(), "new.dump", 2, "abc");
    says(&input, &["wrong", "new.dump has 3 bytes"]).await;
    backup(dir.path(), "new.dump", 2, "abcd");
    let seen = look(&input).await.unwrap().seen;
    assert_eq!(seen["bytes"], json!(4));
    let missing = json!({"at": "/nonexistent/*.dump", "younger_than": "24h"});
    says(&missing, &["unknown", "cannot look into /nonexistent"]).await;
}

#[tokio::test]
async fn a_checksum_is_proven() {
    let dir = tempfile::tempdir().unwrap();
    let mut input = input(dir.path());
    input["checksum"] = json!(true);
    backup(dir.path(), "a.dump", 2, "abcd");
    says(&input, &["wrong", "a.dump.sha256"]).await;
    let sum = |text: &str| format!("{}  a.dump\n", sha256_hex(text.as_bytes()));
    std::fs::write(dir.path().join("a.dump.sha256"), sum("abcx")).unwrap();
    says(&input, &["wrong", "has the SHA-256"]).await;
    std::fs::write(dir.path().join("a.dump.sha256"), sum("abcd")).unwrap();
    assert!(look(&input).await.unwrap().seen["sha256"].is_string());
}

#[tokio::test]
async fn a_web_server_is_asked() {
    let web = Web::start().unwrap();
    let at = chrono::DateTime::from_timestamp_millis(now_ms() - 3_600_000).unwrap();
    let at = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    web.put("/latest.dump", b"abcd");
    let input = json!({"at": web.url("/latest.dump"), "younger_than": "2h", "larger_than": 3});
    says(&input, &["unknown", "Last-Modified"]).await;
    web.header(&format!("Last-Modified: {at}"));
    look(&input).await.unwrap();
    web.say(404, "");
    let gone = json!({"at": web.url("/gone.dump"), "younger_than": "2h"});
    says(&gone, &["wrong", "there is no backup"]).await;
    let list = json!([{"name": "shop-1.dump", "type": "file", "mtime": at, "size": 9}]);
    web.put("/shop/", list.to_string().as_bytes());
    let folder = json!({"at": web.url("/shop/"), "name": "shop-*.dump", "younger_than": "2h"});
    let seen = look(&folder).await.unwrap().seen;
    assert_eq!(seen["backup"], json!(web.url("/shop/shop-1.dump")));
    web.say(503, "");
    says(&gone, &["unknown", "answered 503"]).await;
}

struct BackupCase {
    dir: tempfile::TempDir,
    silent: Silent,
    slow: Trickle,
    /// It knows nobody.
    strict: Web,
}

#[async_trait]
impl Case for BackupCase {
    fn action(&self) -> &dyn Action {
        &CHECK
    }

    fn input(&self) -> Value {
        input(self.dir.path())
    }

    fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        json!(std::fs::read_to_string(self.dir.path().join("a.dump")).unwrap())
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Token)
    }

    fn secret_values(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }

    fn unreachable(&self) -> Option<Value> {
        let at = format!("http://{}/a.dump", closed().unwrap());
        Some(json!({"at": at, "younger_than": "1h", "bearer": "env:TOKEN"}))
    }

    fn silent(&self) -> Option<Value> {
        let at = format!("http://{}/a.dump", self.silent.address());
        Some(json!({"at": at, "younger_than": "1h", "bearer": "env:TOKEN"}))
    }

    /// A list of a folder: of one backup the head alone is read.
    fn slow(&self) -> Option<Value> {
        let at = format!("http://{}/shop/", self.slow.address());
        Some(json!({"at": at, "name": "*.dump", "younger_than": "1h", "bearer": "env:TOKEN"}))
    }

    fn denied(&self) -> Option<Value> {
        let at = self.strict.url("/a.dump");
        Some(json!({"at": at, "younger_than": "1h", "bearer": "env:TOKEN"}))
    }
}

#[tokio::test]
async fn assert_conforms() {
    check(async || {
        let strict = Web::start().unwrap();
        strict.say(401, "who are you?");
        let (silent, slow) = (Silent::start().unwrap(), Trickle::web().unwrap());
        let case = BackupCase { dir: tempfile::tempdir().unwrap(), silent, slow, strict };
        backup(case.dir.path(), "a.dump", 1, "abcd");
        case
    })
    .await
    .assert_kept_on("files and a web server");
}

#[test]
fn the_example_is_an_input_that_check_accepts() {
    let manifest = CHECK.manifest();
    let input: Value = ron::from_str(manifest.example).unwrap();
    let checked = CHECK.check(&input);
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    assert!(!CHECK.by_hand(&input).commands.is_empty());
}
