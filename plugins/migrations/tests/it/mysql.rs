//! The actions on a real MariaDB and a real MySQL, one server of each for all tests, a database for
//! each test.

/// Each of these tests on each of the two servers.
macro_rules! on_both {
    (@ $module:ident, $server:ident, $($name:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(server) = crate::mysql::$server() {
                        super::$name(server).await;
                    }
                }
            )+
        }
    };
    ($($name:ident),+ $(,)?) => {
        on_both!(@ on_mariadb, mariadb, $($name),+);
        on_both!(@ on_mysql, mysql, $($name),+);
    };
}

mod contract;
mod keep;
mod live;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Action, Call, EffectKey, Guarantee, Outcome, Settled};
use backout_plugin_migrations::{MigrationsShift, Point};
use backout_test_targets::mariadb::Mariadb;
use backout_test_targets::mysql::{Mysql, Server};
use backout_test_targets::{missing, program, wait_until};
use serde_json::{Value, json};

use super::{call, context, prepare, shift};

const FILES: [(&str, &str); 4] = [
    (
        "00001_users.sql",
        "-- +goose Up\nCREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, name varchar(50) NOT \
         NULL);\n-- +goose Down\nDROP TABLE users;\n",
    ),
    (
        "00002_email.sql",
        "-- +goose Up\nALTER TABLE users ADD COLUMN email varchar(50);\n\
         -- +goose Down\nALTER TABLE users DROP COLUMN email;\n",
    ),
    (
        "00003_orders.sql",
        "-- +goose Up\nCREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, user_id int);\n\
         CREATE INDEX orders_user ON orders (user_id);\n\
         -- +goose Down\nDROP INDEX orders_user ON orders;\nDROP TABLE orders;\n",
    ),
    (
        "00004_vip.sql",
        "-- +goose Up\nALTER TABLE users ADD COLUMN vip int NOT NULL DEFAULT 0;\nUPDATE users SET \
         vip = 1 WHERE name = 'a';\n\
         -- +goose Down\nUPDATE users SET name = concat(name, '!') WHERE vip = 1;\nALTER TABLE users \
         DROP COLUMN vip;\n",
    ),
];

const LEDGER: &str = "CREATE TABLE goose_db_version (id bigint(20) unsigned NOT NULL AUTO_INCREMENT \
    PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NULL \
    default now()); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true)";

const SCHEMA: &str = "SELECT concat_ws(' ', table_name, column_name, column_type, is_nullable) FROM \
    information_schema.columns WHERE table_schema = database() AND table_name NOT LIKE 'backout%' \
    UNION ALL SELECT concat_ws(' ', table_name, index_name, column_name) FROM \
    information_schema.statistics WHERE table_schema = database() AND table_name NOT LIKE \
    'backout%' ORDER BY 1";

pub(super) fn mariadb() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Mariadb>> = OnceLock::new();
    let start = || Mariadb::is_here().then(|| Mariadb::start().unwrap());
    SERVER.get_or_init(start).as_deref()
}

pub(super) fn mysql() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Mysql>> = OnceLock::new();
    let start = || Mysql::is_here().then(|| Mysql::start().unwrap());
    SERVER.get_or_init(start).as_deref()
}

struct World {
    dir: tempfile::TempDir,
    server: &'static Server,
    database: String,
}

impl World {
    /// Files and an empty database.
    fn bare(server: &'static Server) -> Self {
        let database = server.new_database().unwrap();
        let world = Self { dir: tempfile::tempdir().unwrap(), server, database };
        std::fs::create_dir(world.migrations()).unwrap();
        std::fs::write(world.dir.path().join("url"), server.url(&world.database)).unwrap();
        for (name, text) in FILES {
            world.write(name, text);
        }
        world
    }

    /// At version 4, its ledger as goose writes it, with rows.
    fn new(server: &'static Server) -> Self {
        let world = Self::bare(server);
        world.run(LEDGER);
        for (at, (_, text)) in FILES.iter().enumerate() {
            let (up, _) = text.split_once("-- +goose Down").unwrap();
            let up = up.replace("-- +goose Up", "");
            let row = "INSERT INTO goose_db_version (version_id, is_applied) VALUES";
            world.run(&format!("{up} {row} ({}, true)", at + 1));
        }
        world.run("INSERT INTO users (name, vip) VALUES ('a', 1), ('b', 0)");
        world
    }

    /// As Go's driver wants it.
    fn go_url(&self) -> String {
        format!("root@tcp(127.0.0.1:{})/{}?parseTime=true", self.server.port(), self.database)
    }

