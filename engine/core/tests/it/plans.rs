//! Plans for tests.

use backout_core::id::StepId;
use backout_core::plan::{OnExhausted, Plan, PlanStep, Retry};
use serde_json::json;

/// A step `id` of action `fake.do` that needs these.
pub(crate) fn step(id: &str, needs: &[&str]) -> PlanStep {
    PlanStep {
        id: id.into(),
        title: String::new(),
        role: backout_core::plan::Role::Step,
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        when: None,
        item: None,
        action: "fake.do".into(),
        with: json!({ "target": id }),
        pure: false,
        timeout_ms: 60_000,
        retry: Retry::default(),
        on_exhausted: OnExhausted::Wait,
        approval: None,
        accept: Vec::new(),
        soak_ms: None,
        expect_ms: None,
        locks: Vec::new(),
        watch: false,
        owner: None,
        runbook_url: None,
        note: None,
    }
}

/// A plan of these steps.
pub(crate) fn plan(steps: Vec<PlanStep>) -> Plan {
    Plan {
        format: 1,
        name: "test".into(),
        title: String::new(),
        description: String::new(),
        owner: None,
        environment: None,
        labels: std::collections::BTreeMap::new(),
        reviewed: None,
        review_by: None,
        params: std::collections::BTreeMap::new(),
        max_parallel: 64,
        stale_after_ms: 3_600_000,
        steps,
        success: None,
        comms: None,
        escalation: Vec::new(),
    }
}
