//! The three actions through their public face.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Fence, Gate, LockToken, Outcome,
    PrepareFailure, RunId, Secret, SecretError, SecretRef, SecretSource, Settled, StepId,
};
use serde_json::{Value, json};

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        Err(SecretError { reference: reference.0.clone(), reason: "none here".to_owned() })
    }
}

fn context() -> Context {
    Context {
        run: RunId::new("0123456789"),
        step: StepId::new("s"),
        attempt: 1,
        epoch: 1,
        timeout: Duration::from_secs(5),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| ()),
        secrets: Arc::new(NoSecrets),
        scratch: PathBuf::from("/nonexistent"),
        traceparent: None,
        now_ms: 0,
    }
}

fn action(name: &str) -> Arc<dyn Action> {
    backout_plugin_basic::actions()
        .into_iter()
        .find(|action| action.manifest().name.as_str() == name)
        .expect("the action is registered")
}

#[tokio::test]
async fn a_noop_gives_its_output_applied_or_settled() {
    let noop = action("noop.run");
    let input = json!({"output": {"a": 1}, "note": "n"});
    let prepared = noop.prepare(&context(), &input).await.unwrap();
    assert_eq!(prepared.effects.len(), 1);
    assert!(!prepared.is_satisfied(), "it must be journaled, so it is never satisfied before");
    let call = Call {
        input,
        prepared: Arc::new(prepared),
        effect: 0,
        key: EffectKey::from_text("r/s/1/0"),
        fence: Fence { store: "st".to_owned(), token: LockToken(0), dispatch: 1 },
    };
    let output = json!({"a": 1});
    assert_eq!(noop.apply(&context(), &call).await, Outcome::Done { output: output.clone() });
    assert_eq!(noop.settle(&context(), &call).await, Settled::Done { output });
}

#[tokio::test]
async fn waits_are_gates_without_effects() {
    let cases = [
        ("wait.for", json!({"time": "10m"}), Gate::Timer { ms: 600_000 }),
        ("wait.approval", json!({"text": "go?"}), Gate::Approval { text: "go?".to_owned() }),
    ];
    for (name, input, gate) in cases {
        let prepared = action(name).prepare(&context(), &input).await.unwrap();
        assert_eq!(prepared.gate, Some(gate));
        assert!(prepared.effects.is_empty());
    }
}

#[tokio::test]
async fn bad_inputs_are_refused_and_checked() {
    let refused = action("wait.for").prepare(&context(), &json!({"time": "soon"})).await;
    assert!(matches!(refused, Err(PrepareFailure::Refused { .. })));
    let problems = |name: &str, input: Value| action(name).check(&input).problems.len();
    assert_eq!(problems("wait.for", json!({"time": "soon"})), 1);
    assert_eq!(problems("wait.for", json!({"time": "${params.t}"})), 0);
    assert_eq!(problems("wait.approval", json!({"text": " "})), 1);
    let unknown = action("noop.run").prepare(&context(), &json!({"outptu": {}})).await;
    assert!(unknown.unwrap_err().reason().contains("outptu"));
}

#[test]
fn every_field_is_described_in_the_schema() {
    for action in backout_plugin_basic::actions() {
        let manifest = action.manifest();
        let schema = (manifest.input)();
        let fields = schema.get("properties").and_then(Value::as_object).unwrap();
        for (name, field) in fields {
            assert!(field.get("description").is_some(), "{}: {name}", manifest.name);
        }
    }
}

#[test]
fn each_example_is_an_input_that_check_accepts() {
    for action in backout_plugin_basic::actions() {
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
