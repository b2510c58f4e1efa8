//! Under live traffic: writers go on, nobody waits longer than the lock timeout, nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backout_plugin_api::{Action, Outcome};
use backout_plugin_migrations::MigrationsShift;
use serde_json::json;

use super::{World, call, context, execute, server};

/// How many write at once.
const WRITERS: usize = 4;
/// How long a write may wait for a lock of ours, while the long transaction makes us wait.
const LOCK_TIMEOUT: Duration = Duration::from_millis(300);
/// What a write takes on a busy machine besides: the schedulers of two cores, and the migration.
const MARGIN: Duration = Duration::from_secs(5);
/// How long the report reads: a writer that waited behind a lock that waits for it would wait as long.
const REPORT: Duration = Duration::from_secs(9);

/// What one writer saw.
#[derive(Default)]
struct Written {
    rows: i64,
    longest: Duration,
    errors: Vec<String>,
}

/// Inserts names until it is told to stop; a column that is gone is none of its business.
async fn write(world: &World, number: usize, stop: &AtomicBool) -> Written {
    let mut conn = world.connect().await;
    let mut written = Written::default();
    while !stop.load(Ordering::Relaxed) {
        let sql = format!("INSERT INTO users (name) VALUES ('w{number}')");
        let begun = Instant::now();
        match sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await {
            Ok(_) => written.rows += 1,
            Err(error) => written.errors.push(error.to_string()),
        }
        written.longest = written.longest.max(begun.elapsed());
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_no_longer_than_the_lock_timeout_and_lose_nothing() {
    let Some(server) = server() else { return };
    let world = Arc::new(World::new(server));
    let before: i64 = world.rows("SELECT count(*) FROM users").remove(0).parse().unwrap();
    let mut input = world.input("1");
    input["lock_timeout"] = json!(humantime(LOCK_TIMEOUT));
    let down = MigrationsShift::down();
    let prepared = Arc::new(down.prepare(&context(), &input).await.unwrap());

    // A report that reads users for a long time: every ALTER waits for it.
    let mut report = world.connect().await;
    execute(&mut report, "BEGIN; SELECT count(*) FROM users").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
            tokio::spawn(async move { write(&world, number, &stop).await })
        })
        .collect();
    let ending = tokio::spawn(async move {
        tokio::time::sleep(REPORT).await;
        execute(&mut report, "COMMIT").await;
    });
    let begun = Instant::now();
    for effect in 0..prepared.effects.len() {
        let outcome = down.apply(&context(), &call(&input, &prepared, effect, 1)).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    let took = begun.elapsed();
    ending.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut rows = 0;
    let mut longest = Duration::ZERO;
    for writer in writers {
        let written = writer.await.unwrap();
        assert!(written.errors.is_empty(), "{:?}", written.errors);
        rows += written.rows;
        longest = longest.max(written.longest);
    }
    assert!(took > LOCK_TIMEOUT * 4, "it did not wait for the long transaction: {took:?}");
    assert!(longest < LOCK_TIMEOUT + MARGIN, "a writer waited {longest:?}");
    let after: i64 = world.rows("SELECT count(*) FROM users").remove(0).parse().unwrap();
    assert_eq!(after - before, rows, "a write was lost");
    assert_eq!(world.versions(), ["0", "1"]);
}

fn humantime(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
