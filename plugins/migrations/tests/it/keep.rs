//! What goes on SQLite is kept and put back: rows and values as they were, byte for byte.

use std::sync::Arc;

use backout_plugin_api::{
    Action, ActionName, EffectKey, MadeEffect, Outcome, Prepared, Reversibility, Reverted, Tidied,
};
use backout_plugin_migrations::{MigrationsShift, Point};
use serde_json::{Value, json};

use super::{World, call, context, prepare, shift};

/// Every hazard as one line.
pub(super) fn hazards(prepared: &Prepared) -> Vec<String> {
    prepared.all_hazards().map(|hazard| format!("{}: {}", hazard.code, hazard.text)).collect()
}

/// A world whose last migration is this one, applied, with what is run after it.
pub(super) async fn world(up: &str, down: &str, rows: &str) -> World {
    let world = World::new().await;
    add(&world, up, down).await;
    world.run(rows).await;
    world
}

async fn add(world: &World, up: &str, down: &str) {
    world.write("00005_x.sql", &format!("-- +goose Up\n{up}\n-- +goose Down\n{down}\n"));
    shift("migrations.up", &world.input("5"), "setup").await;
}

/// Every row of a table with the type of each value, so that nothing that is only equal passes.
pub(super) async fn exact(world: &World, table: &str, order: &str) -> Vec<String> {
    let names = format!("SELECT name FROM pragma_table_info('{}')", table.replace('\'', "''"));
    let value = |name: String| {
        let name = format!("\"{}\"", name.replace('"', "\"\""));
        format!("typeof({name}) || ' ' || quote({name})")
    };
    let values: Vec<_> = world.rows(&names).await.into_iter().map(value).collect();
    let table = table.replace('"', "\"\"");
    let all = values.join(" || ', ' || ");
    world.rows(&format!("SELECT {all} FROM \"{table}\" ORDER BY {order}")).await
}

pub(super) fn made(input: &Value, prepared: &Arc<Prepared>, effect: usize) -> MadeEffect {
    MadeEffect {
        input: input.clone(),
        prepared: Arc::clone(prepared),
        effect,
        key: call(input, prepared, effect, 1).key,
        output: Value::Null,
        whole: true,
    }
}

/// Takes back an effect; how that ended.
pub(super) async fn try_undo(made: &MadeEffect) -> Outcome {
    let reverted = MigrationsShift::down().revert(&context(), made).await;
    let Reverted::By { action, input } = reverted else { panic!("{reverted:?}") };
    assert_eq!(action, ActionName::new("migrations.up"));
    let up = MigrationsShift::up();
    let prepared = Arc::new(up.prepare(&context(), &input).await.unwrap());
    let mut call = call(&input, &prepared, 0, 1);
    call.key = EffectKey::from_text(&format!("undo of {}", made.key));
    up.apply(&context(), &call).await
}

