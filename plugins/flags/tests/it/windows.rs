//! Every crash window of a swap, by a stop in the same process and by SIGKILL of another.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::files::{Method, Point};
use backout_plugin_api::{Action, Outcome, Settled};
use backout_plugin_flags::FlagsForce;

use super::{Folder, YAML, call, context, litter, prepare};

/// What the file is after a stop, and what settle must say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    NotDone,
    Done,
}

fn expected(point: Point) -> After {
    match point {
        Point::Locked | Point::Staged | Point::Begun => After::NotDone,
        Point::Swapped | Point::Marked => After::Done,
    }
}

async fn check_settled(folder: &Folder, made: &backout_plugin_api::Call, after: After) {
    let ctx = context(folder.dir.path());
    let off = FlagsForce::off();
    let text = folder.text();
    for _ in 0..2 {
        let settled = off.settle(&ctx, made).await;
        match after {
            After::NotDone => assert_eq!(settled, Settled::NotDone),
            After::Done => assert!(matches!(settled, Settled::Done { .. }), "{settled:?}"),
        }
        assert_eq!(folder.text(), text, "settle changed the target");
    }
    let late = off.apply(&ctx, made).await;
    match after {
        After::Done => assert!(matches!(late, Outcome::Done { .. }), "{late:?}"),
        After::NotDone => {
            assert!(matches!(late, Outcome::Refused { .. }), "late: {late:?}");
            assert_eq!(text, YAML);
            let mut again = made.clone();
            again.fence.dispatch += 1;
            let outcome = off.apply(&ctx, &again).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        }
    }
    assert!(folder.text().contains("variation: off"));
    assert_eq!(litter(folder).len(), 2, "{:?}", litter(folder));
}

