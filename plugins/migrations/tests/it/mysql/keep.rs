//! What goes on MariaDB is copied with every writer kept out, and put back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backout_plugin_api::{
    Action, EffectKey, MadeEffect, Outcome, Prepared, Reversibility, Reverted,
};
use backout_plugin_migrations::{MigrationsShift, Point};
use backout_test_targets::mysql::Server;
use serde_json::Value;

use super::super::keep::{hazards, made};
use super::super::{call, context, prepare, shift};
use super::{World, settle};

async fn world(server: &'static Server, up: &str, down: &str, rows: &str) -> World {
    let world = World::new(server);
    world.write("00005_x.sql", &format!("-- +goose Up\n{up}\n-- +goose Down\n{down}\n"));
    shift("migrations.up", &world.input("5"), "setup").await;
    // Somebody looks at figures, and MySQL remembers for a day what it said.
    world.run("SELECT auto_increment, data_length FROM information_schema.tables");
    world.run(rows);
    world
}

async fn look(world: &World) -> (Value, Arc<Prepared>) {
    let input = world.input("4");
    let prepared = prepare("migrations.down", &input).await.unwrap();
    (input, Arc::new(prepared))
}

async fn down_of(world: &World) -> MadeEffect {
    let (input, prepared) = look(world).await;
    let outcome = MigrationsShift::down().apply(&context(), &call(&input, &prepared, 0, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    made(&input, &prepared, 0)
}

async fn undo(made: &MadeEffect) {
    let up = MigrationsShift::up();
    let reverted = MigrationsShift::down().revert(&context(), made).await;
    let Reverted::By { input, .. } = reverted else { panic!("{reverted:?}") };
    let prepared = Arc::new(up.prepare(&context(), &input).await.unwrap());
    let mut call = call(&input, &prepared, 0, 1);
    call.key = EffectKey::from_text(&format!("undo of {}", made.key));
    let outcome = up.apply(&context(), &call).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

const UP: &str = "CREATE TABLE odd (id bigint AUTO_INCREMENT PRIMARY KEY, `a b` varchar(9) COLLATE \
    utf8mb4_general_ci, n decimal(20, 3), f double, d date NOT NULL DEFAULT '2020-01-01', x varbinary(9), \
    g decimal(20, 3) AS (n * 2), e enum ('p', 'q'), t timestamp(3) NULL, b bit(5));\n\
    ALTER TABLE users ADD COLUMN note varchar(20), ADD COLUMN seen timestamp NULL ON UPDATE \
    current_timestamp;";
const DOWN: &str = "DROP TABLE odd;\nALTER TABLE users DROP COLUMN note;";
const ROWS: &str = "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT INTO odd (id, `a b`, n, f, d, x, e, t, b) \
    VALUES (0, 'A', 1.5, 0.1, '0000-00-00', x'00ff', 'q', '2001-02-03 04:05:06.789', b'10101'), (7, '', \
    -0.001, -1e300, '2024-02-30', '', '', NULL, NULL), (90, NULL, NULL, NULL, '1000-01-01', NULL, NULL, \
    NULL, 0); DELETE FROM odd WHERE id = 90; UPDATE users SET note = concat('n', id), seen = '2001-01-01'";

fn rows(world: &World) -> Vec<String> {
    let mut rows = world.rows(
        "SELECT concat_ws('|', id, hex(`a b`), n, f, d, hex(x), g, e + 0, t, b + 0) FROM odd ORDER BY id",
    );
    rows.extend(world.rows("SELECT concat_ws('|', id, name, note, seen) FROM users ORDER BY id"));
    let next = "SET SESSION lock_wait_timeout = 60 /*!80000 , information_schema_stats_expiry = 0 */; \
                SELECT auto_increment FROM information_schema.tables WHERE table_schema = database() \
                AND table_name = 'odd'";
    rows.extend(world.rows(next));
    rows
}

async fn what_goes_is_kept_and_an_undo_puts_it_back(server: &'static Server) {
    let down_file = format!("{DOWN}\nALTER TABLE users DROP COLUMN seen;");
    let world = world(server, UP, &down_file, ROWS).await;
    let before = (rows(&world), world.rows(super::SCHEMA));
    assert!(before.0.contains(&"91".to_owned()), "{before:?}");
    let made = down_of(&world).await;
    assert_eq!(made.prepared.reversibility(), Reversibility::Exact);
    let said = hazards(&made.prepared);
    let wanted = "drops-table: table `odd` goes, with 2 rows; all of it was written by 5 or since; a \
                  copy is kept";
    assert!(said.iter().any(|text| text == wanted), "{said:#?}");
    assert_eq!(world.rows("SELECT count(*) FROM backout_kept"), ["3"]);
    let keys = "SELECT count(*) FROM information_schema.table_constraints WHERE constraint_type = \
                'PRIMARY KEY' AND table_schema = database() AND table_name LIKE 'backout\\_kept\\_%'";
    assert_eq!(world.rows(keys), ["3"], "a server may want one for every table");
    undo(&made).await;
    assert_eq!((rows(&world), world.rows(super::SCHEMA)), before);
    let tidied = MigrationsShift::down().tidy(&context(), &made).await;
    assert!(tidied.removed[0].contains("3 kept copies") && tidied.left.is_empty(), "{tidied:?}");
    assert!(world.rows("SHOW TABLES LIKE 'backout\\_kept\\_%'").is_empty());
}

/// A lock takes in what a table points at, and a column that `SELECT *` does not show is a column.
async fn a_table_that_points_at_another_is_kept_with_what_it_hides(server: &'static Server) {
    let mut up =
        "CREATE TABLE kid (id int PRIMARY KEY, u int, hidden varchar(9) INVISIBLE, doc json, \
                  FOREIGN KEY (u) REFERENCES users (id));"
            .to_owned();
    let mut down = "DROP TABLE kid;".to_owned();
    if server.product() == "MySQL" {
        up += "\nCREATE INDEX lowered ON users ((lower(name)));";
        down = format!("DROP INDEX lowered ON users;\n{down}");
    }
    let rows = "INSERT INTO kid (id, u, hidden, doc) VALUES (1, 2, 'h', '{\"a\": [1]}'), (2, NULL, '', NULL)";
    let world = world(server, &up, &down, rows).await;
    let all = "SELECT id, u, hidden, doc FROM kid ORDER BY id";
    let before = (world.rows(all), world.rows(super::SCHEMA));
    let made = down_of(&world).await;
    assert!(world.rows("SHOW TABLES LIKE 'kid'").is_empty());
    undo(&made).await;
    assert_eq!((world.rows(all), world.rows(super::SCHEMA)), before);
}

/// Whoever is told that a row is written finds it in the copy, whenever that was.
async fn no_row_is_written_between_the_copy_and_the_drop(server: &'static Server) {
    let up = "CREATE TABLE busy (id int AUTO_INCREMENT PRIMARY KEY, w int);";
    let world = world(server, up, "DROP TABLE busy;", "SELECT 1").await;
    world.run(
        "INSERT INTO busy (w) WITH RECURSIVE some (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM some WHERE n \
         < 500) SELECT a.n FROM some a, some b WHERE b.n <= 400",
    );
    let (input, prepared) = look(&world).await;
    let (stop, server, database) =
        (Arc::new(AtomicBool::new(false)), world.server, world.database.clone());
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, database) = (Arc::clone(&stop), database.clone());
            std::thread::spawn(move || {
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    if server.sql(&database, "INSERT INTO busy (w) VALUES (-1)").is_err() {
                        break;
                    }
                    written += 1;
                }
                written
            })
        })
        .collect();
    let some = "SELECT count(*) > 5 FROM busy WHERE w = -1";
    backout_test_targets::wait_until(std::time::Duration::from_secs(20), || {
        if world.rows(some) == ["1"] { Ok(()) } else { Err("nobody writes".to_owned()) }
    })
    .unwrap();
    let outcome = MigrationsShift::down().apply(&context(), &call(&input, &prepared, 0, 1)).await;
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let written: u32 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    undo(&made(&input, &prepared, 0)).await;
    let found = world.rows("SELECT count(*) FROM busy WHERE w = -1");
    assert_eq!(found, [written.to_string()]);
    assert_eq!(world.rows("SELECT count(*) FROM busy WHERE w > 0"), ["200000"]);
}

