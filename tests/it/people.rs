//! What people do to a run: beside its engine, without one, on another machine, on a damaged store.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{TestEnv, wait_until};
use crate::targets::{Database, FLAGS, FlagFile, Releases, lines};

fn step(status: &Value, id: &str) -> Value {
    let steps = status["steps"].as_array().unwrap();
    steps
        .iter()
        .find(|step| step["id"] == id)
        .unwrap_or_else(|| panic!("no {id}: {status:#}"))
        .clone()
}

fn is_in(env: &TestEnv, id: &str, state: &str) -> bool {
    let said = env.backout(["status", "latest", "--json"]);
    let status: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let steps = status["steps"].as_array().cloned().unwrap_or_default();
    steps.iter().any(|step| step["id"] == id && step["state"] == state)
}

/// A service that takes a request and hangs up without an answer.
fn hangs_up() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        // Read at least once: the request was sent.
        let _ = stream.read(&mut bytes).unwrap();
    });
    port
}

#[test]
fn a_second_process_decides_while_the_first_one_runs() {
    let env = TestEnv::new();
    let busy = env.write("busy", "");
    env.write(
        "many.ron",
        &format!(
            r#"Runbook(format: 1, name: "many", steps: [
    (id: "busy", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c",
        "while [ -e busy ]; do sleep 0.05; done"])),
    (id: "gate", needs: [], action: "wait.approval", with: (text: "is it quiet?")),
    (id: "again", needs: [], action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c", "test -e fixed"])),
    (id: "left", needs: [], action: "exec.run", with: (command: ["false"])),
    (id: "left_next", needs: ["left"], action: "noop.run"),
    (id: "left_last", needs: ["left_next"], action: "noop.run"),
    (id: "doubt", needs: [], action: "http.request", with: (method: POST, url: "http://127.0.0.1:{1}/x")),
    (id: "all", needs: ["busy", "gate", "again", "left_last", "doubt"], action: "noop.run"),
])"#,
            env.path("").display(),
            hangs_up()
        ),
    );
    let running = env.spawn(["run", "many.ron"]);
    let drives = format!("process {} drives it", running.pid());
    let asked = |args: &[&str]| {
        let said = env.backout(args).exits(0);
        assert!(said.err.contains(&drives), "{args:?}: {}", said.err);
        said
    };
    for (id, state) in
        [("gate", "waiting"), ("again", "waiting"), ("left", "waiting"), ("doubt", "in-doubt")]
    {
        wait_until(&format!("{id} is {state}"), || is_in(&env, id, state));
    }
    asked(&["approve", "latest", "gate"]);
    env.write("fixed", "");
    asked(&["retry", "latest", "again", "--reason", "mended"]);
    env.backout(["skip", "latest", "left"]).exits(2);
    let said = asked(&["skip", "latest", "left", "--reason", "not needed here"]);
    assert!(said.err.contains("left_next"), "what goes on is shown: {}", said.err);
    env.backout(["settle", "latest", "doubt", "--done"]).exits(2);
    env.backout(["retry", "latest", "doubt"]).exits(2);
    env.backout(["skip", "latest", "doubt", "--reason", "x"]).exits(2);
    asked(&[
        "settle",
        "latest",
        "doubt",
        "--done",
        "--reason",
        "seen in its log",
        "--output",
        "id=7",
    ]);
    asked(&["note", "latest", "gate", "--reason", "ana looked at the graphs"]);
    env.backout(["close", "latest"]).exits(2);
    fs::remove_file(busy).unwrap();
    running.wait().exits(0);
    let status = env.status("latest");
    assert_eq!(status["state"], "succeeded");
    assert_eq!(step(&status, "left")["state"], "skipped");
    assert_eq!(step(&status, "left_last")["state"], "succeeded");
    assert_eq!(step(&status, "again")["attempts"], 2);
    assert_eq!(step(&status, "doubt")["output"]["id"], 7);
    env.backout(["close", "latest", "--reason", "done"]).exits(0);
    env.backout(["undo", "latest"]).exits(2);
    let history = env.backout(["history", "latest"]).exits(0).out;
    for text in ["mended", "not needed here", "seen in its log", "ana looked at the graphs"] {
        assert!(history.contains(text), "{text}: {history}");
    }
}

