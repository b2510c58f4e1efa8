//! The command line: what it says, to which stream, and how it exits.

use serde_json::Value;

use crate::support::{TestEnv, wait_until};

const TWO: &str = r#"Runbook(format: 1, name: "two", steps: [
    (id: "first", action: "noop.run"),
    (id: "second", action: "noop.run"),
])"#;

const ASKS: &str = r#"Runbook(format: 1, name: "asks", steps: [
    (id: "first", action: "noop.run"),
    (id: "gate", action: "wait.approval", with: (text: "is it quiet?")),
    (id: "last", action: "noop.run"),
])"#;

const SLOW: &str = r#"Runbook(format: 1, name: "slow", steps: [
    (id: "pause", action: "wait.for", with: (time: "1h")),
])"#;

#[test]
fn a_run_goes_to_its_end() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    let said = env.backout(["run", "two.ron"]).exits(0);
    assert!(said.out.contains("succeeded: 2 of 2 steps done"), "{}", said.out);
    let status = env.status("latest");
    assert_eq!(status["state"], "succeeded");
    assert_eq!(status["runbook"], "two");
    let step = &status["steps"][0];
    assert_eq!(
        (&step["id"], &step["state"], &step["attempts"], &step["guarantee"]),
        (
            &Value::from("first"),
            &Value::from("succeeded"),
            &Value::from(1),
            &Value::from("conditional"),
        )
    );
}

#[test]
fn history_has_one_event_a_line() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.backout(["run", "two.ron"]).exits(0);
    let said = env.backout(["history", "latest", "--json"]).exits(0);
    let lines: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["kind"], "run-created");
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], at + 1);
        assert!(line["at"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    env.backout(["history", "latest"]).exits(0);
}

#[test]
fn a_run_that_waits_for_a_person_ends_with_4_and_says_the_command() {
    let env = TestEnv::new();
    env.write("asks.ron", ASKS);
    let said = env.backout(["run", "asks.ron"]).exits(4);
    assert!(said.err.contains("is it quiet?"), "{}", said.err);
    assert!(said.err.contains("backout approve"), "{}", said.err);
    let status = env.status("latest");
    assert_eq!(status["state"], "waiting");
    assert_eq!(status["steps"][1]["wait"]["for"], "approval");
    let said = env.backout(["approve", "latest", "--reason", "all quiet"]).exits(0);
    assert!(said.err.contains("no engine drives the run now"), "{}", said.err);
    env.backout(["resume", "latest"]).exits(0);
    assert_eq!(env.status("latest")["state"], "succeeded");
    let history = env.backout(["history", "latest"]).exits(0);
    assert!(history.out.contains("(unverified): all quiet"), "{}", history.out);
}

#[test]
fn next_names_only_what_answers_alone_let_go_on() {
    let env = TestEnv::new();
    env.write(
        "two.ron",
        r#"Runbook(format: 1, name: "two", steps: [
            (id: "one", needs: [], action: "wait.approval", with: (text: "one?")),
            (id: "other", needs: [], action: "wait.approval", with: (text: "other?")),
            (id: "middle", needs: ["other"], action: "noop.run"),
            (id: "both", needs: ["one", "middle"], action: "noop.run"),
        ])"#,
    );
    env.backout(["run", "two.ron"]).exits(4);
    assert_eq!(env.status("latest")["next"], serde_json::json!(["middle"]));
}

#[test]
fn output_is_shown_as_it_comes_where_it_is_asked_for() {
    let env = TestEnv::new();
    env.write(
        "says.ron",
        r#"Runbook(format: 1, name: "says", steps: [
            (id: "it", action: "exec.run", with: (command: ["sh", "-c", "echo hello; echo there"])),
        ])"#,
    );
    let said = env.backout(["run", "says.ron", "--verbose"]).exits(0);
    assert!(said.err.contains("it | hello\n") && said.err.contains("it | there\n"), "{}", said.err);
    let said = env.backout(["run", "says.ron"]).exits(0);
    assert!(!said.err.contains("it | "), "{}", said.err);
}