/// A session that dies after the copy leaves the table to its writers; the next one copies anew.
async fn a_copy_that_was_left_is_made_anew(server: &'static Server) {
    for point in [Point::Announced, Point::Kept, Point::Ran, Point::Committed] {
        let down_file = "DROP TABLE odd;\nALTER TABLE users DROP COLUMN note, DROP COLUMN seen;";
        let world = world(server, UP, down_file, ROWS).await;
        let (input, prepared) = look(&world).await;
        let sent = call(&input, &prepared, 0, 1);
        let stopped = MigrationsShift::down().with_fault(move |at| at == point);
        assert!(matches!(stopped.apply(&context(), &sent).await, Outcome::Unclear { .. }));
        let settled = settle(&sent).await;
        let is_there = !world.rows("SHOW TABLES LIKE 'odd'").is_empty();
        assert_eq!(is_there, matches!(point, Point::Announced | Point::Kept), "{settled:?}");
        if is_there {
            world.run("INSERT INTO odd (`a b`) VALUES ('late')");
        }
        let undoes = if matches!(settled, backout_plugin_api::Settled::Failed { .. }) {
            let (input, prepared) = look(&world).await;
            let mut again = call(&input, &prepared, 0, 1);
            again.key = EffectKey::from_text("0123456789/s/2/0");
            let outcome = MigrationsShift::down().apply(&context(), &again).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
            let mut made = made(&input, &prepared, 0);
            made.key = again.key;
            made
        } else {
            let mut again = sent.clone();
            again.fence.dispatch = 2;
            let outcome = MigrationsShift::down().apply(&context(), &again).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
            made(&input, &prepared, 0)
        };
        undo(&undoes).await;
        let late = world.rows("SELECT count(*) FROM odd WHERE `a b` = 'late'");
        assert_eq!(late, [if is_there { "1" } else { "0" }], "{point:?}");
        assert_eq!(world.rows("SELECT count(*) FROM odd WHERE id IN (0, 7)"), ["2"], "{point:?}");
        let notes = world.rows("SELECT note FROM users ORDER BY id");
        assert_eq!(notes, ["n1", "n2"], "{point:?}");
    }
}

