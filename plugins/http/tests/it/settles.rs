//! Lost replies, killed engines, and what is known then.

use std::time::Duration;

use backout_plugin_api::{Outcome, Settled};
use serde_json::{Value, json};

use crate::support::World;

fn keyed(world: &World, path: &str) -> Value {
    json!({"method": "POST", "url": world.server.url(path), "keyed": "24h"})
}

fn probed(world: &World, path: &str) -> Value {
    let probe = json!({"url": world.server.url("/made"), "settles_within": "30s"});
    json!({"method": "POST", "url": world.server.url(path), "probe": probe})
}

fn manual(world: &World, path: &str) -> Value {
    json!({"method": "POST", "url": world.server.url(path)})
}

fn is_unclear(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unclear { .. })
}

#[tokio::test]
async fn a_lost_reply_is_sent_again_with_the_same_key() {
    let world = World::new().await;
    let input = keyed(&world, "/keyed-and-vanish");
    assert!(is_unclear(&world.apply(&input, 1).await));
    let first = world.server.last();
    assert!(matches!(world.settle(&input, 1).await, Settled::Unknown { .. }));
    assert!(matches!(world.apply(&input, 2).await, Outcome::Done { .. }));
    let second = world.server.last();
    assert_eq!((&first.line, &first.headers), (&second.line, &second.headers), "the same bytes");
    assert_eq!(world.server.effects(), 1);
    assert!(matches!(world.settle(&input, 2).await, Settled::Done { .. }));
}

#[tokio::test]
async fn a_lost_reply_is_told_by_the_probe() {
    let world = World::new().await;
    let input = probed(&world, "/make-and-vanish");
    assert!(is_unclear(&world.apply(&input, 1).await));
    let output = json!({"status": null, "probe": 200});
    assert_eq!(world.settle(&input, 1).await, Settled::Done { output });
    assert_eq!(world.server.effects(), 1);
}

#[tokio::test]
async fn a_lost_reply_without_a_promise_is_in_doubt() {
    let world = World::new().await;
    let input = manual(&world, "/make-and-vanish");
    assert!(is_unclear(&world.apply(&input, 1).await));
    assert!(matches!(world.settle(&input, 1).await, Settled::Unknown { .. }));
    assert!(is_unclear(&world.apply(&input, 1).await), "this sending is not made twice");
    assert_eq!(world.server.effects(), 1);
}

#[tokio::test]
async fn not_done_is_final_only_when_its_time_has_passed() {
    let world = World::new().await;
    let input = probed(&world, "/vanish");
    assert!(is_unclear(&world.apply(&input, 1).await));
    let early = world.settle(&input, 1).await;
    assert!(matches!(&early, Settled::Running { evidence } if evidence.contains("final in 3")));
    world.pass(Duration::from_secs(40));
    assert_eq!(world.settle(&input, 1).await, Settled::NotDone);
}

#[tokio::test]
async fn a_killed_engine_is_counted_from_the_first_look() {
    let world = World::new().await;
    let input = probed(&world, "/make");
    world.claim_as_a_killed_engine(1);
    assert!(matches!(world.settle(&input, 1).await, Settled::Running { .. }));
    world.pass(Duration::from_secs(29));
    assert!(matches!(world.settle(&input, 1).await, Settled::Running { .. }));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.settle(&input, 1).await, Settled::NotDone);
    assert!(matches!(world.apply(&input, 2).await, Outcome::Done { .. }));
    assert_eq!(world.server.effects(), 1);
}

#[tokio::test]
async fn a_killed_engine_of_a_keyed_step_is_not_forgotten() {
    let world = World::new().await;
    let input = keyed(&world, "/keyed");
    world.claim_as_a_killed_engine(1);
    assert!(matches!(world.settle(&input, 1).await, Settled::Unknown { .. }));
    // The second sending never began, which proves nothing about the first.
    assert!(matches!(world.settle(&input, 2).await, Settled::Unknown { .. }));
    assert!(matches!(world.apply(&input, 3).await, Outcome::Done { .. }));
    assert!(matches!(world.settle(&input, 2).await, Settled::Unknown { .. }));
    assert!(matches!(world.settle(&input, 3).await, Settled::Done { .. }));
    assert_eq!(world.server.effects(), 1);
}

#[tokio::test]
async fn an_answer_that_came_outlives_the_engine() {
    let world = World::new().await;
    let input = manual(&world, "/make");
    let Outcome::Done { output } = world.apply(&input, 1).await else { panic!("not done") };
    assert_eq!(world.settle(&input, 1).await, Settled::Done { output: output.clone() });
    assert_eq!(world.apply(&input, 1).await, Outcome::Done { output: output.clone() });
    assert_eq!(world.apply(&input, 2).await, Outcome::Done { output });
    assert_eq!(world.server.effects(), 1);
}

#[tokio::test]
async fn what_a_gateway_says_is_settled() {
    for (status, guarantee, unclear) in [
        (500, "manual", true),
        (503, "manual", true),
        (429, "manual", false),
        (422, "manual", false),
        (429, "keyed", true),
        (409, "keyed", true),
        (422, "keyed", false),
        (502, "probed", true),
        (429, "probed", true),
        (403, "probed", false),
    ] {
        let world = World::new().await;
        let path = format!("/status/{status}");
        let input = match guarantee {
            "keyed" => keyed(&world, &path),
            "probed" => probed(&world, &path),
            _ => manual(&world, &path),
        };
        let outcome = world.apply(&input, 1).await;
        assert_eq!(is_unclear(&outcome), unclear, "{status} {guarantee} gave {outcome:?}");
        let failed =
            matches!(&outcome, Outcome::Failed { reason, .. } if reason.ends_with("the reason"));
        assert_eq!(failed, !unclear, "{status} {guarantee} gave {outcome:?}");
    }
}
