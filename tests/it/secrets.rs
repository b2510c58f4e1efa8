//! Secrets are planted everywhere one may stand, and looked for everywhere else.

use std::collections::BTreeSet;
use std::fs;

use crate::people::files;
use crate::support::{TestEnv, wait_until};
use crate::targets::{Database, Server, lines};

/// The values; none of them may be found anywhere but where it belongs.
const CANARIES: [(&str, &str); 6] = [
    ("env", "canary-env-5e1f0a77c3"),
    ("file", "canary-file-9b22d4e610"),
    ("cmd", "canary-cmd-0c71aa58f4"),
    ("param", "canary-param-77e0b3d912"),
    ("url", "canary-url-41d9f6085b"),
    ("literal", "canary-literal-e83c1d20aa"),
];

fn canary(name: &str) -> &'static str {
    CANARIES.iter().find(|(of, _)| *of == name).unwrap().1
}

/// Fails where a canary stands in this.
#[track_caller]
fn check_clean(what: &str, bytes: &[u8]) {
    for (name, value) in CANARIES {
        let found = bytes.windows(value.len()).position(|window| window == value.as_bytes());
        if let Some(at) = found {
            let from = at.saturating_sub(200);
            let around = String::from_utf8_lossy(&bytes[from..(at + 60).min(bytes.len())]);
            panic!("the secret of `{name}` stands in {what}: …{around}…");
        }
    }
}

struct Planted {
    env: TestEnv,
    good: Server,
    bad: Server,
    database: Database,
}

impl Planted {
    fn new() -> Self {
        let env = TestEnv::new();
        env.write("file.secret", &format!("{}\n", canary("file")));
        env.write("cmd.secret", canary("cmd"));
        let bad = Server::new(false);
        bad.fail_with_echo(422);
        let database = Database::new(&env.path(""), 3);
        let planted = Self { env, good: Server::new(true), bad, database };
        planted.env.write("secrets.ron", &planted.runbook());
        planted
    }

    /// Where a secret may stand: variables of a command, headers, a bearer, a database, a parameter.
    fn runbook(&self) -> String {
        let folder = self.env.path("").display().to_string();
        let all = format!(
            r#""A": "env:SHOP_TOKEN", "B": "file:{folder}/file.secret", "C": "cmd:[\"cat\", \"{folder}/cmd.secret\"]""#
        );
        let say = "echo $A $B $C $D; echo $A $B $C $D >&2; printf %.8s $A; sleep 0.02; echo $A | cut -c9-";
        format!(
            r#"Runbook(format: 1, name: "secrets", params: {{"token": (type: "text", secret: true)}}, steps: [
    (id: "says", action: "exec.run", with: (cwd: "{folder}", secret_env: {{{all}, "D": "${{params.token}}"}},
        command: ["sh", "-c", "{say}; echo x >> said; while [ -e held ]; do sleep 0.05; done"],
        settle: ["sh", "-c", "echo $A $B $C; test -s said"])),
    (id: "uses", action: "noop.run", when: "size(steps.says.output.stdout) > 0"),
    (id: "fails", action: "exec.run", on_exhausted: continue, with: (secret_env: {{{all}}},
        command: ["sh", "-c", "{say}; exit 3"])),
    (id: "missing", action: "exec.run", on_exhausted: continue, with: (secret_env: {{{all}}},
        command: ["/does/not/exist"])),
    (id: "post", action: "http.request", with: (method: POST, url: "{good}", keyed: "1h",
        secret_headers: {{"X-Token": "env:SHOP_TOKEN", "X-File": "file:{folder}/file.secret"}},
        bearer: "${{params.token}}")),
    (id: "refused", action: "http.request", on_exhausted: continue, with: (method: POST, url: "{bad}",
        secret_headers: {{"X-Token": "env:SHOP_TOKEN"}}, bearer: "cmd:[\"cat\", \"{folder}/cmd.secret\"]")),
    (id: "closed", action: "http.request", on_exhausted: continue, with: (method: POST,
        url: "http://127.0.0.1:1/x", bearer: "env:SHOP_TOKEN", keyed: "1h")),
    (id: "schema", action: "migrations.down", accept: ["drops-table", "drops-column", "changes-rows"],
        with: (database: "env:DATABASE_URL", dir: "{migrations}", to: 2)),
    (id: "no_schema", action: "migrations.down", on_exhausted: continue,
        with: (database: "env:NO_DATABASE_URL", dir: "{migrations}", to: 1)),
    (id: "gate", action: "wait.approval", with: (text: "all said?")),
])"#,
            good = self.good.url("/good"),
            bad = self.bad.url("/bad"),
            migrations = self.database.migrations.display(),
        )
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let database = self.database.path.display();
        let mut command = self.env.command(args);
        command
            .env("SHOP_TOKEN", canary("env"))
            .env("PARAM_TOKEN", canary("param"))
            .env("DATABASE_URL", format!("sqlite:{database}?_auth_pass={}", canary("url")))
            .env(
                "NO_DATABASE_URL",
                format!("sqlite:/does/not/exist.db?_auth_pass={}", canary("url")),
            )
            .env("BACKOUT_LOG", "trace");
        command
    }

    /// Runs a command to its end and looks through all it says.
    fn said(&self, args: &[&str]) -> crate::support::Said {
        let said = crate::support::Running::new(&mut self.command(args)).wait();
        check_clean(&format!("stdout of {args:?}"), said.out.as_bytes());
        check_clean(&format!("stderr of {args:?}"), said.err.as_bytes());
        said
    }

    /// Every file of the store, as it is now.
    fn check_store(&self) {
        let files = files(self.env.store());
        // What is no secret is found, so that the search can find what is one.
        let reference = b"env:SHOP_TOKEN";
        let holds = |bytes: Vec<u8>| bytes.windows(reference.len()).any(|part| part == reference);
        assert!(files.iter().any(|path| fs::read(path).is_ok_and(holds)), "{files:?}");
        for path in files {
            // A file may be replaced at this moment; its successor is looked at next time.
            let bytes = fs::read(&path).unwrap_or_default();
            check_clean(&path.display().to_string(), &bytes);
        }
    }
}

