//! Gates in a real engine: what holds lets the run go on, and nothing else does.

use std::sync::Arc;
use std::time::Duration;

use backout_core::event::{Actor, Cause, Event, Wait};
use backout_core::id::{RunId, Seq};
use backout_core::plan::{Plan, PlanStep, Retry};
use backout_core::state::{RunState, RunStatus, StepState};
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Engine, Host, Options, SystemClock};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use backout_test_targets::web::{Web, closed};
use serde_json::{Value, json};

/// How long a run may take to get where a test wants it.
const WITHIN: Duration = Duration::from_mins(1);

struct Bench {
    store: Arc<dyn JournalStore>,
    engine: Engine,
    run: RunId,
}

fn gate(with: Value, soak_ms: Option<u64>) -> PlanStep {
    PlanStep {
        timeout_ms: 2_000,
        retry: Retry { max: 1, backoff_ms: 10, factor: 1.0, jitter: 0.0, cap_ms: 10 },
        soak_ms,
        ..PlanStep::new("gate", "checks.http", with)
    }
}

fn plan(steps: Vec<PlanStep>) -> Plan {
    Plan { max_parallel: 4, ..Plan::new("test", steps) }
}

impl Bench {
    async fn start(steps: Vec<PlanStep>) -> Self {
        let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
        let host = Host::new(backout_plugin_checks::actions(), Arc::new(SystemSecrets::default()));
        let options = Options {
            engine: "test".into(),
            scratch: Arc::new(|_| std::env::temp_dir()),
            observer: None,
            captures: None,
            crash: None,
        };
        let engine = Engine::new(store.clone(), Arc::new(host), Arc::new(SystemClock), options);
        let run = RunId::from("r000000000");
        let actor = Actor::unverified("ann");
        let cause = Cause { command: None, actor, reason: None, break_glass: false };
        engine.start(run.clone(), plan(steps), String::new(), cause).await.unwrap();
        Self { store, engine, run }
    }

    fn state(&self) -> RunState {
        let mut state = None;
        for recorded in self.store.read(&self.run, Seq(1), usize::MAX).unwrap() {
            backout_core::evolve(&mut state, &recorded).unwrap();
        }
        state.unwrap()
    }

    async fn until(&self, test: impl Fn(&StepState) -> bool) {
        let mut seen = self.store.watch(&self.run);
        let reached = async {
            while !test(&self.state().steps[0].state) {
                seen.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(WITHIN, reached).await;
        assert!(done.is_ok(), "{:?}", self.state().steps[0].state);
    }

    /// What each sample of a soak saw.
    fn samples(&self) -> Vec<Value> {
        let events = self.store.read(&self.run, Seq(1), usize::MAX).unwrap();
        let seen = |event: &Event| match event {
            Event::StepWaits { wait: Wait::Soak { seen, .. }, .. } => Some(seen.clone()),
            _ => None,
        };
        events.iter().filter_map(|recorded| seen(&recorded.event)).collect()
    }
}

#[tokio::test]
async fn a_gate_that_holds_lets_the_run_end_and_its_samples_are_kept() {
    let web = Web::start().unwrap();
    let bench = Bench::start(vec![gate(json!({"url": web.url("/")}), Some(1_000))]).await;
    tokio::time::timeout(WITHIN, bench.engine.wait(&bench.run)).await.unwrap().unwrap();
    assert_eq!(bench.state().status(), RunStatus::Succeeded);
    let samples = bench.samples();
    assert!(samples.len() >= 5, "{samples:?}");
    assert!(samples[1..].iter().all(|seen| seen["status"] == json!(200)), "{samples:?}");
}

#[tokio::test]
async fn a_gate_that_fails_while_it_soaks_asks_a_person() {
    let web = Web::start().unwrap();
    let bench = Bench::start(vec![gate(json!({"url": web.url("/")}), Some(10_000))]).await;
    bench.until(|state| matches!(state, StepState::Waiting(Wait::Soak { .. }))).await;
    web.say(500, "broken again");
    bench.until(|state| *state == StepState::Unverified).await;
    assert_eq!(bench.state().status(), RunStatus::Waiting);
}

#[tokio::test]
async fn a_gate_that_sees_nothing_while_it_soaks_counts_nothing_and_goes_on_looking() {
    let web = Web::start().unwrap();
    let bench = Bench::start(vec![gate(json!({"url": web.url("/")}), Some(1_500))]).await;
    let covered = |state: &StepState| match state {
        StepState::Waiting(Wait::Soak { covered_ms, sampled, .. }) => Some((*covered_ms, *sampled)),
        _ => None,
    };
    bench.until(|state| covered(state).is_some_and(|(ms, _)| ms > 0)).await;
    web.wait(Duration::from_secs(5));
    bench.until(|state| covered(state).is_some_and(|(_, sampled)| sampled.is_none())).await;
    let (before, _) = covered(&bench.state().steps[0].state).unwrap();
    let unknown = bench.samples().pop().unwrap();
    assert!(unknown["unknown"].as_str().unwrap().contains("no whole answer"), "{unknown}");
    web.wait(Duration::ZERO);
    bench.until(|state| covered(state).is_some_and(|(_, sampled)| sampled.is_some())).await;
    let (after, _) = covered(&bench.state().steps[0].state).unwrap();
    assert_eq!(before, after, "the time without a look counts for nothing");
    tokio::time::timeout(WITHIN, bench.engine.wait(&bench.run)).await.unwrap().unwrap();
    assert_eq!(bench.state().status(), RunStatus::Succeeded);
}

#[tokio::test]
async fn a_step_that_does_not_hold_or_sees_nothing_asks_a_person_after_its_retries() {
    let web = Web::start().unwrap();
    web.say(500, "broken");
    for (url, why) in
        [(web.url("/"), "answered 500"), (format!("http://{}/", closed().unwrap()), "no conn")]
    {
        let bench = Bench::start(vec![gate(json!({ "url": url }), None)]).await;
        bench.until(|state| matches!(state, StepState::Waiting(Wait::Person { .. }))).await;
        let state = bench.state();
        let StepState::Waiting(Wait::Person { why: said }) = &state.steps[0].state else {
            panic!("{state:?}")
        };
        assert!(said.contains(why), "{said}");
        assert_eq!(state.status(), RunStatus::Waiting);
    }
}
