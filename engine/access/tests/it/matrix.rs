//! Every route and every command, by everybody, through the real router.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use backout_access::parts::{self, DEEDS, Part, part_of};
use backout_core::event::Actor;
use backout_core::id::Seq;
use serde_json::{Value, json};

use crate::world::{Person, World};

/// Who gets through, written down here and not taken from the table under test.
const EVERYBODY: &[&str] =
    &["nobody", "wrong", "expired", "revoked", "viewer", "operator", "approver", "admin", "glass"];
const ANYBODY: &[&str] = &["viewer", "operator", "approver", "admin", "glass"];
const ACTING: &[&str] = &["operator", "approver", "admin", "glass"];
const OPERATOR: &[&str] = &["operator", "admin", "glass"];
const APPROVER: &[&str] = &["approver", "admin", "glass"];
const ADMIN: &[&str] = &["admin", "glass"];

/// Every route that there is, and who may use it.
const ROUTES: &[(&str, &str, &[&str])] = &[
    ("GET", "/healthz", EVERYBODY),
    ("GET", "/login", EVERYBODY),
    ("POST", "/login", EVERYBODY),
    ("POST", "/logout", EVERYBODY),
    ("GET", "/page/{name}", EVERYBODY),
    ("GET", "/", ANYBODY),
    ("GET", "/live", ANYBODY),
    ("GET", "/runs/{run}", ANYBODY),
    ("GET", "/runs/{run}/live", ANYBODY),
    ("POST", "/runs/{run}/ask", ACTING),
    ("GET", "/openapi.json", ANYBODY),
    ("GET", "/metrics", ANYBODY),
    ("GET", "/api/v1/runs/{run}/offers", ANYBODY),
    ("GET", "/api/v1/runs/{run}/messages", ANYBODY),
    ("GET", "/api/v1/runs/{run}/printed/stream", ANYBODY),
    ("GET", "/api/v1/me", ANYBODY),
    ("GET", "/api/v1/owner", ANYBODY),
    ("GET", "/api/v1/changes", ANYBODY),
    ("GET", "/locks", ANYBODY),
    ("POST", "/locks", OPERATOR),
    ("GET", "/api/v1/locks", ANYBODY),
    ("POST", "/api/v1/locks", OPERATOR),
    ("GET", "/exercise", ANYBODY),
    ("POST", "/exercise", ANYBODY),
    ("POST", "/exercise/emergency", ANYBODY),
    ("GET", "/api/v1/exercise", ANYBODY),
    ("GET", "/api/v1/exercise/seat", ANYBODY),
    ("POST", "/api/v1/exercise", ANYBODY),
    ("POST", "/api/v1/exercise/emergency", ANYBODY),
    ("GET", "/api/v1/runs", ANYBODY),
    ("POST", "/api/v1/runs", ADMIN),
    ("GET", "/api/v1/runs/{run}", ANYBODY),
    ("POST", "/api/v1/runs/{run}/ask", ACTING),
    ("POST", "/api/v1/runs/{run}/resume", OPERATOR),
    ("GET", "/api/v1/runs/{run}/by-hand", ANYBODY),
    ("GET", "/api/v1/runs/{run}/events", ANYBODY),
    ("GET", "/api/v1/runs/{run}/events/stream", ANYBODY),
    ("GET", "/api/v1/runs/{run}/graph.svg", ANYBODY),
    ("GET", "/api/v1/runs/{run}/history", ANYBODY),
    ("GET", "/api/v1/runs/{run}/output/{sha256}", ANYBODY),
    ("GET", "/api/v1/runbooks", ANYBODY),
    ("GET", "/api/v1/runbooks/{runbook}", ANYBODY),
    ("POST", "/api/v1/runbooks/{runbook}/plan", ANYBODY),
    ("POST", "/api/v1/runbooks/{runbook}/runs", OPERATOR),
    // What is no route is nobody's business, and a method that is none an admin's.
    ("GET", "/nothing/here", ANYBODY),
    ("POST", "/nothing/here", ADMIN),
    ("DELETE", "/api/v1/runs/{run}", ADMIN),
];

