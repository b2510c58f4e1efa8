//! Every crash window of a migration: a stop in the same process, SIGKILL of another, and the end of
//! the session by the server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Action, Call, EffectKey, LockToken, Outcome, Prepared, Settled};
use backout_plugin_migrations::{MigrationsShift, Point};
use backout_test_targets::postgres::Postgres;
use backout_test_targets::wait_until;
use serde_json::Value;

use super::{World, apply, call, context, execute, first, prepared, server};

const WITHIN: Duration = Duration::from_mins(1);

async fn settle_once(made: &Call) -> Settled {
    MigrationsShift::down().settle(&context(), made).await
}

/// Settles; the server takes a moment to see that a client is gone.
async fn settle(made: &Call) -> Settled {
    let deadline = std::time::Instant::now() + WITHIN;
    loop {
        let settled = settle_once(made).await;
        if !matches!(settled, Settled::Running { .. }) || std::time::Instant::now() > deadline {
            return settled;
        }
    }
}

async fn check_settled(world: &World, made: &Call, point: Point) {
    let is_made = point == Point::Committed;
    for _ in 0..2 {
        let settled = settle(made).await;
        if is_made {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
        } else {
            assert_eq!(settled, Settled::NotDone, "{point:?}");
        }
    }
    let versions = world.versions();
    assert_eq!(versions.len(), if is_made { 4 } else { 5 }, "{point:?}");
    let late = apply(made).await;
    if is_made {
        assert!(matches!(late, Outcome::Done { .. }), "{late:?}");
    } else {
        assert!(matches!(late, Outcome::Refused { .. }), "late: {late:?}");
        assert_eq!(world.versions(), versions);
        let mut again = made.clone();
        again.fence.dispatch += 1;
        let outcome = apply(&again).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(world.versions(), ["0", "1", "2", "3"]);
    assert_eq!(world.effects(), ["0123456789/s/1/0 done"]);
}

#[tokio::test]
async fn each_window_is_settled_exactly() {
    let Some(server) = server() else { return };
    for point in Point::ALL {
        let world = World::new(server);
        let made = first(&world).await;
        let down = MigrationsShift::down().with_fault(move |at| at == point);
        let outcome = down.apply(&context(), &made).await;
        assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
        check_settled(&world, &made, point).await;
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL_POSTGRES") else { return };
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
    let Some(server) = server() else { return };
    let mut cuts = Cuts::new("migrations.down", "PostgreSQL", "SIGKILL");
    for (at, point) in Point::ALL.into_iter().enumerate() {
        let world = World::new(server);
        let (input, prepared) = prepared(&world, "2").await;
        let job = serde_json::to_string(&(&input, &*prepared)).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::windows::child_that_kills_itself"])
            .env("BACKOUT_TEST_KILL_POSTGRES", format!("{at} {job}"))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "{point:?}");
        check_settled(&world, &call(&input, &prepared, 0, 1), point).await;
        cuts.add(&point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

/// The server ends our session after each sub-step, as an administrator or a crash of it does.
#[tokio::test]
async fn each_window_is_settled_when_the_server_ends_the_session() {
    let Some(server) = server() else { return };
    let by = "the server, which ends the session";
    let mut cuts = Cuts::new("migrations.down", "PostgreSQL", by);
    for point in Point::ALL {
        let world = World::new(server);
        let made = first(&world).await;
        let (psql, database) = (world.server, world.database.clone());
        let down = MigrationsShift::down().with_fault(move |at| {
            if at == point {
                let end = format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = \
                     '{database}' AND application_name LIKE 'backout 0%'"
                );
                assert_eq!(psql.psql("postgres", &end).unwrap(), "t", "{at:?}");
            }
            false
        });
        let outcome = down.apply(&context(), &made).await;
        if point == Point::Committed {
            assert!(matches!(outcome, Outcome::Done { .. }), "{point:?}: {outcome:?}");
        } else {
            let is_known = matches!(outcome, Outcome::Refused { .. } | Outcome::Unclear { .. });
            assert!(is_known, "{point:?}: {outcome:?}");
        }
        check_settled(&world, &made, point).await;
        cuts.add(&point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

/// Waits until a session of ours is in the middle of its migration.
fn wait_for_sleeper(world: &World) {
    wait_until(WITHIN, || {
        let query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND datname \
                     = current_database()";
        let found = world.rows(query);
        if found.is_empty() { Err("nobody sleeps".to_owned()) } else { Ok(()) }
    })
    .unwrap();
}

/// While a transaction runs on the server the sending is running, and it is not done only when that
/// ended: also the server sees that the client is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_in_its_middle_is_running() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.write(
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose Down\nSELECT pg_sleep(60);\nDROP TRIGGER no_name ON users;\n",
    );
    let made = first(&world).await;
    let sent = made.clone();
    let sending = tokio::spawn(async move { apply(&sent).await });
    wait_for_sleeper(&world);
    let settled = settle_once(&made).await;
    let Settled::Running { evidence } = settled else { panic!("{settled:?}") };
    for part in ["pg_sleep", "pid ", "backout 0123456789/s/1/0"] {
        assert!(evidence.contains(part), "{part}: {evidence}");
    }
    sending.abort();
    assert_eq!(settle(&made).await, Settled::NotDone);
    assert_eq!(world.versions().len(), 5);
    let late = apply(&made).await;
    assert!(matches!(late, Outcome::Refused { .. }), "{late:?}");
}

#[tokio::test]
async fn an_older_holder_of_the_lock_is_refused() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let (input, prepared) = prepared(&world, "2").await;
    assert!(matches!(apply(&call(&input, &prepared, 0, 1)).await, Outcome::Done { .. }));
    let mut older = call(&input, &prepared, 1, 1);
    older.key = EffectKey::from_text("9999999999/s/1/1");
    older.fence.token = LockToken(0);
    let Outcome::Refused { reason } = apply(&older).await else { panic!() };
    assert!(reason.contains("later holder"), "{reason}");
    assert_eq!(world.effects().len(), 1, "what is refused leaves no row");
}

#[tokio::test]
async fn another_database_under_the_same_reference_is_refused() {
    let Some(server) = server() else { return };
    let (world, other) = (World::new(server), World::new(server));
    let made = first(&world).await;
    world.write_url(&server.url(&other.database));
    let Outcome::Refused { reason } = apply(&made).await else { panic!() };
    assert!(reason.contains("another database"), "{reason}");
    let settled = settle(&made).await;
    assert!(matches!(settled, Settled::Unknown { .. }), "{settled:?}");
}

#[tokio::test]
async fn a_deferred_constraint_that_refuses_the_commit_is_refused() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.write(
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose Down\nALTER TABLE orders ALTER CONSTRAINT orders_user_id_fkey \
         DEFERRABLE INITIALLY DEFERRED;\nINSERT INTO orders (user_id) VALUES (99);\n",
    );
    let made = first(&world).await;
    let Outcome::Refused { reason } = apply(&made).await else { panic!() };
    assert!(reason.contains("the commit was refused"), "{reason}");
    assert_eq!((world.versions().len(), world.effects().len()), (5, 0));
}

/// A key is sealed while an earlier sending sits in its transaction: it runs, and what it does late
/// is refused or seen.
#[tokio::test]
async fn a_held_row_is_running_with_its_holder() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let made = first(&world).await;
    assert_eq!(settle(&made).await, Settled::NotDone);
    let mut other = world.connect().await;
    execute(&mut other, "BEGIN; SELECT * FROM backout.effects FOR UPDATE").await;
    let settled = settle_once(&made).await;
    assert!(matches!(settled, Settled::Running { .. }), "{settled:?}");
    execute(&mut other, "ROLLBACK").await;
    assert_eq!(settle(&made).await, Settled::NotDone);
}

/// The server itself dies in the middle of a transaction, and after a commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_is_settled() {
    if !Postgres::is_here() {
        return;
    }
    let cell = std::sync::Mutex::new(Postgres::start().unwrap());
    let world = World::new(server().unwrap());
    let database = cell.lock().unwrap().new_database().unwrap();
    let (url, folder) = (server().unwrap().url(&world.database), world.dir.path().join("dump"));
    let dumped = std::process::Command::new("pg_dump").arg("-f").arg(&folder).arg(url).status();
    assert!(dumped.unwrap().success());
    let url = cell.lock().unwrap().url(&database);
    let restored = std::process::Command::new("psql").arg("-qXf").arg(&folder).arg(url).output();
    assert!(restored.unwrap().status.success());
    world.write_url(&cell.lock().unwrap().url(&database));
    world.write(
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose Down\nSELECT pg_sleep(60);\nDROP TRIGGER no_name ON users;\n",
    );
    let made = first(&world).await;
    let sent = made.clone();
    let sending = tokio::spawn(async move { apply(&sent).await });
    wait_until(WITHIN, || {
        let query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        let found = cell.lock().unwrap().psql(&database, query).unwrap();
        if found.is_empty() { Err("nobody sleeps".to_owned()) } else { Ok(()) }
    })
    .unwrap();
    cell.lock().unwrap().crash_and_restart().unwrap();
    let outcome = sending.await.unwrap();
    let is_known = matches!(outcome, Outcome::Refused { .. } | Outcome::Unclear { .. });
    assert!(is_known, "{outcome:?}");
    assert_eq!(settle(&made).await, Settled::NotDone);

    world.write(
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose Down\nDROP TRIGGER no_name ON users;\n",
    );
    let mut again = first(&world).await;
    again.key = EffectKey::from_text("0123456789/s/2/0");
    assert!(matches!(apply(&again).await, Outcome::Done { .. }));
    cell.lock().unwrap().crash_and_restart().unwrap();
    assert!(matches!(settle(&again).await, Settled::Done { .. }), "what was said is on disk");
}

