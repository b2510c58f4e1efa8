//! `backout serve`: a process that owns the store, found by every other command, asked over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use backout_test_targets::missing;
use serde_json::{Value, json};

use crate::support::{Running, TestEnv, wait_until};

/// Seconds that the tester of the API asks: enough for every route many times.
const ASKED_SECONDS: u32 = 60;

const BOOK: &str = r#"Runbook(
    format: 1, name: "checkout", title: "The checkout back",
    params: { "release": (type: version, default: "2.4.1", help: "which") },
    steps: [
        (id: "one", action: "noop.run"),
        (id: "gate", needs: ["one"], action: "wait.approval", with: (text: "release ${params.release}?")),
        (id: "two", needs: ["gate"], action: "noop.run"),
    ],
)"#;

/// A served engine.
struct Served {
    env: TestEnv,
    process: Running,
    address: String,
}

impl Served {
    fn new(env: TestEnv) -> Self {
        env.write("runbooks/checkout.ron", BOOK);
        let args = ["serve", "--listen", "127.0.0.1:0", "--runbooks", "runbooks"];
        let process = env.spawn(args);
        let mut address = None;
        wait_until("it serves", || {
            let said = process.out();
            address = said.split_once("http://").map(|(_, rest)| rest.trim().to_owned());
            address.is_some()
        });
        Self { address: address.unwrap(), env, process }
    }

    fn get(&self, path: &str) -> Value {
        self.ask(&format!("GET {path} HTTP/1.1\r\n"), "")
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        self.ask(&head, &body)
    }

    fn ask(&self, head: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!("{head}host: {}\r\nconnection: close\r\n\r\n{body}", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}\n{answer}"))
    }

    /// Starts the runbook; gives the run once it waits for a person.
    fn start(&self) -> String {
        let plan = self.post("/api/v1/runbooks/checkout/plan", &json!({}));
        let start = json!({ "digest": plan["digest"], "by": { "reason": "it burns" } });
        let reply = self.post("/api/v1/runbooks/checkout/runs", &start);
        let run = reply["run"].as_str().unwrap().to_owned();
        self.until(&run, "waiting");
        run
    }

    fn until(&self, run: &str, word: &str) {
        let path = format!("/api/v1/runs/{run}");
        wait_until(&format!("the run is {word}"), || self.get(&path)["state"] == word);
    }

    /// A client that has its first answer and takes no more.
    fn follow(&self, run: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let address = &self.address;
        write!(stream, "GET /api/v1/runs/{run}/events/stream HTTP/1.1\r\nhost: {address}\r\n\r\n")
            .unwrap();
        let mut first = [0; 16];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK\r");
        stream
    }

    /// Kilobytes of memory that the engine's process holds.
    fn resident_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    fn end(self) -> TestEnv {
        self.process.signal("TERM");
        self.process.wait().exits(0);
        self.env
    }
}

#[test]
fn a_served_engine_is_found_by_other_commands_and_lets_go_in_order() {
    let served = Served::new(TestEnv::new());
    let run = served.start();
    assert_eq!(served.get("/healthz")["drives"], 1);
    served.env.backout(["approve", &run, "gate"]).exits(0);
    served.until(&run, "succeeded");
    let second = served.start();
    let env = served.end();
    let kinds: Vec<_> = env.history(&second).iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds.last().unwrap(), "engine-detached", "{kinds:?}");
    assert!(!env.store().join("control.sock").exists());
}

#[test]
fn what_was_interrupted_is_taken_up_unless_a_person_wants_to_look_first() {
    let mut served = Served::new(TestEnv::new());
    let run = served.start();
    served.process.signal("KILL");
    wait_until("it is dead", || served.process.is_over());
    let again = Served::new(served.env);
    wait_until("it drives the run", || again.get("/api/v1/owner")["drives"] == json!([run]));
    let approve = json!({ "ask": { "ask": "approve", "step": "gate" }, "by": { "actor": "ann" } });
    assert_eq!(again.post(&format!("/api/v1/runs/{run}/ask"), &approve)["driven"], true);
    again.until(&run, "succeeded");
    let env = again.end();
    let approved = env.history(&run).into_iter().find(|line| line["kind"] == "step-approved");
    assert_eq!(approved.unwrap()["actor"], "ann (claimed)");
}

