//! Right runbooks, and the plans they become.

use backout_core::contract::Guarantee;
use backout_core::id::StepId;
use backout_core::plan::{OnExhausted, Order, Role};
use backout_runbook::{Severity, codes, describe, tables};
use serde_json::json;

use crate::actions::{beside, check, run, runbook};

const WHOLE: &str = r##"
#![enable(implicit_some)]
// Everything that a runbook may hold.
Runbook(
    format: 1,
    name: "checkout",
    title: "Roll back the checkout",
    description: r#"When "checkout" misbehaves."#,
    owner: "team-shop",
    environment: Environment(name: "production", protected: true),
    labels: {"service": "checkout"},
    reviewed: "2026-01-31",
    review_by: Some("2028-02-29"),
    params: {
        "to": Param(type: version, help: "the version before"),
        "hosts": (type: list, default: ["a", "b"]),
        "wait": (type: duration, default: "90s"),
        "token": (type: text, secret: true, default: "env:TOKEN"),
        "mode": (type: choice, options: ["fast", "safe"], default: "safe"),
        "count": (type: integer, default: 3),
        "force": (type: boolean, default: false),
    },
    defaults: (timeout: "5m", retry: (max: 2)),
    max_parallel: 8,
    stale_after: "2h",
    steps: [
        Step(
            id: "flags", title: "Flags off", action: "flags.off",
            with: (file: "flags.yaml", flag: "new", token: "${params.token}"),
            retry: (backoff: "2s"), on_exhausted: halt, accept: ["schedule"], soak: "1m",
            expect: "10s", locks: ["service:${params.mode}"], watch: true, owner: "jo",
            runbook_url: "https://example.org", note: "first",
        ),
        Step(
            id: "drain", needs: [], for_each: "${params.hosts}", action: "exec.run",
            with: (command: ["drain", "${item}", "$${HOME}"], env: {"TO": "${params.to}"}, nice: "${params.count}"),
            locks: ["host:${item}"],
        ),
        Step(
            id: "restart", needs: ["flags", "drain"], action: "exec.run",
            when: "params.mode == 'safe' && steps.drain[\"a\"].output.ok",
            with: (command: ["restart"], settle: ["probe"], env: {"X": "${default(steps.flags.output.x, 'v')}"}),
            approval: (count: 2, by: ["lead"], starter_may: false), on_exhausted: undo,
        ),
        Step(id: "after", action: "wait.for", with: (duration: "${params.wait}"), approval: true),
    ],
    success: (
        checks: [(id: "web", action: "exec.run", with: (command: ["curl"])), (action: "noop.run")],
        hold: "5m",
        validated_by: "shop-lead",
    ),
    comms: (cadence: "15m", channel: "#incidents"),
    escalation: [(after: "30m", to: "on-call")],
)
"##;

#[test]
fn a_whole_runbook() {
    let compiled = run(WHOLE, &["to=2.4.1"]);
    assert_eq!(compiled.problems, []);
    assert_eq!(compiled.warnings, []);
    let plan = compiled.plan.unwrap();
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "flags",
            "drain[a]",
            "drain[b]",
            "restart",
            "after",
            "success_web",
            "success_2",
            "success_validated"
        ]
    );
    let step = |id: &str| plan.steps.iter().find(|step| step.id.as_str() == id).unwrap();
    let needs = |id: &str| step(id).needs.iter().map(StepId::to_string).collect::<Vec<_>>();
    assert_eq!(needs("flags"), [""; 0]);
    assert_eq!(needs("drain[a]"), [""; 0]);
    assert_eq!(needs("restart"), ["flags", "drain[a]", "drain[b]"]);
    assert_eq!(needs("after"), ["restart"]);
    assert_eq!(needs("success_2"), ["after"]);
    assert_eq!(needs("success_validated"), ["success_web", "success_2"]);
    let flags = step("flags");
    assert_eq!((flags.retry.max, flags.retry.backoff_ms, flags.timeout_ms), (2, 2_000, 300_000));
    assert_eq!((flags.soak_ms, flags.expect_ms, flags.watch), (Some(60_000), Some(10_000), true));
    assert_eq!(flags.on_exhausted, OnExhausted::Halt);
    assert_eq!(flags.locks[0].as_str(), "service:safe");
    let drain = step("drain[b]");
    assert_eq!(drain.item, Some(json!("b")));
    assert_eq!(drain.locks[0].as_str(), "host:b");
    assert_eq!(drain.with["command"], json!(["drain", "${item}", "$${HOME}"]));
    assert_eq!(step("restart").approval.as_ref().unwrap().by, ["lead"]);
    assert_eq!(step("after").approval.as_ref().unwrap().count, 1);
    assert_eq!(step("success_web").role, Role::Success);
    assert_eq!(step("success_web").soak_ms, Some(300_000));
    assert_eq!(step("success_validated").action.as_str(), "wait.approval");
    assert_eq!(step("success_validated").approval.as_ref().unwrap().by, ["shop-lead"]);
    assert_eq!(plan.params["to"].value, json!("2.4.1"));
    assert!(plan.params["token"].secret);
    assert_eq!((plan.max_parallel, plan.stale_after_ms), (8, 7_200_000));
    assert_eq!(plan.escalation[0].after_ms, 1_800_000);
    assert_eq!(Order::of(&plan.steps).unwrap().wave, [0, 0, 0, 1, 2, 3, 3, 4]);
    let guarantee = |id: &str| compiled.steps[&StepId::from(id)].guarantee;
    assert_eq!(guarantee("drain[a]"), Guarantee::Manual);
    assert_eq!(guarantee("restart"), Guarantee::Probed);
}

