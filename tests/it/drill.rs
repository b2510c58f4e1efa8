//! Exercises by the real binary: nothing is reached, and what is kept can be looked at.

mod replays;
mod rooms;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use backout_test_targets::missing;

use crate::support::{Running, Said, TestEnv};

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn exercise(name: &str) -> String {
    root().join("runbooks/exercises").join(name).display().to_string()
}

fn runbook() -> String {
    root().join("runbooks/rollback.ron").display().to_string()
}

#[test]
fn a_drill_plays_by_itself_and_keeps_a_record_apart() {
    let env = TestEnv::new();
    let folder = env.path("kept");
    let kept = folder.display().to_string();
    let (scenario, decided) =
        (exercise("engine_killed.ron"), exercise("engine_killed.decisions.ron"));
    let runbook = runbook();
    let args = ["drill", &runbook, "--scenario", &scenario, "--auto", &decided, "--record", &kept];
    let said = env.backout(args).exits(0);
    assert!(said.out.contains("DRILL") && said.out.contains("met"), "{}", said.out);
    for file in ["exercise.json", "report.json", "report.md", "report.html"] {
        assert!(folder.join(file).exists(), "{file}");
    }
    let store = folder.join("store").display().to_string();
    let status = env.backout(["--store", &store, "status", "latest"]).exits(0);
    assert!(status.out.contains("DRILL"), "{}", status.out);
    env.backout(["--store", &store, "verify"]).exits(0);
    env.backout(["--store", &store, "replay", "latest", "--verify"]).exits(0);
    let runs = env.backout(["status"]).exits(0);
    assert!(!runs.out.contains("shop-rollback"), "no real run was made: {}", runs.out);
}

#[test]
fn where_no_run_is_known_the_time_left_is_told_by_drills() {
    let env = TestEnv::new();
    let text = r#"Runbook(format: 1, name: "shop-rollback", steps: [
        (id: "flag_proven", action: "wait.approval", with: (text: "go on")),
    ])"#;
    let real = env.write("real.ron", text).display().to_string();
    env.backout(["run", &real, "--yes", "--no-wait"]).exits(4);
    let told = || env.backout(["status", "latest"]).exits(0).out;
    assert!(!told().contains("left by"), "{}", told());
    let (scenario, decided) =
        (exercise("engine_killed.ron"), exercise("engine_killed.decisions.ron"));
    env.backout(["drill", &runbook(), "--scenario", &scenario, "--auto", &decided]).exits(0);
    assert!(told().contains("left by 1 drill"), "{}", told());
    let status = env.status("latest");
    assert_eq!(
        (&status["time"]["drills"], &status["time"]["earlier_runs"]),
        (&1.into(), &0.into())
    );
}

/// The binary in a network of its own, in which there is nothing to reach, not even loopback.
fn unreachable(env: &TestEnv, args: &[&str]) -> Said {
    let mut command = Command::new("unshare");
    let inside = env.command(args);
    command.arg("--net").arg(inside.get_program()).args(inside.get_args());
    command.current_dir(env.path("")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in inside.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Running::new(&mut command).wait()
}

#[test]
fn without_any_network_it_is_the_same_to_the_byte() {
    if !is_root() && !missing("a network of its own", "run the tests as root") {
        return;
    }
    let env = TestEnv::new();
    let (scenario, decided) =
        (exercise("flag_comes_back.ron"), exercise("flag_comes_back.decisions.ron"));
    let runbook = runbook();
    let played = |name: &str| {
        let kept = env.path(name).display().to_string();
        let args = [
            "drill",
            &runbook,
            "--scenario",
            &scenario,
            "--auto",
            &decided,
            "--json",
            "--record",
            &kept,
        ];
        if name == "alone" {
            unreachable(&env, &args).exits(0).out
        } else {
            env.backout(args).exits(0).out
        }
    };
    let first = played("one");
    let report: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(report["outcome"].as_str().map(|text| text.starts_with("succeeded")), Some(true));
    assert!(first == played("alone"));
    let journal = |name: &str| fs::read(env.path(name).join("exercise.json")).unwrap();
    assert!(journal("one") == journal("alone"));
}

#[test]
fn a_team_that_does_nothing_fails_the_drill() {
    let env = TestEnv::new();
    let none = env.path("none.ron");
    fs::write(&none, "Decisions(format: 1, decisions: [])").unwrap();
    let kept = env.path("kept").display().to_string();
    let (runbook, scenario, none) =
        (runbook(), exercise("engine_killed.ron"), none.display().to_string());
    let args = ["drill", &runbook, "--scenario", &scenario, "--auto", &none, "--record", &kept];
    let said = env.backout(args).exits(1);
    assert!(said.out.contains("missed"), "{}", said.out);
}

/// Talks a scenario through with these lines; the report.
fn discussed(env: &TestEnv, name: &str, lines: &str) -> (Said, Value) {
    let kept = env.path(name);
    let lines = env.write(&format!("{name}.lines"), lines);
    let scenario = exercise("engine_killed.ron");
    let args = ["tabletop", &scenario, "--record", &kept.display().to_string()];
    let said = Running::new(env.command(args).stdin(fs::File::open(lines).unwrap())).wait();
    let report = fs::read_to_string(kept.join("report.json")).unwrap();
    (said.exits(0), serde_json::from_str(&report).unwrap())
}

#[test]
fn a_discussion_keeps_what_was_chosen_beside_what_the_plan_would_do() {
    let env = TestEnv::new();
    let (said, report) = discussed(&env, "talk", "3\nwe take the export elsewhere\n");
    assert!(said.err.contains("the plan: schema_down runs migrations.down"), "{}", said.err);
    assert!(said.err.contains("What went well?"), "{}", said.err);
    let answers = &report["answers"];
    assert_eq!(answers[0][1], "Start the engine and look at `backout status`");
    assert!(answers[0][2].as_str().unwrap().contains("when it fails"), "{answers}");
    assert_eq!(answers[1][1], "we take the export elsewhere");
    let (_, report) = discussed(&env, "real", "1\nreal emergency\n3\n");
    let answers = report["answers"].as_array().unwrap();
    assert_eq!((answers.len(), &answers[1][1]), (2, &Value::from("no answer")), "{answers:?}");
    assert!(report["ended"].as_str().unwrap().starts_with("REAL EMERGENCY, called by"), "{report}");
}