#[tokio::test]
async fn each_window_is_settled_exactly() {
    for method in [Method::Exchange, Method::LinkRename] {
        for point in Point::ALL {
            let folder = Folder::new("flags.yaml", YAML);
            let input = folder.off();
            let off = FlagsForce::off().with_method(method).with_fault(move |at| at == point);
            let prepared = prepare(&off, &input).await.unwrap();
            let made = call(&input, prepared, 1);
            let outcome = off.apply(&context(folder.dir.path()), &made).await;
            assert!(matches!(outcome, Outcome::Unclear { .. }), "{point:?}: {outcome:?}");
            check_settled(&folder, &made, expected(point)).await;
        }
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL") else { return };
    let (at, text) = job.split_once(' ').unwrap();
    let made: (serde_json::Value, backout_plugin_api::Prepared) =
        serde_json::from_str(text).unwrap();
    let at: usize = at.parse().unwrap();
    let off = FlagsForce::off().with_fault(move |point| {
        if point == Point::ALL[at] {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    off.apply(&context(std::path::Path::new("/nonexistent")), &call(&made.0, made.1, 1)).await;
}

#[tokio::test]
async fn each_window_is_settled_after_sigkill() {
    let mut cuts = Cuts::new("flags.off", "a YAML file", "SIGKILL");
    for (at, point) in Point::ALL.into_iter().enumerate() {
        let folder = Folder::new("flags.yaml", YAML);
        let input = folder.off();
        let prepared = prepare(&FlagsForce::off(), &input).await.unwrap();
        let job = format!("{at} {}", serde_json::to_string(&(&input, &prepared)).unwrap());
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "windows::child_that_kills_itself"])
            .env("BACKOUT_TEST_KILL", job)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "{point:?}");
        check_settled(&folder, &call(&input, prepared, 1), expected(point)).await;
        cuts.add(&point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

#[tokio::test]
async fn an_editor_in_the_last_moment_loses_nothing() {
    const THEIRS: &str = "theirs: {variations: {a: 1}, defaultRule: {variation: a}}\n";
    for by_rename in [false, true] {
        let folder = Folder::new("flags.yaml", YAML);
        let input = folder.off();
        let file = folder.file();
        let off = FlagsForce::off().with_fault(move |point| {
            if point == Point::Begun {
                let path = if by_rename { file.with_extension("tmp") } else { file.clone() };
                std::fs::write(&path, THEIRS).unwrap();
                std::fs::rename(&path, &file).unwrap();
            }
            false
        });
        let prepared = prepare(&off, &input).await.unwrap();
        let made = call(&input, prepared, 1);
        let outcome = off.apply(&context(folder.dir.path()), &made).await;
        assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
        assert_eq!(folder.text(), THEIRS);
        assert_eq!(off.settle(&context(folder.dir.path()), &made).await, Settled::NotDone);
        assert_eq!(litter(&folder).len(), 1);
    }
}

#[tokio::test]
async fn a_crash_with_their_change_displaced_is_unknown_and_says_where_it_is() {
    let folder = Folder::new("flags.yaml", YAML);
    let input = folder.off();
    let file = folder.file();
    let off = FlagsForce::off().with_fault(move |point| {
        if point == Point::Begun {
            std::fs::write(&file, "theirs: {}\n").unwrap();
        }
        point == Point::Swapped
    });
    let prepared = prepare(&off, &input).await.unwrap();
    let made = call(&input, prepared, 1);
    off.apply(&context(folder.dir.path()), &made).await;
    let settled = off.settle(&context(folder.dir.path()), &made).await;
    let Settled::Unknown { evidence } = settled else { panic!("{settled:?}") };
    assert!(evidence.contains("mv "), "{evidence}");
    let kept = litter(&folder).into_iter().find(|name| !name.contains(".mark")).unwrap();
    let kept = std::fs::read_to_string(folder.dir.path().join(kept)).unwrap();
    assert_eq!(kept, "theirs: {}\n");
}

#[tokio::test]
async fn without_a_mark_a_touched_file_is_unknown() {
    for text in [YAML, "other: {}\n"] {
        let folder = Folder::new("flags.yaml", YAML);
        let input = folder.off();
        let off = FlagsForce::off();
        let made = call(&input, prepare(&off, &input).await.unwrap(), 1);
        std::fs::write(folder.file(), text).unwrap();
        let settled = off.settle(&context(folder.dir.path()), &made).await;
        assert!(matches!(settled, Settled::Unknown { .. }), "{settled:?}");
    }
}

#[tokio::test]
async fn a_sending_still_at_work_is_running_and_an_older_holder_is_refused() {
    let folder = Folder::new("flags.yaml", YAML);
    let input = folder.off();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (tell, at_work) = std::sync::mpsc::channel::<()>();
    let (held, tell) = (std::sync::Mutex::new(held), std::sync::Mutex::new(tell));
    let slow = Arc::new(FlagsForce::off().with_fault(move |point| {
        if point == Point::Locked {
            tell.lock().unwrap().send(()).unwrap();
            held.lock().unwrap().recv().unwrap();
        }
        false
    }));
    let made = call(&input, prepare(&*slow, &input).await.unwrap(), 1);
    let ctx = context(folder.dir.path());
    let sending = {
        let (slow, ctx, made) = (Arc::clone(&slow), ctx.clone(), made.clone());
        tokio::spawn(async move { slow.apply(&ctx, &made).await })
    };
    tokio::task::spawn_blocking(move || at_work.recv().unwrap()).await.unwrap();
    let settled = slow.settle(&ctx, &made).await;
    assert!(matches!(settled, Settled::Running { .. }), "{settled:?}");
    release.send(()).unwrap();
    assert!(matches!(sending.await.unwrap(), Outcome::Done { .. }));
    assert!(matches!(slow.settle(&ctx, &made).await, Settled::Done { .. }));

    let off = FlagsForce::off();
    let set =
        serde_json::json!({"file": folder.file(), "flag": "new_checkout", "off_variation": "on"});
    let mut older = call(&set, prepare(&off, &set).await.unwrap(), 1);
    older.key = backout_plugin_api::EffectKey::from_text("9999999999/s/1/0");
    older.fence.token = backout_plugin_api::LockToken(0);
    let outcome = off.apply(&ctx, &older).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

/// An editor that saves again and again while we swap: the last save is in the file, with ours in
/// it or not; where two saves fell into our last moment, it is beside the file and the answer says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_editor_loses_nothing() {
    const ROUNDS: usize = 60;
    let mut done = 0;
    for round in 0..ROUNDS {
        let folder = Folder::new("flags.yaml", YAML);
        let stop = Arc::new(AtomicBool::new(false));
        let editor = saves(folder.file(), Arc::clone(&stop), (round % 6) as u64);
        let (off, input) = (FlagsForce::off(), folder.off());
        let mut outcome = None;
        if let Ok(prepared) = prepare(&off, &input).await {
            let made = call(&input, prepared, 1);
            outcome = Some(off.apply(&context(folder.dir.path()), &made).await);
        }
        stop.store(true, Ordering::Relaxed);
        let last = editor.join().unwrap();
        let in_place = folder.text().contains(&last);
        match outcome {
            Some(Outcome::Done { .. }) => {
                assert!(in_place, "round {round}: {last} is lost");
                done += 1;
            }
            Some(Outcome::Refused { .. }) | None => {
                assert!(in_place, "round {round}: {last} is lost");
            }
            Some(Outcome::Unclear { reason }) => {
                let beside = std::fs::read_dir(folder.dir.path()).unwrap().any(|entry| {
                    let path = entry.unwrap().path();
                    reason.contains(path.to_str().unwrap())
                        && std::fs::read_to_string(path).unwrap().contains(&last)
                });
                assert!(in_place || beside, "round {round}: {last} is lost: {reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(done > 0, "no round of {ROUNDS} came through");
}

/// Saves as editors do, until it is stopped: beside the file, then renamed over it. Gives the last
/// line that it saved.
fn saves(
    file: std::path::PathBuf,
    stop: Arc<AtomicBool>,
    pause_ms: u64,
) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut change, mut last) = (0, String::new());
        while !stop.load(Ordering::Relaxed) && change < 200 {
            last = format!("# change {change}\n");
            let beside = file.with_extension("new");
            std::fs::write(&beside, format!("{YAML}{last}")).unwrap();
            std::fs::rename(&beside, &file).unwrap();
            change += 1;
            std::thread::sleep(std::time::Duration::from_millis(pause_ms * pause_ms));
        }
        last
    })
}

#[tokio::test]
async fn tidy_removes_what_was_kept_for_an_undo() {
    let folder = Folder::new("flags.yaml", YAML);
    let (off, input, ctx) = (FlagsForce::off(), folder.off(), context(folder.dir.path()));
    let made = call(&input, prepare(&off, &input).await.unwrap(), 1);
    off.apply(&ctx, &made).await;
    let text = folder.text();
    assert_eq!(litter(&folder).len(), 2);
    let effect = backout_plugin_api::MadeEffect {
        input,
        prepared: made.prepared,
        effect: 0,
        key: made.key,
        output: serde_json::Value::Null,
        whole: true,
    };
    let tidied = off.tidy(&ctx, &effect).await;
    assert_eq!((tidied.removed.len(), tidied.left.len()), (2, 0), "{tidied:?}");
    assert_eq!((litter(&folder).len(), folder.text()), (0, text));
}
