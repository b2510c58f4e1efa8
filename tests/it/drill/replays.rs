//! A record walked through at a terminal, and left for another way.

use crate::support::{TestEnv, wait_until};
use crate::watch::{Terminal, backout, is_here, keep};

const BOOK: &str = r#"Runbook(format: 1, name: "shop", title: "The shop back", steps: [
    (id: "quiet", title: "Somebody looks first", action: "wait.approval", with: (text: "is it quiet?")),
    (id: "over", needs: ["quiet"], action: "noop.run"),
])"#;

/// A real run that was approved, and is over.
fn recorded(env: &TestEnv) {
    env.write("shop.ron", BOOK);
    let run = env.spawn(["run", "shop.ron"]);
    wait_until("it waits", || env.backout(["status", "latest"]).out.contains("quiet"));
    drop(run.wait());
    env.backout(["approve", "latest", "quiet", "--reason", "nobody buys now"]).exits(0);
    env.backout(["resume", "latest"]).exits(0);
}

#[test]
fn a_record_is_played_stepped_and_jumped_through() {
    if !is_here() {
        return;
    }
    let env = TestEnv::new();
    recorded(&env);
    let player = Terminal::open(&env, "player", &format!("{} replay latest --speed 0", backout()));
    player.shows("next decision");
    player.keys(&["Enter"]);
    player.shows("run of shop created");
    player.types("n");
    player.keys(&["Enter"]);
    player.shows("approved");
    player.types("v");
    player.keys(&["Enter"]);
    player.shows("REPLAY: what was known at event");
    player.types("g 2");
    player.keys(&["Enter"]);
    player.shows("    2  ");
    player.types("b");
    player.keys(&["Enter"]);
    player.types("s 1000");
    player.keys(&["Enter"]);
    player.types("p");
    player.keys(&["Enter"]);
    player.shows("the end of the record");
    keep("replay-player", &player.screen());
    player.types("q");
    player.keys(&["Enter"]);
}

#[test]
fn what_if_leaves_the_record_for_another_way() {
    let env = TestEnv::new();
    recorded(&env);
    let other = r#"Decisions(format: 1, decisions: [(at: "1m", by: "ana", ask: (ask: "reject", step: "quiet"), reason: "not now")])"#;
    env.write("other.ron", other);
    let asked = env.history("latest");
    let waits = asked.iter().find(|one| one["kind"] == "step-waits").unwrap();
    let at = waits["seq"].to_string();
    let kept = env.path("kept").display().to_string();
    let args = ["replay", "latest", "--what-if", &at, "--auto", "other.ron", "--record", &kept];
    env.backout(["replay", "latest", "--what-if", "999"]).exits(2);
    let said = env.backout(args).exits(0);
    assert!(said.out.contains("WHAT-IF, simulated:"), "{}", said.out);
    let quiet = said.out.lines().find(|line| line.trim_start().starts_with("quiet")).unwrap();
    assert!(quiet.contains("succeeded") && quiet.contains("failed"), "{}", said.out);
    let store = env.path("kept/store").display().to_string();
    let lines = env.backout(["--store", &store, "history", "latest"]).exits(0).out;
    // What does not fit a line goes on below it.
    let begins = |line: &&str| !line.is_empty() && !line.starts_with("      ");
    let events = lines.lines().filter(begins).filter(|line| !line.contains("(UTC)"));
    assert!(events.clone().count() > 2 && events.clone().all(|line| line.starts_with("DRILL ")));
    env.backout(["--store", &store, "resume", "latest"]).exits(2);
}
