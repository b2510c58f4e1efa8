//! What a plan shows and what it refuses.

use std::sync::Arc;

use backout_plugin_api::{
    Guarantee, MadeEffect, Outcome, Reversibility, Reverted, Satisfied, SecretRef,
};
use serde_json::{Value, json};

use super::{World, action, call, context, prepare, shift};

#[tokio::test]
async fn a_plan_shows_each_migration_with_its_cost() {
    let world = World::new().await;
    let prepared = prepare("migrations.down", &world.input("1")).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Transactional);
    let path = world.database().canonicalize().unwrap();
    assert_eq!(prepared.locks[0].as_str(), format!("sqlite:{}", path.display()));
    let seen: Vec<_> = prepared
        .effects
        .iter()
        .map(|effect| {
            let hazards: Vec<_> =
                effect.hazards.iter().map(|h| format!("{}: {}", h.code, h.text)).collect();
            (effect.title.as_str(), effect.wave, effect.reversibility, hazards.join("; "))
        })
        .collect();
    let exact = Reversibility::Exact;
    assert_eq!(
        seen,
        [
            ("00004_trigger.sql down: version 4 -> 3", 0, exact, String::new()),
            (
                "00003_orders.sql down: version 3 -> 2",
                1,
                exact,
                "drops-table: table `orders` goes, with 2 rows; all of it was written by 3 or \
                 since; a copy is kept"
                    .to_owned()
            ),
            (
                "00002_email.sql down: version 2 -> 1",
                2,
                exact,
                "drops-column: column `users.email` goes, with values in 2 rows; all of it was \
                 written by 2 or since; a copy is kept"
                    .to_owned()
            ),
        ]
    );
    assert_eq!(
        prepared.effects[1].difference,
        [
            "-- 00003_orders.sql down: version 3 -> 2",
            "DROP INDEX orders_user;",
            "DROP TABLE orders;"
        ]
    );
    let tables = world.rows("SELECT name FROM sqlite_master WHERE name LIKE 'backout%'").await;
    assert!(tables.is_empty(), "prepare made {tables:?}");
}

#[tokio::test]
async fn at_the_version_there_is_nothing_to_do() {
    let world = World::new().await;
    for name in ["migrations.down", "migrations.up"] {
        let prepared = prepare(name, &world.input("00004")).await.unwrap();
        assert_eq!(prepared.effects[0].satisfied, Satisfied::Yes, "{name}");
    }
    shift("migrations.down", &world.input("0"), "r").await;
    assert_eq!(world.versions().await, ["0"]);
    assert!(world.schema().await.iter().all(|sql| sql.contains("goose_db_version")));
}

/// Changes a world, asks for a version down, and expects a refusal with this in it.
async fn refused(change: impl AsyncFn(&World), to: &str, why: &str) {
    let world = World::new().await;
    change(&world).await;
    let failure = prepare("migrations.down", &world.input(to)).await.unwrap_err();
    assert!(failure.reason().contains(why), "wanted `{why}`: {}", failure.reason());
}

async fn refused_file(name: &str, text: &str, why: &str) {
    refused(async |world| world.write(name, text), "3", why).await;
}

#[tokio::test]
async fn files_that_cannot_be_done_truly_are_refused() {
    let name = "00004_trigger.sql";
    refused_file(name, "-- +goose Up\nSELECT 1;\n", "no SQL under `-- +goose Down`").await;
    refused_file(name, "-- +goose Up\n-- +goose Down\n-- later\n", "no SQL under").await;
    let with = |head: &str, down: &str| format!("{head}-- +goose Up\n-- +goose Down\n{down}\n");
    for (text, why) in [
        (with("-- +goose NO TRANSACTION\n", "DROP TRIGGER no_name;"), "NO TRANSACTION"),
        (with("", "-- +goose ENVSUB ON\nDROP TRIGGER ${X};"), "ENVSUB"),
        (with("", "BEGIN;\nDROP TRIGGER no_name;\nCOMMIT;"), "`BEGIN` controls"),
        (with("", "PRAGMA foreign_keys = OFF;\nDROP TRIGGER no_name;"), "PRAGMA"),
        (with("", "DROP TRIGGER no_name;\nVACUUM;"), "VACUUM"),
        (with("", "DROP TRIGGER no_name"), "semicolon"),
    ] {
        refused_file(name, &text, why).await;
    }
    refused_file("00004_again.sql", "-- +goose Up\n", "two migrations 4").await;
    let go = async |world: &World| {
        std::fs::rename(world.migrations().join(name), world.migrations().join("00004_x.go"))
            .unwrap();
    };
    refused(go, "3", "written in Go").await;
}

