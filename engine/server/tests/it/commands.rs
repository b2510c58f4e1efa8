//! Commands: followed once, refused where the run changed, with who gave them.

use std::fs;

use backout_server::Door;
use backout_server::books::Books;
use serde_json::{Value, json};

use crate::world::{World, asks, noop, ok, plan, problem};

const ASK: &str = "/api/v1/runs/w000000000/ask";

async fn waiting(world: &World) {
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    world.until("w000000000", "waiting").await;
}

fn note(text: &str) -> Value {
    json!({ "ask": { "ask": "note", "text": text }, "by": { "actor": "ann" } })
}

#[tokio::test]
async fn a_command_is_followed_once_by_its_name() {
    let world = World::new().await;
    waiting(&world).await;
    let send = |body: Value| world.post(ASK, &body).header("idempotency-key", "note-1");
    let (first, second) = tokio::join!(ok(send(note("hello"))), ok(send(note("hello"))));
    assert_eq!(first, second);
    assert_eq!(ok(send(note("hello"))).await, first);
    let history = ok(world.get("/api/v1/runs/w000000000/history")).await;
    let lines = history["lines"].as_array().unwrap();
    let notes = lines.iter().filter(|line| line["line"]["kind"] == "note-taken").count();
    assert_eq!(notes, 1, "{history}");
    problem(send(note("another")), 422).await;
    problem(world.post(ASK, &note("x")).header("idempotency-key", "no spaces"), 400).await;
}

#[tokio::test]
async fn a_command_in_the_journal_is_known_without_the_answers_that_were_kept() {
    let world = World::new().await;
    waiting(&world).await;
    let body = json!({ "ask": { "ask": "note", "text": "hi" }, "by": { "command": "cli-1" } });
    let first = ok(world.post(ASK, &body)).await;
    assert_eq!(ok(world.post(ASK, &body)).await["seq"], first["seq"]);
    assert_eq!(world.last("w000000000").0, first["seq"].as_u64().unwrap());
}

#[tokio::test]
async fn who_acts_on_what_is_no_longer_so_is_told_what_changed() {
    let world = World::new().await;
    waiting(&world).await;
    let seen = world.get("/api/v1/runs/w000000000").send().await.unwrap();
    let tag = seen.headers()["etag"].to_str().unwrap().to_owned();
    ok(world.post(ASK, &note("the database is slow"))).await;
    let approve = json!({ "ask": { "ask": "approve", "step": "gate" } });
    let said = problem(world.post(ASK, &approve).header("if-match", &tag), 412).await;
    let lines = said["lines"].as_array().unwrap();
    assert_eq!(lines, &[json!("note: the database is slow (by ann (claimed))")]);
    let seen = world.get("/api/v1/runs/w000000000").send().await.unwrap();
    let tag = seen.headers()["etag"].to_str().unwrap().to_owned();
    ok(world.post(ASK, &approve).header("if-match", &tag)).await;
    world.until("w000000000", "succeeded").await;
}

#[tokio::test]
async fn two_who_decide_at_once_are_told_apart() {
    let world = World::new().await;
    waiting(&world).await;
    let approve = json!({ "ask": { "ask": "approve", "step": "gate" }, "by": { "actor": "ann" } });
    let reject = json!({ "ask": { "ask": "reject", "step": "gate" }, "by": { "actor": "ben" } });
    let (one, two) =
        tokio::join!(world.post(ASK, &approve).send(), world.post(ASK, &reject).send());
    let mut codes = [one.unwrap().status().as_u16(), two.unwrap().status().as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
}

#[tokio::test]
async fn a_plan_is_started_once_by_who_may() {
    let world = World::trusted().await;
    let request = json!({ "run": "r000000000", "plan": plan("mine", &json!([noop("one", &[])])),
        "text": "", "by": { "actor": "ann", "command": "start-1" } });
    for _ in 0..2 {
        assert_eq!(ok(world.post("/api/v1/runs", &request)).await["run"], "r000000000");
    }
    let mut other = request.clone();
    other["by"]["command"] = json!("start-2");
    problem(world.post("/api/v1/runs", &other), 409).await;
    let round = json!([noop("a", &["b"]), noop("b", &["a"])]);
    let round = json!({ "run": "r000000001", "plan": plan("round", &round), "text": "" });
    problem(world.post("/api/v1/runs", &round), 422).await;
    let nameless = json!({ "run": "../etc", "plan": plan("mine", &json!([])), "text": "" });
    problem(world.post("/api/v1/runs", &nameless), 422).await;
}

const BOOK: &str = r#"Runbook(
    format: 1, name: "checkout",
    environment: (name: "production", protected: true),
    params: { "release": (type: version, help: "which") },
    steps: [(id: "one", action: "noop.run"), (id: "two", needs: ["one"], action: "wait.approval", with: (text: "release ${params.release}?"))],
)"#;

