//! The real routes over an engine, and people of every kind before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use backout_access::layer::Line;
use backout_access::token::{Entry, RANDOM_BYTES, Wanted};
use backout_access::tokens::Tokens;
use backout_access::{Guard, Policy, Role};
use backout_core::event::{Actor, Cause, Recorded};
use backout_core::id::{RunId, Seq};
use backout_core::plan::Plan;
use backout_page::Given;
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Clock, Engine, Host, Options, SystemClock};
use backout_server::{Door, Face, Witness, router};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// Bytes of an answer that a test reads.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    Nobody,
    Wrong,
    Expired,
    Revoked,
    Viewer,
    Operator,
    Approver,
    Admin,
    Glass,
}

impl Person {
    pub(crate) const ALL: [Self; 9] = [
        Self::Nobody,
        Self::Wrong,
        Self::Expired,
        Self::Revoked,
        Self::Viewer,
        Self::Operator,
        Self::Approver,
        Self::Admin,
        Self::Glass,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Wrong => "wrong",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Glass => "glass",
        }
    }

    fn role(self) -> Role {
        Role::of(self.word()).unwrap_or(Role::Admin)
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) struct World {
    pub(crate) app: Router,
    engine: Engine,
    store: Arc<dyn JournalStore>,
    texts: Vec<(Person, String)>,
    fresh: AtomicU64,
    _folder: TempDir,
}

fn guard(folder: &TempDir, policy: &str) -> Guard {
    let policy = match policy {
        "" => Policy::default(),
        text => backout_access::policy::read(text).unwrap().0,
    };
    let now = Arc::new(|| SystemClock.now().0);
    Guard::new(Tokens::of(folder.path()), Arc::new(policy), Line::default(), now).unwrap()
}

/// A token of each kind; the text that each person carries.
fn tokens(folder: &TempDir) -> Vec<(Person, String)> {
    let (tokens, now) = (Tokens::of(folder.path()), SystemClock.now().0);
    let mut texts = Vec::new();
    for (at, person) in Person::ALL.into_iter().enumerate().skip(1) {
        let name = match person {
            Person::Glass => "glass".to_owned(),
            person => format!("{}-1", person.word()),
        };
        let wanted = Wanted {
            name,
            roles: vec![person.role()],
            break_glass: person == Person::Glass,
            expires_ms: if person == Person::Expired { now - 1 } else { now + 3_600_000 },
        };
        let random = [u8::try_from(at).unwrap(); RANDOM_BYTES];
        let (entry, mut text) = Entry::issue(wanted, &random, now);
        tokens.add(entry.clone(), now).unwrap();
        if person == Person::Revoked {
            tokens.revoke(&entry.id, now).unwrap();
        }
        if person == Person::Wrong {
            text = text.replace(&text[text.len() - 4..], "ffff");
        }
        texts.push((person, text));
    }
    texts
}

impl World {
    /// With a token for everybody, and this policy.
    pub(crate) fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let texts = tokens(&folder);
        Self::over(folder, texts, policy)
    }

    /// Nobody has a token.
    pub(crate) fn open() -> Self {
        Self::over(tempfile::tempdir().unwrap(), Vec::new(), "")
    }

    fn over(folder: TempDir, texts: Vec<(Person, String)>, policy: &str) -> Self {
        let witness = Witness::over(Arc::new(MemoryStore::new()));
        let store: Arc<dyn JournalStore> = witness.clone();
        let options = Options {
            engine: "process 7 on shop-1".to_owned(),
            scratch: Arc::new(|_| std::env::temp_dir()),
            observer: None,
            captures: None,
            crash: None,
        };
        let actions = backout_plugin_basic::actions();
        let host = Arc::new(Host::new(actions, Arc::new(SystemSecrets::default())));
        let engine = Engine::new(store.clone(), host, Arc::new(SystemClock), options);
        let face = Face::new(engine.clone(), witness, "2026-11-23T03:00:00.000Z".to_owned());
        let page = backout_page::router(face.clone(), Given::by_system("nobody-here"));
        let routes = router(face, Door::Port).merge(page);
        let app = backout_access::guard(routes, Arc::new(guard(&folder, policy)));
        Self { app, engine, store, texts, fresh: AtomicU64::new(1), _folder: folder }
    }

    pub(crate) fn fresh(&self) -> RunId {
        RunId::from_random(self.fresh.fetch_add(1, Ordering::SeqCst))
    }

    /// A plan whose only step waits for an approval.
    pub(crate) fn plan(name: &str) -> Plan {
        let step = json!({
            "id": "asked", "action": "wait.approval", "with": { "text": "well?" }, "needs": [],
            "timeout_ms": 60_000,
        });
        serde_json::from_value(json!({
            "format": 1, "name": name, "environment": { "name": "production" },
            "max_parallel": 8, "stale_after_ms": 3_600_000, "steps": [step],
        }))
        .unwrap()
    }

    pub(crate) async fn start(&self, name: &str) -> RunId {
        self.start_by(name, "starter").await
    }

    /// A run that waits for its approval.
    pub(crate) async fn start_by(&self, name: &str, starter: &str) -> RunId {
        let run = self.fresh();
        let actor = Actor { name: starter.to_owned(), verified: true, roles: Vec::new() };
        let cause = Cause { command: None, actor, reason: None, break_glass: false };
        self.engine.start(run.clone(), Self::plan(name), String::new(), cause).await.unwrap();
        let mut watch = self.store.watch(&run);
        while !self.is_waiting(&run) {
            watch.changed().await.unwrap();
        }
        run
    }

    fn is_waiting(&self, run: &RunId) -> bool {
        let waits = |recorded: &Recorded| {
            serde_json::to_value(&recorded.event).unwrap()["kind"] == "step-waits"
        };
        self.events(run).iter().any(waits)
    }

    pub(crate) fn events(&self, run: &RunId) -> Vec<Recorded> {
        self.store.read(run, Seq(1), 1_000).unwrap()
    }

    pub(crate) fn token(&self, person: Person) -> Option<&str> {
        self.texts.iter().find(|(whose, _)| *whose == person).map(|(_, text)| text.as_str())
    }

    pub(crate) async fn ask(
        &self,
        run: &RunId,
        person: Person,
        ask: &Value,
        reason: Option<&str>,
    ) -> Answer {
        let body = json!({ "ask": ask, "by": { "actor": "mallory", "reason": reason } });
        self.send("POST", &format!("/api/v1/runs/{run}/ask"), person, Some(&body)).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        person: Person,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(token) = self.token(person) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.answer(request.body(Body::from(body)).unwrap()).await
    }

    /// What comes back; of a stream only its head.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let bytes = if is_stream {
            Vec::new().into()
        } else {
            to_bytes(body, ANSWER_BYTES_MAX).await.unwrap()
        };
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}
