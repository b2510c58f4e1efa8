//! The demo from end to end, and what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{TestEnv, wait_until};

/// The processes whose command line names a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let wanted = folder.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(wanted) && line.contains("__")).collect()
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
    let stopped = Command::new(folder.join("shop/bin/shopctl")).arg("stop").status().unwrap();
    assert!(stopped.success());
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
