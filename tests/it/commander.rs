//! What a commander does with runs as a whole: parts, branches, locks, the command, another run.

use std::fs;

use serde_json::Value;

use crate::support::{TestEnv, wait_until};

/// A runbook whose third step fails until a file is there; `old_in` leaves a line for each time.
fn shop(env: &TestEnv, checks: &str) -> String {
    format!(
        r#"Runbook(format: 1, name: "shop", steps: [
    (id: "flag", action: "noop.run"),
    (id: "old_in", action: "exec.run", with: (cwd: "{0}", command: ["sh", "-c", "echo x >> made"])),
    (id: "checks", action: "exec.run", with: (cwd: "{0}", command: {checks})),
    (id: "new_out", action: "noop.run"),
])"#,
        env.path("").display()
    )
}

fn made(env: &TestEnv) -> usize {
    fs::read_to_string(env.path("made")).unwrap_or_default().lines().count()
}

fn states(status: &Value) -> Vec<&str> {
    status["steps"].as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect()
}

#[test]
fn a_part_of_a_run_then_the_rest_with_another_input() {
    let env = TestEnv::new();
    env.write("shop.ron", &shop(&env, r#"["test", "-e", "nowhere"]"#));
    let said = env.backout(["run", "shop.ron", "--until", "old_in"]).exits(0);
    assert!(said.out.contains("the part is done, 2 steps held back"), "{}", said.out);
    let status = env.status("latest");
    assert_eq!(status["state"], "paused");
    assert_eq!(states(&status), ["succeeded", "succeeded", "pending", "pending"]);
    assert_eq!(status["held"], serde_json::json!(["checks", "new_out"]));
    env.backout(["resume", "latest"]).exits(4);
    env.backout(["retry", "latest", "checks", "--set", "command=[\"true\"]"]).exits(2);
    let wrong = ["retry", "latest", "checks", "--set", "comand=1", "--reason", "a slip"];
    let said = env.backout(wrong).exits(2);
    assert!(said.err.contains("comand"), "the schema says what it takes: {}", said.err);
    let right =
        ["retry", "latest", "checks", "--set", "command=[\"true\"]", "--reason", "wrong path"];
    env.backout(right).exits(0);
    env.backout(["resume", "latest"]).exits(0);
    assert_eq!(env.status("latest")["steps"][2]["edited_by"], env.status("latest")["starter"]);
    assert_eq!(made(&env), 1, "nothing was done twice");
}

#[test]
fn only_some_steps_are_named_and_confirmed_with_what_they_need() {
    let env = TestEnv::new();
    env.write("shop.ron", &shop(&env, r#"["true"]"#));
    let said = env.backout(["run", "shop.ron", "--only", "old_in"]).exits(2);
    assert!(said.err.contains("done first: flag"), "{}", said.err);
    assert_ne!(env.backout(["status", "latest"]).code, 0, "nothing was started");
    env.backout(["run", "shop.ron", "--yes", "--only", "old_in"]).exits(0);
    assert_eq!(states(&env.status("latest"))[..3], ["succeeded", "succeeded", "pending"]);
    let said = env.backout(["run", "shop.ron", "--until", "nowhere"]).exits(2);
    assert!(said.err.contains("its steps: flag, old_in"), "{}", said.err);
}

#[test]
fn a_corrected_runbook_goes_on_in_the_place_of_the_wrong_one() {
    let env = TestEnv::new();
    env.write("wrong.ron", &shop(&env, r#"["false"]"#));
    env.write("right.ron", &shop(&env, r#"["true"]"#));
    env.backout(["run", "wrong.ron"]).exits(4);
    let old = env.status("latest")["run"].as_str().unwrap().to_owned();
    env.backout(["run", "right.ron", "--continue", &old]).exits(2);
    let said = env.backout(["run", "right.ron", "--continue", &old, "--yes"]).exits(0);
    for words in ["adopts (2): flag, old_in", "does again checks", "does anew (1): new_out"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert_eq!(made(&env), 1);
    assert_eq!(env.status("latest")["continues"], old.as_str());
    let before = env.status(&old);
    assert_eq!(
        (&before["state"], &before["locks"]),
        (&"superseded".into(), &serde_json::json!([]))
    );
    let said = env.backout(["resume", &old]).exits(2);
    assert!(said.err.contains("goes on in the place"), "{}", said.err);
    assert!(env.backout(["status", &old]).exits(0).out.contains("SUPERSEDED"));
}

#[test]
fn a_run_in_the_background_goes_on_without_its_command_and_its_engine_ends_with_it() {
    let env = TestEnv::new();
    env.write(
        "gates.ron",
        r#"Runbook(format: 1, name: "gates", steps: [
    (id: "one", action: "noop.run"),
    (id: "gate", action: "wait.approval", with: (text: "go on?")),
    (id: "two", needs: ["one"], action: "wait.approval", with: (text: "and this?")),
    (id: "last", needs: ["gate", "two"], action: "noop.run"),
])"#,
    );
    let said = env.backout(["run", "gates.ron", "--detach"]).exits(0);
    assert!(said.err.contains("also after you log out"), "{}", said.err);
    let status = env.wait_for_state("waiting");
    assert_eq!(status["driven"], true, "{status:#}");
    let after = ["--after", "one", "--before", "last", "--reason", "the pool was full"];
    let drain = ["insert", "latest", "drain", "--text", "drain the pool", "--done"];
    env.backout(drain.iter().chain(&after)).exits(0);
    env.backout(["pause", "latest", "--step", "last", "--reason", "not yet"]).exits(0);
    env.backout(["approve", "latest", "gate"]).exits(0);
    env.backout(["approve", "latest", "two"]).exits(0);
    let status = env.wait_for_state("paused");
    let drain = status["steps"].as_array().unwrap().iter().find(|s| s["id"] == "drain").unwrap();
    assert_eq!(drain["state"], "succeeded");
    env.backout(["resume", "latest", "--step", "last"]).exits(0);
    env.wait_for_state("succeeded");
    let owned = || env.backout(["status"]).err.contains("owned by process");
    wait_until("the engine in the background ends", || !owned());
}

#[test]
fn a_target_is_held_taken_over_and_let_go() {
    let env = TestEnv::new();
    let target = "folder:/srv/shop";
    let hold = ["lock", "hold", target, "--reason", "we look at it"];
    env.backout(hold).exits(0);
    env.wait_for_state("waiting");
    let list = env.backout(["lock", "list", "--json"]).exits(0).json();
    let holder = list[target]["run"].as_str().unwrap().to_owned();
    env.write(
        "move.ron",
        r#"Runbook(format: 1, name: "move", steps: [
    (id: "move", action: "noop.run", locks: ["folder:/srv/shop"]),
])"#,
    );
    let running = env.spawn(["run", "move.ron"]);
    wait_until("the run waits for the lock", || {
        env.backout(["lock", "list"]).out.contains("waits for it")
    });
    env.backout(["lock", "take", target]).exits(2);
    let said = env.backout(["lock", "take", target, "--reason", "ours is the fix"]).exits(0);
    assert!(said.err.contains(&format!("held by run {holder}")), "{}", said.err);
    running.wait().exits(0);
    let told = env.backout(["history", &holder]).exits(0).out;
    assert!(told.contains("let go for others") && told.contains("ours is the fix"), "{told}");
    env.backout(["approve", &holder, "release"]).exits(0);
    wait_until("nobody holds the store", || {
        !env.backout(["status"]).err.contains("owned by process")
    });
}

#[test]
fn the_command_is_handed_over_with_a_brief_and_stays_until_it_is_taken() {
    let env = TestEnv::new();
    env.write(
        "gate.ron",
        r#"Runbook(format: 1, name: "gate", comms: (cadence: "15m", channel: "shop-incident"),
    steps: [(id: "gate", action: "wait.approval", with: (text: "go on?"))])"#,
    );
    env.backout(["run", "gate.ron"]).exits(4);
    let said =
        env.backout(["handover", "latest", "--to", "bob", "--reason", "shift ends"]).exits(0);
    for words in ["WAITS FOR APPROVAL", "an update to shop-incident every 15m"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert_eq!(env.status("latest")["offered_to"], "bob");
    let said = env.backout(["handover", "latest", "--accept"]).exits(2);
    assert!(said.err.contains("offered to bob, not to you"), "{}", said.err);
    let glass = ["handover", "latest", "--accept", "--break-glass", "--reason", "bob is not here"];
    env.backout(glass).exits(0);
    let status = env.status("latest");
    assert_eq!((&status["offered_to"], &status["break_glass"]), (&Value::Null, &true.into()));
}

#[test]
fn people_outside_are_told_at_once_of_a_broken_glass_and_of_the_end() {
    let env = TestEnv::new();
    let told = env.path("told");
    let channels = env.write(
        "channels.ron",
        &format!(
            r#"Channels(format: 1, channels: {{
    "ops": Command(command: ["sh", "-c", "cat >> {}"]),
}})"#,
            told.display()
        ),
    );
    let channels = channels.display().to_string();
    env.write(
        "gate.ron",
        r#"Runbook(format: 1, name: "gate", comms: (cadence: "15m", channel: "ops"), steps: [
    (id: "gate", action: "wait.approval", with: (text: "go on?"), approval: (by: ["nobody_here"])),
    (id: "last", action: "noop.run"),
])"#,
    );
    let backout = |args: &[&str]| env.backout_with(args, "BACKOUT_CHANNELS", &channels);
    backout(&["run", "gate.ron"]).exits(4);
    // No engine drives the run when the glass is broken.
    let glass = ["approve", "latest", "gate", "--break-glass", "--reason", "alone at three"];
    backout(&glass).exits(0);
    let text = || fs::read_to_string(&told).unwrap_or_default();
    assert!(text().contains("BREAK-GLASS") && text().contains("alone at three"), "{}", text());
    backout(&["resume", "latest"]).exits(0);
    assert!(text().contains("succeeded"), "{}", text());
    assert_eq!(text().matches("BREAK-GLASS").count(), 1, "{}", text());
    let messages = backout(&["status", "--messages"]).exits(0).out;
    assert_eq!(messages.matches("succeeded").count(), 2, "{messages}");
    assert!(!backout(&["status"]).exits(0).out.contains("message"), "they are not in the way");
}
