//! What goes is kept and put back; what it costs is said.

use std::sync::Arc;

use backout_plugin_api::{
    Action, ActionName, EffectKey, MadeEffect, Outcome, Prepared, Reversibility, Reverted,
};
use backout_plugin_migrations::MigrationsShift;
use serde_json::{Value, json};

use super::super::prepare;
use super::{World, apply, call, context, server};

fn hazards(prepared: &Prepared) -> Vec<String> {
    prepared.all_hazards().map(|hazard| format!("{}: {}", hazard.code, hazard.text)).collect()
}

fn made(input: &Value, prepared: &Arc<Prepared>, effect: usize) -> MadeEffect {
    MadeEffect {
        input: input.clone(),
        prepared: Arc::clone(prepared),
        effect,
        key: call(input, prepared, effect, 1).key,
        output: Value::Null,
        whole: true,
    }
}

async fn undo(made: &MadeEffect) {
    let reverted = MigrationsShift::down().revert(&context(), made).await;
    let Reverted::By { action, input } = reverted else { panic!("{reverted:?}") };
    assert_eq!(action, ActionName::new("migrations.up"));
    let up = MigrationsShift::up();
    let prepared = Arc::new(up.prepare(&context(), &input).await.unwrap());
    for effect in 0..prepared.effects.len() {
        let mut call = call(&input, &prepared, effect, 1);
        call.key = EffectKey::from_text(&format!("undo of {}/{effect}", made.key));
        let outcome = up.apply(&context(), &call).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
}

/// Every row of both tables, and the next number of a sequence.
fn data(world: &World) -> Vec<String> {
    let mut rows = world.rows("SELECT id, name, email FROM users ORDER BY id");
    rows.extend(world.rows("SELECT id, user_id FROM orders ORDER BY id"));
    rows.extend(world.rows("SELECT last_value, is_called FROM orders_id_seq"));
    rows
}

#[tokio::test]
async fn what_goes_is_kept_and_an_undo_puts_it_back() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.run("CREATE TABLE log (what text)");
    world.run(
        "CREATE FUNCTION noted() RETURNS trigger AS 'BEGIN INSERT INTO log VALUES (TG_OP); RETURN \
         NEW; END' LANGUAGE plpgsql",
    );
    world.run("CREATE TRIGGER noted BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION noted()");
    let (before, schema) = (data(&world), world.schema());
    let input = world.input("1");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    let reversibility: Vec<_> = prepared.effects.iter().map(|e| e.reversibility).collect();
    assert_eq!(reversibility, [Reversibility::Exact; 3]);
    for effect in 0..3 {
        let outcome = apply(&call(&input, &prepared, effect, 1)).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(world.rows("SELECT count(*) FROM backout_kept.kept"), ["2"]);
    for effect in (0..3).rev() {
        undo(&made(&input, &prepared, effect)).await;
    }
    assert_eq!((data(&world), world.schema()), (before, schema));
    assert!(world.rows("SELECT * FROM log").is_empty(), "a trigger took it for news");
    world.run("UPDATE users SET name = 'z' WHERE id = 1");
    assert_eq!(world.rows("SELECT * FROM log"), ["UPDATE"], "the trigger is on again");

    let tidied = MigrationsShift::down().tidy(&context(), &made(&input, &prepared, 1)).await;
    assert!(tidied.removed[0].contains("1 kept copies") && tidied.left.is_empty(), "{tidied:?}");
    assert_eq!(world.rows("SELECT count(*) FROM backout_kept.kept"), ["1"]);
    let again = MigrationsShift::down().tidy(&context(), &made(&input, &prepared, 1)).await;
    assert_eq!(again, backout_plugin_api::Tidied::default());
}

/// A way up that brings rows of its own: what people made of them comes back, not those.
#[tokio::test]
async fn rows_that_the_way_up_brings_give_way_to_what_was_kept() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.write(
        "00005_gifts.sql",
        "-- +goose Up\nCREATE TABLE kinds (id int PRIMARY KEY);\nINSERT INTO kinds VALUES (1), (2);\n\
         CREATE TABLE gifts (id int PRIMARY KEY, kind int REFERENCES kinds, code text);\n\
         INSERT INTO gifts VALUES (1, 1, 'spring'), (2, 2, 'autumn');\n\
         -- +goose Down\nDROP TABLE gifts;\nDROP TABLE kinds;\n",
    );
    super::shift("migrations.up", &world.input("5"), "setup").await;
    world.run("UPDATE gifts SET code = 'winter' WHERE id = 1");
    world.run("DELETE FROM gifts WHERE id = 2");
    world.run("INSERT INTO gifts VALUES (3, 2, 'by hand')");
    let all = "SELECT id, kind, code FROM gifts ORDER BY id";
    let before = world.rows(all);
    let input = world.input("4");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    let outcome = apply(&call(&input, &prepared, 0, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    undo(&made(&input, &prepared, 0)).await;
    assert_eq!(world.rows(all), before);
    assert_eq!(world.rows("SELECT id FROM kinds ORDER BY id"), ["1", "2"]);
}

/// Rows that the way up takes from elsewhere may be newer than the kept ones.
#[tokio::test]
async fn rows_that_the_way_up_takes_from_elsewhere_stay() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.write(
        "00005_mails.sql",
        "-- +goose Up\nCREATE TABLE mails (id int PRIMARY KEY, t text);\nINSERT INTO mails SELECT id, \
         lower(email) FROM users WHERE email IS NOT NULL;\n-- +goose Down\nDROP TABLE mails;\n",
    );
    super::shift("migrations.up", &world.input("5"), "setup").await;
    world.run("INSERT INTO mails VALUES (50, 'extra')");
    let input = world.input("4");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    assert_eq!(prepared.reversibility(), Reversibility::ShapeOnly);
    assert!(hazards(&prepared).iter().any(|text| text.starts_with("put-back-in-part")));
    assert!(matches!(apply(&call(&input, &prepared, 0, 1)).await, Outcome::Done { .. }));
    world.run("UPDATE users SET email = 'NEW@b' WHERE id = 1");
    undo(&made(&input, &prepared, 0)).await;
    let rows = world.rows("SELECT t FROM mails WHERE id IN (1, 50) ORDER BY id");
    assert_eq!(rows, ["new@b", "extra"]);
}

/// What cannot be followed is not called kept.
#[tokio::test]
async fn a_table_made_again_and_values_of_another_type_are_not_exact() {
    let Some(server) = server() else { return };
    for (down, said) in [
        (
            "CREATE TABLE n AS SELECT id, name FROM users;\nDROP TABLE users CASCADE;\nALTER TABLE n \
             RENAME TO users;",
            "data-not-kept: `users` is not kept: the same file makes a table of this name again",
        ),
        (
            "ALTER TABLE orders ALTER COLUMN user_id TYPE text;",
            "changes-rows: values of `orders.user_id` become text where they were bigint",
        ),
        (
            "ALTER TABLE users ADD CONSTRAINT short CHECK (name <> 'a' AND name IN ('b', 'it''s'));",
            "rows-refused: 2 rows of `users` do not fit the check",
        ),
    ] {
        let world = World::new(server);
        let file = format!("-- +goose Up\nSELECT 1;\n-- +goose Down\n{down}\n");
        world.write("00004_trigger.sql", &file);
        let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
        let found = hazards(&prepared);
        assert!(found.iter().any(|text| text.starts_with(said)), "{said}: {found:#?}");
        let is_exact = prepared.reversibility() == Reversibility::Exact;
        assert_eq!(is_exact, said.starts_with("rows-refused"), "{found:#?}");
    }
}

/// A file that wants no transaction has none for a copy, and does not say that it made one.
#[tokio::test]
async fn without_a_transaction_nothing_is_kept() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.write(
        "00004_trigger.sql",
        "-- +goose NO TRANSACTION\n-- +goose Up\nSELECT 1;\n-- +goose Down\nDROP TABLE orders;\n",
    );
    let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
    let found = hazards(&prepared);
    assert!(found.iter().any(|text| text.starts_with("data-not-kept")), "{found:#?}");
    assert!(!found.iter().any(|text| text.contains("a copy is kept")), "{found:#?}");
    assert_eq!(prepared.reversibility(), Reversibility::ShapeOnly);
}

