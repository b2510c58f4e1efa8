//! Every crash window of a migration, by a stop in the same process and by SIGKILL of another.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Action, Call, EffectKey, LockToken, Outcome, Prepared, Settled};
use backout_plugin_migrations::{MigrationsShift, Point};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

use super::{World, call, context};

async fn prepared(world: &World) -> (Value, Arc<Prepared>) {
    let input = world.input("2");
    let prepared = MigrationsShift::down().prepare(&context(), &input).await.unwrap();
    (input, Arc::new(prepared))
}

/// Settles; a rollback of a dropped connection takes a moment.
pub(super) async fn settle(made: &Call) -> Settled {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let settled = MigrationsShift::down().settle(&context(), made).await;
        if !matches!(settled, Settled::Running { .. }) || std::time::Instant::now() > deadline {
            return settled;
        }
    }
}

async fn check_settled(world: &World, made: &Call, point: Point) {
    let down = MigrationsShift::down();
    let versions = world.versions().await;
    let is_made = point == Point::Committed;
    assert_eq!(versions.len(), if is_made { 4 } else { 5 }, "{point:?}");
    for _ in 0..2 {
        let settled = settle(made).await;
        if is_made {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
        } else {
            assert_eq!(settled, Settled::NotDone, "{point:?}");
        }
    }
    assert_eq!(world.versions().await, versions, "settle changed the target");
    let late = down.apply(&context(), made).await;
    if is_made {
        assert!(matches!(late, Outcome::Done { .. }), "{late:?}");
    } else {
        assert!(matches!(late, Outcome::Refused { .. }), "late: {late:?}");
        assert_eq!(world.versions().await, versions);
        let mut again = made.clone();
        again.fence.dispatch += 1;
        let outcome = down.apply(&context(), &again).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(world.versions().await, ["0", "1", "2", "3"]);
    let rows = world.rows("SELECT key || ' ' || state FROM backout_effects").await;
    assert_eq!(rows, ["0123456789/s/1/0 done"]);
}

#[tokio::test]
async fn each_window_is_settled_exactly() {
    for point in Point::ALL {
        let world = World::new().await;
        let (input, prepared) = prepared(&world).await;
        let made = call(&input, &prepared, 0, 1);
        let down = MigrationsShift::down().with_fault(move |at| at == point);
        let outcome = down.apply(&context(), &made).await;
        assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
        check_settled(&world, &made, point).await;
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL") else { return };
    let (at, text) = job.split_once(' ').unwrap();
    let (input, prepared): (Value, Prepared) = serde_json::from_str(text).unwrap();
    let at: usize = at.parse().unwrap();
    let down = MigrationsShift::down().with_fault(move |point| {
        if point == Point::ALL[at] {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    down.apply(&context(), &call(&input, &Arc::new(prepared), 0, 1)).await;
}

#[tokio::test]
async fn each_window_is_settled_after_sigkill() {
    for journal in ["delete", "wal"] {
        let target = format!("SQLite, journal mode {journal}");
        let mut cuts = Cuts::new("migrations.down", &target, "SIGKILL");
        for (at, point) in Point::ALL.into_iter().enumerate() {
            let world = World::new().await;
            world.run(&format!("PRAGMA journal_mode = {journal}")).await;
            let (input, prepared) = prepared(&world).await;
            let job = serde_json::to_string(&(&input, &*prepared)).unwrap();
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "windows::child_that_kills_itself"])
                .env("BACKOUT_TEST_KILL", format!("{at} {job}"))
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(9), "{point:?}");
            check_settled(&world, &call(&input, &prepared, 0, 1), point).await;
            cuts.add(&point, Cuts::ONCE);
        }
        cuts.assert_kept();
    }
}

#[tokio::test]
async fn a_crash_between_two_migrations_is_settled_one_by_one() {
    let world = World::new().await;
    let (input, prepared) = prepared(&world).await;
    let down = MigrationsShift::down();
    let first = call(&input, &prepared, 0, 1);
    assert!(matches!(down.apply(&context(), &first).await, Outcome::Done { .. }));
    let second = call(&input, &prepared, 1, 1);
    assert!(matches!(settle(&first).await, Settled::Done { .. }));
    assert_eq!(settle(&second).await, Settled::NotDone);
    let again = call(&input, &prepared, 1, 2);
    assert!(matches!(down.apply(&context(), &again).await, Outcome::Done { .. }));
    assert_eq!(world.versions().await, ["0", "1", "2"]);
}

#[tokio::test]
async fn while_a_writer_works_it_runs_and_apply_is_refused() {
    let world = World::new().await;
    let (input, prepared) = prepared(&world).await;
    let made = call(&input, &prepared, 0, 1);
    let mut other: SqliteConnection = world.connect().await;
    let writer = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let settled = MigrationsShift::down().settle(&context(), &made).await;
    assert!(matches!(settled, Settled::Running { .. }), "{settled:?}");
    let mut short = context();
    short.timeout = std::time::Duration::from_secs(2);
    let outcome = MigrationsShift::down().apply(&short, &made).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("another connection"), "{reason}");
    writer.rollback().await.unwrap();
    assert_eq!(settle(&made).await, Settled::NotDone);
}

/// Not a test of its own: another process, which writes until its input ends.
#[tokio::test]
async fn child_that_writes() {
    let Ok(path) = std::env::var("BACKOUT_TEST_WRITES") else { return };
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let _writer = conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

#[tokio::test]
async fn who_writes_is_named() {
    for journal in ["delete", "wal"] {
        let world = World::new().await;
        world.run(&format!("PRAGMA journal_mode = {journal}")).await;
        let (input, prepared) = prepared(&world).await;
        let made = call(&input, &prepared, 0, 1);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "windows::child_that_writes"])
            .env("BACKOUT_TEST_WRITES", world.database())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let name = format!("pid {} (", child.id());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut short = context();
        short.timeout = std::time::Duration::from_millis(200);
        let named = loop {
            let settled = MigrationsShift::down().settle(&short, &made).await;
            match settled {
                Settled::Running { evidence } if evidence.contains(&name) => break true,
                _ if std::time::Instant::now() > deadline => break false,
                _ => {}
            }
        };
        let mut again = made.clone();
        again.fence.dispatch = 2;
        let outcome = MigrationsShift::down().apply(&short, &again).await;
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(named, "{journal}");
        let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains(&name) && reason.contains("nothing was changed"), "{reason}");
    }
}

#[tokio::test]
async fn an_older_holder_of_the_lock_is_refused() {
    let world = World::new().await;
    let (input, prepared) = prepared(&world).await;
    let down = MigrationsShift::down();
    let first = call(&input, &prepared, 0, 1);
    assert!(matches!(down.apply(&context(), &first).await, Outcome::Done { .. }));
    let mut older = call(&input, &prepared, 1, 1);
    older.key = EffectKey::from_text("9999999999/s/1/1");
    older.fence.token = LockToken(0);
    let outcome = down.apply(&context(), &older).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("later holder"), "{reason}");
}

#[tokio::test]
async fn a_restored_file_is_unknown() {
    let world = World::new().await;
    let (input, prepared) = prepared(&world).await;
    let made = call(&input, &prepared, 0, 1);
    let copy = world.dir.path().join("copy.db");
    std::fs::copy(world.database(), &copy).unwrap();
    std::fs::rename(&copy, world.database()).unwrap();
    let settled = settle(&made).await;
    assert!(matches!(settled, Settled::Unknown { .. }), "{settled:?}");
    let outcome = MigrationsShift::down().apply(&context(), &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}
