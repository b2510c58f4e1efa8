//! Every crash window of a swap, by SIGKILL.

use std::os::unix::process::ExitStatusExt;

use backout_plugin_api::files::Point;
use backout_plugin_api::{Action, Call, Outcome, Settled};
use backout_plugin_config::ConfigRestore;

use super::{NEW, OLD, Place, call, context, prepare};

async fn check_settled(place: &Place, made: &Call, point: Point) {
    let restore = ConfigRestore::default();
    let is_made = matches!(point, Point::Swapped | Point::Marked);
    let text = if is_made { OLD } else { NEW };
    assert_eq!(place.text("etc/app.toml"), text, "{point:?}");
    for _ in 0..2 {
        let settled = restore.settle(&context(), made).await;
        if is_made {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
        } else {
            assert_eq!(settled, Settled::NotDone, "{point:?}");
        }
        assert_eq!(place.text("etc/app.toml"), text, "settle wrote");
    }
    if !is_made {
        let late = restore.apply(&context(), made).await;
        assert!(matches!(late, Outcome::Refused { .. }), "late: {late:?}");
    }
    let mut again = made.clone();
    again.fence.dispatch += 1;
    let outcome = restore.apply(&context(), &again).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(place.text("etc/app.toml"), OLD);
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL") else { return };
    let (at, text) = job.split_once(' ').unwrap();
    let (input, prepared): (serde_json::Value, backout_plugin_api::Prepared) =
        serde_json::from_str(text).unwrap();
    let at: usize = at.parse().unwrap();
    let restore = ConfigRestore::default().with_fault(move |point| {
        if point == Point::ALL[at] {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    restore.apply(&context(), &call(&input, prepared, 1)).await;
}

#[tokio::test]
async fn each_window_is_settled_after_sigkill() {
    for (at, point) in Point::ALL.into_iter().enumerate() {
        let place = Place::new();
        let input = place.folder();
        let prepared = prepare(&input).await.unwrap();
        let job = serde_json::to_string(&(&input, &prepared)).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "windows::child_that_kills_itself"])
            .env("BACKOUT_TEST_KILL", format!("{at} {job}"))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "{point:?}");
        check_settled(&place, &call(&input, prepared, 1), point).await;
    }
}