    fn migrations(&self) -> PathBuf {
        self.dir.path().join("migrations")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.migrations().join(name), text).unwrap();
    }

    fn run(&self, sql: &str) {
        self.server.sql(&self.database, sql).unwrap();
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let text = self.server.sql(&self.database, sql).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn versions(&self) -> Vec<String> {
        self.rows("SELECT version_id FROM goose_db_version ORDER BY id")
    }

    fn names(&self) -> Vec<String> {
        self.rows("SELECT name FROM users ORDER BY id")
    }

    fn input(&self, to: &str) -> Value {
        let secret = format!("file:{}", self.dir.path().join("url").display());
        json!({"database": secret, "dir": self.migrations(), "to": to})
    }
}

async fn first(world: &World) -> Call {
    let input = world.input("3");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    call(&input, &prepared, 0, 1)
}

async fn settle(made: &Call) -> Settled {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let settled = MigrationsShift::down().settle(&context(), made).await;
        if !matches!(settled, Settled::Running { .. }) || std::time::Instant::now() > deadline {
            return settled;
        }
    }
}

async fn a_plan_says_what_cannot_be_told(server: &'static Server) {
    let world = World::new(server);
    let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Probed);
    assert!(prepared.locks[0].as_str().ends_with(&format!("/{}", world.database)));
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["changes-rows", "drops-column", "blocks-readers", "not-transactional"]);
    world.write(
        "00004_vip.sql",
        "-- +goose Up\n-- +goose Down\nALTER TABLE users MODIFY name varchar(60);\n",
    );
    let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Manual, "the shape alone does not tell all");
}

/// What is left to send after a sending was cut and settled: the same key again where nothing is
/// made, a new effect where a part is.
async fn rest(world: &World, made: &Call, point: Point) -> Call {
    let settled = settle(made).await;
    match (point, &settled) {
        (Point::Begun | Point::Recorded, Settled::NotDone) => {
            let mut again = made.clone();
            again.fence.dispatch = 2;
            again
        }
        (Point::Committed, Settled::Done { .. }) => made.clone(),
        (_, Settled::Failed { output, .. }) => {
            // Its first statement changes rows, its second takes a column.
            let done = if matches!(point, Point::Announced | Point::Counted) { 1 } else { 2 };
            assert_eq!(output["statements"], done, "{point:?}");
            let mut again = first(world).await;
            again.key = EffectKey::from_text("0123456789/s/2/0");
            again
        }
        _ => panic!("{point:?}: {settled:?}"),
    }
}

async fn check_window(world: &World, made: &Call, point: Point) {
    let again = rest(world, made, point).await;
    if point != Point::Committed {
        let late = down_apply(made).await;
        assert!(matches!(late, Outcome::Refused { .. }), "late {point:?}: {late:?}");
    }
    let outcome = down_apply(&again).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{point:?}: {outcome:?}");
    assert_eq!(world.versions(), ["0", "1", "2", "3"], "{point:?}");
    assert_eq!(world.names(), ["a!", "b"], "{point:?}: once");
    assert!(!world.rows(SCHEMA).iter().any(|line| line.contains(" vip ")), "{point:?}");
}

fn points() -> impl Iterator<Item = Point> {
    let whole = Point::ALL.into_iter().filter(|point| *point != Point::Kept);
    whole.chain(Point::STEPS)
}

