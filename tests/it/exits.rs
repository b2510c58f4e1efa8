//! How commands end: exit codes, signals, streams.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Running, TestEnv, wait_until};
use crate::targets::{Server, lines};

const TWO: &str = r#"Runbook(format: 1, name: "two", steps: [
    (id: "first", action: "noop.run"),
    (id: "second", action: "noop.run"),
])"#;

/// A command that is at work until the test lets it go on, and one more after it.
struct Held {
    env: TestEnv,
    held: PathBuf,
}

impl Held {
    fn new() -> Self {
        let env = TestEnv::new();
        let held = env.write("held", "");
        env.write(
            "held.ron",
            &format!(
                r#"Runbook(format: 1, name: "held", steps: [
    (id: "it", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c",
        "echo x >> begun; while [ -e held ]; do sleep 0.05; done; echo x >> made"])),
    (id: "after", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c", "echo x >> after"])),
])"#,
                env.path("").display()
            ),
        );
        Self { env, held }
    }

    /// Starts it and waits until the command is at work.
    fn start(&self) -> Running {
        let running = self.env.spawn(["run", "held.ron"]);
        wait_until("the command is at work", || self.count("begun") == 1);
        running
    }

    fn release(&self) {
        fs::remove_file(&self.held).unwrap();
    }

    fn count(&self, name: &str) -> usize {
        lines(&self.env.path(name)).len()
    }

    fn goes_on_to_its_end(&self) {
        self.env.backout(["resume"]).exits(0);
        assert_eq!((self.count("begun"), self.count("made"), self.count("after")), (1, 1, 1));
    }

    fn detached_why(&self) -> Vec<String> {
        let history = self.env.history("latest");
        let detached = history.iter().filter(|event| event["kind"] == "engine-detached");
        detached.map(|event| event["why"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn every_exit_code_is_reached_by_a_real_command() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.backout(["status", "latest"]).exits(5);
    env.backout(["resume"]).exits(0);
    env.backout(["run", "two.ron"]).exits(0);
    env.write(
        "fails.ron",
        r#"Runbook(format: 1, name: "fails", steps: [
            (id: "no", action: "exec.run", on_exhausted: halt, with: (command: ["false"])),
        ])"#,
    );
    env.backout(["run", "fails.ron"]).exits(1);
    assert_eq!(env.status("latest")["state"], "failed");
    env.backout(["frobnicate"]).exits(2);
    env.write("bad.ron", r#"Runbook(format: 1, name: "bad", steps: [(id: "a")])"#);
    env.backout(["run", "bad.ron"]).exits(3);
    env.backout(["run", "missing.ron"]).exits(3);
    env.write(
        "asks.ron",
        r#"Runbook(format: 1, name: "asks", steps: [
            (id: "gate", action: "wait.approval", with: (text: "is it quiet?")),
        ])"#,
    );
    env.backout(["run", "asks.ron"]).exits(4);
    env.backout(["reject", "latest", "--reason", "it is not"]).exits(0);
    env.backout(["status", "zzzz"]).exits(5);
    ready(&env);
}

fn ready(env: &TestEnv) {
    env.write(
        "flags.yaml",
        "mine:\n  variations: {on: true, off: false}\n  defaultRule: {variation: on}\n",
    );
    let file = env.path("flags.yaml");
    let flag = |flag: &str| {
        format!(
            r#"Runbook(format: 1, name: "flag", steps: [
                (id: "off", action: "flags.off", with: (file: "{}", flag: "{flag}")),
            ])"#,
            file.display()
        )
    };
    env.write("there.ron", &flag("mine"));
    env.backout(["ready", "there.ron"]).exits(0);
    env.write("refused.ron", &flag("not_there"));
    let said = env.backout(["ready", "refused.ron"]).exits(7);
    assert!(said.out.contains("not_there"), "{}", said.out);
    // A port on which nobody listens any more.
    let gone = Server::new(false).url("/made");
    env.write(
        "unseen.ron",
        &format!(
            r#"Runbook(format: 1, name: "unseen", steps: [
                (id: "post", action: "http.request", with: (method: POST, url: "{gone}", probe: (url: "{gone}"))),
            ])"#
        ),
    );
    env.backout(["ready", "unseen.ron"]).exits(8);
}

#[test]
fn an_owner_that_cannot_be_reached_is_named() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.write(
        "slow.ron",
        r#"Runbook(format: 1, name: "slow", steps: [(id: "pause", action: "wait.for", with: (time: "1h"))])"#,
    );
    let running = env.spawn(["run", "slow.ron"]);
    env.wait_for_state("running");
    fs::remove_file(env.store().join("control.sock")).unwrap();
    for args in
        [&["run", "two.ron"][..], &["note", "latest", "--reason", "x"], &["resume", "latest"]]
    {
        let said = env.backout(args).exits(6);
        assert!(said.err.contains(&running.pid().to_string()), "{}", said.err);
        assert!(said.err.contains("since 20"), "{}", said.err);
    }
    for args in
        [&["status", "latest"][..], &["history", "latest"], &["by-hand", "latest"], &["verify"]]
    {
        env.backout(args).exits(0);
    }
}