/// A user of this machine and a group of theirs that has another name.
fn member() -> Option<(String, String)> {
    let [passwd, groups] =
        ["/etc/passwd", "/etc/group"].map(|path| fs::read_to_string(path).unwrap_or_default());
    passwd.lines().find_map(|line| {
        let user: Vec<&str> = line.split(':').collect();
        let group = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mut group = group.filter(|group| group.get(2) == user.get(3) && group[0] != user[0]);
        Some((user[0].to_owned(), group.next()?[0].to_owned()))
    })
}

#[test]
fn a_member_of_a_group_approves_for_it_unverified() {
    let (Some((user, group)), true) = (member(), rustix::process::getuid().is_root()) else {
        assert!(std::env::var_os("CI").is_none(), "this test must run as root");
        println!("skipped: run as root, with a user whose group has another name");
        return;
    };
    let env = TestEnv::new();
    let text = format!(
        r#"Runbook(format: 1, name: "group", steps: [
            (id: "it", action: "noop.run", approval: (by: ["{group}"])),
        ])"#
    );
    env.write("group.ron", &text);
    env.backout(["run", "group.ron"]).exits(4);
    let as_user = |user: &str| {
        let args = ["approve", "latest", "it", "--reason", "looked"];
        env.backout_with(args, "SUDO_USER", user)
    };
    let said = as_user("nobody-of-that-name").exits(2);
    assert!(said.err.contains(&group), "{}", said.err);
    as_user(&user).exits(0);
    env.backout(["resume", "latest"]).exits(0);
    let history = env.history("latest");
    let approved = history.iter().find(|event| event["kind"] == "step-approved").unwrap();
    assert_eq!(approved["actor"], Value::from(user), "{approved:#}");
    assert_eq!(approved["roles"][0], Value::from(group), "{approved:#}");
    assert_eq!(approved["verified"], false, "{approved:#}");
    assert_eq!(env.status("latest")["break_glass"], false);
}

#[test]
fn old_finished_runs_are_removed_and_others_never() {
    let env = TestEnv::new();
    env.write(
        "one.ron",
        r#"Runbook(format: 1, name: "one", steps: [(id: "a", action: "noop.run")])"#,
    );
    env.write(
        "asks.ron",
        r#"Runbook(format: 1, name: "asks", steps: [(id: "g", action: "wait.approval", with: (text: "?"))])"#,
    );
    let all = || env.backout(["status", "--json"]).json()["runs"].as_array().unwrap().len();
    env.backout(["run", "one.ron"]).exits(0);
    env.backout(["run", "asks.ron"]).exits(4);
    env.backout(["retain"]).exits(2);
    let said = env.backout(["retain", "--older-than", "90d"]).exits(0);
    assert!(said.err.contains("0 runs removed, 2 kept"), "{}", said.err);
    let said = env.backout(["retain", "--older-than", "0s", "--dry-run"]).exits(0);
    assert!(said.out.contains("one") && !said.out.contains("asks"), "{}", said.out);
    assert!(said.err.contains("1 run would be removed, 1 kept"), "{}", said.err);
    assert_eq!(all(), 2, "a dry run removes nothing");
    let said = env.backout(["retain", "--older-than", "0s"]).exits(0);
    assert!(said.err.contains("1 run removed, 1 kept"), "{}", said.err);
    assert_eq!(all(), 1, "the one that waits is kept");
    assert_eq!(env.status("latest")["runbook"], "asks");
}

