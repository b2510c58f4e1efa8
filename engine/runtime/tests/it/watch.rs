//! What was made is looked at until the run ends, by a shell that sleeps in between.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backout_core::command::Ask;
use backout_core::event::Event;
use backout_core::id::RunId;
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, RunStatus};
use backout_core::watch::{EVERY_MS, UNSEEN_MS};
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
};
use backout_runtime::Engine;
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use serde_json::{Value, json};

use crate::bench::{TestClock, ann, count, engine_of, plan, state, step, until};

/// A flag that anybody may change, and that knows who did.
#[derive(Default)]
struct Flag {
    value: Mutex<Value>,
    by: Mutex<String>,
    away: Mutex<bool>,
    looks: AtomicU32,
}

impl Flag {
    fn set(&self, value: Value, by: &str) {
        *self.value.lock().unwrap() = value;
        by.clone_into(&mut self.by.lock().unwrap());
    }

    fn looks(&self) -> u32 {
        self.looks.load(Ordering::Relaxed)
    }
}

struct SetFlag(Arc<Flag>);

#[async_trait]
impl Action for SetFlag {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("flag.set"),
            summary: "Sets.",
            docs: "",
            input: || schemars::json_schema!({ "type": "object" }),
            example: "()",
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: &[1],
        }
    }

    fn check(&self, _: &Value) -> Checked {
        Checked::default()
    }

    fn by_hand(&self, _: &Value) -> ByHand {
        ByHand::default()
    }

    async fn prepare(&self, _: &Context, _: &Value) -> Result<Prepared, PrepareFailure> {
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        if *self.0.away.lock().unwrap() {
            return Err(PrepareFailure::Unreachable { reason: "no route".into() });
        }
        let before = self.0.value.lock().unwrap().clone();
        let there = before == json!("off");
        let effect = PreparedEffect {
            title: "flag".into(),
            wave: 0,
            satisfied: if there { Satisfied::Yes } else { Satisfied::No },
            before: Image::Plain(before.clone()),
            wanted: Image::Plain(json!("off")),
            difference: if there { Vec::new() } else { vec![format!("{before} -> \"off\"")] },
            reversibility: Reversibility::Exact,
            hazards: Vec::new(),
            data: Value::Null,
        };
        Ok(Prepared {
            data_version: 1,
            guarantee: Guarantee::Conditional,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![effect],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: json!({ "changed_by": *self.0.by.lock().unwrap() }),
        })
    }

    async fn apply(&self, _: &Context, _: &Call) -> Outcome {
        self.0.set(json!("off"), "backout");
        Outcome::Done { output: json!({}) }
    }

    async fn settle(&self, _: &Context, _: &Call) -> Settled {
        Settled::NotDone
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

fn run() -> RunId {
    RunId::from("r000000000")
}

fn watched(id: &str) -> PlanStep {
    PlanStep { watch: true, pure: false, ..step(id, &[], "flag.set", json!({})) }
}

fn go() -> PlanStep {
    step("go", &["off"], "wait.approval", json!({ "text": "go?" }))
}

/// `off` is made and watched; `go` waits for a person.
async fn halfway(store: &Arc<dyn JournalStore>, clock: TestClock, flag: &Arc<Flag>) -> Engine {
    flag.set(json!("on"), "release");
    let engine = again(store, clock, flag);
    engine.start(run(), plan(vec![watched("off"), go()]), String::new(), ann()).await.unwrap();
    until(store.as_ref(), &run(), |state| state.status() == RunStatus::Waiting).await;
    engine
}

fn again(store: &Arc<dyn JournalStore>, clock: TestClock, flag: &Arc<Flag>) -> Engine {
    let mut actions = backout_plugin_basic::actions();
    actions.push(Arc::new(SetFlag(flag.clone())));
    engine_of(store.clone(), clock, actions)
}

async fn alarmed(store: &dyn JournalStore, by: Option<&str>) {
    until(store, &run(), |state| state.alarms().any(|(_, alarm)| alarm.by.as_deref() == by)).await;
}

fn alarms(store: &dyn JournalStore) -> usize {
    count(store, &run(), |event| matches!(event, Event::WatchAlarm { .. }))
}

async fn pass(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn looks_go_on_and_leave_no_event_while_all_is_as_it_was_left() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let flag = Arc::new(Flag::default());
    let engine = halfway(&store, TestClock::new(), &flag).await;
    let (events, looks) = (state(store.as_ref(), &run()).seq, flag.looks());
    pass(10 * EVERY_MS + 1).await;
    assert_eq!(flag.looks() - looks, 10);
    assert_eq!(state(store.as_ref(), &run()).seq, events);
    engine.ask(&run(), Ask::Approve { step: "go".into(), consent: None }, ann()).await.unwrap();
    engine.wait(&run()).await.unwrap();
    assert_eq!(flag.looks() - looks, 11, "and once more at the end");
    assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_once_with_who_did_it_and_is_made_again_on_request() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let flag = Arc::new(Flag::default());
    let engine = halfway(&store, TestClock::new(), &flag).await;
    flag.set(json!("on"), "bob");
    alarmed(store.as_ref(), Some("bob")).await;
    pass(20 * EVERY_MS).await;
    assert_eq!(alarms(store.as_ref()), 1);
    engine.ask(&run(), Ask::Approve { step: "go".into(), consent: None }, ann()).await.unwrap();
    until(store.as_ref(), &run(), RunState::waits_for_alarm).await;
    engine.ask(&run(), Ask::Retry { step: "off".into(), with: None }, ann()).await.unwrap();
    engine.wait(&run()).await.unwrap();
    assert_eq!(*flag.value.lock().unwrap(), json!("off"));
    assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_answer_is_told_after_a_while_and_calms_by_itself() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let flag = Arc::new(Flag::default());
    let _engine = halfway(&store, TestClock::new(), &flag).await;
    *flag.away.lock().unwrap() = true;
    pass(EVERY_MS + UNSEEN_MS / 2).await;
    assert_eq!(alarms(store.as_ref()), 0);
    until(store.as_ref(), &run(), |state| state.alarms().any(|(_, alarm)| alarm.unseen)).await;
    *flag.away.lock().unwrap() = false;
    until(store.as_ref(), &run(), |state| state.alarms().next().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_engine_looks_at_once_and_one_that_lets_go_does_not_wait_for_a_watch() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let (flag, clock) = (Arc::new(Flag::default()), TestClock::new());
    let first = halfway(&store, clock, &flag).await;
    pass(EVERY_MS + 1).await;
    let begun = tokio::time::Instant::now();
    first.stop("test", 60_000).await;
    assert!(begun.elapsed().as_millis() < 1_000);
    flag.set(json!("on"), "bob");
    let second = again(&store, clock, &flag);
    second.take_up(&run()).await.unwrap();
    alarmed(store.as_ref(), Some("bob")).await;
    assert!(begun.elapsed().as_millis() < 1_000);
}
