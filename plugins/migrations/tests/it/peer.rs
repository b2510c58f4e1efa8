//! Beside the real goose: it migrates up, we roll down, and it agrees.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers_common::tool;
use super::{World, shift};

fn goose() -> Option<PathBuf> {
    tool("goose")
}

fn run(goose: &Path, world: &World, args: &[&str]) -> String {
    let output = Command::new(goose)
        .arg("-dir")
        .arg(world.migrations())
        .arg("sqlite3")
        .arg(world.database())
        .args(args)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
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
    let Some(goose) = goose() else { return };
    for to in 0..=3 {
        let world = World::bare();
        run(&goose, &world, &["up"]);
        world.run("INSERT INTO users (name) VALUES ('a')").await;
        shift("migrations.down", &world.input(&to.to_string()), "r").await;
        let applied: Vec<_> = (1..=4).map(|version| version <= to).collect();
        assert_eq!(status(&goose, &world), applied, "down to {to}");
        let says = run(&goose, &world, &["version"]);
        assert!(says.trim().ends_with(&format!("version {to}")), "{says}");

        let fresh = World::bare();
        let to_text = to.to_string();
        // goose has no way up to 0, but makes its ledger when it is asked for the version.
        let steps = if to == 0 { vec!["version"] } else { vec!["up-to", &to_text] };
        run(&goose, &fresh, &steps);
        assert_eq!(world.schema().await, fresh.schema().await, "down to {to}");

        run(&goose, &world, &["up"]);
        assert_eq!(status(&goose, &world), [true; 4]);
        run(&goose, &world, &["down-to", "0"]);
        assert_eq!(status(&goose, &world), [false; 4]);
    }
}

#[tokio::test]
async fn goose_agrees_when_we_go_up() {
    let Some(goose) = goose() else { return };
    let world = World::bare();
    run(&goose, &world, &["up-to", "1"]);
    shift("migrations.up", &world.input("4"), "r").await;
    assert_eq!(status(&goose, &world), [true; 4]);
    let fresh = World::bare();
    run(&goose, &fresh, &["up"]);
    assert_eq!(world.schema().await, fresh.schema().await);
    run(&goose, &world, &["down"]);
    assert_eq!(status(&goose, &world), [true, true, true, false]);
}

/// The three things about goose that the driver takes for granted.
#[tokio::test]
async fn goose_still_behaves_as_we_assume() {
    let Some(goose) = goose() else { return };
    let world = World::bare();
    world.write("00005_no_down.sql", "-- +goose Up\nCREATE TABLE extra (id int);\n");
    world.write("seed.txt", "no migration");
    run(&goose, &world, &["up"]);
    run(&goose, &world, &["down"]);
    assert_eq!(world.versions().await, ["0", "1", "2", "3", "4"], "an empty down takes the row");
    assert!(world.schema().await.iter().any(|sql| sql.contains("extra")), "and leaves the table");
    let orphan = "INSERT INTO orders (user_id) VALUES (99)";
    world.write("00006_fk.sql", &format!("-- +goose Up\n{orphan};\n"));
    std::fs::remove_file(world.migrations().join("00005_no_down.sql")).unwrap();
    run(&goose, &world, &["up"]);
    assert_eq!(
        world.rows("SELECT CAST(user_id AS TEXT) FROM orders").await,
        ["99"],
        "no foreign keys"
    );
}