#[test]
fn check_does_not_ask_for_values() {
    let compiled = check(WHOLE);
    assert_eq!(compiled.problems, []);
    assert_eq!(compiled.missing, ["to"]);
    assert!(compiled.plan.is_some());
    let compiled = run(WHOLE, &[]);
    assert_eq!(compiled.problems.len(), 1);
    assert!(compiled.problems[0].help.as_deref().unwrap().contains("-p to=1.2.3"));
}

#[test]
fn a_list_that_is_not_given_leaves_one_step() {
    let text = runbook(
        r#"params: {"hosts": (type: list)}, steps: [
            (id: "a", action: "noop.run", for_each: "${params.hosts}"),
            (id: "b", action: "noop.run", when: "steps.a[\"x\"].output.ok")]"#,
    );
    let plan = check(&text).plan.unwrap();
    assert_eq!(plan.steps[1].needs, [StepId::from("a")]);
    let plan = run(&text, &["hosts=x, y"]).plan.unwrap();
    assert_eq!(plan.steps[2].needs, [StepId::from("a[x]"), StepId::from("a[y]")]);
    assert_eq!(run(&text, &["hosts=y"]).problems[0].code, codes::ITEM);
    let plan = run(&text, &[r#"hosts=[{"key": "x", "port": 1}]"#]).plan.unwrap();
    assert_eq!(plan.steps[0].item, Some(json!({"key": "x", "port": 1})));
}

#[test]
fn given_values() {
    let text = runbook(
        r#"params: {"n": (type: integer, default: 1), "v": (type: version, default: "1"),
            "d": (type: duration, default: "1s"), "c": (type: choice, options: ["a"], default: "a"),
            "b": (type: boolean, default: true), "p": (pattern: r"[a-z]+", default: "x"),
            "s": (secret: true, default: "env:X")}, steps: [(id: "a", action: "noop.run")]"#,
    );
    let code = |given: &str| run(&text, &[given]).problems.first().map(|problem| problem.code);
    for good in [
        "n=-5",
        "v=v2.4.1-rc.1+b",
        "v=2025.11",
        "d=1h 30m",
        "c=a",
        "b=false",
        "p=abc",
        "s=file:/x",
        "s=cmd:[\"a\"]",
    ] {
        assert_eq!(code(good), None, "{good}");
    }
    for bad in [
        "n=x",
        "n=1.5",
        "v=latest",
        "v=1.",
        "v=1-",
        "d=1 fortnight",
        "d=2years",
        "c=b",
        "b=yes",
        "p=A",
    ] {
        assert_eq!(code(bad), Some(codes::PARAM_VALUE), "{bad}");
    }
    assert_eq!(code("m=1"), Some(codes::PARAM_UNKNOWN));
    let secret = run(&text, &["s=hunter2"]);
    assert_eq!(secret.problems[0].code, codes::PARAM_SECRET);
    assert!(!format!("{:?}", secret.problems).contains("hunter2"));
}

#[test]
fn values_fill_inputs_before_they_are_checked() {
    let text = runbook(
        r#"params: {"n": (type: text, default: "x")}, steps: [
            (id: "a", action: "exec.run", with: (command: ["x"], nice: "${params.n}"))]"#,
    );
    let problem = &run(&text, &[]).problems[0];
    assert_eq!(problem.code, codes::INPUT_VALUE);
    assert_eq!(problem.message, "`nice` of `exec.run` is a text, not a whole number");
    assert_eq!(
        run(&text.replace("type: text, default: \"x\"", "type: integer, default: 1"), &[]).problems,
        []
    );
}