#[test]
fn nothing_is_removed_beside_an_owner() {
    let env = TestEnv::new();
    let busy = env.write("busy", "");
    env.write(
        "busy.ron",
        &format!(
            r#"Runbook(format: 1, name: "busy", steps: [(id: "it", action: "exec.run", with: (cwd: "{}",
                command: ["sh", "-c", "echo x > begun; while [ -e busy ]; do sleep 0.05; done"]))])"#,
            env.path("").display()
        ),
    );
    let running = env.spawn(["run", "busy.ron"]);
    wait_until("it is at work", || env.path("begun").exists());
    let said = env.backout(["retain", "--older-than", "0s"]).exits(6);
    assert!(said.err.contains(&format!("process {} owns it", running.pid())), "{}", said.err);
    env.backout(["retain", "--older-than", "0s", "--dry-run"]).exits(0);
    fs::remove_file(busy).unwrap();
    running.wait().exits(0);
}

#[test]
fn break_glass_works_alone_and_marks_every_later_view() {
    let env = TestEnv::new();
    env.write(
        "lead.ron",
        r#"Runbook(format: 1, name: "lead", steps: [
            (id: "it", action: "noop.run", approval: (count: 2, by: ["lead", "second"], starter_may: false)),
            (id: "after", action: "noop.run"),
        ])"#,
    );
    env.backout(["run", "lead.ron"]).exits(4);
    env.backout(["approve", "latest", "it"]).exits(2);
    env.backout(["approve", "latest", "it", "--break-glass"]).exits(2);
    env.backout(["approve", "latest", "it", "--break-glass", "--reason", "alone at 03:00"])
        .exits(0);
    env.backout(["resume", "latest"]).exits(0);
    assert_eq!(env.status("latest")["break_glass"], true);
    for args in [&["status", "latest"][..], &["status"], &["history", "latest"]] {
        let said = env.backout(args).exits(0);
        assert!(said.out.contains("BREAK-GLASS"), "{args:?}: {}", said.out);
    }
}

#[test]
fn a_second_run_waits_for_the_target_that_the_first_one_holds() {
    let env = TestEnv::new();
    let flags = FlagFile::new(&env.path(""));
    let text = |name: &str, variation: &str, more: &str| {
        format!(
            r#"Runbook(format: 1, name: "{name}", steps: [
    (id: "flag", action: "flags.set", with: (file: "{}", flag: "new_checkout", variation: "{variation}")),
    {more}
])"#,
            flags.path.display()
        )
    };
    env.write("busy", "");
    let busy = format!(
        r#"(id: "busy", action: "exec.run", with: (cwd: "{}", command: ["sh", "-c",
            "while [ -e busy ]; do sleep 0.05; done"])),"#,
        env.path("").display()
    );
    env.write("first.ron", &text("first", "off", &busy));
    env.write("second.ron", &text("second", "on", ""));
    let first = env.spawn(["run", "first.ron"]);
    wait_until("the first run holds the flags", || is_in(&env, "busy", "running"));
    let holder = env.status("latest")["run"].as_str().unwrap().to_owned();
    let second = env.spawn(["run", "second.ron"]);
    wait_until("the second run waits", || {
        let said = env.backout(["status", "latest", "--json"]);
        let status: Value = serde_json::from_str(&said.out).unwrap_or_default();
        status["runbook"] == "second" && status["steps"][0]["wait"]["for"] == "lock"
    });
    assert_eq!(step(&env.status("latest"), "flag")["wait"]["held_by"], serde_json::json!([holder]));
    assert!(flags.text().contains("    variation: off\n"), "only the first one acted");
    fs::remove_file(env.path("busy")).unwrap();
    first.wait().exits(0);
    second.wait().exits(0);
    assert!(flags.text().contains("    variation: on\n"), "{}", flags.text());
}

/// A chain of two commands, the first of which is at work until it is let go.
fn chain() -> TestEnv {
    let env = TestEnv::new();
    env.write("held", "");
    env.write(
        "chain.ron",
        &format!(
            r#"Runbook(format: 1, name: "chain", steps: [
    (id: "one", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c",
        "echo x >> begun; while [ -e held ]; do sleep 0.05; done; echo x >> made"],
        revert: ["sh", "-c", "echo x >> reverted"])),
    (id: "two", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c", "echo x >> two"],
        revert: ["sh", "-c", "echo x >> two_reverted"])),
])"#,
            env.path("").display()
        ),
    );
    env
}

