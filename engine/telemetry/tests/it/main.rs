//! The traces of runs, as a receiver of OTLP over HTTP decodes them by the protocol's own messages.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, StepId};
use backout_core::plan::{Plan, PlanStep};
use backout_core::trace;
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Engine, Host, Options, SystemClock};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use backout_telemetry::Traces;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(20);

/// A receiver on a free port of this machine.
struct Receiver {
    spans: Arc<Mutex<Vec<Span>>>,
    address: String,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = spans.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &kept));
            }
        });
        Self { spans, address }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// Requests of one connection, each with a `content-length`.
fn serve(stream: TcpStream, kept: &Mutex<Vec<Span>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

fn step(id: &str, needs: &[&str], action: &str, with: Value) -> PlanStep {
    PlanStep {
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        pure: true,
        timeout_ms: 60_000,
        ..PlanStep::new(id, action, with)
    }
}

fn plan() -> Plan {
    Plan {
        max_parallel: 4,
        ..Plan::new(
            "shop",
            vec![
                step("flag", &[], "noop.run", json!({})),
                step("gate", &["flag"], "wait.approval", json!({ "text": "go on?" })),
                step("last", &["gate"], "noop.run", json!({})),
            ],
        )
    }
}

fn ann() -> Cause {
    let actor = Actor::unverified("ann");
    Cause { command: None, actor, reason: Some("because".into()), break_glass: false }
}

fn engine(store: &Arc<dyn JournalStore>, receiver: &Receiver) -> Engine {
    let host = Host::new(backout_plugin_basic::actions(), Arc::new(SystemSecrets::default()));
    let options = Options {
        engine: "test".into(),
        scratch: Arc::new(|_| std::env::temp_dir()),
        observer: None,
        captures: None,
        crash: None,
    };
    let traces = Traces::to(&receiver.address).unwrap();
    Engine::new(store.clone(), Arc::new(host), Arc::new(SystemClock), options)
        .followed_by(traces.follower())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_two_engines_is_one_trace_and_each_span_is_sent_once() {
    let receiver = Receiver::start();
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let run = RunId::from("r000000000");
    let first = engine(&store, &receiver);
    first.start(run.clone(), plan(), String::new(), ann()).await.unwrap();
    let mut seen = store.watch(&run);
    let waits = async {
        loop {
            let events = store.read(&run, backout_core::id::Seq(1), usize::MAX).unwrap();
            if events.iter().any(|recorded| {
                matches!(&recorded.event, backout_core::event::Event::StepWaits { .. })
            }) {
                return;
            }
            seen.changed().await.unwrap();
        }
    };
    tokio::time::timeout(WITHIN, waits).await.unwrap();
    first.stop("test", 1_000).await;
    let second = engine(&store, &receiver);
    second.take_up(&run).await.unwrap();
    second.ask(&run, Ask::Approve { step: "gate".into(), consent: None }, ann()).await.unwrap();
    tokio::time::timeout(WITHIN, second.wait(&run)).await.unwrap().unwrap();
    second.stop("test", 5_000).await;

    let spans = receiver.spans();
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    let each = ["flag", "gate", "last"];
    let wanted: Vec<String> = each
        .iter()
        .map(|id| format!("attempt {id}"))
        .chain(["run shop".to_owned()])
        .chain(each.iter().map(|id| format!("step {id}")))
        .collect();
    assert_eq!(names, wanted);
    assert!(spans.iter().all(|span| span.trace_id == trace::trace_id(&run)));
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(of("step gate").parent_span_id, of("run shop").span_id);
    assert_eq!(of("attempt gate").parent_span_id, of("step gate").span_id);
    assert_eq!(of("attempt gate").span_id, trace::attempt_span(&run, &"gate".into(), 1));
    assert!(of("run shop").parent_span_id.is_empty());
    for span in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_spans_and_no_run() {
    let receiver =
        Receiver { spans: Arc::default(), address: "http://127.0.0.1:9/v1/traces".into() };
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let run = RunId::from("r000000001");
    let engine = engine(&store, &receiver);
    let plan = Plan { steps: vec![step("flag", &[], "noop.run", json!({}))], ..plan() };
    engine.start(run.clone(), plan, String::new(), ann()).await.unwrap();
    tokio::time::timeout(WITHIN, engine.wait(&run)).await.unwrap().unwrap();
    engine.stop("test", 1_000).await;
}