/// A stop after each sub-step; rows that a statement changes are changed once. On MySQL it is SIGKILL
/// alone, below.
#[tokio::test]
async fn each_window_is_settled() {
    let Some(server) = mariadb() else { return };
    for point in points() {
        let world = World::new(server);
        let made = first(&world).await;
        let down = MigrationsShift::down().with_fault(move |at| at == point);
        let outcome = down.apply(&context(), &made).await;
        assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
        check_window(&world, &made, point).await;
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL_MYSQL") else { return };
    let (at, text) = job.split_once(' ').unwrap();
    let (input, prepared): (Value, backout_plugin_api::Prepared) =
        serde_json::from_str(text).unwrap();
    let point = points().nth(at.parse().unwrap()).unwrap();
    let down = MigrationsShift::down().with_fault(move |at| {
        if at == point {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    down.apply(&context(), &call(&input, &Arc::new(prepared), 0, 1)).await;
}

async fn each_window_is_settled_after_sigkill(server: &'static Server) {
    use std::os::unix::process::ExitStatusExt;
    let mut cuts = Cuts::new("migrations.down", server.product(), "SIGKILL");
    for (at, point) in points().enumerate() {
        let world = World::new(server);
        let made = first(&world).await;
        let job = serde_json::to_string(&(&made.input, &*made.prepared)).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "mysql::child_that_kills_itself"])
            .env("BACKOUT_TEST_KILL_MYSQL", format!("{at} {job}"))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "{point:?}");
        check_window(&world, &made, point).await;
        let is_whole = matches!(point, Point::Begun | Point::Recorded | Point::Committed);
        cuts.add(&point, if is_whole { Cuts::ONCE } else { Cuts::IN_PART });
    }
    cuts.assert_kept();
}

async fn down_apply(call: &Call) -> Outcome {
    MigrationsShift::down().apply(&context(), call).await
}

async fn what_began_is_told_by_the_catalogue_or_stays_in_doubt(server: &'static Server) {
    for is_gone in [true, false] {
        let world = World::new(server);
        let made = first(&world).await;
        assert_eq!(settle(&made).await, Settled::NotDone);
        world.run("UPDATE users SET name = 'a!' WHERE vip = 1");
        let state = "state = 'running', statement = 1, begun = 2, was = '1'";
        world.run(&format!("UPDATE backout_effects SET {state}"));
        if is_gone {
            world.run("ALTER TABLE users DROP COLUMN vip");
        }
        let Settled::Failed { output, .. } = settle(&made).await else { panic!() };
        assert_eq!(output["statements"], if is_gone { 2 } else { 1 });
    }
    let world = World::new(server);
    let shape = "-- +goose Up\n-- +goose Down\nALTER TABLE users MODIFY name varchar(60);\n";
    world.write("00004_vip.sql", shape);
    let made = first(&world).await;
    assert_eq!(settle(&made).await, Settled::NotDone);
    world.run("UPDATE backout_effects SET state = 'running', begun = 1, was = 'another'");
    let settled = settle(&made).await;
    let Settled::Unknown { evidence } = settled else { panic!("{settled:?}") };
    assert!(evidence.contains("MODIFY name"), "{evidence}");
}

async fn a_sending_at_work_is_running_and_its_lock_named(server: &'static Server) {
    let world = World::new(server);
    world.write(
        "00004_vip.sql",
        "-- +goose Up\n-- +goose Down\nSELECT sleep(12);\nALTER TABLE users DROP COLUMN vip;\n",
    );
    let made = first(&world).await;
    let sent = made.clone();
    let sending = tokio::spawn(async move { down_apply(&sent).await });
    wait_until(Duration::from_mins(1), || {
        let sleeper = "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT \
                       sleep(12)'";
        if world.rows(sleeper) == ["1"] { Ok(()) } else { Err("nobody sleeps".to_owned()) }
    })
    .unwrap();
    let settled = MigrationsShift::down().settle(&context(), &made).await;
    let Settled::Running { evidence } = settled else { panic!("{settled:?}") };
    assert!(evidence.contains("sleep(12)") && evidence.contains("root"), "{evidence}");
    let mut other = made.clone();
    other.key = EffectKey::from_text("9999999999/s/1/0");
    let mut short = context();
    short.timeout = Duration::from_secs(5);
    let outcome = MigrationsShift::down().apply(&short, &other).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("a lock of migrations is held by"), "{reason}");
    // Another database of the server is migrated meanwhile.
    let beside = World::new(server);
    let apart = first(&beside).await;
    assert!(matches!(down_apply(&apart).await, Outcome::Done { .. }));
    let outcome = sending.await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

async fn a_lock_that_is_not_to_be_had_is_tried_until_the_time_is_up(server: &'static Server) {
    let world = World::new(server);
    let made = first(&world).await;
    let url = server.url(&world.database);
    let options: sqlx::mysql::MySqlConnectOptions = url.parse().unwrap();
    let mut report = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for sql in ["BEGIN", "SELECT count(*) FROM users"] {
        sqlx::raw_sql(sql).execute(&mut report).await.unwrap();
    }
    let mut short = context();
    short.timeout = Duration::from_secs(8);
    let outcome = MigrationsShift::down().apply(&short, &made).await;
    let Outcome::Failed { output, reason } = outcome else { panic!("{outcome:?}") };
    assert_eq!(output["statements"], 1, "rows were changed, the column waits");
    assert!(reason.contains("now in the way: connection ") && reason.contains("root"), "{reason}");
    assert_eq!(world.versions().len(), 5);
}

/// A change that the catalogue shows only far behind the 1024 bytes that MySQL gives of a long list.
async fn a_change_at_the_end_of_a_wide_table_is_seen(server: &'static Server) {
    let world = World::new(server);
    let columns = (0..99).map(|at| format!("column_{at} varchar(20)"));
    world.run(&format!("CREATE TABLE wide ({})", columns.collect::<Vec<_>>().join(", ")));
    let down = "ALTER TABLE wide MODIFY column_98 varchar(30)";
    world.write("00004_vip.sql", &format!("-- +goose Up\n-- +goose Down\n{down};\n"));
    for (point, is_made) in [(Point::Announced, false), (Point::Ran, true)] {
        let mut made = first(&world).await;
        made.key = EffectKey::from_text(&format!("0123456789/s/{point:?}/0"));
        let cut = MigrationsShift::down().with_fault(move |at| at == point);
        assert!(matches!(cut.apply(&context(), &made).await, Outcome::Unclear { .. }));
        let settled = settle(&made).await;
        assert_eq!(matches!(settled, Settled::Unknown { .. }), is_made, "{settled:?}");
        assert_eq!(settled == Settled::NotDone, !is_made, "{settled:?}");
    }
}

/// Runs the real goose on a world; nothing where it is missing and that is no failure.
fn goose(world: &World, args: &[&str]) -> Option<String> {
    let Some(goose) = program("goose") else {
        missing("goose", "tests/setup/migration-tools.sh installs it into a folder on the path");
        return None;
    };
    let output = std::process::Command::new(goose)
        .arg("-dir")
        .arg(world.migrations())
        .args(["mysql", &world.go_url()])
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "goose {args:?}: {text}");
    Some(text)
}

