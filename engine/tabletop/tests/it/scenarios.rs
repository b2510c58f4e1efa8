//! Scenarios and what is wrong with them.

use backout_tabletop::scenario::{self, csv, msel};

use crate::support::{RUNBOOK, plan, shop};

/// What is wrong: code, line, message and help.
fn wrong(text: &str) -> Vec<String> {
    let problems = scenario::read(text, Some(&plan(RUNBOOK))).unwrap_err();
    let line = |p: &backout_runbook::Problem| {
        format!(
            "{} {}:{} {} ({})",
            p.code,
            p.line,
            p.column,
            p.message,
            p.help.clone().unwrap_or_default()
        )
    };
    problems.iter().map(line).collect()
}

#[test]
fn all_that_is_wrong_is_told_at_its_place() {
    let text = "Scenario(
    format: 1,
    name: \"x\",
    title: \"x\",
    lasts: \"an hour\",
    injects: [
        (id: \"a\", on: (step: \"cart_bak\"), what: (fail: (step: \"cart_back\"))),
        (id: \"b\", at: \"1m\", on: (decision: \"aprove\"), text: \"x\"),
        (id: \"c\", at: \"1m\"),
    ],
)
";
    let found = wrong(text);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("BO0208 5:12 `an hour` is not a duration"), "{found:#?}");
    assert!(
        found[1].contains("7:30 there is no step `cart_bak` (did you mean `cart_back`?)"),
        "{found:#?}"
    );
    assert!(found[2].contains("`at` and `on` are two moments"), "{found:#?}");
    assert!(found[3].contains("`aprove`") && found[3].contains("`approve`"), "{found:#?}");
    assert!(found[4].starts_with("BO0802 9:9 inject `c` says nothing"), "{found:#?}");
}

#[test]
fn unknown_fields_and_other_documents_are_told() {
    let found = wrong("Scenario(format: 1, name: \"x\", title: \"x\", inject: [])");
    assert!(
        found[0].contains("`Scenario` has no field `inject`") && found[0].contains("`injects`"),
        "{found:?}"
    );
    let found = wrong("Runbook(format: 1)");
    assert!(found[0].contains("`Runbook(...)` instead of `Scenario(...)`"), "{found:?}");
    assert!(wrong("Scenario(format: 1, ").len() == 1);
}

#[test]
fn the_events_list_is_a_table_and_csv() {
    let text = shop(
        r#"injects: [
        (id: "later", at: "12m", from: "support", to: "ana", by: "phone", text: "Still, nobody can pay", objective: "tell"),
        (id: "soon", at: "5m", what: (kill_engine: (lasts: "90s"))),
        (id: "hand", text: "A journalist calls"),
    ], expected: [
        (id: "answer", ask: "note", on: (inject: "later"), within: "5m", objective: "tell"),
        (id: "well", end: "succeeded"),
    ],"#,
    );
    let scenario = scenario::read(&text, Some(&plan(RUNBOOK))).unwrap();
    let rows = msel(&scenario);
    let times: Vec<&str> = rows.iter().map(|row| row.time.as_str()).collect();
    assert_eq!(times, ["+05:00", "+12:00", "by hand", "+00:00"]);
    assert_eq!(rows[1].expected, "note, within 5m");
    let csv = csv(&rows);
    assert!(csv.contains("2,later,+12:00,support,ana,phone,\"Still, nobody can pay\",\"note, within 5m\",tell,\r\n"), "{csv}");
}
