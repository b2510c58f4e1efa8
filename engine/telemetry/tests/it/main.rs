//! The traces of runs, as the OpenTelemetry Collector receives them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use backout_core::command::Ask;
use backout_core::contract::hex;
use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, StepId};
use backout_core::plan::{Plan, PlanStep};
use backout_core::trace;
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Engine, Host, Options, SystemClock};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use backout_telemetry::Traces;
use backout_test_targets::collector::{Collector, Span};
use chrono::NaiveDateTime;
use serde_json::{Value, json};

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(20);

fn step(id: &str, needs: &[&str], action: &str, with: Value) -> PlanStep {
    PlanStep {
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        pure: true,
        timeout_ms: 60_000,
        ..PlanStep::new(id, action, with)
    }
}

fn plan() -> Plan {
    Plan {
        max_parallel: 4,
        ..Plan::new(
            "shop",
            vec![
                step("flag", &[], "noop.run", json!({})),
                step("gate", &["flag"], "wait.approval", json!({ "text": "go on?" })),
                step("last", &["gate"], "noop.run", json!({})),
            ],
        )
    }
}

fn ann() -> Cause {
    let actor = Actor::unverified("ann");
    Cause { command: None, actor, reason: Some("because".into()), break_glass: false }
}

fn engine(store: &Arc<dyn JournalStore>, address: &str) -> Engine {
    let host = Host::new(backout_plugin_basic::actions(), Arc::new(SystemSecrets::default()));
    let options = Options {
        engine: "test".into(),
        scratch: Arc::new(|_| std::env::temp_dir()),
        observer: None,
        captures: None,
        crash: None,
    };
    let traces = Traces::to(address).unwrap();
    Engine::new(store.clone(), Arc::new(host), Arc::new(SystemClock), options)
        .followed_by(traces.follower())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_two_engines_is_one_trace_and_each_span_is_sent_once() {
    if !Collector::is_here() {
        return;
    }
    let collector = Collector::start().unwrap();
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let run = RunId::from("r000000000");
    let first = engine(&store, &collector.traces());
    first.start(run.clone(), plan(), String::new(), ann()).await.unwrap();
    let mut seen = store.watch(&run);
    let waits = async {
        loop {
            let events = store.read(&run, backout_core::id::Seq(1), usize::MAX).unwrap();
            if events.iter().any(|recorded| {
                matches!(&recorded.event, backout_core::event::Event::StepWaits { .. })
            }) {
                return;
            }
            seen.changed().await.unwrap();
        }
    };
    tokio::time::timeout(WITHIN, waits).await.unwrap();
    first.stop("test", 1_000).await;
    let second = engine(&store, &collector.traces());
    second.take_up(&run).await.unwrap();
    second.ask(&run, Ask::Approve { step: "gate".into(), consent: None }, ann()).await.unwrap();
    tokio::time::timeout(WITHIN, second.wait(&run)).await.unwrap().unwrap();
    second.stop("test", 5_000).await;

    let each = ["flag", "gate", "last"];
    let wanted: Vec<String> = each
        .iter()
        .map(|id| format!("attempt {id}"))
        .chain(["run shop".to_owned()])
        .chain(each.iter().map(|id| format!("step {id}")))
        .collect();
    let spans = received(&collector, wanted.len());
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, wanted);
    assert!(spans.iter().all(|span| span.trace == hex(&trace::trace_id(&run))));
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(of("step gate").parent, of("run shop").id);
    assert_eq!(of("attempt gate").parent, of("step gate").id);
    assert_eq!(of("attempt gate").id, hex(&trace::attempt_span(&run, &"gate".into(), 1)));
    assert_eq!(of("run shop").parent, "");
    for span in &spans {
        assert!(moment(&span.began) <= moment(&span.ended), "{span:?}");
    }
}

/// What the Collector has received, once it is so many spans: it tells them a moment later.
fn received(collector: &Collector, count: usize) -> Vec<Span> {
    let end = Instant::now() + WITHIN;
    loop {
        let spans = collector.spans();
        if spans.len() >= count && spans.iter().all(|span| !span.ended.is_empty()) {
            return spans;
        }
        assert!(Instant::now() < end, "{spans:?}");
        std::thread::yield_now();
    }
}

fn moment(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f +0000 UTC").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_spans_and_no_run() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let run = RunId::from("r000000001");
    let engine = engine(&store, "http://127.0.0.1:9/v1/traces");
    let plan = Plan { steps: vec![step("flag", &[], "noop.run", json!({}))], ..plan() };
    engine.start(run.clone(), plan, String::new(), ann()).await.unwrap();
    tokio::time::timeout(WITHIN, engine.wait(&run)).await.unwrap().unwrap();
    engine.stop("test", 1_000).await;
}
