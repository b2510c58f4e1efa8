//! Every crash window of a swap, by a stop in the same process and by SIGKILL of another.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

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
    }
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

/// An editor that writes again and again while we swap: every one of their changes is in the file
/// or beside it under the name that the answer gives, and ours is there where we say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_editor_loses_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    const ROUNDS: usize = 40;
    let (mut done, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let folder = Folder::new("flags.yaml", YAML);
        let (file, stop) = (folder.file(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let editor = std::thread::spawn(move || {
            let mut written = Vec::new();
            for change in 0.. {
                if stopped.load(Ordering::Relaxed) || change > 200 {
                    break;
                }
                // As editors save: read, change, write beside it, rename over it.
                let text = std::fs::read_to_string(&file).unwrap();
                let text = format!("{text}# change {change}\n");
                std::fs::write(file.with_extension("new"), &text).unwrap();
                std::fs::rename(file.with_extension("new"), &file).unwrap();
                written.push(format!("# change {change}\n"));
                std::thread::sleep(std::time::Duration::from_millis(round as u64 % 5));
            }
            written
        });
        let off = FlagsForce::off();
        let input = folder.off();
        let mut outcome = None;
        if let Ok(prepared) = prepare(&off, &input).await {
            outcome =
                Some(off.apply(&context(folder.dir.path()), &call(&input, prepared, 1)).await);
        }
        stop.store(true, Ordering::Relaxed);
        let written = editor.join().unwrap();
        // What the editor read before our swap and renamed after it has our edit undone: that is
        // theirs to see. What we answer for is that no text of theirs is gone.
        let kept: String = std::fs::read_dir(folder.dir.path())
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .collect();
        for change in &written {
            assert!(kept.contains(change.as_str()), "round {round}: {change} is lost");
        }
        match outcome {
            Some(Outcome::Done { .. }) => done += 1,
            // Two changes at once in the last moment: the later one is kept beside the file.
            Some(Outcome::Refused { .. } | Outcome::Unclear { .. }) | None => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done + refused, ROUNDS);
}
