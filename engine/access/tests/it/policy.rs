//! The policy file: what it says, and how it is told what is wrong with it.

use backout_access::policy::{STRUCTS, read};
use backout_runbook::{Severity, Source, Style, render};
use proptest::prelude::*;

/// Each problem as `line:column code message`.
fn told(text: &str) -> Vec<String> {
    let problems = match read(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let line =
        |p: &backout_runbook::Problem| format!("{}:{} {} {}", p.line, p.column, p.code, p.message);
    problems.iter().map(line).collect()
}

#[test]
fn every_problem_stands_at_its_line() {
    let text = r#"Policy(
    format: 1,
    group: {"dba": ["ana"]},
    groups: {"admin": ["ana"], "sre": "ann", "dba": ["ana", " ben"]},
    roles: {"operater": ["sre"], "viewer": [ann]},
    run: [
        (runbook: "shop-*[", may: ["sre"]),
        (enviroment: "production"),
    ],
    approve: [(may: ["dba"], starter_may: no)],
    issuers: [
        (url: "http://login.example", audience: "backout", algorithms: ["HS256"]),
        (url: "https://login.example"),
    ],
)
"#;
    assert_eq!(
        told(text),
        [
            "3:5 BO0203 `Policy` has no field `group`",
            "4:14 BO0207 `admin` cannot be the name of a group",
            "4:39 BO0204 a text instead of a list `[…]`",
            "4:61 BO0207 ` ben` cannot be the name of a person",
            "5:13 BO0211 `operater` is not a role",
            "5:45 BO0204 a bare name instead of a text",
            "7:19 BO0211 `shop-*[` is no pattern: invalid range pattern",
            "8:9 BO0205 `may` is missing in `Run`",
            "8:10 BO0203 `Run` has no field `enviroment`",
            "10:43 BO0204 a bare name instead of `true` or `false`",
            "12:15 BO0403 `http://login.example` is no https URL",
            "12:73 BO0211 `HS256` is not an algorithm",
            "13:9 BO0205 `audience` is missing in `Issuer`",
        ]
    );
}

#[test]
fn a_problem_is_drawn_with_its_line() {
    let text = "Policy(\n    format: 1,\n    roles: {\"operater\": [\"sre\"]},\n)\n";
    let problems = read(text).unwrap_err();
    let drawn = render(&problems[0], &Source { name: "policy.ron", text }, Style::PLAIN);
    assert!(drawn.contains("policy.ron:3:13"), "{drawn}");
    assert!(drawn.contains("did you mean `operator`?"), "{drawn}");
}

#[test]
fn what_cannot_be_read_is_told_too() {
    assert_eq!(told("Policy(format: 2)")[0], "1:16 BO0209 `format` is 2, not between 1 and 1");
    assert_eq!(told("Policy(groups: {})")[0], "1:1 BO0205 `format` is missing in `Policy`");
    assert!(told("Policy(format: 1,")[0].contains("BO0112"), "{:?}", told("Policy(format: 1,"));
    assert!(told("")[0].contains("BO0110"), "{:?}", told(""));
}

#[test]
fn a_rule_that_is_never_reached_is_a_warning() {
    let text =
        "Policy(format: 1, run: [\n(may: [\"sre\"]),\n(runbook: \"shop\", may: [\"ann\"]),\n])";
    let (policy, warnings) = read(text).unwrap();
    assert_eq!(policy.run.len(), 2);
    assert_eq!((warnings[0].severity, warnings[0].line), (Severity::Warning, 3));
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let page = include_str!("../../../../docs/howto/access.md");
    let block = page.split("```ron\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(told(block), [""; 0]);
    assert!(STRUCTS.iter().all(|doc| !doc.fields.is_empty()));
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_has_problems(text in "[ -~\n]{0,200}") {
        drop(read(&text));
    }

    #[test]
    fn a_broken_policy_never_panics(cut in 0_usize..400, put in "[(){}\\[\\]:,\"a1]{0,3}") {
        let good = "Policy(format: 1, groups: {\"dba\": [\"ana\"]}, roles: {\"viewer\": []}, \
            run: [(runbook: \"a*\", labels: {\"a\": \"b\"}, may: [\"dba\"])], \
            approve: [(step: \"x\", may: [], starter_may: false)], \
            issuers: [(url: \"https://x\", audience: \"y\", algorithms: [\"EdDSA\"])])";
        let at = good.floor_char_boundary(cut.min(good.len()));
        drop(read(&format!("{}{put}{}", &good[..at], &good[at..])));
    }
}