#[test]
fn a_terminated_engine_leaves_a_record_and_says_how_to_go_on() {
    for signal in ["TERM", "HUP"] {
        let held = Held::new();
        let running = held.start();
        running.signal(signal);
        held.release();
        let said = running.wait().exits(4);
        let run = held.env.status("latest")["run"].as_str().unwrap().to_owned();
        assert!(said.err.contains(&format!("to go on: backout resume {run}")), "{}", said.err);
        assert_eq!(held.detached_why(), [format!("SIG{signal}")]);
        // Its outcome is recorded; what follows from it is left to the next engine.
        assert_eq!(held.env.status("latest")["steps"][0]["effects"][0]["state"], "done");
        assert_eq!(held.count("after"), 0, "nothing new was begun");
        held.goes_on_to_its_end();
    }
}

#[test]
fn a_binary_that_is_replaced_while_it_runs_goes_on_with_itself() {
    let held = Held::new();
    let own = held.env.path("backout");
    fs::copy(env!("CARGO_BIN_EXE_backout"), &own).unwrap();
    let mut command = Command::new(&own);
    command.args(["run", "held.ron"]).current_dir(held.env.path(""));
    command.env("BACKOUT_STORE", held.env.store());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::new(&mut command);
    wait_until("the command is at work", || held.count("begun") == 1);
    fs::remove_file(&own).unwrap();
    held.env.write("backout", "another release");
    held.release();
    running.wait().exits(0);
    assert_eq!(held.count("after"), 1, "the next command was started by the same release");
}

#[test]
fn ctrl_c_finishes_what_is_in_flight_and_starts_nothing_more() {
    let held = Held::new();
    let mut running = held.start();
    running.signal("INT");
    wait_until("it says what it does", || running.err().contains("finishing what is in flight"));
    assert!(!running.is_over(), "it waits for the command");
    held.release();
    running.wait().exits(4);
    assert_eq!(held.detached_why(), ["Ctrl-C"]);
    assert_eq!((held.count("made"), held.count("after")), (1, 0));
    held.goes_on_to_its_end();
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let held = Held::new();
    let running = held.start();
    running.signal("INT");
    wait_until("it says what it does", || running.err().contains("finishing what is in flight"));
    running.signal("INT");
    let said = running.wait().exits(4);
    assert!(said.err.contains("left at once"), "{}", said.err);
    assert_eq!(held.count("made"), 0, "the command is still at work");
    held.release();
    held.goes_on_to_its_end();
}

#[test]
fn a_reader_that_goes_away_is_quiet_everywhere() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    for _ in 0..3 {
        env.backout(["run", "two.ron"]).exits(0);
    }
    for command in
        ["status", "status latest", "history latest", "history latest --json", "plan two.ron"]
    {
        let script = format!("set -o pipefail; {} {command} | true", env!("CARGO_BIN_EXE_backout"));
        let said = Command::new("bash")
            .args(["-c", &script])
            .current_dir(env.path(""))
            .env("BACKOUT_STORE", env.store())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&said.stderr).replace("store ", "");
        assert_eq!(said.status.code(), Some(0), "{command}: {err}");
        assert!(!err.contains("error"), "{command}: {err}");
    }
}

#[test]
fn colours_need_a_terminal_and_no_color_is_heeded() {
    if Command::new("script").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "`script` of util-linux is missing");
        eprintln!("skipped: `script` is missing; apt-get install bsdutils");
        return;
    }
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.backout(["run", "two.ron"]).exits(0);
    let on_terminal = |no_color: bool| {
        let mut command = Command::new("script");
        let shown = format!("{} status latest", env!("CARGO_BIN_EXE_backout"));
        command
            .args(["-qec", &shown, "/dev/null"])
            .env("TERM", "xterm")
            .env("BACKOUT_STORE", env.store());
        command.env_remove("NO_COLOR").env_remove("CI").stdin(std::process::Stdio::null());
        if no_color {
            command.env("NO_COLOR", "1");
        }
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    assert!(on_terminal(false).contains('\u{1b}'), "{}", on_terminal(false));
    assert!(!on_terminal(true).contains('\u{1b}'), "{}", on_terminal(true));
}

#[test]
fn status_and_history_have_the_promised_fields() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.backout(["run", "two.ron"]).exits(0);
    let status = env.status("latest");
    for field in ["run", "runbook", "state"] {
        assert!(status[field].is_string(), "{field}: {status:#}");
    }
    for step in status["steps"].as_array().unwrap() {
        assert!(
            step["id"].is_string() && step["state"].is_string() && step["guarantee"].is_string()
        );
        assert!(step["attempts"].is_u64(), "{step:#}");
    }
    for (at, line) in env.history("latest").iter().enumerate() {
        assert_eq!(line["seq"], at + 1);
        assert!(line["at"].is_string() && line["kind"].is_string(), "{line}");
    }
}
