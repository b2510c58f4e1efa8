//! Releases: what `-p to=ID` fills in, and what is said of a release and the schema that it meets.

use std::collections::BTreeMap;

use backout_runbook::{Compiled, GivenParam, Mode, Source, codes, compile_beside};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::actions::{Actions, runbook};

const MANIFEST: &str = r#"Releases(format: 1, releases: [
    (id: "2025.11.3", deployed_at: "2025-11-03T09:00:00Z",
     services: {"cart": (image: "shop/cart@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                "pay": (artifact: (path: "bin/pay", sha256: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"))},
     schemas: {"shop": 41}, works_with: {"shop": [(from: 40, to: 41)]},
     flags: ["new_checkout"],
     config: "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"),
    (id: "2025.11.4", deployed_at: "2025-11-04T09:00:00Z",
     services: {"cart": (image: "shop/cart@sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd")},
     schemas: {"shop": 42}),
])"#;

const PARAMS: &str = r#"params: {"to": (type: release)}"#;

fn with(steps: &str, releases: Option<&str>, to: Option<&str>, mode: Mode) -> Compiled {
    let text = runbook(&format!("{PARAMS}, steps: [{steps}]"));
    let given: BTreeMap<String, GivenParam> =
        to.map(|id| ("to".to_owned(), GivenParam::Text(id.to_owned()))).into_iter().collect();
    compile_beside(&Source { name: "test.ron", text: &text }, releases, &given, mode, &Actions)
}

fn run(steps: &str, to: &str) -> Compiled {
    with(steps, Some(MANIFEST), Some(to), Mode::Run)
}

/// A step that brings the cart in, with these fields besides.
fn cart(fields: &str) -> String {
    format!(
        r#"(id: "cart", action: "exec.run", {fields}
            with: (command: ["swap", "${{params.to.services.cart.image}}"]))"#
    )
}

/// A step that takes the schema back.
fn down(fields: &str) -> String {
    format!(
        r#"(id: "down", action: "exec.run", {fields}
            with: (command: ["goose"], nice: "${{params.to.schemas.shop}}"))"#
    )
}

fn warned(compiled: &Compiled) -> Vec<&'static str> {
    compiled.warnings.iter().map(|problem| problem.code).collect()
}

#[test]
fn the_id_of_a_release_fills_every_step() {
    let compiled = run(&format!("{}, {}", down(""), cart("")), "2025.11.3");
    assert_eq!(compiled.problems, []);
    let plan = compiled.plan.unwrap();
    let entry = &plan.params["to"].value;
    assert_eq!(entry["id"], "2025.11.3");
    assert_eq!(entry["services"]["pay"]["artifact"]["path"], "bin/pay");
    assert_eq!(entry["schemas"], json!({ "shop": 41 }));
    assert_eq!(entry["works_with"]["shop"][0], json!({ "from": 40, "to": 41 }));
    assert_eq!(entry["flags"], json!(["new_checkout"]));
    assert!(entry["config"].as_str().unwrap().starts_with("ccc"));
}

#[test]
fn an_id_that_is_none_names_the_nearest() {
    let compiled = run(&cart(""), "2025.11.33");
    let problem = &compiled.problems[0];
    assert_eq!(problem.code, codes::RELEASE_UNKNOWN);
    assert_eq!(problem.help.as_deref(), Some("did you mean `2025.11.3`?"));
}

#[test]
fn check_tries_every_entry_and_names_those_that_do_not_fit() {
    let pay = r#"(id: "pay", action: "exec.run", with: (command: ["${params.to.services.pay.artifact.sha256}"]))"#;
    let compiled = with(pay, Some(MANIFEST), None, Mode::Check);
    assert_eq!(compiled.problems.len(), 1, "{:?}", compiled.problems);
    assert!(compiled.problems[0].message.starts_with("with to=2025.11.4: "));
    assert_eq!(with(&cart(""), Some(MANIFEST), None, Mode::Check).problems, []);
}

#[test]
fn a_manifest_is_looked_at_only_where_a_release_is_asked_for() {
    let text = runbook(r#"steps: [(id: "a", action: "noop.run")]"#);
    let source = Source { name: "test.ron", text: &text };
    let given = BTreeMap::new();
    let compiled = compile_beside(&source, Some("rubbish("), &given, Mode::Run, &Actions);
    assert!(compiled.plan.is_some() && compiled.release_problems.is_empty());
}

/// Which order of steps meets which schema.
#[test]
fn a_release_is_warned_of_where_it_meets_a_schema_that_it_does_not_work_with() {
    let first_down = format!("{}, {}", down("needs: [],"), cart(r#"needs: ["down"],"#));
    let beside = format!("{}, {}", down("needs: [],"), cart("needs: [],"));
    let never =
        format!("{}, {}", down(r#"needs: [], when: "false","#), cart(r#"needs: ["down"],"#));
    let mut rows = Vec::new();
    for (steps, to) in [
        (cart(""), "2025.11.3"),
        (cart(""), "2025.11.4"),
        (first_down, "2025.11.3"),
        (beside, "2025.11.3"),
        (never, "2025.11.3"),
    ] {
        let compiled = run(&steps, to);
        assert!(compiled.plan.is_some(), "{:?}", compiled.problems);
        rows.push(warned(&compiled) == [codes::RELEASE_UNFIT]);
    }
    assert_eq!(rows, [true, false, false, true, true]);
    let told = run(&cart(""), "2025.11.3").warnings[0].message.clone();
    assert!(told.contains("works with schema 40 to 41 of `shop`, and 42 is there"), "{told}");
}

const PIECES: [&str; 24] = [
    "Releases(",
    "format: 1,",
    "releases: [",
    "(",
    ")",
    "]",
    ",",
    "id: \"a\",",
    "{",
    "}",
    "deployed_at: \"2025-11-03T09:00:00Z\",",
    "deployed_at: \"\",",
    "services: {",
    "\"cart\": (",
    "image: \"x@sha256:0\"",
    "artifact: (sha256: \"0\")",
    "schemas: {\"shop\": 1},",
    "schemas: {\"shop\": 99999999999999999999},",
    "works_with: {\"shop\": [",
    "(from: 3, to: 1)",
    "1",
    "flags: [\"f\"],",
    "config: \"\u{e9}\",",
    "None",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_manifest_is_read_or_refused_with_a_place(
        pieces in prop::collection::vec(select(&PIECES[..]), 0..30), text in "(?s).{0,60}",
    ) {
        for manifest in [pieces.concat(), text, format!("Releases(format: 1, releases: [{}])", pieces.concat())] {
            for mode in [Mode::Run, Mode::Check] {
                let compiled = with(&cart(""), Some(&manifest), Some("a"), mode);
                let told = compiled.problems.len() + compiled.release_problems.len();
                prop_assert!(compiled.plan.is_some() || told > 0);
                for problem in &compiled.release_problems {
                    let inside = problem.labels.iter().all(|l| manifest.get(l.span.clone()).is_some());
                    prop_assert!(inside, "{problem:?}");
                }
            }
        }
    }
}