#[tokio::test]
async fn a_runbook_is_started_by_name_once_its_plan_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shop")).unwrap();
    fs::write(folder.path().join("shop/checkout.ron"), BOOK).unwrap();
    fs::write(folder.path().join("broken.ron"), "Runbook(").unwrap();
    let world = World::with(Door::Port, Books::of(folder.path().to_owned())).await;
    let listed = ok(world.get("/api/v1/runbooks")).await;
    assert_eq!(
        (&listed[0]["name"], &listed[1]["name"]),
        (&json!("broken"), &json!("shop/checkout"))
    );
    assert!(!listed[0]["problems"].as_array().unwrap().is_empty());
    let view = ok(world.get("/api/v1/runbooks/shop%2Fcheckout")).await;
    assert_eq!((&view["missing"], &view["text"]), (&json!(["release"]), &json!(BOOK)), "{view}");

    let base = "/api/v1/runbooks/shop%2Fcheckout";
    let said = problem(world.post(&format!("{base}/plan"), &json!({})), 422).await;
    assert!(said["lines"][0].as_str().unwrap().contains("release"), "{said}");
    let params = json!({ "release": "2.4.1" });
    let plan = ok(world.post(&format!("{base}/plan"), &json!({ "params": params }))).await;
    assert_eq!(plan["report"]["steps"][0]["id"], "one");

    let start = |digest: Value| {
        let body = json!({ "params": params, "digest": digest, "by": { "reason": "it burns" } });
        world.post(&format!("{base}/runs"), &body)
    };
    problem(start(Value::Null), 409).await;
    problem(start(json!("of another plan")), 409).await;
    let first = ok(start(plan["digest"].clone()).header("idempotency-key", "go")).await;
    let again = ok(start(plan["digest"].clone()).header("idempotency-key", "go")).await;
    assert_eq!(first, again);
    let run = first["run"].as_str().unwrap();
    let view = world.until(run, "waiting").await;
    assert_eq!((&view["runbook"], &view["starter"]), (&json!("checkout"), &json!("anonymous")));
    assert_eq!(ok(world.get("/api/v1/runs")).await["matching"], 1);
    fs::write(folder.path().join("shop/checkout.ron"), BOOK.replace("one", "uno")).unwrap();
    problem(start(plan["digest"].clone()), 409).await;
}

#[tokio::test]
async fn targets_are_held_and_let_go() {
    let world = World::new().await;
    let hold = json!({ "targets": ["shop:db"], "by": { "reason": "the vendor looks" } });
    let reply = ok(world.post("/api/v1/locks", &hold).header("idempotency-key", "h1")).await;
    let run = reply["run"].as_str().unwrap().to_owned();
    world.until(&run, "waiting").await;
    let locks = ok(world.get("/api/v1/locks")).await;
    assert_eq!(locks[0]["target"], "shop:db", "{locks}");
    assert_eq!((&locks[0]["run"], &locks[0]["state"]), (&json!(run), &json!("waiting")));
    let unsaid = json!({ "targets": ["shop:db"] });
    let said = problem(world.post("/api/v1/locks", &unsaid), 409).await;
    assert_eq!(said["detail"], "this needs a reason");
    let none = json!({ "targets": [], "by": { "reason": "x" } });
    problem(world.post("/api/v1/locks", &none), 422).await;
    let yes = json!({ "ask": { "ask": "approve", "step": "release" } });
    ok(world.post(&format!("/api/v1/runs/{run}/ask"), &yes)).await;
    world.until(&run, "succeeded").await;
    assert_eq!(ok(world.get("/api/v1/locks")).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_commands_on_what_was_seen_one_wins() {
    let world = World::new().await;
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    world.until("w000000000", "waiting").await;
    let seen = world.get("/api/v1/runs/w000000000").send().await.unwrap();
    let tag = seen.headers()["etag"].to_str().unwrap().to_owned();
    let note = |at: usize| {
        let ask = json!({ "ask": { "ask": "note", "text": format!("note {at}") } });
        world.post(ASK, &ask).header("if-match", &tag).send()
    };
    let answers = futures::future::join_all((0..30).map(note)).await;
    let mut statuses: Vec<u16> =
        answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (200, &[412; 29][..]));
    let events = ok(world.get("/api/v1/runs/w000000000/events")).await.to_string();
    assert_eq!(events.matches("note-taken").count(), 1, "{events}");
}

#[tokio::test]
async fn nobody_says_that_another_run_goes_on_but_the_engine_that_makes_it() {
    let world = World::new().await;
    waiting(&world).await;
    let lie = json!({ "ask": { "ask": "supersede", "by": "abcdefghjk" }, "by": { "actor": "z" } });
    let said = problem(world.post(ASK, &lie), 422).await;
    assert!(said["help"].as_str().unwrap().contains("--continue"), "{said}");
    assert_eq!(world.until("w000000000", "waiting").await["state"], "waiting");
}