/// Every command, and who may give it.
fn commands() -> Vec<(Value, &'static [&'static str])> {
    let by_hand = json!({ "id": "mine", "action": "wait.approval", "with": { "text": "done?" }, "timeout_ms": 1000 });
    let other = json!({ "id": "mine", "action": "exec.run", "with": { "command": ["true"] }, "timeout_ms": 1000 });
    vec![
        (json!({ "ask": "pause" }), OPERATOR),
        (json!({ "ask": "resume" }), OPERATOR),
        (json!({ "ask": "hold", "steps": ["asked"] }), OPERATOR),
        (json!({ "ask": "free", "steps": ["asked"] }), OPERATOR),
        (json!({ "ask": "part", "steps": ["asked"] }), OPERATOR),
        (json!({ "ask": "approve", "step": "asked" }), APPROVER),
        (json!({ "ask": "reject", "step": "asked" }), APPROVER),
        (json!({ "ask": "retry", "step": "asked" }), OPERATOR),
        (json!({ "ask": "retry", "step": "asked", "with": { "text": "x" } }), OPERATOR),
        (json!({ "ask": "skip", "step": "asked" }), OPERATOR),
        (json!({ "ask": "settle", "step": "asked", "verdict": "not-done" }), OPERATOR),
        (json!({ "ask": "abort" }), OPERATOR),
        (json!({ "ask": "undo" }), OPERATOR),
        (json!({ "ask": "note", "text": "hello" }), ACTING),
        (json!({ "ask": "close" }), OPERATOR),
        (json!({ "ask": "insert", "steps": [by_hand] }), OPERATOR),
        (json!({ "ask": "insert", "steps": [other] }), ADMIN),
        (json!({ "ask": "yield", "targets": ["shop"] }), OPERATOR),
        (json!({ "ask": "hand-over", "to": "ben" }), OPERATOR),
        (json!({ "ask": "take-command" }), OPERATOR),
        (json!({ "ask": "supersede", "by": "x7k2m9q4td" }), OPERATOR),
    ]
}

fn let_by(status: StatusCode) -> bool {
    status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN
}

/// What strangers get is 401, what people without the role get is 403.
fn expected(person: &str, may: &[&str]) -> Option<StatusCode> {
    match person {
        _ if may.contains(&person) => None,
        "nobody" | "wrong" | "expired" | "revoked" => Some(StatusCode::UNAUTHORIZED),
        _ => Some(StatusCode::FORBIDDEN),
    }
}

#[track_caller]
fn check(what: &str, person: &str, status: StatusCode, may: &[&str]) {
    match expected(person, may) {
        None => assert!(let_by(status), "{what} by {person} gave {status}"),
        Some(wanted) => assert_eq!(status, wanted, "{what} by {person}"),
    }
}

