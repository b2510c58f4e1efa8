//! Every crash window of a swap of the link, by a stop and by SIGKILL.

use std::os::unix::process::ExitStatusExt;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::files::{Method, Point};
use backout_plugin_api::{Action, Call, Outcome, Settled};
use backout_plugin_releases::ReleasesActivate;

use super::{Root, call, context, prepare};

async fn check_settled(root: &Root, made: &Call, point: Point) {
    let activate = ReleasesActivate::default();
    let is_made = matches!(point, Point::Swapped | Point::Marked);
    let link = if is_made { "releases/1.4.2" } else { "releases/1.5.0" };
    assert_eq!(root.current(), link, "{point:?}");
    for _ in 0..2 {
        let settled = activate.settle(&context(), made).await;
        if is_made {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
        } else {
            assert_eq!(settled, Settled::NotDone, "{point:?}");
        }
        assert_eq!(root.current(), link, "settle moved the link");
    }
    if !is_made {
        let late = activate.apply(&context(), made).await;
        assert!(matches!(late, Outcome::Refused { .. }), "late: {late:?}");
        assert_eq!(root.current(), link);
    }
    let mut again = made.clone();
    again.fence.dispatch += 1;
    let outcome = activate.apply(&context(), &again).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(root.served(), "1.4.2");
}

#[tokio::test]
async fn each_window_is_settled_exactly() {
    for method in [Method::Exchange, Method::LinkRename] {
        for point in Point::ALL {
            let root = Root::new();
            let input = root.input();
            let activate = ReleasesActivate::default();
            let activate = activate.with_method(method).with_fault(move |at| at == point);
            let made = call(&input, prepare(&input).await.unwrap(), 1);
            let outcome = activate.apply(&context(), &made).await;
            assert!(matches!(outcome, Outcome::Unclear { .. }), "{point:?}: {outcome:?}");
            check_settled(&root, &made, point).await;
        }
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL") else { return };
    let (at, text) = job.split_once(' ').unwrap();
    let (input, prepared): (serde_json::Value, backout_plugin_api::Prepared) =
        serde_json::from_str(text).unwrap();
    let at: usize = at.parse().unwrap();
    let activate = ReleasesActivate::default().with_fault(move |point| {
        if point == Point::ALL[at] {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    activate.apply(&context(), &call(&input, prepared, 1)).await;
}

#[tokio::test]
async fn each_window_is_settled_after_sigkill() {
    let mut cuts = Cuts::new("releases.activate", "a folder", "SIGKILL");
    for (at, point) in Point::ALL.into_iter().enumerate() {
        let root = Root::new();
        let input = root.input();
        let prepared = prepare(&input).await.unwrap();
        let job = serde_json::to_string(&(&input, &prepared)).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "windows::child_that_kills_itself"])
            .env("BACKOUT_TEST_KILL", format!("{at} {job}"))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "{point:?}");
        check_settled(&root, &call(&input, prepared, 1), point).await;
        cuts.add(&point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

#[tokio::test]
async fn somebody_who_moves_the_link_in_the_last_moment_keeps_it() {
    let root = Root::new();
    let input = root.input();
    let folder = root.path();
    let activate = ReleasesActivate::default().with_fault(move |point| {
        if point == Point::Begun {
            std::os::unix::fs::symlink("releases/1.6.0", folder.join("theirs")).unwrap();
            std::fs::rename(folder.join("theirs"), folder.join("current")).unwrap();
        }
        false
    });
    let made = call(&input, prepare(&input).await.unwrap(), 1);
    let outcome = activate.apply(&context(), &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(root.current(), "releases/1.6.0");
    assert_eq!(activate.settle(&context(), &made).await, Settled::NotDone);
}
