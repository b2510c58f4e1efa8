//! Mail, to a real server: with STARTTLS, with TLS from the start, and on an open line.

use std::path::PathBuf;
use std::process::Command;

use backout_plugin_api::{Outcome, Settled};
use backout_test_targets::{Daemon, free_port, missing};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{World, message, secret};

const PASSWORD: &str = "tr0ub4dor-and-3";

/// A running mail server with its box.
struct Mailer {
    port: u16,
    dir: TempDir,
    _server: Daemon,
}

/// The folder of Python packages that `tests/setup/access.sh` made.
fn packages() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = std::env::var_os("TOOLS").map(PathBuf::from);
    let folders = tools.into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join("mail-server")).find(|it| it.join("complete").is_file())
}

fn can_run() -> bool {
    packages().is_some() || missing("a mail server", "TOOLS=... bash tests/setup/access.sh")
}

impl Mailer {
    fn start(mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let cert = put("cert.pem", &signed.cert.pem());
        let key = put("key.pem", &signed.signing_key.serialize_pem());
        let script = put("server.py", include_str!("mail_server.py"));
        let port = free_port().unwrap();
        let mut command = Command::new("python3");
        command.arg(script).arg(port.to_string()).arg(dir.path().join("box"));
        command.arg(cert).arg(key).arg(mode).env("PYTHONPATH", packages().unwrap());
        let mut server = Daemon::start(&command, &dir.path().join("log")).unwrap();
        let log = dir.path().join("log");
        let ready = || match std::fs::read_to_string(&log) {
            Ok(said) if said.contains("ready") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        server.wait_ready(ready).unwrap();
        Self { port, dir, _server: server }
    }

    /// The channels: `mail` as it should be, `wrong` with a wrong password.
    fn world(&self, tls: &str) -> World {
        let good = secret(&self.dir, "password", PASSWORD);
        let bad = secret(&self.dir, "bad", "hunter2-is-wrong");
        let account = |password: &str| match tls {
            "None" => String::new(),
            _ => format!("user: \"backout\", password: \"{password}\","),
        };
        let ca: PathBuf = self.dir.path().join("cert.pem");
        let (port, ca) = (self.port, ca.display());
        let channel = |password: &str| {
            format!(
                "Mail(server: \"localhost:{port}\", tls: {tls}, {} ca: \"{ca}\", \
                 from: \"Backout <backout@example.org>\", to: [\"managers@example.org\"])",
                account(password)
            )
        };
        World::new(&format!("\"mail\": {}, \"wrong\": {}", channel(&good), channel(&bad)))
    }

    fn took(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("box")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn to(address: &str) -> Value {
    let mut input = message("mail", "update");
    input["to"] = json!(address);
    input
}

#[tokio::test]
async fn mail_arrives_on_every_kind_of_line() {
    if !can_run() {
        return;
    }
    for (mode, tls) in [("starttls", "Starttls"), ("wrapped", "Wrapped"), ("open", "None")] {
        let mailer = Mailer::start(mode);
        let outcome = mailer.world(tls).apply(&message("mail", "update"), 1).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{mode}: {outcome:?}");
        let took = mailer.took();
        assert_eq!(took.len(), 1);
        assert_eq!(took[0]["tls"], json!(mode != "open"));
        assert_eq!(took[0]["to"], json!(["managers@example.org"]));
        let text = took[0]["text"].as_str().unwrap();
        assert!(text.contains("Subject: [update] checkout is being rolled back\r\n"), "{text}");
        assert!(text.contains("X-Backout-Id: testrun000/tell/1/0\r\n"), "{text}");
        assert!(text.contains("Message-ID: <backout-"), "{text}");
        assert!(text.contains("The flag is off.\r\nNext: the release."), "{text}");
    }
}

#[tokio::test]
async fn what_a_server_says_no_to_is_known() {
    if !can_run() {
        return;
    }
    let mailer = Mailer::start("starttls");
    let outcome = mailer.world("Starttls").apply(&to("full@example.org"), 1).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("full")),
        "{outcome:?}"
    );
    let outcome = mailer.world("Starttls").apply(&to("nobody@example.org"), 1).await;
    assert!(
        matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("no such")),
        "{outcome:?}"
    );
    let outcome = mailer.world("Starttls").apply(&message("wrong", "update"), 1).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(!reason.contains("hunter2"), "{reason}");
    assert_eq!(mailer.took().len(), 0);
}

#[tokio::test]
async fn a_line_that_is_not_closed_gets_no_password() {
    if !can_run() {
        return;
    }
    let mailer = Mailer::start("open");
    let outcome = mailer.world("Starttls").apply(&message("mail", "update"), 1).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("no TLS")),
        "{outcome:?}"
    );
    assert_eq!(mailer.took().len(), 0);
}

#[tokio::test]
async fn a_lost_answer_is_no_second_mail_and_the_second_has_the_same_id() {
    if !can_run() {
        return;
    }
    let mailer = Mailer::start("starttls");
    let world = mailer.world("Starttls");
    let input = to("lost@example.org");
    let outcome = world.apply(&input, 1).await;
    assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
    assert!(matches!(world.settle(&input, 1).await, Settled::Done { .. }));
    assert_eq!(mailer.took().len(), 1);
    // Where the author's `retry` sends it again under the same key, a mail system can know it.
    drop(world.apply(&input, 2).await);
    let id = |mail: &Value| {
        let text = mail["text"].as_str().unwrap().to_owned();
        text.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned()
    };
    let took = mailer.took();
    assert_eq!((took.len(), id(&took[0])), (2, id(&took[1])));
}

#[tokio::test]
async fn a_silent_server_ends_in_time() {
    if !can_run() {
        return;
    }
    let mailer = Mailer::start("starttls");
    let mut world = mailer.world("Starttls");
    world.timeout = std::time::Duration::from_secs(6);
    let outcome = world.apply(&to("silent@example.org"), 1).await;
    assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
}
