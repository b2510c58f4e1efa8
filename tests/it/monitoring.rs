//! What is watched from outside: the figures of a real engine in a real Prometheus, by our own rules.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use backout_test_targets::prometheus::Prometheus;
use serde_json::Value;

use crate::support::{TestEnv, wait_until};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn get(url: &str, path: &str) -> Value {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The names of our figures in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c: char| !word(c)).filter(|word| word.starts_with("backout_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn the_rules_and_the_dashboard_name_only_figures_that_are_documented() {
    let known = names(&fs::read_to_string(docs("reference/metrics.md")).unwrap());
    for file in ["monitoring/alerts.yml", "monitoring/dashboard.json"] {
        let used = names(&fs::read_to_string(docs(file)).unwrap());
        let unknown: Vec<&String> = used.difference(&known).collect();
        assert!(!used.is_empty() && unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn a_step_that_waits_for_a_person_is_seen_by_a_prometheus_with_our_rules() {
    if !Prometheus::is_here() {
        return;
    }
    let env = TestEnv::new();
    let serving = env.spawn(["serve", "--listen", "127.0.0.1:0"]);
    let mut exporter = String::new();
    wait_until("the engine serves", || {
        let said = serving.out();
        exporter = said.split("http://").nth(1).unwrap_or_default().trim().to_owned();
        !exporter.is_empty()
    });
    env.write(
        "gate.ron",
        r#"Runbook(format: 1, name: "gate", steps: [
    (id: "gate", action: "wait.approval", with: (text: "go on?")),
])"#,
    );
    env.backout(["run", "gate.ron"]).exits(4);
    let rules = docs("monitoring/alerts.yml").canonicalize().unwrap();
    let prometheus = Prometheus::with_rules("backout", &exporter, &rules).unwrap();
    let mut pending = Value::Null;
    wait_until("the alert is pending", || {
        let answer = get(&prometheus.url(), "/api/v1/rules");
        let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
        pending =
            rules.iter().find(|rule| rule["name"] == "BackoutWaitsForAPerson").cloned().unwrap();
        pending["state"] == "pending"
    });
    let answer = get(&prometheus.url(), "/api/v1/query?query=backout_runs_driven");
    assert_eq!(answer["data"]["result"][0]["value"][1], "1", "{answer:#}");
    env.backout(["approve", "latest", "gate"]).exits(0);
    wait_until("nobody waits any more", || {
        let answer = get(&prometheus.url(), "/api/v1/query?query=backout_steps_asking");
        answer["data"]["result"][0]["value"][1] == "0"
    });
}