/// The argument lists of all processes; the shims and commands of the run among them.
fn check_processes() -> usize {
    let mut ours = 0;
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let bytes = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        ours += usize::from(bytes.windows(8).any(|window| window == b"echo $A "));
        check_clean(&format!("the argument list of {}", entry.path().display()), &bytes);
    }
    ours
}

#[test]
fn no_secret_is_found_where_it_does_not_belong() {
    let planted = Planted::new();
    let token = "token=env:PARAM_TOKEN";
    for args in [
        &["check", "secrets.ron"][..],
        &["plan", "secrets.ron", "-p", token],
        &["plan", "secrets.ron", "--json", "-p", token],
    ] {
        planted.said(args).exits(0);
    }
    planted.said(&["ready", "secrets.ron", "-p", token]);
    let held = planted.env.write("held", "");
    let running =
        crate::support::Running::new(&mut planted.command(&["run", "secrets.ron", "-p", token]));
    wait_until("the command is at work", || !lines(&planted.env.path("said")).is_empty());
    assert!(check_processes() > 0, "the command's argument list was looked at");
    planted.check_store();
    running.signal("KILL");
    let said = running.wait();
    check_clean("stderr of the killed run", said.err.as_bytes());
    planted.check_store();
    fs::remove_file(held).unwrap();
    planted.said(&["resume"]).exits(4);
    check_outcomes(&planted);
    look_at_everything(&planted);
}

/// The secrets did reach where they belong, and all came as it should.
fn check_outcomes(planted: &Planted) {
    let status = planted.env.status("latest");
    let steps = status["steps"].as_array().unwrap();
    let word = |id: &str| steps.iter().find(|step| step["id"] == id).unwrap()["state"].clone();
    for id in ["says", "post", "schema"] {
        assert_eq!(word(id), "succeeded", "{id}: {status:#}");
    }
    for id in ["fails", "missing", "refused", "closed", "no_schema"] {
        assert_ne!(word(id), "succeeded", "{id}: {status:#}");
    }
    assert_eq!(word("gate"), "waiting", "{status:#}");
    let request = planted.good.received().pop().unwrap();
    assert_eq!(request.headers["x-token"], canary("env"));
    assert_eq!(request.headers["x-file"], canary("file"));
    assert_eq!(request.headers["authorization"], format!("Bearer {}", canary("param")));
    assert_eq!(planted.bad.received()[0].headers["x-token"], canary("env"));
    assert_eq!(planted.database.audit(), ["down 3"]);
    let output = steps.iter().find(|step| step["id"] == "says").unwrap()["output"].to_string();
    assert!(output.contains("***"), "what it printed is kept, masked: {output}");
}

