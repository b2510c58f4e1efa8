//! Plans for tests.

use backout_core::id::StepId;
use backout_core::plan::{Plan, PlanStep};
use serde_json::json;

/// A step `id` of action `fake.do` that needs these.
pub(crate) fn step(id: &str, needs: &[&str]) -> PlanStep {
    PlanStep {
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        timeout_ms: 60_000,
        ..PlanStep::new(id, "fake.do", json!({ "target": id }))
    }
}

/// A plan of these steps.
pub(crate) fn plan(steps: Vec<PlanStep>) -> Plan {
    Plan::new("test", steps)
}