async fn undo(made: &MadeEffect) {
    let outcome = try_undo(made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

/// One migration down; what undoes it.
pub(super) async fn down(world: &World, to: &str) -> MadeEffect {
    let input = world.input(to);
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    let outcome = MigrationsShift::down().apply(&context(), &call(&input, &prepared, 0, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    made(&input, &prepared, 0)
}

#[tokio::test]
async fn what_goes_is_kept_and_an_undo_puts_it_back() {
    let world = World::new().await;
    world.run("UPDATE users SET email = x'00ff' WHERE id = 2").await;
    let before = (
        exact(&world, "users", "id").await,
        exact(&world, "orders", "id").await,
        world.schema().await,
    );
    let input = world.input("1");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    assert_eq!(prepared.reversibility(), Reversibility::Exact);
    for effect in 0..3 {
        let call = call(&input, &prepared, effect, 1);
        let outcome = MigrationsShift::down().apply(&context(), &call).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    world.run("INSERT INTO users (name) VALUES ('new')").await;
    for effect in (0..3).rev() {
        undo(&made(&input, &prepared, effect)).await;
    }
    world.run("DELETE FROM users WHERE name = 'new'").await;
    let after = (
        exact(&world, "users", "id").await,
        exact(&world, "orders", "id").await,
        world.schema().await,
    );
    assert_eq!(after, before);

    let tidied = MigrationsShift::down().tidy(&context(), &made(&input, &prepared, 1)).await;
    assert!(tidied.removed[0].contains("1 kept copies") && tidied.left.is_empty(), "{tidied:?}");
    let left = "SELECT name FROM sqlite_schema WHERE name LIKE 'backout_kept_%'";
    assert_eq!(world.rows(left).await.len(), 1);
    let again = MigrationsShift::down().tidy(&context(), &made(&input, &prepared, 1)).await;
    assert_eq!(again, Tidied::default());
}

/// The twelve steps that SQLite's own pages advise for what `ALTER TABLE` cannot do.
#[tokio::test]
async fn a_table_written_anew_loses_only_its_column() {
    let ways = [
        "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);\n\
         INSERT INTO n SELECT id, name, email FROM users;\nDROP TABLE users;\n\
         ALTER TABLE n RENAME TO users;",
        "ALTER TABLE users RENAME TO o;\n\
         CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);\n\
         INSERT INTO users (email, id, name) SELECT o.email, o.id, o.name FROM o;\nDROP TABLE o;",
        "CREATE TEMPORARY TABLE b AS SELECT id, name, email FROM users;\nDROP TABLE users;\n\
         CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);\n\
         INSERT INTO users SELECT * FROM b;\nDROP TABLE b;",
        "ALTER TABLE users DROP COLUMN vip;",
    ];
    let rows = "UPDATE users SET vip = 'x' || id WHERE id < 3; INSERT INTO users (id, name, vip) \
                VALUES (9, 'nine', x'01')";
    for (at, way) in ways.into_iter().enumerate() {
        let world = World::new().await;
        let trigger = "DROP TRIGGER no_name;\n";
        world.run(trigger).await;
        add(&world, "ALTER TABLE users ADD COLUMN vip;", way).await;
        world.run(rows).await;
        let before = exact(&world, "users", "id").await;
        let prepared = prepare("migrations.down", &world.input("4")).await.unwrap();
        assert_eq!(prepared.reversibility(), Reversibility::Exact, "{way}");
        let mut expected = vec![
            "drops-column: column `users.vip` goes, with values in 3 rows; all of it was written by 5 \
             or since; a copy is kept",
        ];
        if at < 3 {
            expected
                .push("rewrites-table: table `users` is written anew: all of its rows are copied");
        }
        assert_eq!(hazards(&prepared), expected, "{way}");
        let made = down(&world, "4").await;
        world
            .run("UPDATE users SET name = 'changed' WHERE id = 1; DELETE FROM users WHERE id = 2")
            .await;
        undo(&made).await;
        let wanted: Vec<_> = before
            .iter()
            .filter(|row| !row.starts_with("integer 2,"))
            .map(|row| row.replace("'a'", "'changed'"))
            .collect();
        assert_eq!(exact(&world, "users", "id").await, wanted, "{way}");
    }
}

/// What is no plain copy of all rows is not called one.
#[tokio::test]
async fn a_table_written_anew_in_another_way_says_so() {
    let remake = |columns: &str, select: &str| {
        format!(
            "CREATE TABLE n ({columns});\nINSERT INTO n SELECT {select};\nDROP TABLE users;\n\
             ALTER TABLE n RENAME TO users;"
        )
    };
    let plain = "id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT";
    for (way, said) in [
        (remake(plain, "id, name, email FROM users WHERE name <> 'a'"), "not as a plain copy"),
        (remake(plain, "id, upper(name), email FROM users"), "not as a plain copy"),
        (
            remake("id INTEGER PRIMARY KEY, name INT, email TEXT", "id, name, email FROM users"),
            "values of `users.name` become INT where they were TEXT",
        ),
        (
            remake(&format!("{plain} NOT NULL"), "id, name, email FROM users"),
            "rows-refused: 1 rows of `users` have no value in `email`",
        ),
        (
            remake(&format!("{plain}, UNIQUE (name)"), "id, name, email FROM users"),
            "rows-refused: 1 values of (name) in `users` are there twice",
        ),
        (
            remake(&format!("{plain}, CHECK (length(name) < 2)"), "id, name, email FROM users"),
            "rows-refused: 2 rows of `users` do not fit the check",
        ),
        (format!("{}DROP TABLE nowhere;", ""), "would-fail: tried on the schema without its rows"),
    ] {
        let rows = "INSERT INTO users (name, email) VALUES ('dd', 'x'), ('dd', 'y')";
        let world = world("SELECT 1;", &way, rows).await;
        let prepared = prepare("migrations.down", &world.input("4")).await.unwrap();
        let found = hazards(&prepared);
        assert!(found.iter().any(|text| text.contains(said)), "{said}: {found:#?}");
    }
}

#[tokio::test]
async fn odd_tables_come_back_as_they_were() {
    let up = "CREATE TABLE \"o'd\"\" d\" (rowid TEXT, \"a b\" REAL DEFAULT 1, \"sel ect\" BLOB, g AS \
              (\"a b\" * 2), PRIMARY KEY (\"a b\", rowid)) WITHOUT ROWID;\n\
              CREATE TABLE numbers (n INTEGER PRIMARY KEY AUTOINCREMENT, x ANY) STRICT;\n\
              CREATE TABLE loose (oid, x INTEGER, y TEXT COLLATE NOCASE, z NUMERIC);\n\
              CREATE TABLE \"Empty\" (n INTEGER PRIMARY KEY AUTOINCREMENT);\n\
              INSERT INTO loose VALUES (1, 2, 'seed', 3);";
    let down =
        "DROP TABLE \"o'd\"\" d\";\nDROP TABLE numbers;\nDROP TABLE loose;\nDROP TABLE EMPTY;";
    let rows = "INSERT INTO \"o'd\"\" d\" (rowid, \"a b\", \"sel ect\") VALUES ('', 1, NULL), \
                ('1', 1e308, x'00'), ('\u{e9}', 'no number', '1');\n\
                INSERT INTO numbers (x) VALUES (1.0), ('1'), (x''), (NULL);\n\
                DELETE FROM numbers WHERE n = 4;\n\
                INSERT INTO loose (rowid, oid, x, y, z) VALUES (-5, NULL, '12x', 'A', '1e3'), \
                (9223372036854775807, 1, 9223372036854775807, 'a', 9007199254740993), \
                (7, x'31', 1.5, x'41', '0001'); DELETE FROM loose WHERE y = 'seed';\n\
                INSERT INTO \"Empty\" VALUES (41); DELETE FROM \"Empty\";";
    let world = world(up, down, rows).await;
    let all = async |world: &World| {
        let mut all = exact(world, "o'd\" d", "\"a b\", rowid").await;
        all.extend(exact(world, "numbers", "n").await);
        all.extend(exact(world, "loose", "_rowid_").await);
        all.extend(world.rows("SELECT CAST(_rowid_ AS TEXT) FROM loose ORDER BY 1").await);
        let given =
            "SELECT name || seq FROM sqlite_sequence WHERE name NOT LIKE 'goose%' ORDER BY 1";
        all.extend(world.rows(given).await);
        all
    };
    let before = (all(&world).await, world.schema().await);
    assert!(before.0.contains(&"Empty41".to_owned()), "{before:?}");
    let made = self::down(&world, "4").await;
    assert_eq!(
        made.prepared.reversibility(),
        Reversibility::Exact,
        "{:?}",
        hazards(&made.prepared)
    );
    undo(&made).await;
    assert_eq!((all(&world).await, world.schema().await), before);
}

/// Triggers take what is put back for no news, and are there again.
#[tokio::test]
async fn triggers_do_not_see_what_is_put_back() {
    let up = "CREATE TABLE notes (id INTEGER PRIMARY KEY, t TEXT);\nCREATE TABLE log (t TEXT);\n\
              ALTER TABLE users ADD COLUMN vip TEXT;\n-- +goose StatementBegin\nCREATE TRIGGER noted \
              AFTER INSERT ON notes BEGIN INSERT INTO log VALUES (new.t); END;\n-- +goose StatementEnd\n\
              -- +goose StatementBegin\nCREATE TRIGGER changed AFTER UPDATE ON users BEGIN INSERT INTO \
              log VALUES (new.vip); END;\n-- +goose StatementEnd";
    let down = "DROP TRIGGER changed;\nDROP TABLE notes;\nDROP TABLE log;\n\
                ALTER TABLE users DROP COLUMN vip;";
    let world =
        world(up, down, "INSERT INTO notes (t) VALUES ('a'); UPDATE users SET vip = 'v'").await;
    let before = (exact(&world, "log", "1").await, world.schema().await);
    let made = self::down(&world, "4").await;
    undo(&made).await;
    assert_eq!((exact(&world, "log", "1").await, world.schema().await), before);
    world.run("INSERT INTO notes (t) VALUES ('b')").await;
    assert_eq!(world.rows("SELECT t FROM log ORDER BY rowid DESC LIMIT 1").await, ["b"]);
}

/// Rows that the way up writes itself give way to the kept ones; rows that it takes from elsewhere
/// may be newer, and do not.
#[tokio::test]
async fn rows_of_the_way_up_give_way_only_where_they_are_its_own() {
    let up = "CREATE TABLE kinds (id INTEGER PRIMARY KEY, t TEXT);\n\
              INSERT INTO kinds VALUES (1, 'spring'), (2, 'autumn');";
    let rows = "UPDATE kinds SET t = 'winter' WHERE id = 1; DELETE FROM kinds WHERE id = 2; INSERT \
                INTO kinds VALUES (3, 'by hand')";
    let world = world(up, "DROP TABLE kinds;", rows).await;
    let before = exact(&world, "kinds", "id").await;
    let made = down(&world, "4").await;
    assert_eq!(made.prepared.reversibility(), Reversibility::Exact);
    undo(&made).await;
    assert_eq!(exact(&world, "kinds", "id").await, before);

    let up = "CREATE TABLE mails (id INTEGER PRIMARY KEY, t TEXT);\n\
              INSERT INTO mails SELECT id, lower(email) FROM users WHERE email IS NOT NULL;";
    let world =
        self::world(up, "DROP TABLE mails;", "INSERT INTO mails VALUES (50, 'extra')").await;
    let made = down(&world, "4").await;
    assert_eq!(made.prepared.reversibility(), Reversibility::ShapeOnly);
    let said = hazards(&made.prepared);
    assert!(said.iter().any(|text| text.starts_with("put-back-in-part")), "{said:?}");
    world.run("UPDATE users SET email = 'NEW@b' WHERE id = 1").await;
    undo(&made).await;
    let after = world.rows("SELECT id || t FROM mails ORDER BY id").await;
    assert_eq!(after, ["1new@b", "3c@d", "50extra"], "newer rows stay, missing ones come back");
}

#[tokio::test]
async fn what_is_not_kept_is_said_with_its_reason() {
    let by = |up: &'static str, down: &'static str, keep: Value, said: &'static str| {
        (up, down, keep, said)
    };
    for (up, down, keep, said) in [
        by(
            "CREATE TABLE big (a);\nINSERT INTO big VALUES (1);",
            "DROP TABLE big;",
            json!("1B"),
            "at least 4000 bytes, and `keep_data` leaves 1",
        ),
        by(
            "CREATE VIRTUAL TABLE f USING fts5(t);\nINSERT INTO f VALUES ('a');",
            "DROP TABLE f;",
            json!(true),
            "its module's own",
        ),
        by(
            "CREATE TABLE k (a PRIMARY KEY, b);\nINSERT INTO k VALUES (NULL, 2);",
            "ALTER TABLE k DROP COLUMN b;",
            json!(true),
            "the way back fails on the schema that is left: ",
        ),
        by("SELECT 1;", "DROP TABLE orders;", json!(true), "makes no table `orders`"),
    ] {
        let world = world(up, down, "SELECT 1").await;
        let mut input = world.input("4");
        input["keep_data"] = keep;
        let prepared = prepare("migrations.down", &input).await.unwrap();
        let found = hazards(&prepared);
        let wanted =
            found.iter().any(|text| text.starts_with("data-not-kept") && text.contains(said));
        assert!(wanted, "{said}: {found:#?}");
        let is_structure_lost = said.starts_with("the way back") || said.starts_with("makes no");
        let way_back =
            if is_structure_lost { Reversibility::None } else { Reversibility::ShapeOnly };
        assert_eq!(prepared.reversibility(), way_back, "{said}");
    }
}

/// The way back is tried too: it should end where the way down began.
#[tokio::test]
async fn a_way_back_that_leads_elsewhere_is_told() {
    let swap = "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);\n\
                INSERT INTO n (id, name, email) SELECT id, email, name FROM users;\nDROP TABLE \
                users;\nALTER TABLE n RENAME TO users;";
    for (up, down, said) in [
        (swap, swap, None),
        ("SELECT 1;", swap, Some("does not bring `users.")),
        ("SELECT 1;", "ALTER TABLE orders RENAME TO buys;", Some("makes no table `orders`")),
        (
            "ALTER TABLE orders RENAME TO o2;\nALTER TABLE o2 RENAME TO orders;",
            "ALTER TABLE orders RENAME COLUMN user_id TO who;",
            Some("makes no column `orders.user_id`"),
        ),
    ] {
        let world = world("SELECT 1;", down, "UPDATE users SET email = ''").await;
        world.write("00005_x.sql", &format!("-- +goose Up\n{up}\n-- +goose Down\n{down}\n"));
        let prepared = prepare("migrations.down", &world.input("4")).await.unwrap();
        let found = hazards(&prepared);
        let told = found.iter().find(|text| text.starts_with("no-way-back"));
        match said {
            Some(said) => assert!(told.unwrap().contains(said), "{said}: {found:#?}"),
            None => assert_eq!(told, None, "{found:#?}"),
        }
        let way_back = if said.is_some() { Reversibility::None } else { Reversibility::Exact };
        assert_eq!(prepared.reversibility(), way_back, "{down}");
    }
}

/// A module that only the service has: the plan goes by the words, and keeps nothing.
#[tokio::test]
async fn a_schema_that_cannot_be_tried_is_planned_by_its_words() {
    let world = World::new().await;
    world
        .run(
            "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, \
             'CREATE VIRTUAL TABLE v USING nowhere(x)')",
        )
        .await;
    let prepared = prepare("migrations.down", &world.input("2")).await.unwrap();
    let found = hazards(&prepared);
    let why = "data-not-kept: `orders` is not kept: the migration cannot be tried out: ";
    assert!(found.iter().any(|text| text.starts_with(why)), "{found:#?}");
    assert!(found.iter().any(|text| text.starts_with("drops-table: table `orders`")), "{found:#?}");
    assert_eq!(prepared.reversibility(), Reversibility::ShapeOnly);
}

#[tokio::test]
async fn a_column_is_kept_where_every_row_has_a_key() {
    for (table, said) in [
        ("CREATE TABLE k (a PRIMARY KEY, b TEXT)", "rows without a value in the primary key"),
        ("CREATE TABLE k (a, b TEXT)", "the rest of the primary key, and there is none"),
    ] {
        let world = World::new().await;
        world.run(&format!("{table}; INSERT INTO k VALUES (NULL, 2)")).await;
        let down = "ALTER TABLE k DROP COLUMN c;";
        add(&world, "ALTER TABLE k ADD COLUMN c TEXT;", down).await;
        world.run("UPDATE k SET c = 1").await;
        let found = hazards(&prepare("migrations.down", &world.input("4")).await.unwrap());
        assert!(found.iter().any(|text| text.contains(said)), "{found:?}");
    }
}

/// With foreign keys on, SQLite empties a table before it drops it.
#[tokio::test]
async fn rows_that_follow_a_dropped_table_are_told() {
    let up = "CREATE TABLE IF NOT EXISTS part (id INTEGER PRIMARY KEY, u INTEGER REFERENCES users (id) ON DELETE \
              CASCADE);";
    let way = "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);\n\
               INSERT INTO n SELECT id, name, email FROM users;\nDROP TABLE users;\n\
               ALTER TABLE n RENAME TO users;";
    let world = world(up, way, "INSERT INTO part (u) VALUES (1)").await;
    for (keys, is_said) in [(true, true), (false, false)] {
        let mut input = world.input("4");
        input["foreign_keys"] = json!(keys);
        let prepared = prepare("migrations.down", &input).await.unwrap();
        let found = hazards(&prepared);
        let said = found.iter().any(|text| text.contains("the rows of `part` that point at it"));
        assert_eq!(said, is_said, "{found:?}");
        assert_eq!(prepared.reversibility() == Reversibility::ShapeOnly, is_said);
    }
}

/// A row that comes between the look and the migration is among the kept ones.
#[tokio::test]
async fn a_row_written_after_the_plan_is_kept_too() {
    let world = World::new().await;
    shift("migrations.down", &world.input("3"), "setup").await;
    let input = world.input("2");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    world.run("INSERT INTO orders (user_id) VALUES (3)").await;
    let before = exact(&world, "orders", "id").await;
    let outcome = MigrationsShift::down().apply(&context(), &call(&input, &prepared, 0, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    undo(&made(&input, &prepared, 0)).await;
    assert_eq!(exact(&world, "orders", "id").await, before);
}

#[tokio::test]
async fn an_undo_whose_copies_are_gone_is_refused() {
    let world = World::new().await;
    shift("migrations.down", &world.input("3"), "setup").await;
    let made = down(&world, "2").await;
    let tidied = MigrationsShift::down().tidy(&context(), &made).await;
    assert_eq!(tidied.removed.len(), 1);
    let Outcome::Refused { reason } = try_undo(&made).await else { panic!("it was made") };
    assert!(reason.contains("are gone") && reason.contains("nothing was changed"), "{reason}");
    assert_eq!(world.versions().await, ["0", "1", "2"]);
}

/// A stop after each sub-step of the way down and of the undo leaves all or nothing.
#[tokio::test]
async fn each_window_of_a_copy_and_of_its_way_back_is_settled() {
    for point in Point::ALL {
        let world = World::new().await;
        shift("migrations.down", &world.input("3"), "setup").await;
        let before = (exact(&world, "orders", "id").await, world.schema().await);
        let input = world.input("2");
        let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
        let sent = call(&input, &prepared, 0, 1);
        let stopped = MigrationsShift::down().with_fault(move |at| at == point);
        assert!(matches!(stopped.apply(&context(), &sent).await, Outcome::Unclear { .. }));
        super::windows::settle(&sent).await;
        let kept = "SELECT name FROM sqlite_schema WHERE name LIKE 'backout_kept%'";
        let there = world.rows(kept).await.len();
        assert_eq!(there, if point == Point::Committed { 2 } else { 0 }, "{point:?}");
        let mut again = sent.clone();
        again.fence.dispatch = 2;
        let outcome = MigrationsShift::down().apply(&context(), &again).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(world.rows(kept).await.len(), 2, "{point:?}");

        let reverted =
            MigrationsShift::down().revert(&context(), &made(&input, &prepared, 0)).await;
        let Reverted::By { input, .. } = reverted else { panic!("{reverted:?}") };
        let prepared = Arc::new(prepare("migrations.up", &input).await.unwrap());
        let mut sent = call(&input, &prepared, 0, 1);
        sent.key = EffectKey::from_text("0123456789/s/undo-1/1/0");
        let stopped = MigrationsShift::up().with_fault(move |at| at == point);
        assert!(matches!(stopped.apply(&context(), &sent).await, Outcome::Unclear { .. }));
        super::windows::settle(&sent).await;
        sent.fence.dispatch = 2;
        let outcome = MigrationsShift::up().apply(&context(), &sent).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        let after = (exact(&world, "orders", "id").await, world.schema().await);
        assert_eq!(after, before, "{point:?}");
    }
}
