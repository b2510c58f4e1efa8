//! Beside the real goose: it migrates up, we roll down, and it agrees.

use std::path::{Path, PathBuf};
use std::process::Command;

use backout_test_targets::{missing, program};

use super::{World, server, shift};

fn goose() -> Option<PathBuf> {
    let found = program("goose");
    let how = "tests/setup/migration-tools.sh installs it into a folder on the path";
    found.or_else(|| {
        missing("goose", how);
        None
    })
}

fn run(goose: &Path, world: &World, args: &[&str]) -> String {
    let output = Command::new(goose)
        .arg("-dir")
        .arg(world.migrations())
        .arg("postgres")
        .arg(world.server.url(&world.database) + "?sslmode=disable")
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "goose {args:?}: {text}");
    text
}

/// Which of the four migrations goose calls applied.
fn status(goose: &Path, world: &World) -> Vec<bool> {
    let text = run(goose, world, &["status"]);
    let lines = text.lines().filter(|line| line.contains(".sql"));
    lines.map(|line| !line.contains("Pending")).collect()
}

#[tokio::test]
async fn goose_agrees_with_every_version_we_go_down_to() {
    let (Some(server), Some(goose)) = (server(), goose()) else { return };
    for to in 0..=3 {
        let world = World::bare(server);
        run(&goose, &world, &["up"]);
        world.run("INSERT INTO users (name) VALUES ('a')");
        shift("migrations.down", &world.input(&to.to_string()), "r").await;
        let applied: Vec<_> = (1..=4).map(|version| version <= to).collect();
        assert_eq!(status(&goose, &world), applied, "down to {to}");

        let fresh = World::bare(server);
        let to_text = to.to_string();
        // goose has no way up to 0, but makes its ledger when it is asked for the version.
        let steps = if to == 0 { vec!["version"] } else { vec!["up-to", &to_text] };
        run(&goose, &fresh, &steps);
        assert_eq!(world.schema(), fresh.schema(), "down to {to}");

        run(&goose, &world, &["up"]);
        assert_eq!(status(&goose, &world), [true; 4]);
        run(&goose, &world, &["down-to", "0"]);
        assert_eq!(status(&goose, &world), [false; 4]);
    }
}

#[tokio::test]
async fn goose_agrees_when_we_go_up() {
    let (Some(server), Some(goose)) = (server(), goose()) else { return };
    let world = World::bare(server);
    run(&goose, &world, &["up-to", "1"]);
    shift("migrations.up", &world.input("4"), "r").await;
    assert_eq!(status(&goose, &world), [true; 4]);
    let fresh = World::bare(server);
    run(&goose, &fresh, &["up"]);
    assert_eq!(world.schema(), fresh.schema());
    run(&goose, &world, &["down"]);
    assert_eq!(status(&goose, &world), [true, true, true, false]);
}