/// A connection that is open and carries nothing any more, as behind a firewall that forgot it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_silent_is_settled_once_its_session_ended() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let proxy = Proxy::start(server.port());
    world.write_url(&format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, world.database));
    let made = first(&world).await;
    let silence = Arc::clone(&proxy.silent);
    let down = MigrationsShift::down().with_fault(move |point| {
        if point == Point::Ledgered {
            silence.store(true, Ordering::SeqCst);
        }
        false
    });
    let mut short = context();
    short.timeout = Duration::from_secs(5);
    let begun = std::time::Instant::now();
    let outcome = down.apply(&short, &made).await;
    let Outcome::Unclear { reason } = outcome else { panic!("{outcome:?}") };
    assert!(
        reason.contains("longer than") && begun.elapsed() < Duration::from_secs(20),
        "{reason}"
    );

    world.write_url(&server.url(&world.database));
    let settled = settle_once(&made).await;
    let Settled::Running { evidence } = settled else { panic!("{settled:?}") };
    assert!(evidence.contains("idle in transaction"), "{evidence}");
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = \
               current_database() AND state = 'idle in transaction'";
    assert_eq!(world.rows(end), ["t"]);
    assert_eq!(settle(&made).await, Settled::NotDone);
    assert_eq!(world.versions().len(), 5);
}