fn count(env: &TestEnv, name: &str) -> usize {
    lines(&env.path(name)).len()
}

#[test]
fn pause_abort_and_undo_reach_a_run_from_outside() {
    for (verb, code, state) in
        [("pause", 4, "paused"), ("abort", 1, "aborted"), ("undo", 0, "undone")]
    {
        let env = chain();
        let running = env.spawn(["run", "chain.ron"]);
        wait_until("the first command is at work", || count(&env, "begun") == 1);
        env.backout([verb, "latest", "--reason", "let me look"]).exits(0);
        fs::remove_file(env.path("held")).unwrap();
        let said = running.wait();
        assert_eq!(said.code, code, "{verb}: {}\n{}", said.out, said.err);
        assert_eq!(env.status("latest")["state"], state);
        assert_eq!((count(&env, "made"), count(&env, "two")), (1, 0), "{verb}");
        if verb == "undo" {
            assert_eq!(count(&env, "reverted"), 1);
            continue;
        }
        env.backout(["resume"]).exits(0);
        assert_eq!(env.status("latest")["state"], state, "{verb}: a bare resume leaves it");
        env.backout(["resume", "latest"]).exits(0);
        assert_eq!((count(&env, "made"), count(&env, "two")), (1, 1), "{verb}");
    }
}

#[test]
fn a_stale_run_goes_on_only_when_named() {
    let env = TestEnv::new();
    env.write("held", "");
    env.write(
        "stale.ron",
        &format!(
            r#"Runbook(format: 1, name: "stale", stale_after: "1s", steps: [
    (id: "one", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c",
        "echo x >> begun; while [ -e held ]; do sleep 0.05; done; echo x >> made"])),
])"#,
            env.path("").display()
        ),
    );
    let running = env.spawn(["run", "stale.ron"]);
    wait_until("the command is at work", || count(&env, "begun") == 1);
    running.signal("KILL");
    running.wait();
    fs::remove_file(env.path("held")).unwrap();
    wait_until("the run is stale", || env.status("latest")["stale"] == true);
    let said = env.backout(["resume"]).exits(0);
    assert!(said.err.contains("stale") && said.err.contains("backout resume"), "{}", said.err);
    assert_eq!(env.status("latest")["state"], "interrupted");
    env.backout(["resume", "latest"]).exits(0);
    assert_eq!((count(&env, "begun"), count(&env, "made")), (1, 1));
}

/// Flags, schema and release rolled back by one run.
struct Shop {
    env: TestEnv,
    flags: FlagFile,
    releases: Releases,
    database: Database,
}

/// What there is to be put back.
#[derive(Debug, PartialEq)]
struct State {
    flags: String,
    release: String,
    schema: Vec<String>,
    ledger: Vec<String>,
}

impl Shop {
    fn new() -> Self {
        let env = TestEnv::new();
        let folder = env.path("");
        let shop = Self {
            flags: FlagFile::new(&folder),
            releases: Releases::new(&folder),
            database: Database::new(&folder, 3),
            env,
        };
        let text = format!(
            r#"Runbook(format: 1, name: "shop", steps: [
    (id: "flag", action: "flags.off", with: (file: "{}", flag: "new_checkout")),
    (id: "release", action: "releases.activate", with: (root: "{}", release: "1.4.1")),
    (id: "schema", action: "migrations.down", accept: ["drops-table", "drops-column", "changes-rows"],
        with: (path: "{}", dir: "{}", to: 1)),
])"#,
            shop.flags.path.display(),
            shop.releases.root.display(),
            shop.database.path.display(),
            shop.database.migrations.display()
        );
        shop.env.write("shop.ron", &text);
        shop
    }

    fn state(&self) -> State {
        State {
            flags: self.flags.text(),
            release: self.releases.current(),
            schema: self.database.schema(),
            ledger: self.database.ledger(),
        }
    }
}

