//! Many clients at once: the slowest slows nobody, and none costs memory.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::streams::{Frame, ids, take};
use crate::world::{World, asks, noop, ok};

/// Clients of one run.
const CLIENTS: usize = 200;
/// Of them, those that take nothing.
const STUCK: usize = 20;
/// Steps of the run: enough events to fill what the system buffers for a client that takes none.
const STEPS: usize = 80;
/// Bytes that the system buffers for such a client.
const BUFFERED: u32 = 4_096;
/// How long a quick client may take to see all of it, on a machine with other things to do.
const SLOW: Duration = Duration::from_secs(40);

async fn stuck(world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFERED).unwrap();
    let mut stream = socket.connect(world.port.address()).await.unwrap();
    let request = "GET /api/v1/runs/w000000000/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK\r");
    stream
}

fn steps() -> Value {
    let mut steps = vec![asks("gate", &[])];
    // Each event of these carries some kilobytes.
    let filler = "x".repeat(2_048);
    steps.extend((0..STEPS).map(|at| {
        let mut step = noop(&format!("s{at}"), &["gate"]);
        step["title"] = json!("filled");
        step["with"] = json!({ "output": { "filler": filler } });
        step
    }));
    steps.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_of_one_run_do_not_wait_for_the_slowest() {
    let world = World::new().await;
    world.start("w000000000", "busy", steps()).await;
    world.until("w000000000", "waiting").await;
    let slow = join_all((0..STUCK).map(|_| stuck(&world))).await;
    let ended = |frames: &[Frame]| frames.iter().any(|f| f.data["event"]["kind"] == "run-ended");
    let path = "/api/v1/runs/w000000000/events/stream";
    let quick = join_all((STUCK..CLIENTS).map(|_| take(world.get(path), ended)));
    let began = Instant::now();
    let approve = json!({ "ask": { "ask": "approve", "step": "gate" } });
    let (seen, _) = tokio::join!(quick, ok(world.post("/api/v1/runs/w000000000/ask", &approve)));
    let took = began.elapsed();
    let last = world.last("w000000000").0;
    assert!(seen.iter().all(|frames| ids(frames) == (1..=last).collect::<Vec<_>>()));
    assert!(took < SLOW, "{took:?}");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_live_runs_are_listed_at_once() {
    let world = World::new().await;
    for at in 0..1_000 {
        world.start(&format!("r00000{at:04}"), "live", json!([asks("gate", &[])])).await;
    }
    let first = ok(world.get("/api/v1/runs?limit=200")).await;
    assert_eq!(first["matching"], 1_000);
    let began = Instant::now();
    let again = ok(world.get("/api/v1/runs?limit=200&text=live")).await;
    assert_eq!(again["runs"].as_array().unwrap().len(), 200);
    assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
}
