//! What was kept for an undo goes, key by key.

use std::sync::Arc;

use backout_core::command::Ask;
use backout_core::id::{RunId, Seq};
use backout_runtime::Host;
use backout_runtime::tidy::{ended_well, sent, tidy};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use serde_json::json;

use crate::bench::{NoSecrets, TestClock, ann, engine_of, plan, state, step};
use crate::world::{How, World};

fn run() -> RunId {
    RunId::from("r000000000")
}

/// Runs these steps to the end, and tidies.
async fn tidied(ids: &[&str]) -> (Arc<World>, Vec<(String, Vec<String>, Vec<String>)>) {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let world =
        World::new(|_, dispatch| if dispatch == 1 { How::MakesAndPanics } else { How::Well });
    let clock = TestClock::new();
    let engine = engine_of(store.clone(), clock, vec![world.action()]);
    let steps = ids.iter().map(|id| step(id, &[], "count.do", json!({ "target": id })));
    engine.start(run(), plan(steps.collect()), String::new(), ann()).await.unwrap();
    engine.wait(&run()).await.unwrap();
    assert!(ended_well(&state(store.as_ref(), &run())));
    let events = store.read(&run(), Seq(1), usize::MAX).unwrap();
    let host = Host::new(vec![world.action()], Arc::new(NoSecrets));
    let all = tidy(&host, &clock, &run(), std::env::temp_dir(), sent(&events)).await;
    let line = |(step, tidied): (backout_core::id::StepId, backout_plugin_api::Tidied)| {
        (step.to_string(), tidied.removed, tidied.left)
    };
    (world, all.into_iter().map(line).collect())
}

#[tokio::test(start_paused = true)]
async fn every_key_that_was_sent_is_tidied_once_the_last_one_first() {
    let (world, told) = tidied(&["a", "b"]).await;
    let (a, b) = ("r000000000/a/1/0".to_owned(), "r000000000/b/1/0".to_owned());
    assert_eq!(world.tidied(), [(b.clone(), true), (a.clone(), true)]);
    assert_eq!(told, [("b".to_owned(), vec![b], vec![]), ("a".to_owned(), vec![a], vec![])]);
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_is_told_and_keeps_no_other_from_it() {
    let (world, told) = tidied(&["a", "broken"]).await;
    assert_eq!(world.tidied().len(), 1);
    assert!(told[0].2[0].contains("broke off"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_aborted_keeps_what_it_has() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let world = World::new(|_, _| How::Gated);
    let engine = engine_of(store.clone(), TestClock::new(), vec![world.action()]);
    let steps = vec![step("a", &[], "count.do", json!({ "target": "a" }))];
    engine.start(run(), plan(steps), String::new(), ann()).await.unwrap();
    world.until_begun("a").await;
    engine.ask(&run(), Ask::Abort, ann()).await.unwrap();
    world.let_on("a");
    engine.wait(&run()).await.unwrap();
    assert!(!ended_well(&state(store.as_ref(), &run())));
}
