//! An engine over a store in memory, served on a port of loopback.

use std::sync::Arc;
use std::time::Duration;

use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, Seq};
use backout_core::plan::Plan;
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Engine, Host, Options, SystemClock};
use backout_server::books::Books;
use backout_server::guard::guarded;
use backout_server::port::{self, Plain, ServedPort};
use backout_server::{Door, Face, Live, Witness, router};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long a test waits for a condition before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) face: Face,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) client: Client,
    pub(crate) port: ServedPort,
    pub(crate) live: Arc<Live>,
}

impl World {
    /// With the door of a port.
    pub(crate) async fn new() -> Self {
        Self::with(Door::Port, Books::default()).await
    }

    /// With the trust of the control socket.
    pub(crate) async fn trusted() -> Self {
        Self::with(Door::Socket, Books::default()).await
    }

    pub(crate) async fn with(door: Door, books: Books) -> Self {
        let witness = Witness::over(Arc::new(MemoryStore::new()));
        let live = Arc::new(Live::default());
        let options = Options {
            engine: "process 7 on shop-1".to_owned(),
            scratch: Arc::new(|_| std::env::temp_dir()),
            observer: Some(live.observer(None)),
            captures: None,
            crash: None,
        };
        let host = Host::new(backout_plugin_basic::actions(), Arc::new(SystemSecrets::default()));
        let clock = Arc::new(SystemClock);
        let engine = Engine::new(witness.clone(), Arc::new(host), clock, options);
        let since = "2026-11-23T03:00:00.000Z".to_owned();
        let face = Face::new(engine.clone(), witness.clone(), since)
            .with_books(books)
            .with_live(live.clone())
            .counting();
        let app = router(face.clone(), door);
        let app = guarded(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = port::serve(listener, app, Arc::new(Plain)).unwrap();
        Self { engine, face, store: witness, client: Client::new(), port, live }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).json(body)
    }

    /// A run of these steps.
    pub(crate) async fn start(&self, run: &str, name: &str, steps: Value) {
        let (run, plan) = (RunId::from(run), plan(name, &steps));
        let cause = Cause {
            command: None,
            actor: Actor::unverified("ann"),
            reason: None,
            break_glass: false,
        };
        self.engine.start(run, plan, "the text".to_owned(), cause).await.unwrap();
    }

    /// Waits until the run's view has this word.
    pub(crate) async fn until(&self, run: &str, word: &str) -> Value {
        let id = RunId::from(run);
        let mut watch = self.store.watch(&id);
        let mut last = Value::Null;
        let wait = async {
            loop {
                let view = ok(self.get(&format!("/api/v1/runs/{run}"))).await;
                if view["state"] == word {
                    return view;
                }
                last = view;
                watch.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("the run is not {word}: {last}"))
    }

    pub(crate) fn last(&self, run: &str) -> Seq {
        *self.store.watch(&RunId::from(run)).borrow()
    }
}

pub(crate) fn plan(name: &str, steps: &Value) -> Plan {
    let plan = json!({
        "format": 1, "name": name, "title": format!("Back with {name}"), "owner": "team-checkout",
        "labels": { "tier": "1" }, "max_parallel": 8, "stale_after_ms": 3_600_000, "steps": steps,
    });
    serde_json::from_value(plan).unwrap()
}

/// A step that does nothing.
pub(crate) fn noop(id: &str, needs: &[&str]) -> Value {
    json!({ "id": id, "needs": needs, "action": "noop.run", "timeout_ms": 60_000,
        "with": {} })
}

/// A step that waits for a person.
pub(crate) fn asks(id: &str, needs: &[&str]) -> Value {
    json!({ "id": id, "needs": needs, "action": "wait.approval", "timeout_ms": 60_000,
        "with": { "text": "go on?" } })
}

/// The answer where all is well.
pub(crate) async fn ok(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The problem, of this status.
pub(crate) async fn problem(request: RequestBuilder, status: u16) -> Value {
    problem_of(request.send().await.unwrap(), status).await
}

pub(crate) async fn problem_of(response: Response, status: u16) -> Value {
    let found = response.status().as_u16();
    let media = response.headers()["content-type"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    assert_eq!((found, media.as_str()), (status, "application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status, "{text}");
    problem
}
