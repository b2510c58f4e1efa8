//! A server that keeps its own count of the effects that were made, and misbehaves by path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// One entry for each effect: the key it came with.
    pub(crate) effects: Vec<String>,
    /// The keys that it remembers, with the answer.
    remembered: BTreeMap<String, u16>,
    /// The requests as they came: line, headers, body.
    pub(crate) requests: Vec<Request>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    fn key(&self) -> String {
        self.headers.get("idempotency-key").cloned().unwrap_or_default()
    }
}

/// A running server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) known: Arc<Mutex<Known>>,
    base: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let known = Arc::<Mutex<Known>>::default();
        let shared = Arc::clone(&known);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { known, base, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn effects(&self) -> usize {
        self.known.lock().unwrap().effects.len()
    }

    pub(crate) fn last(&self) -> Request {
        self.known.lock().unwrap().requests.last().cloned().unwrap_or_default()
    }

    /// The server's own record, for the conformance suite.
    pub(crate) fn record(&self) -> Value {
        json!(self.known.lock().unwrap().effects)
    }
}

async fn serve(stream: TcpStream, known: Arc<Mutex<Known>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream).await else { return };
    known.lock().unwrap().requests.push(request.clone());
    let mut words = request.line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = answer(method, path, &request, &known);
    let mut stream = stream.into_inner();
    match answer {
        Answer::Status(status, body) => say(&mut stream, status, "", &body).await,
        Answer::Nothing => {}
        Answer::Never => tokio::time::sleep(Duration::from_hours(1)).await,
        Answer::Stall => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart";
            stream.write_all(head.as_bytes()).await.unwrap_or_default();
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        Answer::Drip => {
            let head = "HTTP/1.1 200 OK\r\nx-slow: ";
            stream.write_all(head.as_bytes()).await.unwrap_or_default();
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Answer::Busy => say(&mut stream, 429, "retry-after: 7\r\n", "busy").await,
        Answer::Redirect => say(&mut stream, 302, "location: /make\r\n", "").await,
    }
}

enum Answer {
    Status(u16, String),
    /// The connection is closed.
    Nothing,
    /// The connection stays open, and nothing comes.
    Never,
    /// The head comes, the body does not.
    Stall,
    /// The head comes byte by byte: with its end the status would be the answer.
    Drip,
    Busy,
    Redirect,
}

fn answer(method: &str, path: &str, request: &Request, known: &Mutex<Known>) -> Answer {
    let mut known = known.lock().unwrap();
    let status = |status: u16, body: &str| Answer::Status(status, body.to_owned());
    match (method, path) {
        ("GET", "/made") if known.effects.is_empty() => status(404, "not yet"),
        ("GET", "/made") => status(200, "made"),
        ("POST", "/make") => {
            known.effects.push(request.key());
            status(201, "{\"made\":true}")
        }
        ("POST", "/make-and-vanish") => {
            known.effects.push(request.key());
            Answer::Nothing
        }
        ("POST", "/keyed" | "/keyed-and-vanish") => {
            let first = known.remembered.insert(request.key(), 201).is_none();
            if first {
                known.effects.push(request.key());
            }
            if first && path == "/keyed-and-vanish" { Answer::Nothing } else { status(201, "{}") }
        }
        ("POST", "/vanish") => Answer::Nothing,
        ("DELETE", "/make") => {
            known.effects.clear();
            status(204, "")
        }
        (_, "/never") => Answer::Never,
        (_, "/stall") => Answer::Stall,
        (_, "/drip") => Answer::Drip,
        (_, "/busy") => Answer::Busy,
        (_, "/redirect") => Answer::Redirect,
        (_, "/echo") => status(200, &format!("{:?}", request.headers)),
        (_, "/flood") => status(200, &"x".repeat(8 * 1024 * 1024)),
        (_, path) => {
            let code = path.rsplit('/').next().and_then(|code| code.parse().ok()).unwrap_or(404);
            status(code, "the reason\nand more")
        }
    }
}

async fn say(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n");
    // The other side may be gone, or may have read enough.
    let whole = [head.as_bytes(), body.as_bytes()].concat();
    stream.write_all(&whole).await.unwrap_or_default();
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut request = Request::default();
    stream.read_line(&mut request.line).await.ok()?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).ok()?;
    (!request.line.is_empty()).then_some(request)
}