async fn goose_agrees_with_every_version_we_go_down_to(server: &'static Server) {
    for to in 0..=3 {
        let world = World::bare(server);
        if goose(&world, &["up"]).is_none() {
            return;
        }
        // goose takes no other form of the URL, and we take this one too.
        std::fs::write(world.dir.path().join("url"), world.go_url()).unwrap();
        shift("migrations.down", &world.input(&to.to_string()), "r").await;
        let status = goose(&world, &["status"]).unwrap();
        let lines = status.lines().filter(|line| line.contains(".sql"));
        let applied: Vec<_> = lines.map(|line| !line.contains("Pending")).collect();
        assert_eq!(applied, (1..=4).map(|version| version <= to).collect::<Vec<_>>());

        let fresh = World::bare(server);
        let text = to.to_string();
        goose(&fresh, &if to == 0 { vec!["version"] } else { vec!["up-to", &text] });
        assert_eq!(world.rows(SCHEMA), fresh.rows(SCHEMA), "down to {to}");
        goose(&world, &["up"]);
        assert_eq!(world.versions().len(), 5);
    }
}

/// golang-migrate marks its ledger as dirty first; where nothing came of it, that is taken back.
async fn a_mark_in_the_ledger_is_taken_back_where_nothing_was_made(server: &'static Server) {
    let world = World::bare(server);
    for (name, _) in FILES {
        std::fs::remove_file(world.migrations().join(name)).unwrap();
    }
    world.write("1_a.up.sql", "CREATE TABLE a (x int);");
    world.write("1_a.down.sql", "DROP TABLE a;");
    world.write("2_b.up.sql", "CREATE TABLE b (x int);");
    world.write("2_b.down.sql", "DROP TABLE nowhere;\nDROP TABLE b;");
    world
        .run("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)");
    world.run("INSERT INTO schema_migrations VALUES (2, false)");
    world.run("CREATE TABLE a (x int); CREATE TABLE b (x int)");
    let mut input = world.input("1");
    input["tool"] = json!("golang-migrate");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    let made = call(&input, &prepared, 0, 1);
    let outcome = down_apply(&made).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("nowhere"), "{reason}");
    let ledger = "SELECT version, dirty FROM schema_migrations";
    assert_eq!(world.rows(ledger), ["2\t0"], "the mark stays");

    // A sending that ended right behind the mark is not done, and the next one goes on behind it.
    world.run("CREATE TABLE nowhere (x int)");
    let mut again = made.clone();
    again.key = EffectKey::from_text("0123456789/s/2/0");
    let down = MigrationsShift::down().with_fault(|at| at == Point::Counted);
    let outcome = down.apply(&context(), &again).await;
    assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
    assert_eq!(world.rows(ledger), ["1\t1"]);
    assert_eq!(settle(&again).await, Settled::NotDone);
    again.fence.dispatch = 2;
    let outcome = down_apply(&again).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(world.rows(ledger), ["1\t0"]);
}

on_both! {
    a_plan_says_what_cannot_be_told,
    each_window_is_settled_after_sigkill,
    what_began_is_told_by_the_catalogue_or_stays_in_doubt,
    a_sending_at_work_is_running_and_its_lock_named,
    a_lock_that_is_not_to_be_had_is_tried_until_the_time_is_up,
    goose_agrees_with_every_version_we_go_down_to,
    a_mark_in_the_ledger_is_taken_back_where_nothing_was_made,
    a_change_at_the_end_of_a_wide_table_is_seen,
}