/// Carries bytes both ways until it is silent; then it keeps its connections and carries nothing.
struct Proxy {
    port: u16,
    silent: Arc<AtomicBool>,
}

impl Proxy {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&silent);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                for (from, to) in [(client, server), back] {
                    let silent = Arc::clone(&shared);
                    std::thread::spawn(move || carry(from, to, &silent));
                }
            }
        });
        Self { port, silent }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if silent.load(Ordering::SeqCst) {
            // Both ends stay open until the test ends.
            std::thread::park();
        }
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
    if silent.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// A commit that lands while settle waits for it is seen: never not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_commit_that_lands_while_settle_waits_is_done() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let made = first(&world).await;
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (reached, reach) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let down = MigrationsShift::down().with_fault(move |point| {
        if point == Point::Ledgered {
            reached.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        false
    });
    let sent = made.clone();
    let sending = tokio::spawn(async move { down.apply(&context(), &sent).await });
    reach.recv_timeout(WITHIN).unwrap();
    let asked = made.clone();
    let settling = tokio::spawn(async move { settle(&asked).await });
    wait_until(WITHIN, || {
        let waits = "SELECT pid FROM pg_stat_activity WHERE application_name = 'backout settle' AND \
                     wait_event_type = 'Lock' AND datname = current_database()";
        if world.rows(waits).is_empty() { Err("it does not wait".to_owned()) } else { Ok(()) }
    })
    .unwrap();
    open.send(()).unwrap();
    let outcome = sending.await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let settled = settling.await.unwrap();
    assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
}
