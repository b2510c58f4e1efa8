//! A server that takes messages as Slack, `PagerDuty` and a signed webhook's receiver do, keeps its own
//! record of what people saw, and misbehaves by path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Known {
    /// What people saw.
    pub(crate) shown: Vec<Value>,
    pub(crate) requests: Vec<Request>,
    keys: Vec<String>,
    busy: u32,
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

    pub(crate) fn shown(&self) -> Vec<Value> {
        self.known.lock().unwrap().shown.clone()
    }

    pub(crate) fn last(&self) -> Request {
        self.known.lock().unwrap().requests.last().cloned().unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.known.lock().unwrap().requests.len()
    }
}

async fn serve(stream: TcpStream, known: Arc<Mutex<Known>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream).await else { return };
    let answer = answer(&request, &mut known.lock().unwrap());
    let mut stream = stream.into_inner();
    match answer {
        Some((status, head, body)) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} x\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await.unwrap_or_default();
        }
        None if request.path.ends_with("/silent") => {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        // The connection breaks without an answer.
        None => {}
    }
}

type Answer = Option<(u16, &'static str, String)>;

fn answer(request: &Request, known: &mut Known) -> Answer {
    known.requests.push(request.clone());
    let body = request.json();
    let said = |status: u16, text: &str| Some((status, "", text.to_owned()));
    match request.path.as_str() {
        "/busy" if known.busy < 2 => {
            known.busy += 1;
            return Some((429, "retry-after: 1\r\n", "slow down".to_owned()));
        }
        "/always-busy" => return Some((429, "retry-after: 60\r\n", "slow down".to_owned())),
        "/wrong" => return said(400, &format!("invalid_payload {}", request.body)),
        "/gateway" => return said(502, "bad gateway"),
        path if path.ends_with("/silent") => return None,
        _ => {}
    }
    let key = request.headers.get("idempotency-key").cloned();
    let key = key.or_else(|| body["dedup_key"].as_str().map(str::to_owned));
    let again = key.as_ref().is_some_and(|key| known.keys.contains(key));
    if !again {
        known.shown.push(body);
        known.keys.extend(key);
    }
    match request.path.as_str() {
        "/pager" | "/pager/lost" if request.json()["routing_key"] != "r0uting-k3y" => {
            known.shown.pop();
            said(400, &json!({ "status": "invalid event", "message": "bad key" }).to_string())
        }
        "/lost" | "/pager/lost" if !again => None,
        "/pager" | "/pager/lost" => said(202, &json!({ "status": "success" }).to_string()),
        _ => said(200, "ok"),
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    request.path = line.split(' ').nth(1)?.to_owned();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = request.headers.get("content-length").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}