#[test]
fn a_killed_run_is_interrupted_and_resumed() {
    let env = TestEnv::new();
    env.write("slow.ron", SLOW);
    let running = env.spawn(["run", "slow.ron"]);
    env.wait_for_state("running");
    let said = env.backout(["status"]).exits(0);
    assert!(said.err.contains(&format!("owned by process {}", running.pid())), "{}", said.err);
    running.signal("KILL");
    running.wait();
    let status = env.status("latest");
    assert_eq!(status["state"], "interrupted");
    let run = status["run"].as_str().unwrap();
    assert_eq!(status["go_on"], format!("backout resume {run}"));
    let again = env.spawn(["resume"]);
    env.wait_for_state("running");
    again.signal("TERM");
    let said = again.wait().exits(4);
    assert!(said.err.contains("to go on: backout resume"), "{}", said.err);
    let history = env.backout(["history", run]).exits(0);
    assert!(history.out.contains("engine let go: SIGTERM"), "{}", history.out);
}

#[test]
fn people_work_through_the_owner_of_the_store() {
    let env = TestEnv::new();
    env.write("slow.ron", SLOW);
    env.write("two.ron", TWO);
    let running = env.spawn(["run", "slow.ron"]);
    env.wait_for_state("running");
    let said = env.backout(["note", "latest", "--reason", "I am here"]).exits(0);
    assert!(said.err.contains(&format!("process {} drives it", running.pid())), "{}", said.err);
    env.backout(["run", "two.ron"]).exits(0);
    let slow = env.backout(["status", "--json"]).exits(0).json();
    let slow = slow["runs"].as_array().unwrap().iter().find(|run| run["runbook"] == "slow");
    let slow = slow.unwrap()["run"].as_str().unwrap().to_owned();
    env.backout(["abort", &slow, "--reason", "enough"]).exits(0);
    running.wait().exits(1);
    assert_eq!(env.status(&slow)["state"], "aborted");
}

#[test]
fn wrong_names_and_wrong_files_have_their_own_codes() {
    let env = TestEnv::new();
    env.backout(["status", "latest"]).exits(5);
    env.backout(["status", "zzz"]).exits(5);
    env.backout(["status"]).exits(0);
    env.backout(["resume"]).exits(0);
    env.backout(["check", "missing.ron"]).exits(3);
    env.backout(["frobnicate"]).exits(2);
    env.backout(["settle", "latest", "x", "--done"]).exits(2);
    env.write(
        "bad.ron",
        r#"Runbook(format: 1, name: "bad", steps: [(id: "a", action: "nop.run")])"#,
    );
    let said = env.backout(["check", "bad.ron"]).exits(3);
    assert!(said.err.contains("noop.run"), "{}", said.err);
    let json = env.backout(["check", "--json", "bad.ron"]).exits(3).json();
    assert_eq!(json[0]["valid"], false);
    assert_eq!(json[0]["problems"][0]["line"], 1);
    assert!(!env.store().exists(), "checking must not make a store");
}

#[test]
fn a_protected_environment_needs_yes_without_a_terminal() {
    let env = TestEnv::new();
    let text = TWO.replace("steps", "environment: (name: \"production\", protected: true), steps");
    env.write("two.ron", &text);
    let said = env.backout(["run", "two.ron"]).exits(2);
    assert!(said.err.contains("--yes"), "{}", said.err);
    env.backout(["run", "two.ron", "--yes"]).exits(0);
}

#[test]
fn ready_answers_a_pipeline_by_its_exit_code_and_keeps_the_answer() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    let said = env.backout(["ready", "two.ron", "--json"]).exits(0).json();
    assert_eq!(said["verdict"], "ready");
    env.write(
        "flag.ron",
        r#"Runbook(format: 1, name: "flag", steps: [
            (id: "off", action: "flags.off", with: (file: "missing.yaml", flag: "x")),
        ])"#,
    );
    let said = env.backout(["ready", "flag.ron"]);
    assert!(said.code == 7 || said.code == 8, "{}\n{}", said.out, said.err);
    let kept = env.backout(["status", "--json"]).exits(0).json();
    assert_eq!(kept["ready"].as_array().unwrap().len(), 2, "{kept}");
}

