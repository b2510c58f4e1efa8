//! The checks on real services, databases and metrics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod conforms;
mod engine;
mod grpc;
mod http;
mod prometheus;
mod sql;
mod tcp;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backout_plugin_api::{
    Action, CancellationToken, Context, PrepareFailure, RunId, Satisfied, Secret, SecretError,
    SecretRef, SecretSource, StepId,
};
use serde_json::Value;

/// Secrets of a test, by reference.
#[derive(Debug, Default)]
struct Secrets(Mutex<BTreeMap<String, String>>);

impl Secrets {
    fn of(reference: &str, value: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new([(reference.to_owned(), value.to_owned())].into())))
    }
}

impl SecretSource for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let found = self.0.lock().unwrap().get(&reference.0).cloned();
        found.map(Secret::new).ok_or_else(|| SecretError {
            reference: reference.0.clone(),
            reason: "it is not set".to_owned(),
        })
    }
}

fn context(secrets: Arc<dyn SecretSource>, timeout: Duration) -> Context {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Context {
        run: RunId::new("0123456789"),
        step: StepId::new("s"),
        attempt: 1,
        epoch: 1,
        timeout,
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| ()),
        secrets,
        scratch: PathBuf::from("/nonexistent"),
        traceparent: None,
        now_ms: i64::try_from(since.as_millis()).unwrap(),
    }
}

/// What one look says.
#[derive(Clone, Debug, PartialEq)]
enum Says {
    Holds(Value),
    Wrong(String),
    Unknown(String),
}

impl Says {
    #[track_caller]
    fn holds(self) -> Value {
        let Self::Holds(seen) = self else { panic!("{self:?}") };
        seen
    }

    #[track_caller]
    fn wrong(&self, part: &str) {
        assert!(matches!(self, Self::Wrong(why) if why.contains(part)), "{self:?}: {part}");
    }

    #[track_caller]
    fn unknown(&self, part: &str) {
        assert!(matches!(self, Self::Unknown(why) if why.contains(part)), "{self:?}: {part}");
    }
}

async fn look(action: &dyn Action, input: &Value) -> Says {
    look_with(action, input, Arc::new(Secrets::default()), Duration::from_secs(30)).await
}

async fn look_with(
    action: &dyn Action,
    input: &Value,
    secrets: Arc<dyn SecretSource>,
    timeout: Duration,
) -> Says {
    match action.prepare(&context(secrets, timeout), input).await {
        Ok(prepared) if prepared.is_satisfied() => Says::Holds(prepared.seen),
        Ok(prepared) => {
            assert_eq!(prepared.effects[0].satisfied, Satisfied::No);
            Says::Wrong(prepared.difference().join("; "))
        }
        Err(PrepareFailure::Refused { reason } | PrepareFailure::Unreachable { reason }) => {
            Says::Unknown(reason)
        }
    }
}

#[test]
fn each_example_is_an_input_that_check_accepts() {
    for action in backout_plugin_checks::actions() {
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
