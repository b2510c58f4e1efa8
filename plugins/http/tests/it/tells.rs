//! What is sent, and what is made of the answer.

use std::time::{Duration, Instant};

use backout_plugin_api::{Outcome, PrepareFailure, Satisfied, Settled, limits};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::World;

async fn get(world: &World, path: &str) -> Outcome {
    let input = json!({"method": "GET", "url": world.server.url(path), "read_only": true});
    world.apply(&input, 1).await
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused { reason }
        | Outcome::Unclear { reason }
        | Outcome::Failed { reason, .. } => reason,
        Outcome::Done { .. } => "",
    }
}

#[tokio::test]
async fn sends_what_the_author_wrote_and_the_key() {
    let world = World::new().await;
    let input = json!({
        "method": "POST", "url": world.server.url("/make"), "headers": {"X-Team": "shop"},
        "bearer": world.secret("s3cret-t0ken"), "json": {"b": 1, "a": "x"}, "expect": [201],
    });
    let outcome = world.apply(&input, 1).await;
    let output = json!({"status": 201, "body": "{\"made\":true}", "json": {"made": true}});
    assert_eq!(outcome, Outcome::Done { output });
    let sent = world.server.last();
    assert_eq!(sent.line, "POST /make HTTP/1.1\r\n");
    let header = |name: &str| sent.headers.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(header("idempotency-key"), "testrun000/step/1/0");
    assert_eq!(header("authorization"), "Bearer s3cret-t0ken");
    assert_eq!(header("x-team"), "shop");
    assert_eq!(header("content-type"), "application/json");
    assert!(header("traceparent").starts_with("00-0af7"));
    let body: Value = serde_json::from_str(&sent.body).unwrap();
    assert_eq!(body, input["json"]);
}

#[tokio::test]
async fn a_secret_that_comes_back_is_masked() {
    let world = World::new().await;
    let input = json!({
        "method": "GET", "url": world.server.url("/echo"), "read_only": true,
        "secret_headers": {"X-Key": world.secret("hunter2")},
    });
    let Outcome::Done { output } = world.apply(&input, 1).await else { panic!("not done") };
    assert!(output.to_string().contains("***"), "{output}");
    assert!(!output.to_string().contains("hunter2"), "{output}");
}

#[tokio::test]
async fn a_flood_is_cut_and_a_redirect_is_not_followed() {
    let world = World::new().await;
    let Outcome::Done { output } = get(&world, "/flood").await else { panic!("not done") };
    assert_eq!(output["body_cut"], json!(true));
    assert!(output.to_string().len() <= limits::OUTPUT_BYTES_MAX);
    let outcome = get(&world, "/redirect").await;
    assert!(reason(&outcome).starts_with("answered 302"), "{outcome:?}");
    let outcome = get(&world, "/busy").await;
    assert!(reason(&outcome).contains("asks to wait (7): busy"), "{outcome:?}");
}

#[tokio::test]
async fn no_connection_is_proof_that_nothing_was_sent() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let input = json!({"method": "POST", "url": url});
    let outcome = world.apply(&input, 1).await;
    assert!(matches!(&outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert!(reason(&outcome).contains("refused"), "{outcome:?}");
    assert_eq!(world.settle(&input, 1).await, Settled::NotDone);
    let input = json!({"method": "POST", "url": "http://no-such-host.invalid/"});
    let outcome = world.apply(&input, 2).await;
    assert!(matches!(&outcome, Outcome::Refused { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_target_that_speaks_no_tls_is_refused() {
    let world = World::new().await;
    let url = world.server.url("/make").replace("http:", "https:");
    let outcome = world.apply(&json!({"method": "POST", "url": url}), 1).await;
    assert!(matches!(&outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(world.server.effects(), 0);
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let world = World::new().await;
    let begun = Instant::now();
    let input = json!({"method": "POST", "url": world.server.url("/never")});
    let outcome = world.apply(&input, 1).await;
    assert_eq!(outcome, Outcome::Unclear { reason: "no answer in time".into() });
    assert!(begun.elapsed() < Duration::from_secs(15));
    // The status is the answer, also where the rest never comes.
    let input = json!({"method": "POST", "url": world.server.url("/stall")});
    let Outcome::Done { output } = world.apply(&input, 2).await else { panic!("not done") };
    assert_eq!(output, json!({"status": 200, "body": "part", "body_cut": true}));
}

#[tokio::test]
async fn the_probe_speaks_in_the_plan() {
    let world = World::new().await;
    let input = |probe: &str| {
        json!({
            "method": "POST", "url": world.server.url("/make"),
            "probe": {"url": world.server.url(probe)},
        })
    };
    let satisfied = |input| {
        let world = &world;
        async move { world.prepare(&input).await.map(|prepared| prepared.effects[0].satisfied) }
    };
    assert_eq!(satisfied(input("/made")).await, Ok(Satisfied::No));
    world.apply(&input("/made"), 1).await;
    assert_eq!(satisfied(input("/made")).await, Ok(Satisfied::Yes));
    let refused = satisfied(input("/status/403")).await;
    assert!(matches!(&refused, Err(PrepareFailure::Refused { reason }) if reason.contains("403")));
    let down = satisfied(input("/status/503")).await;
    assert!(matches!(&down, Err(PrepareFailure::Unreachable { reason }) if reason.contains("503")));
}
