//! Lists, views, tags and what is not there.

use serde_json::{Value, json};

use crate::world::{World, asks, noop, ok, plan, problem};

fn names(page: &Value) -> Vec<String> {
    let runs = page["runs"].as_array().unwrap().iter();
    runs.map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn runs_are_listed_by_pages_and_filters() {
    let world = World::new().await;
    for at in 0..5 {
        world.start(&format!("r00000000{at}"), "done", json!([noop("one", &[])])).await;
        world.until(&format!("r00000000{at}"), "succeeded").await;
    }
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    world.until("w000000000", "waiting").await;

    let all = ok(world.get("/api/v1/runs")).await;
    assert_eq!((names(&all).len(), &all["matching"]), (6, &json!(6)));
    assert_eq!(all["runs"][0]["run"], "w000000000", "the newest comes first");
    assert_eq!(all["runs"][0]["title"], "Back with asking");

    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = ok(world.get(&format!("/api/v1/runs?limit=4{after}"))).await;
        seen.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, names(&all), "pages together are the whole list");

    let count =
        async |query: &str| names(&ok(world.get(&format!("/api/v1/runs?{query}"))).await).len();
    assert_eq!(count("state=waiting,failed").await, 1);
    assert_eq!(count("state=succeeded&runbook=done").await, 5);
    assert_eq!(count("runbook=other").await, 0);
    assert_eq!(count("label=tier:1&owner=team-checkout").await, 6);
    assert_eq!(count("label=tier:2").await, 0);
    assert_eq!(count("text=ASKING").await, 1);
    assert_eq!(count("since=2020-01-01T00:00:00Z").await, 6);
    assert_eq!(count("until=2020-01-01T00:00:00Z").await, 0);
}

#[tokio::test]
async fn a_filter_that_cannot_be_meant_is_refused() {
    let world = World::new().await;
    for query in [
        "state=dead",
        "limit=0",
        "limit=201",
        "limit=x",
        "since=yesterday",
        "after=x",
        "stat=failed",
        "label=tier",
    ] {
        let said = problem(world.get(&format!("/api/v1/runs?{query}")), 400).await;
        assert_eq!(said["title"], "unreadable request", "{query}");
    }
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let world = World::new().await;
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    world.until("w000000000", "waiting").await;
    for path in ["/api/v1/runs/w000000000", "/api/v1/runs"] {
        let first = world.get(path).send().await.unwrap();
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let again = world.get(path).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(
            (again.status().as_u16(), again.headers()["etag"].to_str().unwrap()),
            (304, &*tag)
        );
        assert_eq!(again.text().await.unwrap(), "");
        let other = world.get(path).header("if-none-match", "\"other\"").send().await.unwrap();
        assert_eq!(other.status(), 200);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::new().await;
    for path in ["", "/events", "/events/stream", "/history", "/by-hand", "/graph.svg"] {
        let said = problem(world.get(&format!("/api/v1/runs/r000000000{path}")), 404).await;
        assert_eq!(said["type"], "urn:backout:no-such-run", "{path}");
    }
    problem(world.get("/api/v1/runs/..%2F..%2Fetc"), 404).await;
    problem(world.get("/api/v1/nothing"), 404).await;
    problem(world.get("/api/v1/runbooks/none"), 404).await;
    problem(world.client.delete(world.url("/api/v1/runs")), 405).await;
}

#[tokio::test]
async fn a_run_is_shown_from_every_side() {
    let world = World::new().await;
    world.start("w000000000", "asking", json!([noop("one", &[]), asks("gate", &["one"])])).await;
    let view = world.until("w000000000", "waiting").await;
    assert_eq!((&view["starter"], &view["driven"]), (&json!("ann"), &json!(true)));
    let history = ok(world.get("/api/v1/runs/w000000000/history")).await;
    assert_eq!(history["lines"][0]["says"], "run of asking created, 2 steps");
    let by_hand = ok(world.get("/api/v1/runs/w000000000/by-hand")).await;
    assert_eq!(by_hand["left"][0]["id"], "gate");
    let drawn = world.get("/api/v1/runs/w000000000/graph.svg").send().await.unwrap();
    assert_eq!(drawn.headers()["content-type"], "image/svg+xml");
    let policy = drawn.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("style-src"), "{policy}");
    assert!(drawn.text().await.unwrap().contains("data-step=\"gate\""));
    let health = ok(world.get("/healthz")).await;
    assert_eq!((&health["status"], &health["drives"]), (&json!("ok"), &json!(1)));
}

