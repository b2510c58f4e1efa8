//! Pictures for people: with `BACKOUT_LOOK=FOLDER` the pages are drawn by Chromium into that folder.

use std::path::Path;
use std::process::Command;

use backout_test_targets::program;

use crate::world::{World, change, incident};

/// Name, path, width and height in pixels, dark.
const PICTURES: [(&str, &str, u32, u32, bool); 11] = [
    ("list-wide", "/", 1280, 700, false),
    ("run-wide", "/runs/RUN", 1400, 2600, false),
    ("run-dark", "/runs/RUN?step=schema_down", 1400, 2600, true),
    ("run-phone", "/runs/RUN", 500, 5200, false),
    ("run-phone-dark", "/runs/RUN?step=cache_flush", 500, 5200, true),
    ("list-phone", "/", 500, 900, true),
    ("big-wide", "/runs/b000000000", 1400, 1800, false),
    ("locks-wide", "/locks", 1280, 800, false),
    ("replay-wide", "/runs/RUN?at=24", 1400, 1000, false),
    ("replay-dark", "/runs/RUN?at=40&step=schema_down", 1400, 1000, true),
    ("replay-phone", "/runs/RUN?at=30", 500, 1100, false),
];

#[tokio::test(flavor = "multi_thread")]
async fn pictures() {
    let Some(folder) = std::env::var_os("BACKOUT_LOOK") else { return };
    let Some(chromium) = program("chromium") else { return };
    let world = World::new();
    let run = incident(&world).await;
    let many = (0..450).map(|at| {
        let needs = format!("shard_{}", at / 3);
        let needs: &[&str] = if at < 3 { &[] } else { &[&needs] };
        let how = if at == 40 { "unclear" } else { "well" };
        change(&format!("shard_{at}"), "Move a shard", needs, how, &["shard: new -> old"])
    });
    world.start("b000000000", "shards", many.collect()).await;
    world.until("b000000000", "shard_40", "in-doubt").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (name, path, width, height, dark) in PICTURES {
        let url = format!("http://{address}{}", path.replace("RUN", run));
        let file = Path::new(&folder).join(format!("{name}.png"));
        let mut command = Command::new(&chromium);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--screenshot={}", file.display()))
            .args(dark.then_some("--blink-settings=preferredColorScheme=0"))
            .arg(url);
        let drawn = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    }
}
