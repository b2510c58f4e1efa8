//! The demo from end to end, and what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{TestEnv, kill, wait_until};

/// The processes whose command line names a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let wanted = folder.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(wanted) && line.contains("__")).collect()
}

/// The processes that work in a folder, by their ids; each is told to end.
fn engines_in(folder: &Path) -> Vec<String> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let place = fs::read_link(entry.path().join("cwd")).ok()?;
        place.starts_with(folder).then(|| entry.file_name().into_string().ok())?
    });
    let ids: Vec<String> = ids.collect();
    for id in &ids {
        kill("KILL", id);
    }
    ids
}

#[test]
fn the_demo_shows_each_effect_once_and_leaves_nothing() {
    let env = TestEnv::new();
    let folder = env.path("shop");
    let said = env.backout([Path::new("demo"), &folder]).exits(0);
    for wanted in [
        "GET /checkout  500",
        "kill -9 ",
        "no engine drives it",
        "flag new_checkout off",
        "migration 4 down",
        "GET /checkout  200",
        r#"{"version":"1.4.1","checkout":"old","schema":2}"#,
    ] {
        assert!(said.out.contains(wanted), "`{wanted}` is missing in\n{}", said.out);
    }
    let own = folder.to_str().unwrap();
    for line in said.out.lines().filter(|line| !line.contains(own)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!folder.exists(), "the folder is left");
    wait_until("nothing of it runs", || processes_of(&folder).is_empty());
}

#[test]
fn a_kept_demo_can_be_looked_at_and_stopped() {
    let env = TestEnv::new();
    let folder = env.path("shop");
    env.backout([Path::new("demo"), &folder, Path::new("--keep")]).exits(0);
    let kept = |args: &[&str]| {
        let said = env.command(args).env("BACKOUT_STORE", folder.join("store")).output().unwrap();
        assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let status = kept(&["status", "latest", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&status).unwrap()["state"], "succeeded");
    let history = kept(&["history", "latest", "--json"]);
    assert_eq!(history.matches("\"engine-attached\"").count(), 2, "two engines had it");
    assert!(!processes_of(&folder).is_empty(), "the shop still runs");
    let flags = fs::read_to_string(folder.join("shop/flags.yaml")).unwrap();
    assert!(flags.contains("# Not ours: the warehouse keeps it."), "{flags}");
    schema_back_with_people(&env, &folder.join("shop"));
    let stopped = Command::new(folder.join("shop/bin/shopctl")).arg("stop").status().unwrap();
    assert!(stopped.success());
    wait_until("nothing of it runs", || processes_of(&folder).is_empty());
}

/// Runs `runbooks/approval.ron` on a shop's database: it asks twice, and goes on when it is told.
fn schema_back_with_people(env: &TestEnv, shop: &Path) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks/approval.ron");
    let database = format!("database={}", shop.join("shop.db").display());
    let migrations = format!("migrations={}", shop.join("migrations").display());
    let file = file.to_str().unwrap();
    let args = ["run", file, "--yes", "-p", &database, "-p", &migrations, "-p", "to=1"];
    let said = env.backout(args).exits(4);
    assert!(said.err.contains("Are all writers"), "{}", said.err);
    env.backout(["approve", "latest", "--reason", "no connections"]).exits(0);
    let said = env.backout(["resume", "latest"]).exits(4);
    assert!(said.err.contains("column `orders.note` goes"), "{}", said.err);
    assert!(shop.join("shop.db.before").exists(), "the copy is there before anybody is asked");
    env.backout(["approve", "latest", "schema_down", "--reason", "no notes"]).exits(0);
    env.backout(["resume", "latest"]).exits(0);
    assert_eq!(env.status("latest")["state"], "succeeded");
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let env = TestEnv::new();
    let folder = env.path("shop");
    let demo = env.spawn([Path::new("demo"), &folder]);
    wait_until("the shop runs", || folder.join("shop/run/1.4.2.ready").exists());
    demo.signal("INT");
    let said = demo.wait();
    assert!(said.err.contains("ended by Ctrl-C"), "{}", said.err);
    wait_until("nothing of it runs", || processes_of(&folder).is_empty());
    assert!(!folder.exists(), "the folder is left");
}

#[test]
fn a_demo_that_cannot_go_on_leaves_nothing() {
    let env = TestEnv::new();
    let folder = env.path("shop");
    let demo = env.spawn([Path::new("demo"), &folder]);
    wait_until("the shop runs", || folder.join("shop/run/1.4.2.ready").exists());
    fs::remove_dir_all(folder.join("shop")).unwrap();
    assert_ne!(demo.wait().code, 0, "half of the demo is gone");
    assert_eq!(processes_of(&folder), [""; 0]);
    assert!(!folder.exists(), "the folder is left");
}

#[test]
fn the_service_of_a_demo_that_was_killed_ends_by_itself() {
    let env = TestEnv::new();
    let folder = env.path("shop");
    let demo = env.spawn([Path::new("demo"), &folder]);
    wait_until("the shop runs", || folder.join("shop/run/1.4.2.ready").exists());
    demo.signal("KILL");
    demo.wait();
    wait_until("nothing of it runs", || processes_of(&folder).is_empty());
    wait_until("no engine works in it", || engines_in(&folder).is_empty());
}

#[test]
fn the_service_of_a_folder_that_is_gone_ends_by_itself() {
    let env = TestEnv::new();
    let folder = env.path("shop");
    env.backout([Path::new("demo"), &folder, Path::new("--keep")]).exits(0);
    assert!(!processes_of(&folder).is_empty(), "the shop still runs");
    fs::remove_dir_all(&folder).unwrap();
    wait_until("nothing of it runs", || processes_of(&folder).is_empty());
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let env = TestEnv::new();
    env.write("mine/file", "mine");
    let said = env.backout([Path::new("demo"), &env.path("mine")]).exits(2);
    assert!(said.err.contains("is not empty"), "{}", said.err);
    assert_eq!(fs::read_to_string(env.path("mine/file")).unwrap(), "mine");
}