#[test]
fn beyond_loopback_and_beside_another_owner_it_does_not_start() {
    let served = Served::new(TestEnv::new());
    let env = &served.env;
    let said = env.backout(["serve", "--listen", "0.0.0.0:0"]).exits(2);
    assert!(said.err.contains("not loopback"), "{}", said.err);
    let said = env.backout(["serve", "--listen", "127.0.0.1:0"]).exits(6);
    assert!(said.err.contains("owns it since"), "{}", said.err);
    served.end();
}

/// Clients that follow a run and take nothing of what they are sent.
const STUCK: usize = 200;
/// Steps of the run that they follow; each prints two kilobytes into several events.
const BUSY_STEPS: usize = 100;
/// Kilobytes that all of them together may cost the engine.
const STUCK_KB_MAX: u64 = 64 * 1024;

#[test]
fn clients_that_take_nothing_cost_little_and_hold_nothing_up() {
    let env = TestEnv::new();
    let filler = "x".repeat(2_048);
    let step = |at| {
        format!(
            r#"(id: "s{at}", needs: ["gate"], action: "noop.run", with: (output: {{ "filler": "{filler}" }})),"#
        )
    };
    let steps: String = (0..BUSY_STEPS).map(step).collect();
    let gate = r#"(id: "gate", action: "wait.approval", with: (text: "go?")),"#;
    let book = format!(r#"Runbook(format: 1, name: "busy", steps: [{gate}{steps}])"#);
    env.write("runbooks/busy.ron", &book);
    let served = Served::new(env);
    let reply = served.post("/api/v1/runbooks/busy/runs", &json!({}));
    let run = reply["run"].as_str().unwrap().to_owned();
    served.until(&run, "waiting");
    let before = served.resident_kb();
    let stuck: Vec<TcpStream> = (0..STUCK).map(|_| served.follow(&run)).collect();
    served.env.backout(["approve", &run, "gate"]).exits(0);
    served.until(&run, "succeeded");
    let grown = served.resident_kb().saturating_sub(before);
    assert!(grown < STUCK_KB_MAX, "{grown} KiB for {STUCK} clients");
    drop(stuck);
    served.end();
}

/// Asks as a stranger would: whatever the document allows, and what it does not.
#[test]
fn no_request_meets_a_failure_or_an_answer_that_is_not_written_down() {
    if !has_tester() {
        return;
    }
    let served = Served::new(TestEnv::new());
    let run = served.start();
    // Names that are there, so that more than their absence is tried.
    let names =
        format!("[parameters]\n\"path.run\" = \"{run}\"\n\"path.runbook\" = \"checkout\"\n");
    served.env.write("schemathesis.toml", &names);
    let url = format!("http://{}/openapi.json", served.address);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance,unsupported_method";
    let mut tester = Command::new("schemathesis");
    tester.args(["run", &url, "--checks", checks, "--seed", "7", "--max-time"]);
    tester.arg(ASKED_SECONDS.to_string());
    // Streams do not end by themselves.
    tester.args(["--exclude-path-regex", "(stream|changes)$", "--request-timeout", "40"]);
    tester.args(["--generation-database", "none", "--no-color"]);
    // A token that is made up is answered with 401 each time.
    tester.args(["--generation-with-security-parameters", "false"]);
    tester.current_dir(served.env.path(""));
    let said = tester.output().unwrap();
    let out = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{out}\n{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(served.get("/healthz")["status"], "ok");
    served.end();
}

fn has_tester() -> bool {
    let asked = Command::new("schemathesis").arg("--version").output();
    let is_here = asked.is_ok_and(|said| said.status.success());
    is_here || missing("schemathesis", "TOOLS=... bash tests/setup/api.sh")
}