#[test]
fn an_undo_puts_everything_back_and_survives_a_kill_in_each_of_its_steps() {
    let points: &[Option<&str>] = &[
        None,
        Some("after-intent:schema/undo-1.1"),
        Some("after-effect:schema/undo-1.0"),
        Some("after-effect:release/undo-1"),
        Some("after-effect:flag/undo-1"),
        Some("after-outcome:flag/undo-1"),
    ];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(|| undo_and_crash(*point));
        }
    });
}

fn undo_and_crash(point: Option<&str>) {
    let shop = Shop::new();
    let before = shop.state();
    shop.env.backout(["run", "shop.ron"]).exits(0);
    assert_ne!(shop.state(), before);
    shop.env.backout(["undo", "latest", "--reason", "the rollback was the mistake"]).exits(0);
    let mut said = match point {
        None => shop.env.backout(["resume", "latest"]),
        Some(point) => {
            let said = shop.env.backout_with(["resume", "latest"], "BACKOUT_TEST_CRASH", point);
            assert_eq!(said.code, -1, "not killed at {point}: {}\n{}", said.out, said.err);
            shop.env.backout(["verify"]).exits(0);
            shop.env.backout(["resume"])
        }
    };
    // What cannot be put back whole asks a person first.
    while said.code == 4 {
        let status = shop.env.status("latest");
        let steps = status["steps"].as_array().unwrap();
        let asks = steps.iter().find(|step| step["wait"]["for"] == "approval");
        let asks = asks.unwrap_or_else(|| panic!("{status:#}"));
        shop.env.backout(["approve", "latest", asks["id"].as_str().unwrap()]).exits(0);
        said = shop.env.backout(["resume", "latest"]);
    }
    said.exits(0);
    assert_eq!(shop.env.status("latest")["state"], "undone", "{point:?}");
    assert_eq!(shop.state(), before, "{point:?}");
    assert_eq!(shop.flags.text(), FLAGS, "{point:?}");
    assert_eq!(shop.database.audit(), ["down 3", "down 2", "up 2", "up 3"], "{point:?}");
}

#[test]
fn a_run_that_ends_with_an_approval_is_done_and_resuming_it_is_no_mistake() {
    let env = TestEnv::new();
    env.write(
        "gate.ron",
        r#"Runbook(format: 1, name: "gate", steps: [
            (id: "gate", action: "wait.approval", with: (text: "is it quiet?")),
        ])"#,
    );
    env.backout(["run", "gate.ron"]).exits(4);
    let said = env.backout(["approve", "latest"]).exits(0);
    assert!(said.err.contains("the run is done"), "{}", said.err);
    env.backout(["resume", "latest"]).exits(0);
    assert_eq!(env.status("latest")["state"], "succeeded");
}

#[test]
fn a_finished_run_travels_and_still_verifies() {
    let (here, there) = (TestEnv::new(), TestEnv::new());
    here.write(
        "two.ron",
        r#"Runbook(format: 1, name: "two", steps: [(id: "a", action: "noop.run")])"#,
    );
    here.backout(["run", "two.ron"]).exits(0);
    let status = here.status("latest");
    let (run, head) = (status["run"].as_str().unwrap(), status["head"].as_str().unwrap());
    here.backout(["export", "latest", "run.backout"]).exits(0);
    let file = here.path("run.backout").to_str().unwrap().to_owned();
    there.backout(["import", &file]).exits(0);
    assert_eq!(there.history(run), here.history(run));
    for env in [&here, &there] {
        env.backout(["verify"]).exits(0);
        env.backout(["verify", run, "--head", head]).exits(0);
        assert_eq!(env.status(run)["head"], head);
        let other = if head.starts_with('0') {
            head.replacen('0', "1", 1)
        } else {
            format!("0{}", &head[1..])
        };
        env.backout(["verify", run, "--head", &other]).exits(1);
        env.backout(["verify", &file, "--head", &other]).exits(1);
    }
    let kept = here.backout(["verify", &file, "--head", head]).exits(0);
    assert!(kept.out.contains("the record ends there"), "{}", kept.out);
    // What is written later goes on from the head that was kept.
    here.backout(["note", run, "--reason", "seen"]).exits(0);
    let later = here.path("later.backout").to_str().unwrap().to_owned();
    here.backout(["export", run, &later]).exits(0);
    let kept = here.backout(["verify", &later, "--head", head]).exits(0);
    assert!(kept.out.contains("the record goes on from it by 1 event"), "{}", kept.out);
}

