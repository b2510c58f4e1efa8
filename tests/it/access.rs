//! People over the network: tokens, certificates, a policy, and what is refused beyond loopback.

use std::fs;
use std::path::{Path, PathBuf};

use backout_test_targets::free_port;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, Identity};
use serde_json::{Value, json};

use crate::support::{Running, TestEnv, wait_until};

const RUNBOOK: &str = r#"Runbook(
    format: 1,
    name: "shop",
    environment: (name: "production"),
    steps: [
        (id: "asked", action: "wait.approval", with: (text: "Is the queue empty?"), approval: (by: ["dba"])),
    ],
)"#;

const POLICY: &str = r#"Policy(
    format: 1,
    groups: {"sre": ["ann"], "dba": ["cleo"]},
    roles: {"approver": ["dba"]},
    run: [(runbook: "shop", may: ["sre"])],
)"#;

/// An authority, and what it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a test's own");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, in PEM.
    fn sign(&self, name: &str, hosts: &[&str]) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The files of a server with TLS, a policy and a runbook.
struct Files {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    policy: PathBuf,
    runbooks: PathBuf,
}

fn files(env: &TestEnv, authority: &Authority) -> Files {
    let (cert, key) = authority.sign("server", &["localhost"]);
    let shop = env.write("runbooks/shop.ron", RUNBOOK);
    Files {
        cert: env.write("cert.pem", &cert),
        key: env.write("key.pem", &key),
        ca: env.write("people.pem", &authority.pem),
        policy: env.write("policy.ron", POLICY),
        runbooks: shop.parent().unwrap().to_owned(),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn serve(env: &TestEnv, files: &Files, port: u16) -> Running {
    env.spawn([
        "serve".to_owned(),
        format!("--listen=127.0.0.1:{port}"),
        format!("--tls-cert={}", shown(&files.cert)),
        format!("--tls-key={}", shown(&files.key)),
        format!("--client-ca={}", shown(&files.ca)),
        format!("--policy={}", shown(&files.policy)),
        format!("--runbooks={}", shown(&files.runbooks)),
    ])
}

/// A token's text.
fn token(env: &TestEnv, args: &[&str]) -> String {
    let made = env.backout(["token", "new"].iter().chain(args)).exits(0);
    assert!(made.err.contains("shown this once"), "{}", made.err);
    made.out.trim().to_owned()
}

fn client(authority: &Authority, own: Option<(String, String)>) -> Client {
    let root = Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let mut builder = Client::builder().tls_certs_only([root]);
    if let Some((cert, key)) = own {
        builder = builder.identity(Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// One person's way in.
struct Caller {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Caller {
    async fn send(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(reqwest::Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, path, Some(body)).await
    }

    async fn ask(&self, run: &str, ask: Value, reason: Option<&str>) -> (u16, Value) {
        let body = json!({ "ask": ask, "by": { "actor": "mallory", "reason": reason } });
        self.post(&format!("/api/v1/runs/{run}/ask"), body).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn beyond_loopback_it_takes_tls_and_people() {
    let env = TestEnv::new();
    let files = files(&env, &Authority::new());
    let open = env.backout(["serve", "--listen", "0.0.0.0:0"]).exits(2);
    assert!(open.err.contains("is not loopback: it takes TLS"), "{}", open.err);
    let (cert, key) = (shown(&files.cert), shown(&files.key));
    let args = ["serve", "--listen", "0.0.0.0:0", "--tls-cert", &cert, "--tls-key", &key];
    let nobody = env.backout(args).exits(2);
    assert!(nobody.err.contains("nobody could be known there"), "{}", nobody.err);
    assert!(nobody.err.contains("backout token new"), "{}", nobody.err);
}

#[test]
fn a_policy_is_checked_before_it_is_used() {
    let env = TestEnv::new();
    let good = env.write("good.ron", POLICY);
    let said = env.backout([Path::new("policy"), Path::new("check"), &good]).exits(0);
    assert!(said.out.contains("is valid: 2 groups, 1 rule for running"), "{}", said.out);
    let bad = env.write("bad.ron", &POLICY.replace("roles", "rolls"));
    let said = env.backout([Path::new("policy"), Path::new("check"), &bad]).exits(3);
    assert!(
        said.err.contains("bad.ron:4:5") && said.err.contains("did you mean `roles`?"),
        "{}",
        said.err
    );
    let used = env.backout(["serve", "--listen", "127.0.0.1:0", "--policy", &shown(&bad)]).exits(3);
    assert!(used.err.contains("bad.ron:4:5"), "{}", used.err);
}

#[test]
fn tokens_are_listed_without_their_secrets_and_taken_back() {
    let env = TestEnv::new();
    let text = token(&env, &["--name", "ann", "--role", "operator", "--role", "approver"]);
    let list = env.backout(["token", "list"]).exits(0);
    assert!(list.out.contains("ann") && list.out.contains("good for 29d"), "{}", list.out);
    assert!(list.out.contains("operator, approver"), "{}", list.out);
    assert!(!list.out.contains(&text), "{}", list.out);
    env.backout(["token", "revoke", "ann"]).exits(0);
    assert!(env.backout(["token", "list"]).exits(0).out.contains("revoked"));
    env.backout(["token", "revoke", "ann"]).exits(2);
    env.backout(["token", "new", "--name", "admin", "--role", "viewer"]).exits(2);
    env.backout(["token", "new", "--name", "x", "--role", "viewer", "--expires", "5y"]).exits(2);
    env.backout(["token", "new", "--name", "x", "--role", "king"]).exits(2);
}

/// Who did what, as the record has it.
fn the_record_says_who(env: &TestEnv) {
    let history = env.history("latest");
    let found = |kind: &str| {
        let line = history.iter().find(|line| line["kind"] == kind);
        line.unwrap_or_else(|| panic!("{kind} in {history:#?}"))
    };
    let actor = |kind: &str| (&found(kind)["actor"], &found(kind)["verified"]);
    assert_eq!(actor("run-created"), (&json!("ann"), &json!(true)));
    assert_eq!(actor("step-approved"), (&json!("cleo"), &json!(true)));
    assert_eq!(found("step-approved")["roles"], json!(["approver", "dba"]));
    let paused = found("run-paused");
    assert_eq!((&paused["actor"], &paused["reason"]), (&json!("envelope"), &json!("alone here")));
    assert_eq!(paused["break_glass"], true);
}

#[test]
fn people_come_in_by_token_and_certificate_and_each_does_what_that_one_may() {
    let env = TestEnv::new();
    let authority = Authority::new();
    let files = files(&env, &authority);
    let [ann, dan, eve] = ["ann", "dan", "eve"].map(|name| {
        let role = if name == "eve" { "viewer" } else { "operator" };
        token(&env, &["--name", name, "--role", role])
    });
    let glass = token(&env, &["--name", "envelope", "--break-glass", "--expires", "90d"]);
    let port = free_port().unwrap();
    let mut server = serve(&env, &files, port);
    wait_until("the port is open", || {
        assert!(!server.is_over(), "{}", server.err());
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let base = format!("https://localhost:{port}");
    let by_token = |token: &str| Caller {
        client: client(&authority, None),
        base: base.clone(),
        token: (!token.is_empty()).then(|| token.to_owned()),
    };
    let cleo = Caller {
        client: client(&authority, Some(authority.sign("cleo", &[]))),
        base: base.clone(),
        token: None,
    };
    runtime().block_on(async {
        let plain = reqwest::get(format!("http://127.0.0.1:{port}/healthz")).await;
        assert!(plain.is_err(), "{plain:?}");
        assert_eq!(by_token("").get("/healthz").await.0, 200);
        assert_eq!(by_token("").get("/api/v1/runs").await.0, 401);
        assert_eq!(by_token(&eve).get("/api/v1/runs").await.0, 200);

        let start = || json!({ "by": { "actor": "mallory", "reason": "the release hurts" } });
        let path = "/api/v1/runbooks/shop/runs";
        assert_eq!(by_token(&eve).post(path, start()).await.0, 403);
        let (status, problem) = by_token(&dan).post(path, start()).await;
        assert_eq!((status, problem["title"].as_str()), (403, Some("not allowed")));
        assert!(problem["detail"].as_str().unwrap().contains("is run by sre (line 5"), "{problem}");
        let (status, made) = by_token(&ann).post(path, start()).await;
        assert_eq!(status, 200, "{made}");
        let run = made["run"].as_str().unwrap().to_owned();

        // The runbook asks for somebody of `dba`: ann is an operator and none of them.
        wait_until("it waits", || env.status(&run)["steps"].to_string().contains("waiting"));
        let approve = json!({ "ask": "approve", "step": "asked" });
        assert_eq!(by_token(&ann).ask(&run, approve.clone(), None).await.0, 403);
        let pause = json!({ "ask": "pause" });
        assert_eq!(by_token(&glass).ask(&run, pause.clone(), None).await.0, 403, "no reason");
        assert_eq!(by_token(&glass).ask(&run, pause, Some("alone here")).await.0, 200);
        let resume = json!({ "by": { "actor": "x" } });
        assert_eq!(by_token(&ann).post(&format!("/api/v1/runs/{run}/resume"), resume).await.0, 200);
        let (status, answer) = cleo.ask(&run, approve, Some("it is empty")).await;
        assert_eq!(status, 200, "{answer}");

        env.backout(["token", "revoke", "ann"]).exits(0);
        let (status, problem) = by_token(&ann).get("/api/v1/runs").await;
        assert_eq!((status, problem["detail"].as_str()), (401, Some("the token was revoked")));
    });
    let seen = env.wait_for_state("succeeded");
    assert_eq!(seen["break_glass"], true, "the mark stands in every view: {seen}");
    the_record_says_who(&env);
    server.signal("TERM");
    let said = server.wait();
    for secret in [&ann, &dan, &eve, &glass] {
        assert!(!said.out.contains(secret.as_str()) && !said.err.contains(secret.as_str()));
        assert!(!found_under(env.store(), secret), "a token stands in the store");
    }
}

/// Whether any file of a folder holds a text.
fn found_under(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().any(|path| {
        if path.is_dir() {
            return found_under(&path, text);
        }
        let holds = |bytes: Vec<u8>| bytes.windows(text.len()).any(|it| it == text.as_bytes());
        fs::read(&path).is_ok_and(holds)
    })
}
