//! SIGKILL after every sub-step, then going on: one healthy container of the right image under the
//! replica's name, the one before kept, and nothing else.

use std::os::unix::process::ExitStatusExt;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Action, Call, Outcome, Reverted, Settled};
use backout_plugin_containers::Point::{
    self, Attached, Awaited, Joined, Kept, Looked, Marked, Named, Pulled, Quieted, Revived,
    Started, Stopped,
};
use backout_plugin_containers::{ContainersPower, ContainersRollback};
use backout_test_targets::docker::Engine;
use serde_json::{Value, json};

use super::shop::{Shop, docker, podman};
use super::{at_once, call, context, done, made, one_by_one, prepare};

/// Where a replica can stand beside the other.
const SIDE_BY_SIDE: [&str; 4] = ["--network-alias", "shop", "--restart", "always"];

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL") else { return };
    let (verb, at, input, prepared): (String, usize, Value, backout_plugin_api::Prepared) =
        serde_json::from_str(&job).unwrap();
    let kill = move |point| {
        if point == Point::ALL[at] {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    };
    let action: Box<dyn Action> = match verb.as_str() {
        "stop" => Box::new(ContainersPower::stop().with_fault(kill)),
        "start" => Box::new(ContainersPower::start().with_fault(kill)),
        "restart" => Box::new(ContainersPower::restart().with_fault(kill)),
        _ => Box::new(ContainersRollback::with_fault(kill)),
    };
    action.apply(&context(), &call(&input, &prepared, 0, 1)).await;
}

/// Sends an effect from a process that is killed at a point. Whether it came that far.
async fn send_and_kill(verb: &str, point: Point, made: &Call) -> bool {
    let at = Point::ALL.into_iter().position(|each| each == point);
    let job = json!([verb, at, made.input, *made.prepared]).to_string();
    let status = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "windows::child_that_kills_itself"])
        .env("BACKOUT_TEST_KILL", job)
        .stdout(std::process::Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{status:?}");
    status.signal() == Some(9)
}

/// What an engine does after a crash: settles, and sends again what is not done.
async fn go_on(action: &dyn Action, made: &Call, at: Point) -> Value {
    match action.settle(&context(), made).await {
        Settled::Done { output } => output,
        Settled::NotDone | Settled::Unknown { .. } => {
            let mut again = made.clone();
            again.fence.dispatch += 1;
            done(action.apply(&context(), &again).await)
        }
        other => panic!("{at:?}: {other:?}"),
    }
}

#[track_caller]
fn check_replaced(shop: &Shop, output: &Value, image: &str, at: Point) {
    let (up, down) = shop.names();
    assert_eq!(up, [shop.name.as_str()], "{at:?}");
    assert_eq!(down.len(), 1, "{at:?}: {down:?}");
    assert_eq!(output["kept"], json!(down[0]), "{at:?}");
    assert_eq!(bare(output["image_id"].as_str().unwrap()), bare(image), "{at:?}");
    let now = shop.docker(&["inspect", &shop.name, "--format", "{{.Image}} {{.State.Running}}"]);
    assert_eq!(bare(&now), format!("{} true", bare(image)), "{at:?}");
}

/// Podman leaves the algorithm away in some answers.
fn bare(image: &str) -> &str {
    image.trim_start_matches("sha256:")
}

/// What a crash after one sub-step of a rollback leaves, and how it goes on.
async fn check_rollback(engine: &'static dyn Engine, more: &[&str], point: Point) {
    let action = ContainersRollback::default();
    let shop = Shop::new(engine);
    let port = format!("127.0.0.1:{}:8080", backout_test_targets::free_port().unwrap());
    let more: Vec<_> = more.iter().map(|arg| if *arg == "PORT" { &port } else { *arg }).collect();
    shop.run(&shop.name, "2", &more);
    let input = json!({
        "container": shop.name, "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
    });
    let sent = call(&input, &prepare(&action, &input).await.unwrap(), 0, 1);
    assert!(send_and_kill("rollback", point, &sent).await, "{point:?} was not reached");
    let output = go_on(&action, &sent, point).await;
    check_replaced(&shop, &output, &shop.image("1"), point);
    shop.wait_well(&shop.name);
    let tidied = action.tidy(&context(), &made(&sent, output)).await;
    assert_eq!((tidied.removed.len(), tidied.left.len()), (1, 0), "{point:?}: {tidied:?}");
    let alone = (vec![shop.name.clone()], Vec::new());
    assert_eq!(shop.names(), alone, "{point:?}");
}