#[tokio::test]
async fn beyond_the_size_nothing_is_kept_and_that_is_said() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    for (keep, code) in
        [(json!("1B"), Some("data-not-kept: `orders` is not kept")), (json!(false), None)]
    {
        let mut input = world.input("2");
        input["keep_data"] = keep;
        let prepared = prepare("migrations.down", &input).await.unwrap();
        assert_eq!(prepared.reversibility(), Reversibility::ShapeOnly);
        let said = hazards(&prepared);
        let found = said.iter().find(|text| text.starts_with("data-not-kept"));
        assert_eq!(found.is_some(), code.is_some(), "{said:?}");
        assert!(code.is_none_or(|code| found.unwrap().starts_with(code)), "{said:?}");
    }
}

#[tokio::test]
async fn hazards_say_rows_locks_and_who_is_in_the_way() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.run("UPDATE orders SET user_id = 2 WHERE id = 1");
    let mut report = world.connect().await;
    super::execute(&mut report, "SET application_name = 'report'; BEGIN; TABLE orders").await;
    backout_test_targets::wait_until(std::time::Duration::from_secs(20), || {
        let old = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'report' AND \
                   xact_start < clock_timestamp() - interval '5.5 seconds'";
        if world.rows(old) == ["1"] { Ok(()) } else { Err("too young".to_owned()) }
    })
    .unwrap();
    let prepared = prepare("migrations.down", &world.input("2")).await.unwrap();
    let said = hazards(&prepared);
    let expected = [
        "blocks-readers: while it runs nobody reads or writes `users`",
        "drops-table: table `orders` goes, with 2 rows; 2 rows were written since 3 was applied; a \
         copy is kept",
        "blocks-readers: while it runs nobody reads or writes `orders`",
    ];
    assert_eq!(said[..3], expected, "{said:?}");
    assert!(
        said[3].starts_with("long-transaction: it would wait for a long transaction on"),
        "{said:?}"
    );
    assert!(said[3].contains("(report)"), "{said:?}");
}

