//! An engine for tests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backout_core::event::{Actor, Cause, Event};
use backout_core::id::{RunId, Seq, StepId, Timestamp};
use backout_core::plan::{Plan, PlanStep};
use backout_core::state::RunState;
use backout_plugin_api::{Action, Secret, SecretError, SecretRef, SecretSource};
use backout_runtime::{Clock, Engine, Host, Options};
use backout_store::journal::JournalStore;
use serde_json::Value;

/// Tokio's clock as wall time: paused, it jumps to the next timer when nothing else is to be done.
#[derive(Clone, Copy)]
pub(crate) struct TestClock(tokio::time::Instant);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000).plus_ms(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(Duration::from_millis(due.since_ms(self.now()))))
    }
}

pub(crate) struct NoSecrets;

impl SecretSource for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let reason = "tests have none".into();
        Err(SecretError { reference: reference.0.clone(), reason })
    }
}

pub(crate) fn engine(store: Arc<dyn JournalStore>, clock: TestClock) -> Engine {
    engine_of(store, clock, backout_plugin_basic::actions())
}

pub(crate) fn engine_of(
    store: Arc<dyn JournalStore>,
    clock: TestClock,
    actions: Vec<Arc<dyn Action>>,
) -> Engine {
    let host = Host::new(actions, Arc::new(NoSecrets));
    let options = Options {
        engine: "test".into(),
        scratch: Arc::new(|_| std::env::temp_dir()),
        observer: None,
        captures: None,
        crash: None,
    };
    Engine::new(store, Arc::new(host), Arc::new(clock), options)
}

pub(crate) fn ann() -> Cause {
    Cause {
        command: None,
        actor: Actor::unverified("ann"),
        reason: Some("because".into()),
        break_glass: false,
    }
}

pub(crate) fn step(id: &str, needs: &[&str], action: &str, with: Value) -> PlanStep {
    PlanStep {
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        pure: true,
        timeout_ms: 60_000,
        ..PlanStep::new(id, action, with)
    }
}

pub(crate) fn plan(steps: Vec<PlanStep>) -> Plan {
    Plan::new("test", steps)
}

/// The durable state of a run.
pub(crate) fn state(store: &dyn JournalStore, run: &RunId) -> RunState {
    let mut state = None;
    for recorded in store.read(run, Seq(1), usize::MAX).unwrap() {
        backout_core::evolve(&mut state, &recorded).unwrap();
    }
    state.unwrap()
}

/// Waits until the durable journal of a run shows something.
pub(crate) async fn until(store: &dyn JournalStore, run: &RunId, test: impl Fn(&RunState) -> bool) {
    let mut seen = store.watch(run);
    while !test(&state(store, run)) {
        seen.changed().await.unwrap();
    }
}

pub(crate) fn count(store: &dyn JournalStore, run: &RunId, test: impl Fn(&Event) -> bool) -> usize {
    let events = store.read(run, Seq(1), usize::MAX).unwrap();
    events.iter().filter(|recorded| test(&recorded.event)).count()
}