#[test]
fn two_steps_on_one_target_in_one_wave() {
    let step = |id: &str, needs: &str| {
        format!(r#"(id: "{id}", {needs} action: "flags.off", with: (file: "f", flag: "x"))"#)
    };
    let text = |needs: &str| runbook(&format!("steps: [{}, {}]", step("a", ""), step("b", needs)));
    assert_eq!(check(&text("")).warnings, []);
    let warnings = check(&text("needs: [],")).warnings;
    assert_eq!(warnings[0].code, codes::SAME_TARGET);
    assert_eq!(warnings[0].severity, Severity::Warning);
}

fn manifest(inner: &str) -> String {
    format!("Releases(format: 1, releases: [({inner})])")
}

/// Every field of the tables is read: a value that fits none of them is refused at each.
#[test]
fn every_field_of_the_tables_is_read() {
    let wrap = |doc: &str, inner: &str| {
        let step = |inner: &str| format!("steps: [(id: \"a\", action: \"noop.run\", {inner})]");
        match doc {
            "Runbook" => format!("Runbook({inner})"),
            "Environment" => runbook(&format!("environment: ({inner}), {}", step(""))),
            "Param" => runbook(&format!("params: {{\"p\": ({inner})}}, {}", step(""))),
            "Defaults" => runbook(&format!("defaults: ({inner}), {}", step(""))),
            "Retry" => runbook(&step(&format!("retry: ({inner})"))),
            "Step" => runbook(&format!("steps: [({inner})]")),
            "Approval" => runbook(&step(&format!("approval: ({inner})"))),
            "Success" => runbook(&format!("success: ({inner}), {}", step(""))),
            "Check" => runbook(&format!("success: (checks: [({inner})]), {}", step(""))),
            "Comms" => runbook(&format!("comms: ({inner}), {}", step(""))),
            "Escalation" => runbook(&format!("escalation: [({inner})], {}", step(""))),
            "Releases" => format!("Releases({inner})"),
            "Release" => manifest(inner),
            "Service" => manifest(&format!("services: {{\"s\": ({inner})}}")),
            "Artifact" => manifest(&format!("services: {{\"s\": (artifact: ({inner}))}}")),
            "Versions" => manifest(&format!("works_with: {{\"s\": [({inner})]}}")),
            other => panic!("{other}: say where it stands"),
        }
    };
    for doc in tables::STRUCTS {
        for field in doc.fields {
            if field.name == "with" {
                continue;
            }
            let text = wrap(doc.name, &format!("{}: {{1: 2}}", field.name));
            let place = text.find("{1: 2}").unwrap();
            let problems = if text.starts_with("Releases") {
                let asks =
                    "params: {\"to\": (type: release)}, steps: [(id: \"a\", action: \"noop.run\")]";
                beside(&runbook(asks), &text).release_problems
            } else {
                check(&text).problems
            };
            let told = problems.iter().any(|problem| {
                problem
                    .labels
                    .iter()
                    .any(|label| label.span.start >= place && label.span.start <= place + 1)
            });
            assert!(told, "{}.{} is not read:\n{text}\n{:#?}", doc.name, field.name, problems);
        }
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "Runbook(\n format: 1\n nam: \"x\",\n title: 3,\n steps: [\n  (id: \"A b\" action: \"noop.run\"),\n  (id: \"b\", whn: 1, action: \"x\\q\"),\n ],\n";
    let compiled = check(text);
    let found: Vec<(&str, usize)> =
        compiled.problems.iter().map(|problem| (problem.code, problem.line)).collect();
    assert_eq!(
        found,
        [
            (codes::UNCLOSED, 1),
            (codes::COMMA, 2),
            (codes::UNKNOWN_FIELD, 3),
            (codes::WRONG_TYPE, 4),
            (codes::BAD_NAME, 6),
            (codes::COMMA, 6),
            (codes::UNKNOWN_FIELD, 7),
            (codes::TEXT, 7),
        ]
    );
    assert!(compiled.plan.is_none());
}

#[test]
fn an_outline_needs_no_values() {
    let source = backout_runbook::Source { name: "x", text: WHOLE };
    let outline = describe(&source).unwrap();
    assert_eq!(outline.name, "checkout");
    assert_eq!(outline.params[0].name, "to");
    assert_eq!(outline.params[0].kind.word(), "version");
    assert_eq!(outline.steps.len(), 4);
    assert!(describe(&backout_runbook::Source { name: "x", text: "[1, 2" }).is_none());
}

#[test]
fn limits_are_refused_by_name() {
    let refused = |text: &str, name: &str| {
        let compiled = check(text);
        let problem = compiled.problems.first();
        assert_eq!(problem.map(|problem| problem.code), Some(codes::LIMIT), "{name}");
        assert!(problem.is_some_and(|problem| problem.message.contains(name)), "{problem:?}");
    };
    let step = "(id: \"a\", action: \"noop.run\", needs: []),";
    refused(&runbook(&format!("steps: [{}]", step.repeat(10_001))), "STEPS_MAX");
    let list: Vec<String> = (0..6_000).map(|at| at.to_string()).collect();
    let each = |id: &str, list: &[String], rest: &str| {
        format!("(id: \"{id}\", action: \"noop.run\", for_each: [{}]{rest}),", list.join(","))
    };
    let two = format!("steps: [{}{}]", each("a", &list, ""), each("b", &list, ""));
    refused(&runbook(&two), "STEPS_MAX");
    let two =
        format!("steps: [{}{}]", each("a", &list[..1_000], ""), each("b", &list[..1_000], ""));
    refused(&runbook(&two), "NEEDS_TOTAL_MAX");
    let note = format!(", note: \"{}\"", "x".repeat(4_000));
    refused(&runbook(&format!("steps: [{}]", each("a", &list, &note))), "EVENT_BYTES_MAX");
    let file = check(&" ".repeat(5 << 20));
    assert_eq!(file.problems[0].code, codes::FILE_TOO_LARGE);
    let many = check(&runbook(&format!("steps: [{}]", step.repeat(5_000))));
    assert_eq!(many.problems.len(), 1_000);
}
