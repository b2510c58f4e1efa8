//! Streams of events: from any position on, nothing lost, nothing twice.

use backout_core::id::RunId;
use futures::StreamExt;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, asks, noop, ok};

/// What a client of a stream gets, until it has seen enough.
pub(crate) async fn take(request: RequestBuilder, enough: impl Fn(&[Frame]) -> bool) -> Vec<Frame> {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut bytes = response.bytes_stream();
    let (mut text, mut frames) = (String::new(), Vec::new());
    let reading = async {
        while !enough(&frames) {
            let Some(piece) = bytes.next().await else { break };
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            while let Some(end) = text.find("\n\n") {
                let frame: String = text.drain(..end + 2).collect();
                frames.push(Frame::of(&frame));
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    frames
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Frame {
    fn of(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Self {
            id: field("id: ").map(|id| id.parse().unwrap()),
            event: field("event: ").unwrap_or_default().to_owned(),
            data: serde_json::from_str(field("data: ").unwrap_or("null")).unwrap(),
        }
    }
}

/// The positions of the events.
pub(crate) fn ids(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame.id).collect()
}

#[tokio::test]
async fn a_client_misses_nothing_from_any_position_on() {
    let world = World::new().await;
    let steps = json!([noop("one", &[]), asks("gate", &["one"]), noop("two", &["gate"])]);
    world.start("w000000000", "asking", steps).await;
    world.until("w000000000", "waiting").await;
    let stream = || world.get("/api/v1/runs/w000000000/events/stream");
    let so_far = world.last("w000000000").0;
    let frames =
        take(stream(), |frames| ids(frames).len() >= usize::try_from(so_far).unwrap()).await;
    assert_eq!(frames[0].event, "beat");
    assert_eq!((&frames[0].data["seq"], &frames[0].data["driven"]), (&json!(so_far), &json!(true)));
    assert_eq!(ids(&frames), (1..=so_far).collect::<Vec<_>>());

    // One goes on where it was, one begins at 3, and a person answers meanwhile.
    let ended = |frames: &[Frame]| frames.iter().any(|f| f.data["event"]["kind"] == "run-ended");
    let goes_on = take(stream().header("last-event-id", so_far.to_string()), ended);
    let begins = take(world.get("/api/v1/runs/w000000000/events/stream?from=3"), ended);
    let approve = json!({ "ask": { "ask": "approve", "step": "gate" } });
    let answer = ok(world.post("/api/v1/runs/w000000000/ask", &approve));
    let (goes_on, begins, _) = tokio::join!(goes_on, begins, answer);
    let last = world.last("w000000000").0;
    assert_eq!(ids(&goes_on), (so_far + 1..=last).collect::<Vec<_>>());
    assert_eq!(ids(&begins), (3..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn streams_end_with_the_process() {
    let world = World::new().await;
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    let closing = world.face.closing.clone();
    let stream = take(world.get("/api/v1/runs/w000000000/events/stream"), move |frames| {
        if ids(frames).len() > 2 {
            closing.cancel();
        }
        false
    });
    assert!(ids(&stream.await).len() > 2);
}

#[tokio::test]
async fn a_list_hears_of_changes() {
    let world = World::new().await;
    let changed = |frames: &[Frame]| frames.iter().any(|f| f.data["changes"].as_u64() > Some(0));
    let hears = take(world.get("/api/v1/changes"), changed);
    let starts = async {
        world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
        let mut seen = world.face.store.watch(&RunId::from("w000000000"));
        seen.wait_for(|last| last.0 > 2).await.unwrap();
    };
    tokio::join!(hears, starts);
}

#[tokio::test]
async fn what_a_step_prints_is_followed() {
    let world = World::new().await;
    world.start("w000000000", "asking", json!([asks("gate", &[])])).await;
    world.until("w000000000", "waiting").await;
    let says = |text: &'static str| {
        let said = backout_plugin_api::Emit::Output(text.as_bytes().into());
        world.live.observer(None)(&"w000000000".into(), &"gate".into(), said);
    };
    says("one\n");
    let path = "/api/v1/runs/w000000000/printed/stream?step=gate&from=0";
    let said_more = std::cell::Cell::new(false);
    let frames = take(world.get(path), |frames| {
        if !frames.is_empty() && !said_more.replace(true) {
            says("two\n");
        }
        frames.len() == 2
    })
    .await;
    assert_eq!(frames[0].data, json!({ "text": "one\n", "next": 4 }));
    assert_eq!(frames[1].data, json!({ "text": "two\n", "next": 8 }));
    let none = "/api/v1/runs/n000000000/printed/stream?step=gate";
    assert_eq!(world.get(none).send().await.unwrap().status(), 404);
}