#[test]
fn an_unfinished_run_is_taken_over_elsewhere_with_a_reason() {
    let (here, there) = (TestEnv::new(), TestEnv::new());
    here.write(
        "moves.ron",
        &format!(
            r#"Runbook(format: 1, name: "moves", steps: [
    (id: "it", action: "exec.run", with: (cwd: "{0}", settle: ["test", "-s", "made"],
        command: ["sh", "-c", "echo x >> made"])),
    (id: "after", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c", "echo x >> after"])),
])"#,
            here.path("").display()
        ),
    );
    assert_eq!(
        here.backout_with(["run", "moves.ron"], "BACKOUT_TEST_CRASH", "after-effect:it").code,
        -1
    );
    assert_eq!(count(&here, "made"), 1);
    let file = here.path("run.backout").to_str().unwrap().to_owned();
    here.backout(["export", "latest", &file]).exits(0);
    let said = there.backout(["import", &file]).exits(0);
    assert!(said.err.contains("--take-over"), "{}", said.err);
    let run = here.status("latest")["run"].as_str().unwrap().to_owned();
    assert_eq!(there.backout(["resume"]).exits(0).code, 0);
    let said = there.backout(["resume", &run]);
    assert_eq!(said.code, 2, "read-only until taken over: {}\n{}", said.out, said.err);
    there.backout(["resume", &run, "--take-over"]).exits(2);
    assert_eq!(count(&here, "after"), 0);
    there.backout(["resume", &run, "--take-over", "--reason", "its machine is lost"]).exits(0);
    assert_eq!((count(&here, "made"), count(&here, "after")), (1, 1), "settled, not repeated");
    there.backout(["verify"]).exits(0);
    let history = there.history(&run);
    let epochs: Vec<u64> = history.iter().map(|event| event["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.first() < epochs.last(), "{epochs:?}");
    assert!(history.iter().any(|event| event["reason"] == "its machine is lost"), "{history:#?}");
}

#[test]
fn a_damaged_run_is_named_and_can_still_be_done_by_hand() {
    let env = TestEnv::new();
    env.write(
        "two.ron",
        r#"Runbook(format: 1, name: "two", steps: [(id: "a", action: "noop.run")])"#,
    );
    env.write(
        "asks.ron",
        r#"Runbook(format: 1, name: "asks", steps: [
            (id: "first", action: "noop.run"),
            (id: "gate", action: "wait.approval", with: (text: "is it quiet?")),
            (id: "command", action: "exec.run", with: (command: ["touch", "/srv/flag"])),
        ])"#,
    );
    env.backout(["run", "two.ron"]).exits(0);
    let sound = env.status("latest")["run"].as_str().unwrap().to_owned();
    env.backout(["run", "asks.ron"]).exits(4);
    let run = env.status("latest")["run"].as_str().unwrap().to_owned();
    // A later frame proves that the one before it was durable.
    env.backout(["note", &run, "--reason", "a later frame"]).exits(0);
    env.backout(["note", &run, "--reason", "and one more"]).exits(0);
    let file = flip(env.store(), b"a later frame");
    let said = env.backout(["verify"]).exits(1);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(said.out.contains(name) || said.err.contains(name), "{}\n{}", said.out, said.err);
    let said = env.backout(["by-hand", &run]).exits(0);
    assert!(said.out.contains("touch /srv/flag"), "{}", said.out);
    assert_eq!(env.backout(["status", &run]).code, 6);
    assert_ne!(env.backout(["resume", &run]).code, 0);
    assert_eq!(env.status(&sound)["state"], "succeeded", "the other run is not touched");
}

