//! Every crash window on Unleash, by SIGKILL.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Arc;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Action, Context, Outcome, Prepared, Settled};
use backout_plugin_flags::{FlagsForce, FlagsRestore, ServerPoint};
use serde_json::{Value, json};

use super::{Flag, LATER_MS, Tokens, server, strategy};
use crate::{NOW_MS, call, context};

/// A flag that needs four requests to be as it was: one strategy changed, one gone, one more, off.
async fn disturbed(flag: &Flag) -> Value {
    let wanted = flag.ask("GET", "", None).await;
    let first = wanted["strategies"][0]["id"].as_str().unwrap();
    let second = wanted["strategies"][1]["id"].as_str().unwrap();
    flag.ask("PUT", &format!("/strategies/{first}"), Some(strategy("7", &["u7"]))).await;
    flag.ask("DELETE", &format!("/strategies/{second}"), None).await;
    flag.ask("POST", "/strategies", Some(strategy("9", &["u9"]))).await;
    flag.ask("POST", "/off", None).await;
    let state = json!({"enabled": true, "strategies": wanted["strategies"]});
    flag.input(&json!({"states": {flag.name.clone(): state}}))
}

/// Killed after each request, a restore is settled and the rest of it is made: once.
#[tokio::test]
async fn each_window_of_a_restore_is_settled_and_finished_after_sigkill() {
    let Some(server) = server() else { return };
    let mut cuts = Cuts::new("flags.restore", "Unleash", "SIGKILL");
    for (at, rest) in (0..=4_u32).zip([4_usize, 3, 2, 1, 0]) {
        let flag = Flag::new(&server.url()).await;
        let before = flag.state().await;
        let input = disturbed(&flag).await;
        let (restore, ctx) = (FlagsRestore::default(), flag.context());
        let prepared = restore.prepare(&ctx, &input).await.unwrap();
        send_and_kill("restore", at, &ctx, &input, &prepared);

        let made = call(&input, prepared, 1);
        let settled = restore.settle(&ctx, &made).await;
        let later = Context { now_ms: NOW_MS + LATER_MS, ..ctx.clone() };
        if at == 4 {
            assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
        } else {
            assert!(matches!(settled, Settled::Running { .. }), "{at}: {settled:?}");
            assert_eq!(restore.settle(&later, &made).await, Settled::NotDone, "{at}");
        }
        let events = flag.events().await.len();
        let mut again = made.clone();
        again.fence.dispatch = 2;
        let outcome = restore.apply(&later, &again).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{at}: {outcome:?}");
        assert_eq!(flag.state().await, before, "{at}");
        assert_eq!(flag.events().await.len() - events, rest, "{at}: each request once");
        let settled = restore.settle(&later, &again).await;
        assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
        cuts.add(&stop_at(at), Cuts::ONCE);
    }
    cuts.assert_kept();
}

#[tokio::test]
async fn each_window_of_off_is_settled() {
    let Some(server) = server() else { return };
    let mut cuts = Cuts::new("flags.off", "Unleash", "SIGKILL");
    for at in [0, 1] {
        let flag = Flag::new(&server.url()).await;
        let (off, ctx, input) = (FlagsForce::off(), flag.context(), flag.off());
        let prepared = off.prepare(&ctx, &input).await.unwrap();
        send_and_kill("off", at, &ctx, &input, &prepared);
        let made = call(&input, prepared, 1);
        let later = Context { now_ms: NOW_MS + LATER_MS, ..ctx.clone() };
        let settled = off.settle(&later, &made).await;
        if at == 0 {
            assert_eq!(settled, Settled::NotDone);
            assert_eq!(flag.state().await["enabled"], true);
        } else {
            assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
        }
        cuts.add(&stop_at(at), Cuts::ONCE);
    }
    cuts.assert_kept();
}

/// Sends from a process that is killed at a point.
fn send_and_kill(verb: &str, at: u32, ctx: &Context, input: &Value, prepared: &Prepared) {
    let job = serde_json::to_string(&(verb, at, &ctx.scratch, input, prepared)).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "unleash::windows::child_that_kills_itself"])
        .env("BACKOUT_TEST_KILL_SERVER", job)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{verb} {at}");
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL_SERVER") else { return };
    let (verb, at, scratch, input, prepared): (String, u32, PathBuf, Value, Prepared) =
        serde_json::from_str(&job).unwrap();
    let kill = move |point| {
        if point == stop_at(at) {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    };
    let ctx = Context { secrets: Arc::new(Tokens), scratch, ..context(std::path::Path::new("/")) };
    let made = call(&input, prepared, 1);
    match verb.as_str() {
        "off" => FlagsForce::off().with_server_fault(kill).apply(&ctx, &made).await,
        _ => FlagsRestore::default().with_server_fault(kill).apply(&ctx, &made).await,
    };
}

/// 0 is before the first request, others are after that many.
fn stop_at(at: u32) -> ServerPoint {
    if at == 0 { ServerPoint::Claimed } else { ServerPoint::Written(at) }
}
