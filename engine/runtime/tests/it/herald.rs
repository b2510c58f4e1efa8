//! People outside are told in time, once, and never in the way of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, StepId};
use backout_core::plan::{ApprovalPolicy, Comms, Escalation, Plan};
use backout_core::state::RunStatus;
use backout_runtime::Engine;
use backout_runtime::herald::{SEND_ACTION, is_message};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use serde_json::json;

use crate::bench::{TestClock, ann, engine_of, plan, state, step, until};
use crate::world::{How, World};

const MINUTE: u64 = 60_000;

struct Told {
    store: Arc<dyn JournalStore>,
    world: Arc<World>,
    clock: TestClock,
    run: RunId,
}

impl Told {
    fn new(how: impl Fn(&StepId, u32) -> How + Send + Sync + 'static) -> Self {
        let world = World::new(how);
        let clock = TestClock::new();
        Self { store: Arc::new(MemoryStore::new()), world, clock, run: RunId::from("r000000000") }
    }

    fn engine(&self) -> Engine {
        let mut actions = backout_plugin_basic::actions();
        actions.push(self.world.action_as(SEND_ACTION));
        engine_of(self.store.clone(), self.clock, actions).telling()
    }

    async fn start(&self, plan: Plan) -> Engine {
        let engine = self.engine();
        engine.start(self.run.clone(), plan, String::new(), ann()).await.unwrap();
        engine
    }

    async fn minutes(&self, minutes: u64) {
        tokio::time::sleep(Duration::from_millis(minutes * MINUTE)).await;
    }

    /// The messages by kind, as they stand in the runs that send them, with whom they call.
    fn messages(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for run in self.store.list().unwrap() {
            let state = state(self.store.as_ref(), &run);
            if is_message(&state.plan) {
                let with = &state.plan.steps[0].with;
                let to = with["to"].as_str().unwrap_or("all").to_owned();
                let text = format!("{to}: {} {}", with["title"], with["text"]);
                all.entry(with["kind"].as_str().unwrap().to_owned()).or_default().push(text);
            }
        }
        all
    }

    fn count(&self, kind: &str) -> usize {
        self.messages().get(kind).map_or(0, Vec::len)
    }
}

/// One gate, which waits for people.
fn gate() -> Plan {
    let mut gate = step("gate", &[], "wait.approval", json!({ "text": "is it quiet?" }));
    gate.approval = Some(ApprovalPolicy { by: vec!["lead".into()], ..ApprovalPolicy::default() });
    Plan {
        comms: Some(Comms { cadence_ms: 15 * MINUTE, channel: "ops".into() }),
        escalation: vec![Escalation { after_ms: 40 * MINUTE, to: "boss".into() }],
        ..plan(vec![gate])
    }
}

fn lead() -> Cause {
    let actor = Actor { roles: vec!["lead".into()], ..Actor::unverified("leo") };
    Cause { actor, ..ann() }
}

#[tokio::test(start_paused = true)]
async fn updates_come_on_their_cadence_and_the_silent_are_reminded_then_escalated() {
    let told = Told::new(|_, _| How::Well);
    let engine = told.start(gate()).await;
    told.minutes(4).await;
    assert!(told.messages().is_empty(), "{:?}", told.messages());
    told.minutes(2).await;
    assert_eq!(told.count("reminder"), 1);
    assert!(told.messages()["reminder"][0].starts_with("lead: "), "{:?}", told.messages());
    told.minutes(10).await;
    assert_eq!((told.count("update"), told.count("escalation")), (1, 1));
    assert!(told.messages()["escalation"][0].contains("nobody has answered"));
    let update = told.messages()["update"][0].clone();
    for words in ["0 of 1 steps done", "Waiting for a person: gate", "Next update at"] {
        assert!(update.contains(words), "{words}: {update}");
    }
    told.minutes(25).await;
    assert_eq!((told.count("update"), told.count("escalation")), (2, 2));
    engine
        .ask(&told.run, Ask::Approve { step: "gate".into(), consent: None }, lead())
        .await
        .unwrap();
    engine.stop("test", 10_000).await;
    assert_eq!(told.count("ended"), 1, "{:?}", told.messages());
    told.world.assert_each_once(told.messages().values().map(Vec::len).sum());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_is_told_twice_and_what_was_missed_is_not_made_up_for() {
    let told = Told::new(|_, _| How::Well);
    let engine = told.start(gate()).await;
    told.minutes(16).await;
    engine.stop("test", 1_000).await;
    let before = told.messages();
    told.minutes(45).await;
    assert_eq!(told.messages(), before, "no engine, no message");
    let engine = told.engine();
    engine.take_up(&told.run).await.unwrap();
    told.minutes(1).await;
    let after = told.messages();
    assert_eq!(told.count("update"), 2, "the fourth, and not the second and the third: {after:?}");
    assert_eq!(told.count("reminder"), 1, "{after:?}");
    assert_eq!(told.count("escalation"), 2, "{after:?}");
    told.world.assert_each_once(after.values().map(Vec::len).sum());
    engine.stop("test", 1_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_never_in_the_way() {
    let told = Told::new(|_, _| How::Hangs);
    let engine = told.start(gate()).await;
    told.minutes(20).await;
    let approve = Ask::Approve { step: "gate".into(), consent: None };
    engine.ask(&told.run, approve, lead()).await.unwrap();
    until(told.store.as_ref(), &told.run, |s| s.status() == RunStatus::Succeeded).await;
    engine.stop("test", 1_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_glass_and_a_command_that_nobody_takes_are_told() {
    let told = Told::new(|_, _| How::Well);
    let engine = told.start(gate()).await;
    engine.ask(&told.run, Ask::HandOver { to: "bob".into() }, ann()).await.unwrap();
    told.minutes(6).await;
    let escalation = &told.messages()["escalation"][0];
    assert!(escalation.contains("offered the command to bob"), "{escalation}");
    let glass = Cause { break_glass: true, ..ann() };
    let approve = Ask::Approve { step: "gate".into(), consent: None };
    engine.ask(&told.run, approve, glass).await.unwrap();
    engine.stop("test", 10_000).await;
    let told = &told.messages()["break_glass"];
    assert!(told[0].contains("ann set the ordinary rules aside: because"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_recorded_while_nobody_drives_the_run_is_told_too() {
    let told = Told::new(|_, _| How::Well);
    let engine = told.start(gate()).await;
    until(told.store.as_ref(), &told.run, |s| s.status() == RunStatus::Waiting).await;
    engine.stop("test", 1_000).await;
    let engine = told.engine();
    let glass = Cause { break_glass: true, ..ann() };
    let approve = Ask::Approve { step: "gate".into(), consent: None };
    engine.ask(&told.run, approve, glass).await.unwrap();
    engine.stop("test", 10_000).await;
    assert_eq!((told.count("break_glass"), told.count("ended")), (1, 1), "{:?}", told.messages());
}

#[tokio::test(start_paused = true)]
async fn where_nobody_is_named_nobody_is_told() {
    let told = Told::new(|_, _| How::Well);
    let engine = told.start(Plan { comms: None, escalation: Vec::new(), ..gate() }).await;
    told.minutes(60).await;
    engine.stop("test", 1_000).await;
    assert!(told.messages().keys().all(|kind| kind == "reminder"), "{:?}", told.messages());
}
