//! The actions on a real Docker Engine, a real Podman and a real registry.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod contract;
mod errors;
mod images;
mod kept;
mod podman;
mod shop;
mod traffic;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Fence, LockToken, MadeEffect, Outcome,
    PrepareFailure, Prepared, RunId, Satisfied, StepId, SystemSecrets,
};
use serde_json::Value;

/// How long one verb may take here.
const VERB_TIMEOUT: Duration = Duration::from_mins(2);

fn context() -> Context {
    Context {
        run: RunId::new("0123456789"),
        step: StepId::new("s"),
        attempt: 1,
        epoch: 1,
        timeout: VERB_TIMEOUT,
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| ()),
        secrets: Arc::new(SystemSecrets::default()),
        scratch: PathBuf::from("/nonexistent"),
        traceparent: None,
        now_ms: 0,
    }
}

async fn prepare(action: &dyn Action, input: &Value) -> Result<Prepared, PrepareFailure> {
    action.prepare(&context(), input).await
}

/// The sending of one effect.
fn call(input: &Value, prepared: &Prepared, effect: usize, dispatch: u32) -> Call {
    Call {
        input: input.clone(),
        prepared: Arc::new(prepared.clone()),
        effect,
        key: EffectKey::new(&RunId::new("0123456789"), &StepId::new("s"), 1, effect),
        fence: Fence { store: "st".to_owned(), token: LockToken(7), dispatch },
    }
}

fn made(call: &Call, output: Value) -> MadeEffect {
    MadeEffect {
        input: call.input.clone(),
        prepared: Arc::clone(&call.prepared),
        effect: call.effect,
        key: call.key.clone(),
        output,
        whole: true,
    }
}

/// How many pieces of work go on at once: they mostly wait for an engine.
const AT_ONCE: usize = 4;

/// Does all of some work, some of it at once, each piece on a thread with a runtime of its own.
fn at_once<T: Copy + Send + Sync>(pieces: &[T], work: impl AsyncFn(T) + Sync) {
    let left = std::sync::Mutex::new(pieces.iter().copied());
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(piece) = next() {
                    let mut runtime = tokio::runtime::Builder::new_current_thread();
                    runtime.enable_all().build().unwrap().block_on(work(piece));
                }
            });
        }
    });
}

/// The same one after the other. Podman's name server is not always found where two networks end at
/// the same time.
fn one_by_one<T: Copy + Send + Sync>(pieces: &[T], work: impl AsyncFn(T) + Sync) {
    for piece in pieces {
        at_once(std::slice::from_ref(piece), &work);
    }
}

#[track_caller]
fn done(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done { output } => output,
        other => panic!("{other:?}"),
    }
}

/// Prepares and makes every effect, in the order of its waves.
async fn make(action: &dyn Action, input: &Value) -> Vec<(Call, Value)> {
    let prepared = prepare(action, input).await.unwrap();
    let mut order: Vec<_> = (0..prepared.effects.len()).collect();
    order.sort_by_key(|index| prepared.effects[*index].wave);
    let mut all = Vec::new();
    for index in order {
        if prepared.effects[index].satisfied != Satisfied::Yes {
            let call = call(input, &prepared, index, 1);
            let output = done(action.apply(&context(), &call).await);
            all.push((call, output));
        }
    }
    all
}

#[test]
fn each_example_is_an_input_that_check_accepts() {
    for action in backout_plugin_containers::actions() {
        let manifest = action.manifest();
        let input: Value = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
            .from_str(manifest.example)
            .unwrap();
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
