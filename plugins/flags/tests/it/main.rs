//! The actions on real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod contract;
mod edits;
mod fake;
mod flagd;
mod fuzz;
mod launchdarkly;
mod old_data;
mod proof;
mod toml;
mod unleash;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Fence, LockToken, PrepareFailure,
    Prepared, RunId, StepId, SystemSecrets,
};
use serde_json::{Value, json};

/// 2026-01-01.
const NOW_MS: i64 = 1_767_225_600_000;

/// Comments, odd spacing, quotes and a flag with everything in it.
const YAML: &str = r#"# the shop's flags
first-flag:
    variations: {yes: true, 'no': false}   # odd but right
    defaultRule: { variation: yes }

new_checkout:
  # the new checkout of spring
  variations:
    on: true
    off: false
  targeting:
    - name: beta
      query: key eq "beta"
      variation: on
  # everybody else
  defaultRule:
    percentage:
      on: 80   # raised on Tuesday
      off: 20
  scheduledRollout:
    - date: 2027-03-01T00:00:00Z
      defaultRule:
        variation: on
  disable: true
  bucketingKey: teamId
  metadata:
    text: |
      two lines
      of text

# last
Última:
  variations: {a: "x", b: "y"}
  defaultRule: {variation: a} # end
"#;

const JSON: &str = r#"{
  "first": {"variations": {"on": true, "off": false}, "defaultRule": {"variation": "on"}},
  "new_checkout": {
    "variations": { "on": true, "off": false },
    "targeting": [ { "query": "a eq 1", "variation": "on" } ],
    "defaultRule": { "name": "rest", "percentage": {"on": 50, "off": 50} },
    "disable": true
  },
  "last":   {"variations": {"on": 1}, "defaultRule": {"variation": "on"}}
}
"#;

/// The same flag with its tables in the three ways that people write them.
const TOML: &str = r#"# the shop's flags
[first]
variations = { on = true, off = false }   # inline
defaultRule = { variation = "on" }

# the new checkout of spring
[new_checkout]
disable = true
bucketingKey = "teamId" # teams
version = "7"

[new_checkout.variations]
on = true
off = false

# beta users first
[[new_checkout.targeting]]
name = "beta"
query = 'beta eq true'
variation = "on"

[[new_checkout.targeting]]
query = "targetingKey eq \"u9\""
variation = "on"

# everybody else
[new_checkout.defaultRule.percentage]
on = 80   # raised on Tuesday
off = 20

[[new_checkout.scheduledRollout]]
date = 2027-03-01T00:00:00Z
[new_checkout.scheduledRollout.defaultRule]
variation = "on"

# last
[last]
variations.a = "x"
variations.b = "y"
defaultRule.variation = "a" # end
"#;

const FLAGD: &str = r#"{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "flags": {
    "first": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
    "new_checkout": {
      "state": "DISABLED",
      "variants": { "on": true,  "off": false },
      "targeting": { "if": [ { ">": [ { "var": "$flagd.timestamp" }, 1 ] }, "on", "off" ] }
    }
  },
  "$evaluators": {"beta": {"==": [{"var": "beta"}, true]}},
  "metadata": { "version":  "3" }
}
"#;

struct Folder {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl Folder {
    fn new(name: &'static str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        Self { dir, name }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(self.name)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn off(&self) -> Value {
        json!({"file": self.file(), "flags": ["new_checkout"]})
    }
}

fn context(scratch: &Path) -> Context {
    Context {
        run: RunId::new("0123456789"),
        step: StepId::new("s"),
        attempt: 1,
        epoch: 1,
        timeout: Duration::from_secs(30),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| ()),
        secrets: Arc::new(SystemSecrets::default()),
        scratch: scratch.to_owned(),
        traceparent: None,
        now_ms: NOW_MS,
    }
}

fn action(name: &str) -> Arc<dyn Action> {
    backout_plugin_flags::actions()
        .into_iter()
        .find(|action| action.manifest().name.as_str() == name)
        .expect("the action is registered")
}

async fn prepare(action: &dyn Action, input: &Value) -> Result<Prepared, PrepareFailure> {
    action.prepare(&context(Path::new("/nonexistent")), input).await
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

/// The names in a folder, without the lock.
fn litter(folder: &Folder) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') && !name.ends_with("-lock"))
        .collect();
    names.sort();
    names
}

#[test]
fn each_example_is_an_input_that_check_accepts() {
    for action in backout_plugin_flags::actions() {
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