/// The way back, cut after a sub-step and settled, and then gone on with after what is done meanwhile.
async fn cut_and_retry(server: &'static Server, point: Point, meanwhile: &str) -> (World, Outcome) {
    let up = "CREATE TABLE gone (id int AUTO_INCREMENT PRIMARY KEY, w int);";
    let rows = "INSERT INTO gone (w) VALUES (1), (2)";
    let world = world(server, up, "DROP TABLE gone;", rows).await;
    let made = down_of(&world).await;
    let reverted = MigrationsShift::down().revert(&context(), &made).await;
    let Reverted::By { input, .. } = reverted else { panic!("{reverted:?}") };
    let prepared = Arc::new(MigrationsShift::up().prepare(&context(), &input).await.unwrap());
    let mut sent = call(&input, &prepared, 0, 1);
    sent.key = EffectKey::from_text("0123456789/s/undo-1/1/0");
    let stopped = MigrationsShift::up().with_fault(move |at| at == point);
    assert!(matches!(stopped.apply(&context(), &sent).await, Outcome::Unclear { .. }));
    let settled = settle(&sent).await;
    assert!(matches!(settled, backout_plugin_api::Settled::Failed { .. }), "{settled:?}");
    world.run(meanwhile);
    let prepared = Arc::new(MigrationsShift::up().prepare(&context(), &input).await.unwrap());
    let mut again = call(&input, &prepared, 0, 1);
    again.key = EffectKey::from_text("0123456789/s/undo-1/2/0");
    let outcome = MigrationsShift::up().apply(&context(), &again).await;
    (world, outcome)
}

async fn what_was_kept_goes_back_once(server: &'static Server) {
    for point in [Point::Ran, Point::Counted, Point::Migrated, Point::Ledgered] {
        let (world, outcome) = cut_and_retry(server, point, "SELECT 1").await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{point:?}: {outcome:?}");
        assert_eq!(world.rows("SELECT w FROM gone ORDER BY id"), ["1", "2"], "{point:?}");
        assert_eq!(world.versions().last().unwrap(), "5");
    }
}

/// Rows that are there already are nobody's to mix with those that were kept.
async fn what_was_kept_goes_into_no_rows_of_others(server: &'static Server) {
    let other = "INSERT INTO gone (w) VALUES (7)";
    let (world, outcome) = cut_and_retry(server, Point::Ran, other).await;
    let Outcome::Failed { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("`gone` has rows already"), "{reason}");
    assert_eq!(world.rows("SELECT w FROM gone"), ["7"]);
}