#[tokio::test]
async fn rows_that_the_older_schema_would_refuse_are_counted() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.run("INSERT INTO users (name, email) VALUES ('a', 'a@b')");
    world.run("ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey; INSERT INTO orders (user_id) VALUES (77)");
    world.write(
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose Down\n\
         ALTER TABLE users ALTER COLUMN email SET NOT NULL;\n\
         ALTER TABLE users ADD CONSTRAINT once UNIQUE (name);\n\
         ALTER TABLE users ADD CHECK (id < 3);\n\
         ALTER TABLE users ALTER email TYPE varchar(2), ADD COLUMN age int NOT NULL;\n\
         ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users (id);\n",
    );
    let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
    let said = hazards(&prepared);
    for text in [
        "rows-refused: 1 rows of `users` have no value in `email`: the migration would fail on them",
        "rows-refused: 1 values of (name) in `users` are there twice",
        "rows-refused: 2 rows of `users` do not fit the check",
        "rows-refused: 3 rows of `users` are longer than 2 in `email`",
        "rows-refused: 4 rows of `users` would have no value in the new column `age`",
        "rows-refused: 1 rows of `orders` name nothing in `users`",
        "rewrites-table: table `users` may be written anew for the type `varchar(2)`",
    ] {
        assert!(said.iter().any(|said| said.starts_with(text)), "{text}: {said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_between_the_copy_and_the_drop_is_lost() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let input = world.input("2");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    assert!(matches!(apply(&call(&input, &prepared, 0, 1)).await, Outcome::Done { .. }));
    // A writer that holds its row while the copy wants to begin.
    let mut writer = world.connect().await;
    super::execute(&mut writer, "BEGIN; INSERT INTO orders (user_id) VALUES (2)").await;
    let second = call(&input, &prepared, 1, 1);
    let sent = second.clone();
    let sending = tokio::spawn(async move { apply(&sent).await });
    backout_test_targets::wait_until(std::time::Duration::from_secs(20), || {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = \
                     'orders'::regclass";
        if world.rows(waits) == ["1"] { Ok(()) } else { Err("nobody waits".to_owned()) }
    })
    .unwrap();
    super::execute(&mut writer, "COMMIT").await;
    let outcome = sending.await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    undo(&made(&input, &prepared, 1)).await;
    assert_eq!(world.rows("SELECT count(*) FROM orders"), ["3"]);
}
