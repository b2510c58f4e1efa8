//! Random plans.

use backout_core::plan::{ApprovalPolicy, OnExhausted, Plan, PlanStep, Retry};
use serde_json::json;

use super::rng::Rng;
use crate::plans::{plan, step};

const KINDS: [&str; 9] = [
    "transactional",
    "conditional",
    "keyed",
    "probed",
    "manual",
    "read-only",
    "conditional",
    "timer",
    "gate",
];

pub(crate) fn random_plan(rng: &mut Rng, run: &str) -> Plan {
    let steps = rng.below(7);
    let mut plan = plan((0..steps).map(|at| random_step(rng, run, at)).collect());
    plan.max_parallel = u32::try_from(rng.between(1, 4)).unwrap();
    plan
}

pub(crate) fn random_step(rng: &mut Rng, run: &str, at: u64) -> PlanStep {
    let id = format!("s{at}");
    let needs: Vec<String> =
        (0..at).filter(|_| rng.chance(350)).map(|need| format!("s{need}")).collect();
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    let kind = *rng.pick(&KINDS).unwrap();
    let mut step = step(&id, &needs);
    let items = if matches!(kind, "timer" | "gate") { 0 } else { rng.between(0, 3).max(1) };
    step.with = json!({
        "kind": kind,
        "item": format!("{run}/{id}"),
        "items": (0..items).collect::<Vec<u64>>(),
        "waves": rng.chance(500),
        "blind": matches!(kind, "manual" | "read-only") && rng.chance(700),
        "remembered_ms": rng.between(1, 60) * 1_000,
        "converge_ms": rng.below(500),
    });
    if kind == "read-only" {
        step.with["want"] = json!(false);
        step.with["items"] = json!(vec![0; usize::try_from(rng.below(3)).unwrap()]);
    } else if !matches!(kind, "timer" | "gate") {
        step.with["target"] = json!(format!("t{}", rng.below(3)));
    }
    if let Some(need) = needs.first().filter(|_| rng.chance(200)) {
        step.with["note"] = json!(format!("${{steps.{need}.output.k}}"));
    }
    dress(rng, &mut step);
    step.watch = rng.chance(300);
    step
}

fn dress(rng: &mut Rng, step: &mut PlanStep) {
    step.timeout_ms = rng.between(1, 5) * 500;
    let max = u32::try_from(rng.below(3)).unwrap();
    step.retry = Retry { max, backoff_ms: 200, ..Retry::default() };
    step.on_exhausted = match rng.below(9) {
        0 | 4 => OnExhausted::Halt,
        1 | 2 => OnExhausted::Continue,
        3 => OnExhausted::Undo,
        _ => OnExhausted::Wait,
    };
    if rng.chance(150) {
        let count = u32::try_from(rng.between(1, 2)).unwrap();
        step.approval = Some(ApprovalPolicy { count, ..ApprovalPolicy::default() });
    }
    if rng.chance(150) {
        step.soak_ms = Some(rng.between(1, 4) * 1_000);
    }
    if rng.chance(80) {
        step.when = Some("false".into());
    }
    if rng.chance(20) {
        step.when = Some("1 + 'a' == 2".into());
    }
}
