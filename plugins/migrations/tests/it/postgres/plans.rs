//! What a plan shows and what it refuses.

use std::sync::Arc;

use backout_plugin_api::{Action, Guarantee, Outcome, PrepareFailure, Settled};
use backout_plugin_migrations::MigrationsShift;
use backout_test_targets::postgres::GUARDED;
use serde_json::json;

use super::super::prepare;
use super::{World, apply, call, context, execute, first, server};

#[tokio::test]
async fn a_plan_reads_only_and_names_the_database() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let prepared = prepare("migrations.down", &world.input("1")).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Transactional);
    let system = world.rows("SELECT system_identifier FROM pg_control_system()").remove(0);
    assert_eq!(prepared.locks[0].as_str(), format!("postgres:{system}/{}", world.database));
    let titles: Vec<_> = prepared.effects.iter().map(|effect| effect.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "00004_trigger.sql down: version 4 -> 3",
            "00003_orders.sql down: version 3 -> 2",
            "00002_email.sql down: version 2 -> 1",
        ]
    );
    assert!(world.rows("SELECT to_regnamespace('backout')").is_empty(), "prepare made a schema");
}

#[tokio::test]
async fn without_the_right_to_make_its_table_the_guarantee_falls() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.run("CREATE ROLE weak_owner LOGIN; ALTER TABLE users OWNER TO weak_owner");
    world.run("ALTER TABLE orders OWNER TO weak_owner; ALTER FUNCTION no_name OWNER TO weak_owner");
    world.run("ALTER TABLE goose_db_version OWNER TO weak_owner");
    let url = server.url(&world.database).replace("postgres@", "weak_owner@");
    world.write_url(&url);
    let input = world.input("3");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    assert_eq!(prepared.guarantee, Guarantee::Probed);
    assert!(prepared.hazards.iter().any(|hazard| hazard.code == "no-effect-table"));
    let made = call(&input, &prepared, 0, 1);
    let settled = MigrationsShift::down().settle(&context(), &made).await;
    assert!(matches!(settled, Settled::Unknown { .. }), "{settled:?}");
    let outcome = apply(&made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let settled = MigrationsShift::down().settle(&context(), &made).await;
    assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
}

#[tokio::test]
async fn wrong_credentials_and_names_are_said() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let port = server.port();
    for (url, why) in [
        (format!("postgres://{GUARDED}:hunter2@127.0.0.1:{port}/{}", world.database), "password"),
        (format!("postgres://postgres@127.0.0.1:{port}/nowhere"), "no such database"),
        ("postgres://x@127.0.0.1:1/x".to_owned(), "cannot connect to PostgreSQL database x on"),
        ("postgres://x@127.0.0.1:none/x".to_owned(), "no URL of a database"),
    ] {
        world.write_url(&url);
        let failure = prepare("migrations.down", &world.input("3")).await.unwrap_err();
        let reason = failure.reason();
        assert!(reason.contains(why) && !reason.contains("hunter2"), "{reason}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_done_truly_are_refused() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    for (down, why) in [
        ("BEGIN;\nDROP TRIGGER no_name ON users;\nCOMMIT;", "`BEGIN` controls"),
        ("DROP INDEX CONCURRENTLY orders_user;", "cannot be part of a transaction"),
        ("VACUUM users;", "cannot be part of a transaction"),
    ] {
        world.write("00004_trigger.sql", &format!("-- +goose Up\n-- +goose Down\n{down}\n"));
        let failure = prepare("migrations.down", &world.input("3")).await.unwrap_err();
        let PrepareFailure::Refused { reason } = failure else { panic!("{failure:?}") };
        assert!(reason.contains(why), "{reason}");
    }
}

#[tokio::test]
async fn a_failing_statement_leaves_nothing_behind() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let text =
        "-- +goose Up\n-- +goose Down\nDROP TRIGGER no_name ON users;\nDROP TABLE nowhere;\n";
    world.write("00004_trigger.sql", text);
    let schema = world.schema();
    let Outcome::Refused { reason } = apply(&first(&world).await).await else { panic!() };
    assert!(reason.contains("statement 2") && reason.contains("nothing was changed"), "{reason}");
    assert_eq!((world.schema(), world.effects().len()), (schema, 0));
}

#[tokio::test]
async fn the_tools_own_lock_is_waited_for_and_its_holder_named() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let made = first(&world).await;
    let mut other = world.connect().await;
    execute(&mut other, "SET application_name = 'ci of shop'").await;
    execute(&mut other, "SELECT pg_advisory_lock(4097083626)").await;
    let mut short = context();
    short.timeout = std::time::Duration::from_secs(6);
    let outcome = MigrationsShift::down().apply(&short, &made).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    for part in ["goose's own lock", "pid ", "ci of shop", "from 127.0.0.1"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    execute(&mut other, "SELECT pg_advisory_unlock(4097083626)").await;
    assert!(matches!(apply(&made).await, Outcome::Done { .. }));
}

#[tokio::test]
async fn gooses_lock_table_is_honoured() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    world.run(
        "CREATE TABLE goose_lock (lock_id bigint PRIMARY KEY, locked bool NOT NULL DEFAULT false, \
         locked_at timestamptz, locked_by text, lease_expires_at timestamptz, updated_at timestamptz)",
    );
    world
        .run("INSERT INTO goose_lock VALUES (1, true, now(), 'host-7', now() + interval '1 hour')");
    let made = first(&world).await;
    let mut short = context();
    short.timeout = std::time::Duration::from_secs(6);
    let outcome = MigrationsShift::down().apply(&short, &made).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("host-7"), "{reason}");
    world.run("UPDATE goose_lock SET lease_expires_at = now() - interval '1 second'");
    assert!(matches!(apply(&made).await, Outcome::Done { .. }));
}

#[tokio::test]
async fn assert_names_the_version_found() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    let assert = super::super::action("migrations.assert");
    for (at, holds) in [(4, true), (3, false)] {
        let input = json!({"database": world.secret(), "at": at});
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

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused() {
    let Some(server) = server() else { return };
    let world = World::new(server);
    for (mode, refused) in [("transaction", true), ("session", false)] {
        let Some((_pool, port)) = server.pool(mode).unwrap() else { return };
        world.write_url(&format!("postgres://postgres@127.0.0.1:{port}/{}", world.database));
        let prepared = prepare("migrations.down", &world.input("3")).await;
        match prepared {
            Err(PrepareFailure::Refused { reason }) => {
                assert!(refused && reason.contains("pooler in transaction mode"), "{reason}");
            }
            Ok(_) => assert!(!refused, "{mode}"),
            Err(other) => panic!("{other:?}"),
        }
    }
}