#[tokio::test]
async fn the_time_left_is_told_by_what_earlier_runs_took() {
    let world = World::new().await;
    let steps = || json!([noop("one", &[]), asks("gate", &["one"])]);
    world.start("f000000000", "same", steps()).await;
    let first = world.until("f000000000", "waiting").await;
    assert_eq!(first["time"]["earlier_runs"], 0);
    let yes = json!({ "ask": { "ask": "approve", "step": "gate" } });
    ok(world.post("/api/v1/runs/f000000000/ask", &yes)).await;
    world.until("f000000000", "succeeded").await;
    world.start("s000000000", "same", steps()).await;
    let second = world.until("s000000000", "waiting").await;
    assert_eq!(
        (&second["time"]["earlier_runs"], &second["time"]["unknown"]),
        (&json!(1), &json!(0))
    );
    // What came later was not known then, nor does another runbook tell.
    let then = ok(world.get("/api/v1/runs/f000000000?at=3")).await;
    assert_eq!((&then["time"]["earlier_runs"], &then["time"]["unknown"]), (&json!(0), &json!(2)));
    world.start("x000000000", "other", steps()).await;
    assert_eq!(world.until("x000000000", "waiting").await["time"]["earlier_runs"], 0);
}

#[tokio::test]
async fn a_run_is_shown_as_it_was_after_each_event() {
    let world = World::new().await;
    world.start("w000000000", "asking", json!([noop("one", &[]), asks("gate", &["one"])])).await;
    let now = world.until("w000000000", "waiting").await;
    let last = world.last("w000000000").0;
    let mut words = Vec::new();
    for at in 1..=last {
        let view = ok(world.get(&format!("/api/v1/runs/w000000000?at={at}"))).await;
        assert_eq!((&view["seq"], &view["replay"]["at"]), (&json!(at), &json!(at)));
        assert_eq!(view["replay"]["last"], last);
        assert_eq!(view["replay"]["ahead_ms"].as_array().unwrap().len() as u64, last - at);
        words.push(view["steps"][1]["state"].as_str().unwrap().to_owned());
    }
    assert_eq!((&*words[0], words.last().unwrap().as_str()), ("pending", "waiting"));
    words.dedup();
    assert_eq!(words, ["pending", "preparing", "waiting"], "nothing is known before its time");
    let end = ok(world.get(&format!("/api/v1/runs/w000000000?at={last}"))).await;
    // The same, without the commands: nothing can be asked of an earlier moment.
    let mut wants = now["wants"].clone();
    assert!(!wants[0]["commands"].as_array().unwrap().is_empty());
    wants[0]["commands"] = json!([]);
    assert_eq!((&end["wants"], &end["locks"]), (&wants, &now["locks"]));
    for beyond in [0, last + 1] {
        let said = problem(world.get(&format!("/api/v1/runs/w000000000?at={beyond}")), 404).await;
        assert_eq!(said["title"], "no such event");
    }
    problem(world.get("/api/v1/runs/w000000000?at=-1"), 400).await;
    problem(world.get("/api/v1/runs/n000000000?at=1"), 404).await;
    let tag = world.get("/api/v1/runs/w000000000?at=1").send().await.unwrap();
    let tag = tag.headers()["etag"].to_str().unwrap().to_owned();
    let ask = json!({ "ask": { "ask": "pause" } });
    let path = "/api/v1/runs/w000000000/ask";
    problem(world.post(path, &ask).header("if-match", tag), 412).await;
}

#[tokio::test]
async fn answers_tell_a_browser_to_be_careful() {
    let world = World::new().await;
    let response = world.get("/healthz").send().await.unwrap();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
}

#[tokio::test]
async fn a_plan_of_a_stranger_is_not_run() {
    let world = World::new().await;
    let request = json!({ "run": "r000000000", "plan": plan("mine", &json!([noop("one", &[])])), "text": "" });
    let said = problem(world.post("/api/v1/runs", &request), 403).await;
    assert!(said["help"].as_str().unwrap().contains("--runbooks"), "{said}");
    assert_eq!(ok(world.get("/api/v1/runs")).await["matching"], 0);
}

#[tokio::test]
async fn figures_tell_of_runs_steps_and_effects() {
    let world = World::new().await;
    world.start("r000000000", "done", json!([noop("one", &[]), noop("two", &["one"])])).await;
    world.until("r000000000", "succeeded").await;
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    world.until("w000000000", "waiting").await;
    let response = world.get("/metrics").send().await.unwrap();
    let media = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media.starts_with("application/openmetrics-text"), "{media}");
    let text = response.text().await.unwrap();
    for line in [
        "backout_runs{state=\"succeeded\"} 1",
        "backout_runs{state=\"waiting\"} 1",
        "backout_runs{state=\"failed\"} 0",
        "backout_runs_driven 1",
        "backout_steps_in_doubt 0",
        "backout_steps_asking 1",
        "backout_steps_total{plugin=\"noop\",outcome=\"succeeded\"} 2",
        "backout_effect_duration_seconds_count{plugin=\"noop\",outcome=\"done\"} 2",
        "backout_break_glass_commands_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn every_figure_is_described() {
    let world = World::new().await;
    // What nothing was counted of yet is not shown.
    world.start("r000000000", "done", json!([noop("one", &[])])).await;
    world.until("r000000000", "succeeded").await;
    let text = world.get("/metrics").send().await.unwrap().text().await.unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for (name, kind) in kinds.filter_map(|line| line.split_once(' ')) {
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name} {kind}");
        count += 1;
    }
    assert_eq!(count, page.lines().filter(|line| line.starts_with("| `backout_")).count());
}