#[test]
fn every_route_has_its_row() {
    let document = backout_server::openapi();
    let mut missing = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            if !ROUTES.iter().any(|(m, p, _)| *m == method && p == path) {
                missing.insert(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "say here who may use it");
}

#[tokio::test]
async fn every_route_by_everybody() {
    let world = World::new("");
    let plan = World::plan("mine");
    for (method, path, may) in ROUTES {
        for person in Person::ALL {
            let run = world.start("shop").await;
            let concrete = path
                .replace("{run}", run.as_str())
                .replace("{runbook}", "shop")
                .replace("{sha256}", &"0".repeat(64))
                .replace("{name}", "x");
            let by = json!({ "actor": "mallory", "reason": "a test" });
            let body = match *path {
                "/api/v1/runs" => {
                    json!({ "run": world.fresh(), "plan": plan, "text": "", "by": by })
                }
                path if path.ends_with("/ask") => {
                    json!({ "ask": { "ask": "note", "text": "hello" }, "by": by })
                }
                _ => json!({ "by": by }),
            };
            let answer = world.send(method, &concrete, person, Some(&body)).await;
            // A form of the page wants the form's own token beside; that is another no.
            if matches!(*path, "/runs/{run}/ask" | "/exercise") && may.contains(&person.word()) {
                continue;
            }
            check(&format!("{method} {path}"), person.word(), answer.status, may);
        }
    }
}

#[tokio::test]
async fn every_command_by_everybody() {
    let world = World::new("");
    for (ask, may) in commands() {
        for person in Person::ALL {
            let run = world.start("shop").await;
            let answer = world.ask(&run, person, &ask, Some("a test")).await;
            check(&ask.to_string(), person.word(), answer.status, may);
        }
    }
}

#[tokio::test]
async fn an_operator_may_approve_by_breaking_the_glass_and_a_viewer_may_not() {
    let world = World::new("");
    let broken =
        |reason: Option<&str>| json!({ "actor": "x", "break_glass": true, "reason": reason });
    let ask = json!({ "ask": "approve", "step": "asked" });
    for (person, reason, status) in [
        (Person::Viewer, Some("nobody is awake"), 403),
        (Person::Operator, None, 403),
        (Person::Operator, Some("  "), 403),
        (Person::Operator, Some("nobody is awake"), 200),
    ] {
        let run = world.start("shop").await;
        let body = json!({ "ask": ask, "by": broken(reason) });
        let path = format!("/api/v1/runs/{run}/ask");
        let answer = world.send("POST", &path, person, Some(&body)).await;
        assert_eq!(answer.status.as_u16(), status, "{person:?} {reason:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn every_command_of_a_break_glass_token_needs_a_reason_and_marks_the_record() {
    let world = World::new("");
    let run = world.start("shop").await;
    let pause = json!({ "ask": "pause" });
    let answer = world.ask(&run, Person::Glass, &pause, None).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("needs a reason"), "{}", answer.body);
    assert_eq!(world.ask(&run, Person::Glass, &pause, Some("alone")).await.status, 200);
    let last = world.events(&run).pop().unwrap();
    assert!(last.cause.break_glass);
    assert_eq!((last.cause.actor.name.as_str(), last.cause.actor.verified), ("glass", true));
    let view = world.send("GET", &format!("/api/v1/runs/{run}"), Person::Viewer, None).await;
    assert!(
        view.body.contains("break_glass") || view.body.contains("break-glass"),
        "{}",
        view.body
    );
}

#[tokio::test]
async fn who_asked_is_in_the_record_and_not_who_was_named() {
    let world = World::new("");
    let run = world.start("shop").await;
    let pause = json!({ "ask": "pause" });
    assert_eq!(world.ask(&run, Person::Operator, &pause, Some("wait")).await.status, 200);
    let last = world.events(&run).pop().unwrap();
    let actor = last.cause.actor;
    assert_eq!((actor.name.as_str(), actor.verified), ("operator-1", true));
    assert_eq!(actor.roles, ["operator"]);
    assert!(last.seq > Seq(1));
}

const POLICY: &str = r#"Policy(
    format: 1,
    groups: {"sre": ["operator-1"], "dba": ["approver-1"]},
    run: [
        (runbook: "shop", environment: "production", may: ["sre"]),
        (runbook: "secret-*", may: ["somebody"]),
    ],
    approve: [
        (runbook: "shop", step: "ask*", may: ["dba"], starter_may: false),
        (runbook: "secret-*", may: []),
    ],
)"#;

#[tokio::test]
async fn the_policy_says_who_may_and_names_them() {
    let world = World::new(POLICY);
    let pause = json!({ "ask": "pause" });
    let approve = json!({ "ask": "approve", "step": "asked" });
    let (ours, theirs) = (world.start("shop").await, world.start("secret-shop").await);
    assert_eq!(world.ask(&ours, Person::Operator, &pause, None).await.status, 200);
    let answer = world.ask(&theirs, Person::Operator, &pause, None).await;
    assert_eq!(answer.status, 403);
    let why = "`secret-shop` in production is run by somebody (line 6 of the policy), and \
               operator-1 is none of them";
    assert!(answer.body.contains(why), "{}", answer.body);
    assert_eq!(world.ask(&ours, Person::Approver, &approve, None).await.status, 200);
    let answer = world.ask(&theirs, Person::Approver, &approve, None).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("is approved by nobody"), "{}", answer.body);
    let note = json!({ "ask": "note", "text": "seen" });
    assert_eq!(world.ask(&theirs, Person::Approver, &note, None).await.status, 200);
    assert_eq!(world.ask(&theirs, Person::Admin, &pause, None).await.status, 403);
    assert_eq!(world.ask(&theirs, Person::Glass, &pause, Some("fire")).await.status, 200);
}