async fn what_is_not_kept_is_said_with_its_reason(server: &'static Server) {
    for (up, said) in [
        ("CREATE TABLE k (id int PRIMARY KEY) ENGINE = MyISAM;", "only plain tables of InnoDB"),
        (
            "CREATE TABLE k (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES k (id));",
            "its rows point at each other",
        ),
        (
            "CREATE TABLE k (id int PRIMARY KEY);\n-- +goose StatementBegin\nCREATE TRIGGER kt BEFORE \
             INSERT ON k FOR EACH ROW SET @x = 1;\n-- +goose StatementEnd",
            "it has triggers",
        ),
    ] {
        let rows = "INSERT INTO k (id) VALUES (1)";
        let world = world(server, up, "DROP TABLE k;", rows).await;
        let (_, prepared) = look(&world).await;
        let found = hazards(&prepared);
        let is_said = |text: &String| text.starts_with("data-not-kept") && text.contains(said);
        assert!(found.iter().any(is_said), "{said}: {found:#?}");
        assert_eq!(prepared.reversibility(), Reversibility::ShapeOnly);
    }
}

async fn rows_that_the_older_schema_would_refuse_are_counted(server: &'static Server) {
    let down = "ALTER TABLE users MODIFY note varchar(3) NOT NULL;\n\
                ALTER TABLE users ADD CONSTRAINT once UNIQUE (name);\n\
                ALTER TABLE users ADD CHECK (name <> 'b');\n\
                ALTER TABLE odd ADD FOREIGN KEY (id) REFERENCES users (id);\n\
                ALTER TABLE odd MODIFY n decimal(20, 1);";
    let rows = format!(
        "{ROWS}; INSERT INTO users (name, note) VALUES ('b', NULL); UPDATE users SET note = 'long' \
         WHERE id = 1"
    );
    let world = world(server, UP, down, &rows).await;
    let (_, prepared) = look(&world).await;
    let found = hazards(&prepared);
    for text in [
        "rows-refused: 1 rows of `users` have no value in `note`",
        "rows-refused: 1 rows of `users` are longer than 3 in `note`",
        "rows-refused: 1 values of (name) in `users` are there twice",
        "rows-refused: 2 rows of `users` do not fit the check",
        "rows-refused: 2 rows of `odd` name nothing in `users`",
        "changes-rows: values of `odd.n` become decimal(20,1) where they were decimal(20,3)",
    ] {
        assert!(found.iter().any(|said| said.starts_with(text)), "{text}: {found:#?}");
    }
}

async fn a_role_that_may_not_lock_is_told_what_it_lacks(server: &'static Server) {
    let up = "CREATE TABLE k (id int PRIMARY KEY);";
    let world = world(server, up, "DROP TABLE k;", "INSERT INTO k VALUES (1)").await;
    let (name, database) = (format!("r_{}", world.database), &world.database);
    world.run(&format!(
        "CREATE USER {name}@'%' IDENTIFIED BY 'pw'; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, \
         ALTER ON {database}.* TO {name}@'%'"
    ));
    let url = world.server.url(database).replace("root@", &format!("{name}:pw@"));
    std::fs::write(world.dir.path().join("url"), url).unwrap();
    let (input, prepared) = look(&world).await;
    let sent = call(&input, &prepared, 0, 1);
    let outcome = MigrationsShift::down().apply(&context(), &sent).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("LOCK TABLES") && reason.contains("nothing was changed"), "{reason}");
    assert_eq!(world.rows("SELECT id FROM k"), ["1"]);
    assert!(world.rows("SHOW TABLES LIKE 'backout\\_kept\\_%'").is_empty());
    world.run(&format!("GRANT LOCK TABLES ON {database}.* TO {name}@'%'"));
    let mut again = sent;
    again.fence.dispatch = 2;
    let outcome = MigrationsShift::down().apply(&context(), &again).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

on_both! {
    a_table_that_points_at_another_is_kept_with_what_it_hides,
    what_goes_is_kept_and_an_undo_puts_it_back,
    no_row_is_written_between_the_copy_and_the_drop,
    a_copy_that_was_left_is_made_anew,
    what_was_kept_goes_back_once,
    what_was_kept_goes_into_no_rows_of_others,
    what_is_not_kept_is_said_with_its_reason,
    rows_that_the_older_schema_would_refuse_are_counted,
    a_role_that_may_not_lock_is_told_what_it_lacks,
}
