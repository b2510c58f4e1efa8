//! Under live traffic: writers go on, nobody waits longer than the lock timeout, nothing is lost.
//!
//! MariaDB's lock timeout counts in whole seconds. Every change here needs no copy of the table: one that
//! does keeps writers out for as long as it takes, whatever the lock timeout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backout_plugin_api::{Action, Call, Context, Emit, Outcome};
use backout_plugin_migrations::MigrationsShift;
use serde_json::json;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, MySqlConnection};

use super::{Mariadb, Server, World, call, context, prepare};

/// How many write at once.
const WRITERS: usize = 4;
/// How long a write may wait for a lock of ours, while the long transaction makes us wait.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
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

async fn connect(world: &World) -> MySqlConnection {
    let url = world.server.url(&world.database);
    url.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap()
}

async fn execute(conn: &mut MySqlConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(conn).await.map(|_| ())
}

/// Inserts names until it is told to stop; a column that is gone is none of its business.
async fn write(world: &World, number: usize, stop: &AtomicBool) -> Written {
    let mut conn = connect(world).await;
    let mut written = Written::default();
    let sql = format!("INSERT INTO users (name) VALUES ('w{number}')");
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match execute(&mut conn, &sql).await {
            Ok(()) => written.rows += 1,
            Err(error) => written.errors.push(error.to_string()),
        }
        written.longest = written.longest.max(begun.elapsed());
    }
    written
}

/// A report that reads users until it is ended: every ALTER waits for it.
async fn report(world: &World) -> MySqlConnection {
    let mut report = connect(world).await;
    execute(&mut report, "BEGIN").await.unwrap();
    execute(&mut report, "SELECT count(*) FROM users").await.unwrap();
    report
}

fn count(world: &World) -> i64 {
    world.rows("SELECT count(*) FROM users").remove(0).parse().unwrap()
}

/// A context, and what is said in it.
fn heard() -> (Context, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&heard);
    let emit = move |said| {
        if let Emit::Progress(line) = said {
            lines.lock().unwrap().push(line);
        }
    };
    (Context { emit: Arc::new(emit), timeout: REPORT * 5, ..context() }, heard)
}

/// What all of them wrote.
async fn ended(writers: Vec<tokio::task::JoinHandle<Written>>) -> Written {
    let mut all = Written::default();
    for writer in writers {
        let written = writer.await.unwrap();
        all.rows += written.rows;
        all.longest = all.longest.max(written.longest);
        all.errors.extend(written.errors);
    }
    all
}

async fn calls(world: &World) -> Vec<Call> {
    let mut input = world.input("1");
    input["lock_timeout"] = json!(format!("{}s", LOCK_TIMEOUT.as_secs()));
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    (0..prepared.effects.len()).map(|effect| call(&input, &prepared, effect, 1)).collect()
}

async fn writers_wait_no_longer_than_the_lock_timeout_and_lose_nothing(server: &'static Server) {
    let world = Arc::new(World::new(server));
    let before = count(&world);
    let calls = calls(&world).await;
    let mut report = report(&world).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
            tokio::spawn(async move { write(&world, number, &stop).await })
        })
        .collect();
    let ending = tokio::spawn(async move {
        tokio::time::sleep(REPORT).await;
        execute(&mut report, "COMMIT").await.unwrap();
    });
    let (ctx, heard) = heard();
    let begun = Instant::now();
    for call in &calls {
        let outcome = MigrationsShift::down().apply(&ctx, call).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    let took = begun.elapsed();
    ending.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let written = ended(writers).await;
    assert!(written.errors.is_empty(), "{:?}", written.errors);
    assert!(took > LOCK_TIMEOUT * 4, "it did not wait for the long transaction: {took:?}");
    assert!(written.longest < LOCK_TIMEOUT + MARGIN, "a writer waited {:?}", written.longest);
    assert_eq!(count(&world) - before, written.rows, "a write was lost");
    assert_eq!(world.versions(), ["0", "1"]);
    let heard = heard.lock().unwrap();
    assert!(heard.iter().any(|line| line.contains("now in the way: connection ")), "{heard:?}");
}

/// Who is in the way: of the database where the server does not say more, of the table where it does.
#[tokio::test]
async fn a_plan_names_a_long_transaction() {
    if !Mariadb::is_here() {
        return;
    }
    let server: &Server = Box::leak(Box::new(Mariadb::start().unwrap()));
    let world = World::new(server);
    let mut report = report(&world).await;
    let found = long_transaction(&world).await;
    assert!(found.contains("it may wait for a long transaction in this database"), "{found}");
    assert!(found.contains("connection ") && found.contains("since"), "{found}");
    world.run("INSTALL SONAME 'metadata_lock_info'");
    let found = long_transaction(&world).await;
    assert!(found.contains("a long transaction on `users`: connection "), "{found}");
    execute(&mut report, "COMMIT").await.unwrap();
    assert!(hazard(&world).await.is_none());
}

/// MySQL says on which tables without being asked to.
#[tokio::test]
async fn a_plan_on_mysql_names_a_long_transaction_of_its_table_alone() {
    let Some(server) = super::mysql() else { return };
    let world = World::new(server);
    let mut elsewhere = connect(&world).await;
    for sql in ["BEGIN", "SELECT count(*) FROM orders"] {
        execute(&mut elsewhere, sql).await.unwrap();
    }
    let mut report = report(&world).await;
    let found = long_transaction(&world).await;
    assert!(found.contains("a long transaction on `users`: connection "), "{found}");
    execute(&mut report, "COMMIT").await.unwrap();
    assert_eq!(hazard(&world).await, None, "who reads orders is in nobody's way");
}

/// It is one as soon as it is old enough.
async fn long_transaction(world: &World) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = hazard(world).await {
            return found;
        }
        assert!(Instant::now() < end, "nobody is named");
    }
}

async fn hazard(world: &World) -> Option<String> {
    let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
    let mut hazards = prepared.all_hazards();
    hazards.find(|hazard| hazard.code == "long-transaction").map(|hazard| hazard.text.clone())
}

on_both! {
    writers_wait_no_longer_than_the_lock_timeout_and_lose_nothing,
}
