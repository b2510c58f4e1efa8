//! A runbook, a scenario and decisions as texts; what a drill of them gives.

use std::collections::BTreeMap;

use backout_core::contract::Guarantee;
use backout_core::event::Event;
use backout_core::id::{RunId, StepId, Timestamp};
use backout_core::plan::Plan;
use backout_runbook::{ActionInfo, Catalogue, Checked, Mode, Source, compile};
use backout_tabletop::drill::{Drill, Setup};
use backout_tabletop::judge::{Verdict, judge};
use backout_tabletop::scenario::{self, Scenario};
use backout_tabletop::{decisions, report};
use serde_json::json;

/// Every action, with any input.
pub(crate) struct Any;

impl Catalogue for Any {
    fn actions(&self) -> Vec<String> {
        Vec::new()
    }

    fn find(&self, _: &str) -> Option<ActionInfo<'_>> {
        Some(ActionInfo {
            input_schema: json!({}),
            guarantee: Guarantee::Conditional,
            pure: false,
            check: Box::new(|_| Checked::default()),
        })
    }
}

pub(crate) fn plan(text: &str) -> Plan {
    let source = Source { name: "test", text };
    let compiled = compile(&source, &BTreeMap::new(), Mode::Run, &Any);
    compiled.plan.unwrap_or_else(|| panic!("{:?}", compiled.problems))
}

pub(crate) fn scenario(text: &str, plan: &Plan) -> Scenario {
    scenario::read(text, Some(plan)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

pub(crate) fn setup(runbook: &str, scenario_text: &str, decided: &str) -> Setup {
    let plan = plan(runbook);
    let scenario = scenario(scenario_text, &plan);
    let decisions = decisions::read(decided).unwrap_or_else(|problems| panic!("{problems:#?}"));
    Setup {
        run: RunId::from_random(7),
        plan,
        text: runbook.to_owned(),
        seed: scenario.seed,
        scenario,
        guarantees: BTreeMap::new(),
        begin: Timestamp(1_767_236_400_000),
        decisions: decisions.decisions,
        chaos: 0,
    }
}

pub(crate) fn played(setup: Setup) -> Drill {
    let mut drill = Drill::begin(setup).unwrap();
    drill.play().unwrap();
    assert!(drill.broken().is_empty(), "{:?}", drill.broken());
    drill
}

/// By expected action, what became of it.
pub(crate) fn verdicts(drill: &Drill) -> BTreeMap<String, Verdict> {
    let judged = judge(&drill.exercise(), drill.journal());
    judged.into_iter().map(|one| (one.id, one.verdict)).collect()
}

pub(crate) fn reported(drill: &Drill) -> report::Report {
    report::report(&drill.exercise(), drill.journal(), &sentence)
}

pub(crate) fn sentence(event: &Event) -> (Option<String>, String) {
    let event = serde_json::to_value(event).unwrap();
    let step = event["step"].as_str().map(str::to_owned);
    (step, event["kind"].as_str().unwrap().to_owned())
}

/// Where a step came to.
pub(crate) fn state(drill: &Drill, step: &str) -> &'static str {
    let (_, _, step) = drill.state().unwrap().find(&StepId::new(step)).unwrap();
    step.state.word()
}

/// A checkout's rollback: a flag, a container, a look, a schema behind an approval.
pub(crate) const RUNBOOK: &str = r#"
Runbook(
    format: 1,
    name: "shop",
    title: "The shop back",
    environment: (name: "production", protected: true),
    comms: (cadence: "10m", channel: "incident"),
    steps: [
        (id: "flag_off", action: "flags.off", with: (flags: ["new_checkout"]), watch: true),
        (
            id: "cart_back",
            action: "containers.rollback",
            with: (compose: (project: "shop", service: "cart"), image: "cart@1"),
            expect: "20s",
            timeout: "1m",
        ),
        (id: "orders", action: "checks.http", with: (url: "x"), retry: (max: 5, backoff: "5s")),
        (
            id: "schema_down",
            action: "migrations.down",
            with: (database: "env:DB", to: "41"),
            approval: (count: 1, by: ["bea"]),
        ),
    ],
)
"#;

/// The shop with a bug behind a flag and in an image.
pub(crate) fn shop(rest: &str) -> String {
    format!(
        r#"
Scenario(
    format: 1,
    name: "shop-down",
    title: "Customers cannot pay",
    situation: "The new checkout fails.",
    seed: 11,
    lasts: "60m",
    objectives: [
        (id: "decide", text: "Decisions are made in time", capability: "decision making"),
        (id: "tell", text: "Those who must know are told", capability: "communication"),
    ],
    roles: [(role: "commander", who: "ana"), (role: "approver", who: "bea")],
    world: (
        flags: {{"new_checkout": (value: "on", evaluations_per_minute: 600)}},
        containers: {{"shop/cart": (image: "cart@2")}},
        schemas: {{"env:DB": (ledger: [
            (version: "41", name: "orders"),
            (version: "42", name: "discounts", drops: "orders.discount", rows: 1200),
            (version: "43", name: "index"),
        ])}},
        services: {{"checkout": (
            errors: 0.001, latency: "80ms", errors_below: 0.01, latency_below: "300ms",
            troubles: [
                (thing: "flag:new_checkout", is: "on", errors: 0.08),
                (thing: "container:shop/cart", is: "cart@2", errors: 0.03, latency: "400ms"),
            ],
        )}},
    ),
    {rest}
)
"#
    )
}

pub(crate) const APPROVED: &str = r#"
Decisions(format: 1, decisions: [
    (on: (step: "schema_down", is: "approval", after: "90s"), by: "bea", ask: (ask: "approve", step: "schema_down"), reason: "looked at it"),
])
"#;