/// Flips a byte of the store's file that holds this text last, and says which file it was.
fn flip(store: &Path, text: &[u8]) -> PathBuf {
    let holds = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| find(&bytes, text).is_some());
    let mut files = files(store);
    files.retain(|path| !path.to_str().unwrap().contains("index") && holds(path));
    assert!(!files.is_empty(), "no file holds it");
    for path in &files {
        let at = find(&fs::read(path).unwrap(), text).unwrap();
        let mut file = fs::File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(b"A").unwrap();
    }
    files.pop().unwrap()
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// All files under a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// A flag that somebody switches on again while the run waits: the run does not end as if nothing
/// were, says who waits for whom, and makes it again when asked to.
#[test]
fn a_watched_step_that_somebody_changes_back_holds_the_run_until_a_person_answers() {
    let env = TestEnv::new();
    let flags = env.write("flags.yaml", FLAGS);
    env.write(
        "stays.ron",
        &format!(
            r#"Runbook(format: 1, name: "stays", steps: [
    (id: "flag", action: "flags.off", with: (file: "{}", flags: ["new_checkout"]),
        accept: ["future-schedule"], watch: true),
    (id: "go", action: "wait.approval", with: (text: "is it quiet?")),
])"#,
            flags.display()
        ),
    );
    env.backout(["run", "stays.ron"]).exits(4);
    let off = fs::read_to_string(&flags).unwrap();
    assert_ne!(off, FLAGS);
    fs::write(&flags, FLAGS).unwrap();
    env.backout(["approve", "latest", "go"]).exits(0);
    let said = env.backout(["resume", "latest", "--no-wait"]).exits(4);
    assert!(said.err.contains("ALARM  flag"), "{}", said.err);
    let status = env.status("latest");
    assert_eq!(status["state"], "waiting");
    assert_eq!(status["alarms"][0]["step"], "flag");
    assert_eq!(status["wants"][0]["what"], "alarm");
    let kinds = |env: &TestEnv| -> Vec<String> {
        let kind = |event: &Value| event["kind"].as_str().unwrap().to_owned();
        env.history("latest").iter().map(kind).collect()
    };
    assert!(kinds(&env).contains(&"watch-alarm".to_owned()));
    env.backout(["retry", "latest"]).exits(0);
    env.backout(["resume", "latest", "--no-wait"]).exits(0);
    assert_eq!(fs::read_to_string(&flags).unwrap(), off);
    assert_eq!(kinds(&env).iter().filter(|kind| *kind == "watch-held").count(), 1);
}

/// Two runs, each of which holds what the other wants: both say so, and end with 4 until one is
/// ended.
#[test]
fn runs_that_wait_for_each_other_in_a_circle_say_so() {
    let env = TestEnv::new();
    let runbook = |name: &str, first: &str, second: &str| {
        format!(
            r#"Runbook(format: 1, name: "{name}", steps: [
    (id: "first", action: "exec.run", with: (command: ["true"]), locks: ["test:{first}"]),
    (id: "gate", action: "wait.approval", with: (text: "go?")),
    (id: "second", action: "exec.run", with: (command: ["true"]), locks: ["test:{second}"]),
])"#
        )
    };
    env.write("one.ron", &runbook("one", "a", "b"));
    env.write("two.ron", &runbook("two", "b", "a"));
    let begun = |file: &str| {
        env.backout(["run", file]).exits(4);
        env.status("latest")["run"].as_str().unwrap().to_owned()
    };
    let (one, two) = (begun("one.ron"), begun("two.ron"));
    let stuck = |run: &str| {
        env.backout(["approve", run, "gate"]).exits(0);
        env.spawn(["resume", run, "--no-wait"])
    };
    let (first, second) = (stuck(&one), stuck(&two));
    for (running, run, other) in [(first, &one, &two), (second, &two, &one)] {
        let said = running.wait().exits(4);
        assert!(said.err.contains("WAITS IN A CIRCLE"), "{}", said.err);
        assert!(said.err.contains(&format!("backout abort {other}")), "{}", said.err);
        let status = env.status(run);
        assert_eq!(status["circle"], serde_json::json!([run, other]));
        assert_eq!(status["wants"][0]["what"], "circle");
    }
    env.backout(["abort", &one]).exits(0);
    env.backout(["resume", &two]).exits(0);
}