#[tokio::test]
async fn whoever_started_a_run_may_not_approve_it_where_the_policy_says_so() {
    let world = World::new(POLICY);
    let run = world.start_by("shop", "approver-1").await;
    let approve = json!({ "ask": "approve", "step": "asked" });
    let answer = world.ask(&run, Person::Approver, &approve, None).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("approver-1 started the run"), "{}", answer.body);
}

/// Every line of an exercise, and which parts may type it: facilitator, evaluator, data collector,
/// participant.
const LINES: &[(&str, [bool; 4])] = &[
    ("REAL EMERGENCY", [true, true, true, true]),
    ("reply", [true, true, true, true]),
    ("observe", [true, true, true, true]),
    ("answer", [true, true, true, true]),
    ("status", [true, true, true, true]),
    ("help", [true, true, true, true]),
    ("plan", [true, true, true, false]),
    ("world", [true, true, true, false]),
    ("rate", [true, true, false, false]),
    ("improve", [true, true, false, false]),
    ("inject", [true, false, false, false]),
    ("say", [true, false, false, false]),
    ("stop", [true, false, false, false]),
    ("go", [true, false, false, false]),
    ("step", [true, false, false, false]),
    ("jump", [true, false, false, false]),
    ("speed", [true, false, false, false]),
    ("show", [true, false, false, false]),
    ("next", [true, false, false, false]),
    ("end", [true, false, false, false]),
    ("finish", [true, false, false, false]),
];

#[test]
fn every_line_of_an_exercise_by_every_part() {
    assert_eq!(DEEDS.len(), LINES.len(), "say here who may");
    for (line, wanted) in LINES {
        assert!(DEEDS.iter().any(|deed| deed.line == *line), "{line}");
        for (part, wanted) in Part::ALL.into_iter().zip(*wanted) {
            let may = parts::may(line, part);
            assert_eq!(may.is_ok(), wanted, "{line} by {}: {may:?}", part.word());
        }
    }
    assert!(parts::may("nonsense", Part::Evaluator).is_err(), "what has no row");
}

#[test]
fn admins_lead_an_exercise_and_whoever_the_scenario_names() {
    let named = [("facilitator", "fay"), ("evaluator", "eve"), ("observer", "eve"), ("dba", "bea")];
    let part = |name: &str, role: &str, verified| {
        let who = Actor { name: name.into(), verified, roles: vec![role.into()] };
        part_of(&who, named.into_iter()).word()
    };
    assert_eq!(part("fay", "viewer", true), "facilitator");
    assert_eq!(part("eve", "viewer", true), "evaluator");
    assert_eq!(part("bea", "approver", true), "participant");
    assert_eq!(part("tom", "operator", true), "participant");
    assert_eq!(part("tom", "admin", true), "facilitator");
    assert_eq!(part("anonymous", "", false), "facilitator", "where nobody is known");
}