/// All of these were passed, each with the effect made once.
#[track_caller]
fn found(action: &str, target: &str, points: &[Point]) {
    let mut cuts = Cuts::new(action, target, "SIGKILL");
    for point in points {
        cuts.add(point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

#[test]
fn each_window_side_by_side_is_gone_on_from_after_sigkill() {
    let Some(engine) = docker() else { return };
    let more = SIDE_BY_SIDE;
    let points = [Looked, Pulled, Marked, Started, Awaited, Joined, Quieted, Kept, Named, Stopped];
    at_once(&points, async |point| check_rollback(engine, &more, point).await);
    found("containers.rollback", "Docker, side by side", &points);
}

#[test]
fn each_window_one_after_the_other_is_gone_on_from_after_sigkill() {
    let Some(engine) = docker() else { return };
    let more = ["-p", "PORT", "--restart", "always"];
    let points = [Looked, Pulled, Marked, Started, Awaited, Quieted, Kept, Named, Stopped];
    at_once(&points, async |point| check_rollback(engine, &more, point).await);
    found("containers.rollback", "Docker, one after the other", &points);
}

/// Podman changes no restart policy, so nothing is quieted there.
#[test]
fn each_window_of_a_rollback_on_podman_is_gone_on_from_after_sigkill() {
    let Some(engine) = podman() else { return };
    let more = ["--network-alias", "shop"];
    let points = [Looked, Pulled, Marked, Started, Awaited, Joined, Kept, Named, Stopped];
    one_by_one(&points, async |point| check_rollback(engine, &more, point).await);
    found("containers.rollback", "Podman, side by side", &points);
    let more = ["-p", "PORT"];
    let points = [Looked, Pulled, Marked, Started, Awaited, Kept, Named, Stopped];
    one_by_one(&points, async |point| check_rollback(engine, &more, point).await);
    found("containers.rollback", "Podman, one after the other", &points);
}

/// The undo puts the very container back, through the same windows.
async fn check_undo(engine: &'static dyn Engine, more: &[&str], point: Point) {
    let action = ContainersRollback::default();
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", more);
    let serving = shop.serving(&shop.name);
    let before = shop.docker(&["inspect", &shop.name, "--format", "{{.Id}}"]);
    let input = json!({
        "container": shop.name, "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
    });
    let (sent, output) = super::make(&action, &input).await.remove(0);
    let reverted = action.revert(&context(), &made(&sent, output)).await;
    let Reverted::By { input, .. } = reverted else { panic!("{reverted:?}") };
    let undo = call(&input, &prepare(&action, &input).await.unwrap(), 0, 1);
    assert!(send_and_kill("rollback", point, &undo).await, "{point:?} was not reached");
    let output = go_on(&action, &undo, point).await;
    check_replaced(&shop, &output, &shop.image("2"), point);
    assert_eq!(output["id"], json!(before), "{point:?}");
    let again = prepare(&action, &input).await.unwrap();
    assert!(again.is_satisfied(), "{point:?}: {again:?}");
    assert_eq!(shop.serving(&shop.name), serving, "{point:?}: with its restart policy");
}

#[test]
fn each_window_of_an_undo_is_gone_on_from_after_sigkill() {
    let Some(engine) = docker() else { return };
    let points = [
        Looked, Marked, Attached, Started, Awaited, Joined, Revived, Quieted, Kept, Named, Stopped,
    ];
    at_once(&points, async |point| check_undo(engine, &SIDE_BY_SIDE, point).await);
    found("containers.rollback", "Docker, an undo", &points);
}

#[test]
fn each_window_of_an_undo_on_podman_is_gone_on_from_after_sigkill() {
    let Some(engine) = podman() else { return };
    let more = ["--network-alias", "shop"];
    let points = [Looked, Marked, Attached, Started, Awaited, Joined, Kept, Named, Stopped];
    one_by_one(&points, async |point| check_undo(engine, &more, point).await);
    found("containers.rollback", "Podman, an undo", &points);
}

async fn check_power(engine: &'static dyn Engine, verb: &str, point: Point) {
    let action = match verb {
        "stop" => ContainersPower::stop(),
        "start" => ContainersPower::start(),
        _ => ContainersPower::restart(),
    };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "1", &["--restart", "always"]);
    if verb == "start" {
        shop.docker(&["stop", &shop.name]);
    }
    let input = json!({"container": shop.name, "engine": shop.host()});
    let sent = call(&input, &prepare(&action, &input).await.unwrap(), 0, 1);
    assert!(send_and_kill(verb, point, &sent).await, "{verb} {point:?} was not reached");
    go_on(&action, &sent, point).await;
    let (up, down) = shop.names();
    let is_up = usize::from(verb != "stop");
    assert_eq!((up.len(), down.len()), (is_up, 1 - is_up), "{verb} {point:?}");
    let late = action.apply(&context(), &sent).await;
    assert!(matches!(late, Outcome::Done { .. }), "{verb} {point:?}: {late:?}");
}

#[test]
fn each_window_of_stop_start_and_restart_is_gone_on_from_after_sigkill() {
    let Some(engine) = docker() else { return };
    let windows = [
        ("stop", Looked),
        ("stop", Quieted),
        ("stop", Stopped),
        ("start", Looked),
        ("start", Started),
        ("start", Awaited),
        ("restart", Looked),
        ("restart", Stopped),
        ("restart", Started),
        ("restart", Awaited),
    ];
    at_once(&windows, async |(verb, point)| check_power(engine, verb, point).await);
    found_of_power("Docker", &windows);
}

#[test]
fn each_window_of_stop_start_and_restart_on_podman_is_gone_on_from_after_sigkill() {
    let Some(engine) = podman() else { return };
    let windows = [
        ("stop", Looked),
        ("stop", Stopped),
        ("start", Looked),
        ("start", Started),
        ("start", Awaited),
        ("restart", Looked),
        ("restart", Stopped),
        ("restart", Started),
        ("restart", Awaited),
    ];
    one_by_one(&windows, async |(verb, point)| check_power(engine, verb, point).await);
    found_of_power("Podman", &windows);
}

#[track_caller]
fn found_of_power(target: &str, windows: &[(&str, Point)]) {
    for verb in ["stop", "start", "restart"] {
        let of_verb = windows.iter().filter(|window| window.0 == verb).map(|window| window.1);
        found(&format!("containers.{verb}"), target, &of_verb.collect::<Vec<_>>());
    }
}
