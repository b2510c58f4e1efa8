//! Every crash window of a swap, by SIGKILL.

use std::os::unix::process::ExitStatusExt;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::files::Point;
use backout_plugin_api::{Action, Call, Outcome, Settled};
use backout_plugin_config::ConfigRestore;

use super::{NEW, OLD, Place, call, context, prepare};

/// Content before and after, absent where no file is.
type Ends = (Option<&'static str>, Option<&'static str>);

async fn check_settled(place: &Place, made: &Call, point: Point, (before, after): Ends) {
    let restore = ConfigRestore::default();
    let is_made = matches!(point, Point::Swapped | Point::Marked);
    let text = if is_made { after } else { before };
    assert_eq!(place.content().as_deref(), text, "{point:?}");
    for _ in 0..2 {
        let settled = restore.settle(&context(), made).await;
        if is_made {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
        } else {
            assert_eq!(settled, Settled::NotDone, "{point:?}");
        }
        assert_eq!(place.content().as_deref(), text, "settle wrote");
    }
    if !is_made {
        let late = restore.apply(&context(), made).await;
        assert!(matches!(late, Outcome::Refused { .. }), "late: {late:?}");
    }
    let mut again = made.clone();
    again.fence.dispatch += 1;
    let outcome = restore.apply(&context(), &again).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(place.content().as_deref(), after);
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
    type Input = fn(&Place) -> serde_json::Value;
    let ways: [(Input, Ends, &str); 3] = [
        (Place::folder, (Some(NEW), Some(OLD)), "a folder"),
        (Place::missing, (None, Some(OLD)), "a file that is made"),
        (Place::absent, (Some(NEW), None), "a file that is taken away"),
    ];
    for (input, ends, target) in ways {
        let mut cuts = Cuts::new("config.restore", target, "SIGKILL");
        for (at, point) in Point::ALL.into_iter().enumerate() {
            let place = Place::new();
            let input = input(&place);
            let prepared = prepare(&input).await.unwrap();
            let job = serde_json::to_string(&(&input, &prepared)).unwrap();
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "windows::child_that_kills_itself"])
                .env("BACKOUT_TEST_KILL", format!("{at} {job}"))
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(9), "{point:?}");
            check_settled(&place, &call(&input, prepared, 1), point, ends).await;
            cuts.add(&point, Cuts::ONCE);
        }
        cuts.assert_kept();
    }
}

#[tokio::test]
async fn who_comes_in_the_last_moment_keeps_theirs() {
    let place = Place::new();
    let input = place.missing();
    let target = place.path().join("etc/app.toml");
    let restore = ConfigRestore::default().with_fault(move |point| {
        if point == Point::Begun {
            std::fs::write(&target, "theirs").unwrap();
        }
        false
    });
    let made = call(&input, prepare(&input).await.unwrap(), 1);
    let outcome = restore.apply(&context(), &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(place.content().as_deref(), Some("theirs"));
    assert_eq!(restore.settle(&context(), &made).await, Settled::NotDone);
    let input = place.absent();
    let target = place.path().join("etc/app.toml");
    let restore = ConfigRestore::default().with_fault(move |point| {
        if point == Point::Begun {
            std::fs::remove_file(&target).unwrap();
            std::fs::write(&target, "theirs again").unwrap();
        }
        false
    });
    let mut made = call(&input, prepare(&input).await.unwrap(), 1);
    made.key = backout_plugin_api::EffectKey::from_text("0123456789/t/1/0");
    let outcome = restore.apply(&context(), &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(place.content().as_deref(), Some("theirs again"));
}