fn look_at_everything(planted: &Planted) {
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["status", "latest", "--steps"],
        &["status", "latest", "--json"],
        &["history", "latest"],
        &["history", "latest", "--json"],
        &["by-hand", "latest"],
        &["by-hand", "latest", "--json"],
        &["verify", "--json"],
        &["graph", "secrets.ron", "-p", "token=env:PARAM_TOKEN"],
        &["export", "latest", "run.backout"],
        &["export", "latest", "-"],
        &["approve", "latest", "gate", "--reason", "all said"],
        &["resume", "latest"],
        &["undo", "latest"],
        &["resume", "latest", "--no-wait"],
    ] {
        let said = planted.said(args);
        let is_fine = said.code == 0 || (args[0] == "resume" && said.code == 4);
        assert!(is_fine, "{args:?} ended with {}: {}", said.code, said.err);
    }
    check_clean("the exported file", &fs::read(planted.env.path("run.backout")).unwrap());
    planted.check_store();
}

#[test]
fn a_secret_given_in_place_of_its_reference_is_refused_and_not_repeated() {
    let planted = Planted::new();
    let literal = format!("token={}", canary("literal"));
    let said = planted.said(&["run", "secrets.ron", "-p", &literal]);
    assert!(said.code == 2 || said.code == 3, "{}: {}", said.code, said.err);
    let params =
        planted.env.write("params.json", &format!(r#"{{"token": "{}"}}"#, canary("literal")));
    let said = planted.said(&["run", "secrets.ron", "--params", params.to_str().unwrap()]);
    assert!(said.code == 2 || said.code == 3, "{}: {}", said.code, said.err);
    assert_eq!(planted.good.made(), 0);
}

#[test]
fn missing_secrets_are_named_together_before_anything_is_done() {
    let planted = Planted::new();
    let names: BTreeSet<&str> = ["SHOP_TOKEN", "DATABASE_URL"].into();
    let mut command = planted.command(&["run", "secrets.ron", "-p", "token=env:PARAM_TOKEN"]);
    command.env_remove("SHOP_TOKEN").env_remove("DATABASE_URL");
    let said = crate::support::Running::new(&mut command).wait();
    assert_ne!(said.code, 0);
    for name in names {
        assert!(said.err.contains(name), "{name}: {}", said.err);
    }
    check_clean("stderr", said.err.as_bytes());
    assert!(!planted.env.path("said").exists(), "nothing was begun");
}

#[test]
fn resume_names_all_secrets_that_are_missing_and_touches_nothing() {
    let env = TestEnv::new();
    env.write(
        "later.ron",
        r#"Runbook(format: 1, name: "later", steps: [
            (id: "gate", action: "wait.approval", with: (text: "go?")),
            (id: "one", action: "exec.run", with: (secret_env: {"A": "env:FIRST_TOKEN"}, command: ["true"])),
            (id: "two", action: "exec.run", with: (secret_env: {"B": "env:SECOND_TOKEN"}, command: ["true"])),
        ])"#,
    );
    let with = |args: &[&str]| {
        let mut command = env.command(args);
        command.env("FIRST_TOKEN", canary("env")).env("SECOND_TOKEN", canary("file"));
        crate::support::Running::new(&mut command).wait()
    };
    with(&["run", "later.ron"]).exits(4);
    env.backout(["approve", "latest"]).exits(0);
    let said = env.backout(["resume", "latest"]);
    assert_ne!(said.code, 0, "{}", said.err);
    for name in ["FIRST_TOKEN", "SECOND_TOKEN"] {
        assert!(said.err.contains(name), "{name}: {}", said.err);
    }
    assert!(!env.history("latest").iter().any(|event| event["kind"] == "effect-intended"));
    with(&["resume", "latest"]).exits(0);
}