#[test]
fn plan_shows_waves_and_changes_nothing() {
    let env = TestEnv::new();
    env.write("asks.ron", ASKS);
    let said = env.backout(["plan", "asks.ron"]).exits(0);
    assert!(said.out.contains("wave 3"), "{}", said.out);
    assert!(said.out.contains("asks a person: is it quiet?"), "{}", said.out);
    let json = env.backout(["plan", "asks.ron", "--json"]).exits(0).json();
    assert_eq!(json["steps"][0]["looked"], "seen");
    assert!(!env.store().exists(), "a plan must not make a store");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let env = TestEnv::new();
    let mut child = env.command(["plugins", "--json"]).spawn().unwrap();
    drop(child.stdout.take());
    let said = child.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(0));
    assert!(said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let env = TestEnv::new();
    let plain = env.backout(["plugins"]).exits(0);
    assert!(!plain.out.contains('\u{1b}'));
    let painted = env.backout(["plugins", "--color", "always"]).exits(0);
    assert!(painted.out.contains('\u{1b}'));
}

#[test]
fn by_hand_gives_commands_for_what_is_left() {
    let env = TestEnv::new();
    env.write("asks.ron", ASKS);
    env.backout(["run", "asks.ron"]).exits(4);
    let said = env.backout(["by-hand", "latest", "--json"]).exits(0).json();
    assert_eq!(said["done"][0]["id"], "first");
    let left: Vec<&str> =
        said["left"].as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap()).collect();
    assert_eq!(left, ["gate", "last"]);
}

#[test]
fn completions_and_manual_pages_are_there() {
    let env = TestEnv::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = env.backout(["completions", shell]).exits(0);
        assert!(said.out.contains("by-hand"), "{shell}");
    }
    env.backout(["completions", "--man", "man"]).exits(0);
    assert!(env.path("man").join("backout-by-hand.1").exists());
}

#[test]
fn new_writes_a_runbook_once() {
    let env = TestEnv::new();
    env.backout(["new", "mine.ron", "--from", "minimal"]).exits(0);
    env.backout(["check", "mine.ron"]).exits(0);
    env.backout(["new", "mine.ron"]).exits(2);
}

#[test]
fn an_unfinished_run_is_exported_and_taken_over_elsewhere() {
    let env = TestEnv::new();
    env.write("asks.ron", ASKS);
    env.backout(["run", "asks.ron"]).exits(4);
    env.backout(["export", "latest", "run.backout"]).exits(0);
    let other = env.path("other");
    let there = |args: &[&str]| {
        let mut all = vec!["--store", other.to_str().unwrap()];
        all.extend(args);
        env.backout(all)
    };
    let said = there(&["import", "run.backout"]).exits(0);
    assert!(said.err.contains("--take-over"), "{}", said.err);
    there(&["import", "run.backout"]).exits(6);
    assert_ne!(there(&["approve", "latest"]).code, 0, "it is read-only");
    there(&["resume", "latest", "--take-over"]).exits(2);
    there(&["resume", "latest", "--take-over", "--reason", "that machine is gone"]).exits(4);
    there(&["approve", "latest"]).exits(0);
    there(&["resume", "latest"]).exits(0);
}

#[test]
fn verify_finds_the_first_bad_byte_and_proves_a_head() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.backout(["run", "two.ron"]).exits(0);
    env.backout(["verify"]).exits(0);
    let status = env.status("latest");
    let (run, head) = (status["run"].as_str().unwrap(), status["head"].as_str().unwrap());
    let said = env.backout(["verify", run, "--head", head]).exits(0);
    assert!(said.out.contains("nothing up to it was changed"), "{}", said.out);
    env.backout(["verify", run, "--head", &"0".repeat(64)]).exits(1);
    damage(&env, run, |bytes| bytes.len() / 2);
    let said = env.backout(["verify", "--json"]).exits(1).json();
    assert_eq!(said["sound"], false);
    assert!(said["findings"][0]["file"].as_str().unwrap().contains(run), "{said}");
}

