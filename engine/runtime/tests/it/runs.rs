//! Whole runs through the handle.

use std::sync::Arc;

use backout_core::command::Ask;
use backout_core::event::{Event, Wait};
use backout_core::id::RunId;
use backout_core::state::{RunStatus, StepState};
use backout_runtime::Start;
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use serde_json::json;

use crate::bench::{TestClock, ann, count, engine, plan, state, step, until};

fn store() -> Arc<dyn JournalStore> {
    Arc::new(MemoryStore::new())
}

fn run() -> RunId {
    RunId::from("r000000000")
}

#[tokio::test(start_paused = true)]
async fn a_chain_runs_to_its_end() {
    let store = store();
    let engine = engine(store.clone(), TestClock::new());
    let names: Vec<String> = (0..50).map(|at| format!("s{at}")).collect();
    let steps = names.iter().enumerate().map(|(at, id)| {
        let needs: Vec<&str> = at.checked_sub(1).map(|at| names[at].as_str()).into_iter().collect();
        step(id, &needs, "noop.run", json!({}))
    });
    engine.start(run(), plan(steps.collect()), String::new(), ann()).await.unwrap();
    engine.wait(&run()).await.unwrap();
    let state = state(store.as_ref(), &run());
    assert_eq!(state.status(), RunStatus::Succeeded);
    let done = |event: &Event| matches!(event, Event::EffectDone { .. });
    assert_eq!(count(store.as_ref(), &run(), done), 50);
    assert!(engine.driven().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_timer_ends_in_virtual_time_and_survives_the_engine() {
    let store = store();
    let clock = TestClock::new();
    let steps = vec![
        step("wait", &[], "wait.for", json!({ "time": "10m" })),
        step("then", &["wait"], "noop.run", json!({})),
    ];
    let first = engine(store.clone(), clock);
    first.start(run(), plan(steps), String::new(), ann()).await.unwrap();
    let timing = |state: &StepState| matches!(state, StepState::Waiting(Wait::Timer { .. }));
    until(store.as_ref(), &run(), |state| timing(&state.steps[0].state)).await;
    first.stop("test", 1_000).await;
    assert!(!state(store.as_ref(), &run()).attached);
    let second = engine(store.clone(), clock);
    second.take_up(&run()).await.unwrap();
    second.wait(&run()).await.unwrap();
    let state = state(store.as_ref(), &run());
    assert_eq!(state.status(), RunStatus::Succeeded);
    assert!(state.ended.unwrap().since_ms(state.created) >= 600_000);
    assert!(state.ended.unwrap().since_ms(state.created) < 610_000);
}

#[tokio::test(start_paused = true)]
async fn a_gate_waits_for_a_person_with_and_without_an_engine() {
    for driven in [true, false] {
        let store = store();
        let clock = TestClock::new();
        let steps = vec![
            step("gate", &[], "wait.approval", json!({ "text": "go?" })),
            step("then", &["gate"], "noop.run", json!({})),
        ];
        let first = engine(store.clone(), clock);
        first.start(run(), plan(steps), String::new(), ann()).await.unwrap();
        until(store.as_ref(), &run(), |state| state.status() == RunStatus::Waiting).await;
        if !driven {
            first.stop("test", 1_000).await;
        }
        let approve = Ask::Approve { step: "gate".into(), consent: None };
        let answer = first.ask(&run(), approve, ann()).await.unwrap();
        assert_eq!(answer.driven, driven);
        if !driven {
            let second = engine(store.clone(), clock);
            second.take_up(&run()).await.unwrap();
            second.wait(&run()).await.unwrap();
        }
        first.wait(&run()).await.unwrap();
        assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_without_an_engine_ends_the_run_and_resume_reopens_it() {
    let store = store();
    let clock = TestClock::new();
    let steps = vec![
        step("gate", &[], "wait.approval", json!({ "text": "go?" })),
        step("then", &["gate"], "noop.run", json!({})),
    ];
    let first = engine(store.clone(), clock);
    first.start(run(), plan(steps), String::new(), ann()).await.unwrap();
    until(store.as_ref(), &run(), |state| state.status() == RunStatus::Waiting).await;
    first.stop("test", 1_000).await;
    first.ask(&run(), Ask::Abort, ann()).await.unwrap();
    assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Aborted);
    let second = engine(store.clone(), clock);
    second.resume(&run(), ann()).await.unwrap();
    until(store.as_ref(), &run(), |state| state.status() == RunStatus::Waiting).await;
    let approve = Ask::Approve { step: "gate".into(), consent: None };
    second.ask(&run(), approve, ann()).await.unwrap();
    second.wait(&run()).await.unwrap();
    assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_for_one_that_was_superseded_by_nobody() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let engine = engine(store.clone(), TestClock::new());
    let steps = || {
        let gate = step("gate", &["done"], "wait.approval", json!({ "text": "go on?" }));
        vec![step("done", &[], "noop.run", json!({})), gate]
    };
    let (old, new) = (RunId::from("r000000000"), RunId::from("r000000002"));
    engine.start(old.clone(), plan(steps()), String::new(), ann()).await.unwrap();
    until(store.as_ref(), &old, |state| state.status() == RunStatus::Waiting).await;
    // The engine died before the run that was to go on came to be.
    let lost = Ask::Supersede { by: "r000000001".into() };
    engine.ask(&old, lost, ann()).await.unwrap();
    let again = Start { continues: Some(old.clone()), ..Start::all(plan(steps()), String::new()) };
    engine.begin(new.clone(), again.clone(), ann()).await.unwrap();
    until(store.as_ref(), &new, |state| state.status() == RunStatus::Waiting).await;
    let state = state(store.as_ref(), &new);
    assert!(state.steps[0].adopted && state.steps[0].attempt == 0, "{:?}", state.steps[0]);
    engine.stop("test", 1_000).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_a_run_with_the_mark_of_a_drill() {
    let store = store();
    let engine = engine(store.clone(), TestClock::new());
    let mut drilled = plan(vec![step("one", &[], "noop.run", json!({}))]);
    drilled.labels.insert("drill".to_owned(), "shop-down".to_owned());
    let refused = engine.start(run(), drilled, String::new(), ann()).await.unwrap_err();
    assert!(refused.to_string().contains("record of a drill"), "{refused}");
    assert!(store.list().unwrap().is_empty() && engine.driven().is_empty());
}