#[tokio::test]
async fn ledgers_that_do_not_fit_are_refused() {
    let run = |sql: &'static str| async move |world: &World| world.run(sql).await;
    let row = "INSERT INTO goose_db_version (version_id, is_applied) VALUES";
    refused(run("DELETE FROM goose_db_version WHERE version_id = 2"), "1", "hole: 2").await;
    refused(
        run("UPDATE goose_db_version SET id = 99 WHERE version_id = 3"),
        "1",
        "4 was applied before 3",
    )
    .await;
    let unknown = format!("{row} (77, 1)");
    refused(async |world| world.run(&unknown).await, "1", "version 77, but").await;
    refused(run("DROP TABLE goose_db_version"), "1", "goose never ran here").await;
    let other = "ALTER TABLE goose_db_version RENAME TO gorp_migrations";
    refused(run(other), "1", "`gorp_migrations` of sql-migrate").await;
    let shape = "DROP TABLE goose_db_version; CREATE TABLE goose_db_version (id TEXT)";
    refused(run(shape), "1", "not the ledger of goose").await;
    refused(async |_| (), "7", "no migration 7").await;
    refused(async |_| (), "x", "no migration x").await;
    let down = async |world: &World| shift("migrations.down", &world.input("2"), "r").await;
    refused(down, "3", "below 3").await;
}

#[tokio::test]
async fn a_failing_statement_leaves_nothing_behind() {
    let world = World::new().await;
    world.write(
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose Down\nDROP TRIGGER no_name;\nDROP TABLE nowhere;\n",
    );
    let input = world.input("3");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    let schema = world.schema().await;
    let down = action("migrations.down");
    let outcome = down.apply(&context(), &call(&input, &prepared, 0, 1)).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("statement 2") && reason.contains("nothing was changed"), "{reason}");
    assert_eq!(world.schema().await, schema);
    assert_eq!(world.versions().await.len(), 5);
}

#[tokio::test]
async fn without_an_up_section_there_is_no_way_back() {
    let world = World::new().await;
    let name = "00004_trigger.sql";
    world.write(name, "-- +goose Up\n-- +goose Down\nDROP TRIGGER no_name;\n");
    let input = world.input("3");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    assert_eq!(prepared.reversibility(), Reversibility::None);
    let made = MadeEffect {
        key: call(&input, &prepared, 0, 1).key,
        input,
        prepared,
        effect: 0,
        output: Value::Null,
        whole: true,
    };
    let reverted = action("migrations.down").revert(&context(), &made).await;
    let Reverted::NotPossible { why } = reverted else { panic!("{reverted:?}") };
    assert!(why.contains(name), "{why}");
}

#[tokio::test]
async fn a_database_named_by_a_secret_leaves_no_trace_of_its_options() {
    let world = World::new().await;
    let file = world.dir.path().join("url");
    let url =
        format!("file:{}?_pragma=foreign_keys(1)&_auth_pass=hunter2", world.database().display());
    std::fs::write(&file, url).unwrap();
    let reference = SecretRef(format!("file:{}", file.display()));
    let input = json!({"database": reference, "dir": world.migrations(), "to": 3});
    let prepared = prepare("migrations.down", &input).await.unwrap();
    let text = serde_json::to_string(&prepared).unwrap();
    assert!(!text.contains("hunter2"));
    assert_eq!(prepared.effects[0].data["database"]["sqlite"]["foreign_keys"], json!(true));
}

#[tokio::test]
async fn assert_names_the_version_found() {
    let world = World::new().await;
    let assert = action("migrations.assert");
    for (at, holds) in [(4, true), (3, false)] {
        let input = json!({"path": world.database(), "at": at});
        let prepared = Arc::new(prepare("migrations.assert", &input).await.unwrap());
        match assert.apply(&context(), &call(&input, &prepared, 0, 1)).await {
            Outcome::Done { output } => assert_eq!((holds, &output["version"]), (true, &json!(4))),
            Outcome::Failed { reason, .. } => {
                assert!(!holds && reason.contains("at version 4, not 3"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}
