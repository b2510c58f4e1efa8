//! Plans, engines and stores for the measurements.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, StepId, Timestamp};
use backout_core::plan::{Plan, PlanStep};
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Clock, Engine, Host, Options, SystemClock};
use backout_store::journal::JournalStore;
use backout_store::{EmbeddedStore, StoreOptions};
use serde_json::{Value, json};

/// A step of a plan.
pub(crate) fn step(id: &str, needs: &[&str], action: &str, with: Value) -> PlanStep {
    PlanStep {
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        pure: true,
        timeout_ms: 60_000,
        ..PlanStep::new(id, action, with)
    }
}

/// A plan of these steps.
pub(crate) fn plan(steps: Vec<PlanStep>) -> Plan {
    Plan { max_parallel: 1_000, stale_after_ms: 365 * 24 * 3_600_000, ..Plan::new("bench", steps) }
}

/// `count` noop steps, one after the other, behind `first`.
pub(crate) fn chain(first: Option<PlanStep>, count: usize) -> Plan {
    let mut before = first.as_ref().map(|step| step.id.clone());
    let mut steps: Vec<PlanStep> = first.into_iter().collect();
    for at in 0..count {
        let mut next = step(&format!("s{at}"), &[], "noop.run", json!({}));
        next.needs = before.into_iter().collect();
        before = Some(next.id.clone());
        steps.push(next);
    }
    plan(steps)
}

/// `count` noop steps at once, behind `first`.
pub(crate) fn fan_out(first: Option<PlanStep>, count: usize) -> Plan {
    let need: Vec<StepId> = first.iter().map(|step| step.id.clone()).collect();
    let steps = (0..count).map(|at| {
        let mut next = step(&format!("s{at}"), &[], "noop.run", json!({}));
        next.needs.clone_from(&need);
        next
    });
    plan(first.into_iter().chain(steps).collect())
}

/// A step that waits for a person.
pub(crate) fn gate() -> PlanStep {
    step("gate", &[], "wait.approval", json!({ "text": "go?" }))
}

/// A store in a folder.
pub(crate) fn store(dir: &Path) -> Result<Arc<EmbeddedStore>> {
    let now: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(|| SystemClock.now());
    let (store, _) = EmbeddedStore::open(dir, StoreOptions::new(now, [7; 32]))?;
    Ok(Arc::new(store))
}

/// An engine over it.
pub(crate) fn engine(store: &Arc<EmbeddedStore>) -> Engine {
    let mut actions = backout_plugin_basic::actions();
    actions.push(Arc::new(crate::io::Io));
    let host = Host::new(actions, Arc::new(SystemSecrets::default()));
    let folders = store.clone();
    let options = Options {
        engine: "bench".into(),
        scratch: Arc::new(move |run| folders.scratch(run)),
        observer: None,
        captures: None,
        crash: None,
    };
    let store: Arc<dyn JournalStore> = store.clone();
    Engine::new(store, Arc::new(host), Arc::new(SystemClock), options)
}

/// The run number `at` of a group.
pub(crate) fn run(group: u64, at: usize) -> RunId {
    RunId::from_random((group << 40) | u64::try_from(at).unwrap_or(0))
}

/// Who starts runs here.
pub(crate) fn cause() -> Cause {
    Cause {
        command: None,
        actor: Actor::unverified("bench"),
        reason: Some("measuring".into()),
        break_glass: false,
    }
}

/// Records of these runs, and their bytes as they stand in the journal, without its digests.
pub(crate) fn journal_size(store: &dyn JournalStore, runs: &[RunId]) -> Result<(usize, usize)> {
    let (mut records, mut bytes) = (0, 0);
    for run in runs {
        for recorded in store.read(run, backout_core::id::Seq(1), usize::MAX)? {
            records += 1;
            bytes += serde_json::to_vec(&recorded)?.len();
        }
    }
    Ok((records, bytes))
}
