//! `runbooks/flags_*.ron`, each run on its flag system: Unleash's own server, files served by the
//! relay of go-feature-flag and by flagd, and LaunchDarkly by answers from its documentation.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use backout_test_targets::flags::{OUR_TOKEN, Relay, RelayOptions, System, Unleash};
use backout_test_targets::postgres::Postgres;
use serde_json::{Value, json};

use crate::support::{Said, TestEnv};

fn runbook(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks").join(name)
}

fn run(env: &TestEnv, name: &str, params: &[String], secrets: &[(&str, &str)]) -> Said {
    let mut command = env.command(["run", "--no-wait"]);
    command.arg(runbook(name)).envs(secrets.iter().copied());
    for param in params {
        command.arg("-p").arg(param);
    }
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Everything that the run recorded, as one text.
fn recorded(env: &TestEnv) -> String {
    env.history("latest").iter().map(Value::to_string).collect()
}

const TOML: &str = "# the shop\n[new_checkout.variations]\non = true\noff = false\n\n\
                    [new_checkout.defaultRule.percentage]\non = 80 # since Tuesday\noff = 20\n\n\
                    [other]\nvariations = { a = 1 }\ndefaultRule = { variation = \"a\" }\n";

#[test]
fn go_feature_flag_is_off_and_proven_at_each_relay() {
    if !Relay::is_here() {
        return;
    }
    let env = TestEnv::new();
    let file = env.write("flags.toml", TOML);
    let keyed = RelayOptions { poll_seconds: 0, key: "", admin_key: "s3cret-admin" };
    let polls = RelayOptions { poll_seconds: 1, key: "s3cret-key", admin_key: "" };
    let relays = [keyed, polls].map(|how| Relay::start(System::GoFeatureFlag, &file, how).unwrap());
    let params = [
        format!("file={}", file.display()),
        format!("relay_1={}", relays[0].url()),
        format!("relay_2={}", relays[1].url()),
    ];
    let keys = [("RELAY_ADMIN_KEY", "s3cret-admin"), ("RELAY_KEY", "s3cret-key")];
    let said = run(&env, "flags_goff.ron", &params, &keys);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let wanted = TOML.replace(
        "[new_checkout.defaultRule.percentage]\non = 80 # since Tuesday\noff = 20\n",
        "[new_checkout.defaultRule]\nvariation = \"off\"\n",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), wanted);
    let recorded = recorded(&env);
    assert!(recorded.contains("relay-1") && recorded.contains("relay-2"), "{recorded}");
    assert!(!format!("{recorded}{}{}", said.out, said.err).contains("s3cret"));
    for verb in ["undo", "resume"] {
        let said = env.command([verb, "latest"]).envs(keys).output().unwrap();
        assert!(said.status.success(), "{verb}: {said:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), TOML);
}

#[test]
fn flagd_is_off_and_proven() {
    if !Relay::is_here() {
        return;
    }
    let env = TestEnv::new();
    let file = env.write(
        "flags.json",
        "{\"flags\": {\"new_checkout\": {\"state\": \"DISABLED\", \"variants\": {\"on\": true, \
         \"off\": false}, \"defaultVariant\": \"on\"}}}\n",
    );
    let polls = RelayOptions { poll_seconds: 1, ..RelayOptions::default() };
    let flagd = Relay::start(System::Flagd, &file, polls).unwrap();
    let params = [format!("file={}", file.display()), format!("flagd={}", flagd.url())];
    let said = run(&env, "flags_flagd.ron", &params, &[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let document: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let flag = &document["flags"]["new_checkout"];
    assert_eq!((&flag["state"], &flag["defaultVariant"]), (&json!("ENABLED"), &json!("off")));
}

#[test]
fn unleash_is_off_and_proven() {
    if !Unleash::is_here() {
        return;
    }
    let env = TestEnv::new();
    let postgres = Postgres::start().unwrap();
    let unleash = Unleash::start(&postgres).unwrap();
    let features = "/api/admin/projects/default/features";
    let flag = format!("{features}/new-checkout/environments/development");
    let ask = |method: &str, path: &str, body: &str| {
        let address = unleash.url().replace("http://", "");
        asked(&address, method, path, OUR_TOKEN, body)
    };
    ask("POST", features, "{\"name\": \"new-checkout\"}");
    ask("POST", &format!("{flag}/on"), "");
    assert!(ask("GET", &flag, "").contains("\"enabled\":true"));
    let params = [format!("url={}", unleash.url()), "environment=development".to_owned()];
    let said = run(&env, "flags_unleash.ron", &params, &[("UNLEASH_TOKEN", OUR_TOKEN)]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(ask("GET", &flag, "").contains("\"enabled\":false"));
    assert!(!format!("{}{}{}", recorded(&env), said.out, said.err).contains(OUR_TOKEN));
}

/// One request over a connection of its own; the whole answer.
fn asked(address: &str, method: &str, path: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// LaunchDarkly and a service that asks it, in one: the flag's JSON, one patch, and OFREP. Kept is the
/// comment of the patch that turned the flag off.
fn documented_answers(off: &Mutex<Option<Value>>, line: &str, body: &Value) -> Value {
    let mut off = off.lock().unwrap();
    if line.starts_with("PATCH /api/v2/flags/shop/new-checkout ") {
        assert_eq!(body["patch"][0]["path"], "/environments/production/version");
        *off = Some(body["comment"].clone());
    }
    let on = off.is_none();
    let environment = json!({
        "on": on, "version": if on { 7 } else { 8 }, "offVariation": 1,
        "fallthrough": {"variation": 0}, "rules": [], "targets": [], "prerequisites": [],
    });
    let variations = json!([{"value": true, "name": "new"}, {"value": false, "name": "old"}]);
    match line.split(' ').nth(1).unwrap_or_default() {
        "/ofrep/v1/evaluate/flags/new-checkout" => {
            let variant = if on { "new" } else { "old" };
            json!({"key": "new-checkout", "value": on, "variant": variant, "reason": "STATIC"})
        }
        path if path.starts_with("/api/v2/auditlog") => json!({"items": [{"comment": *off}]}),
        path if path.ends_with("scheduled-changes") => json!({"items": []}),
        _ => json!({"variations": variations, "environments": {"production": environment}}),
    }
}

fn serve(stream: TcpStream, off: &Mutex<Option<Value>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        if let Some(text) = header.to_lowercase().strip_prefix("content-length: ") {
            length = text.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let answer = documented_answers(off, &line, &body).to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

#[test]
fn launchdarkly_is_off_by_documented_exchanges() {
    let env = TestEnv::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let off = Arc::new(Mutex::new(None));
    let served = Arc::clone(&off);
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away is no failure of the server.
            let _gone = serve(stream, &served);
        }
    });
    let params = [format!("url={url}"), format!("checkout={url}")];
    let token = [("LAUNCHDARKLY_TOKEN", "api-s3cret")];
    let said = run(&env, "flags_launchdarkly.ron", &params, &token);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(off.lock().unwrap().is_some());
    assert!(!recorded(&env).contains("s3cret"));
}