#[test]
fn by_hand_shows_what_is_readable_of_a_damaged_run() {
    let env = TestEnv::new();
    env.write("asks.ron", ASKS);
    env.backout(["run", "asks.ron"]).exits(4);
    env.backout(["approve", "latest"]).exits(0);
    env.backout(["resume", "latest"]).exits(0);
    let run = env.status("latest")["run"].as_str().unwrap().to_owned();
    damage(&env, &run, |bytes| bytes.len() - 20);
    let said = env.backout(["by-hand", &run]).exits(0);
    assert!(said.out.contains("readable up to event"), "{}", said.out);
    assert!(said.out.contains("first"), "{}", said.out);
    env.backout(["status", &run]).exits(6);
}

/// Flips one bit of a run's journal.
fn damage(env: &TestEnv, run: &str, at: impl Fn(&[u8]) -> usize) {
    let journal = env.store().join("runs").join(run).join("journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = at(&bytes);
    bytes[at] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
}

#[test]
fn the_head_of_a_chain_stands_in_the_status() {
    let env = TestEnv::new();
    env.write("two.ron", TWO);
    env.backout(["run", "two.ron"]).exits(0);
    let said = env.backout(["status", "latest"]).exits(0);
    assert!(said.out.contains("head "), "{}", said.out);
}

#[test]
fn who_follows_a_run_goes_on_where_its_engine_dies() {
    let env = TestEnv::new();
    env.write("slow.ron", SLOW);
    env.write("asks.ron", ASKS);
    let owner = env.spawn(["run", "slow.ron"]);
    env.wait_for_state("running");
    let follower = env.spawn(["run", "slow.ron"]);
    wait_until("two runs are there", || {
        let said = env.backout(["status", "--json"]);
        said.json()["runs"].as_array().is_some_and(|runs| runs.len() == 2)
    });
    owner.signal("KILL");
    owner.wait();
    wait_until("the follower owns the store", || {
        let said = env.backout(["status"]);
        said.err.contains(&format!("owned by process {}", follower.pid()))
    });
    wait_until("its run goes on", || env.status("latest")["state"] == "running");
    let runs = env.backout(["status", "--json"]).exits(0).json();
    let states: Vec<&str> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running", "interrupted"], "the other run has nobody");
    follower.signal("INT");
    let said = follower.wait().exits(4);
    assert!(said.err.contains("going on here"), "{}", said.err);
    assert!(said.err.contains("finishing what is in flight"), "{}", said.err);
}

#[test]
fn missing_secrets_are_named_together_before_anything_is_done() {
    let env = TestEnv::new();
    env.write(
        "secret.ron",
        r#"Runbook(format: 1, name: "secret", steps: [
            (id: "a", action: "exec.run", with: (command: ["true"], secret_env: { "A": "env:BACKOUT_NOT_SET" })),
            (id: "b", action: "exec.run", with: (command: ["true"], secret_env: { "B": "file:/not/there" })),
        ])"#,
    );
    let said = env.backout(["run", "secret.ron"]).exits(2);
    assert!(
        said.err.contains("BACKOUT_NOT_SET") && said.err.contains("/not/there"),
        "{}",
        said.err
    );
    env.backout(["status", "latest"]).exits(5);
}

#[test]
fn a_stale_run_goes_on_only_when_named_and_shows_what_drifted() {
    let env = TestEnv::new();
    let text = SLOW.replace("steps:", "stale_after: \"1s\", steps:");
    env.write("slow.ron", &text);
    let running = env.spawn(["run", "slow.ron"]);
    env.wait_for_state("running");
    running.signal("KILL");
    running.wait();
    wait_until("it is stale", || env.status("latest")["stale"] == true);
    let said = env.backout(["resume"]).exits(0);
    assert!(said.err.contains("is stale"), "{}", said.err);
    let resumed = env.spawn(["resume", "latest"]);
    env.wait_for_state("running");
    resumed.signal("TERM");
    let said = resumed.wait().exits(4);
    assert!(said.err.contains("stood still for long"), "{}", said.err);
}
