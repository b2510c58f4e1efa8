//! What is refused, tool by tool, on ledgers made by each tool's own DDL.

use std::path::Path;

use super::peers_common::{CHANGES, Layout, World, refusal};
use super::peers_layouts::{Dbmate, Diesel, Flyway, GolangMigrate, Refinery, SqlMigrate, Sqlx};
use super::tools_worlds::{dbmate, diesel, flyway, golang_migrate, sql_migrate, sqlx};
use super::{action, call, context, prepare, shift};

fn file(world: &World, layout: &impl Layout, name: &str) -> std::path::PathBuf {
    world.folder(layout, CHANGES.len()).join(name)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Refused for a way down to 2, with this in the reason.
async fn refused(world: &World, layout: &impl Layout, why: &[&str]) {
    let reason = refusal(world, layout, 2).await;
    assert!(why.iter().all(|part| reason.contains(part)), "wanted {why:?}: {reason}");
}

/// A version in the ledger that no file has.
#[tokio::test]
async fn an_unknown_version_in_the_ledger() {
    let no_file = ["has no file for it", "`dir`"];
    let made = sql_migrate().await;
    std::fs::remove_file(file(&made, &SqlMigrate, "3-orders.sql")).unwrap();
    refused(&made, &SqlMigrate, &no_file).await;
    let made = golang_migrate().await;
    made.run("UPDATE schema_migrations SET version = 9").await;
    refused(&made, &GolangMigrate, &no_file).await;
    let made = dbmate().await;
    made.run("INSERT INTO schema_migrations VALUES ('20260101000000')").await;
    refused(&made, &Dbmate, &no_file).await;
    let made = diesel().await;
    made.run("INSERT INTO __diesel_schema_migrations (version) VALUES ('20260101000000')").await;
    refused(&made, &Diesel, &no_file).await;
}

#[tokio::test]
async fn a_hole_below_the_current_version() {
    let made = sql_migrate().await;
    made.run("DELETE FROM gorp_migrations WHERE id LIKE '2%'").await;
    refused(&made, &SqlMigrate, &["there is a hole", "sql-migrate up"]).await;
    let made = dbmate().await;
    made.run("DELETE FROM schema_migrations WHERE version LIKE '%2'").await;
    refused(&made, &Dbmate, &["there is a hole", "dbmate up"]).await;
    let made = sqlx().await;
    made.run("DELETE FROM _sqlx_migrations WHERE version = 2").await;
    refused(&made, &Sqlx, &["there is a hole", "sqlx migrate run"]).await;
    let made = diesel().await;
    made.run("DELETE FROM __diesel_schema_migrations WHERE version LIKE '%2'").await;
    refused(&made, &Diesel, &["there is a hole", "diesel migration run"]).await;
}

#[tokio::test]
async fn a_ledger_out_of_order() {
    let made = sql_migrate().await;
    // Two o'clock at Greenwich and later than the others, though its text comes first.
    made.run(
        "UPDATE gorp_migrations SET applied_at = '2025-01-01 09:00:00-05:00' WHERE id LIKE '2%'",
    )
    .await;
    refused(&made, &SqlMigrate, &["out of order", "4-view.sql was applied before 2-add_email"])
        .await;
    let made = sqlx().await;
    made.run("UPDATE _sqlx_migrations SET installed_on = '2099-01-01' WHERE version = 1").await;
    refused(&made, &Sqlx, &["out of order"]).await;
    let made = diesel().await;
    made.run("UPDATE __diesel_schema_migrations SET run_on = '2099-01-01' WHERE version LIKE '%1'")
        .await;
    refused(&made, &Diesel, &["out of order"]).await;
}

#[tokio::test]
async fn a_way_down_that_is_missing_or_empty() {
    let made = sqlx().await;
    write(&file(&made, &Sqlx, "4_view.down.sql"), "-- nothing\n");
    refused(&made, &Sqlx, &["4_view.down.sql has no SQL"]).await;
    let made = diesel().await;
    std::fs::remove_file(file(&made, &Diesel, "2025-01-01-000004_view/down.sql")).unwrap();
    refused(&made, &Diesel, &["no file for the way down", "diesel would stop"]).await;
}

#[tokio::test]
async fn a_migration_that_the_tool_marked_as_broken() {
    let made = golang_migrate().await;
    made.run("UPDATE schema_migrations SET dirty = 1").await;
    refused(&made, &GolangMigrate, &["`dirty` at 4", "migrate force"]).await;
    let made = sqlx().await;
    made.run("UPDATE _sqlx_migrations SET success = 0 WHERE version = 3").await;
    refused(&made, &Sqlx, &["3 as not successful"]).await;
}

#[tokio::test]
async fn a_file_that_is_not_what_was_applied() {
    let made = sqlx().await;
    write(&file(&made, &Sqlx, "1_users.up.sql"), "CREATE TABLE users (id int)");
    refused(&made, &Sqlx, &["1_users.up.sql is not the file that was applied", "SHA-384"]).await;
}

#[tokio::test]
async fn a_ledger_of_another_tool() {
    let made = golang_migrate().await;
    refused(&made, &Dbmate, &["not the ledger of dbmate", "dirty"]).await;
    refused(&made, &Sqlx, &["has no ledger `_sqlx_migrations`", "`schema_migrations`"]).await;
    let made = dbmate().await;
    refused(&made, &GolangMigrate, &["not the ledger of golang-migrate"]).await;
}

#[tokio::test]
async fn files_that_say_no_transaction() {
    let made = sqlx().await;
    write(&file(&made, &Sqlx, "4_view.down.sql"), "-- no-transaction\nDROP VIEW mails;");
    refused_or_not_transactional(&made, &Sqlx).await;
    let made = diesel().await;
    let metadata = file(&made, &Diesel, "2025-01-01-000004_view/metadata.toml");
    write(&metadata, "run_in_transaction = false\n");
    refused_or_not_transactional(&made, &Diesel).await;
    write(&metadata, "run_in_transaction = ");
    refused(&made, &Diesel, &["metadata.toml", "no TOML"]).await;
}

/// Never with the guarantee that only a transaction gives.
async fn refused_or_not_transactional(world: &World, layout: &impl Layout) {
    use backout_plugin_api::Guarantee;
    if let Ok(prepared) = prepare("migrations.down", &world.input(layout, 2)).await {
        assert_ne!(prepared.guarantee, Guarantee::Transactional);
    }
}

#[tokio::test]
async fn a_version_that_nobody_has_or_that_means_two() {
    let made = sql_migrate().await;
    let mut input = made.input(&SqlMigrate, 2);
    input["to"] = "7".into();
    let failure = prepare("migrations.down", &input).await.unwrap_err();
    assert!(failure.reason().contains("there is no migration 7"), "{}", failure.reason());
    let dir = made.folder(&SqlMigrate, CHANGES.len());
    std::fs::copy(dir.join("2-add_email.sql"), dir.join("2-twin.sql")).unwrap();
    made.run("INSERT INTO gorp_migrations VALUES ('2-twin.sql', '2025-01-01 10:00:02.95+02:00')")
        .await;
    refused(&made, &SqlMigrate, &["`2` means 2-add_email.sql and 2-twin.sql"]).await;
}

/// The code of a migration runs in its owner's program only.
#[tokio::test]
async fn a_migration_in_rust() {
    let made = World::sqlite();
    let dir = made.folder(&Refinery, CHANGES.len());
    made.run(
        "CREATE TABLE refinery_schema_history(version int4 PRIMARY KEY, name VARCHAR(255), \
         applied_on VARCHAR(255), checksum VARCHAR(255)); INSERT INTO refinery_schema_history VALUES \
         (1, 'code', '2025-01-01T00:00:00.123456789Z', '5')",
    )
    .await;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
            .unwrap();
    }
    write(&dir.join("V1__code.rs"), "pub fn migration() -> String { String::new() }");
    let mut input = made.input(&Refinery, 0);
    let failure = prepare("migrations.down", &input).await.unwrap_err();
    assert!(failure.reason().contains("V1__code.down.sql"), "{}", failure.reason());
    made.run("DELETE FROM refinery_schema_history").await;
    input["to"] = "1".into();
    let failure = prepare("migrations.up", &input).await.unwrap_err();
    assert!(failure.reason().contains("written in Rust"), "{}", failure.reason());
}

#[tokio::test]
async fn flyway_is_planned_and_looked_at_only() {
    let made = flyway().await;
    let why = ["1.4 -> 1.3 (V1.4__view.sql), 1.3 -> 1.2", "`flyway undo`"];
    refused(&made, &Flyway, &why).await;
    let mut input = made.input(&Flyway, 4);
    let fields = input.as_object_mut().unwrap();
    fields.remove("to");
    fields.remove("dir");
    fields.insert("at".to_owned(), "1.4.0".into());
    let assert = action("migrations.assert");
    let prepared = assert.prepare(&context(), &input).await.unwrap();
    let prepared = std::sync::Arc::new(prepared);
    let outcome = assert.apply(&context(), &call(&input, &prepared, 0, 1)).await;
    assert!(matches!(outcome, backout_plugin_api::Outcome::Done { .. }), "{outcome:?}");
    made.run("UPDATE flyway_schema_history SET success = 0 WHERE installed_rank = 4").await;
    refused(&made, &Flyway, &["1.4 as failed", "flyway repair"]).await;
}

/// Rows of tools that nobody ran here are as those tools write them.
#[tokio::test]
async fn ledgers_after_a_way_down_and_up_again() {
    let (made, other) = (golang_migrate().await, dbmate().await);
    for to in [1, 0] {
        shift("migrations.down", &made.input(&GolangMigrate, to), &format!("d{to}")).await;
        let rows: &[&str] = if to == 0 { &[] } else { &["1 0"] };
        assert_eq!(made.ledger(&GolangMigrate).await, rows);
    }
    shift("migrations.up", &made.input(&GolangMigrate, 3), "u").await;
    assert_eq!(made.ledger(&GolangMigrate).await, ["3 0"]);
    shift("migrations.down", &other.input(&Dbmate, 2), "d").await;
    assert_eq!(other.ledger(&Dbmate).await, [Dbmate.version(1), Dbmate.version(2)]);
    let made = sql_migrate().await;
    shift("migrations.down", &made.input(&SqlMigrate, 2), "d").await;
    shift("migrations.up", &made.input(&SqlMigrate, 4), "u").await;
    let format = "SELECT applied_at FROM gorp_migrations WHERE id LIKE '4%' AND applied_at LIKE \
                  '____-__-__ __:__:__.___+00:00'";
    assert_eq!(made.texts(format).await.len(), 1);
}

/// diesel's first version has a name of zeros and is not the schema before it.
#[tokio::test]
async fn a_version_of_zeros_is_one() {
    let made = diesel().await;
    let dir = made.folder(&Diesel, CHANGES.len());
    let first = dir.join("00000000000000_diesel_initial_setup");
    std::fs::create_dir(&first).unwrap();
    write(&first.join("up.sql"), "CREATE TABLE setup (id int);");
    write(&first.join("down.sql"), "DROP TABLE setup;");
    made.run(
        "CREATE TABLE setup (id int); INSERT INTO __diesel_schema_migrations VALUES \
         ('00000000000000', '2020-01-01')",
    )
    .await;
    let mut input = made.input(&Diesel, 1);
    input["to"] = "00000000000000".into();
    shift("migrations.down", &input, "a").await;
    assert_eq!(made.ledger(&Diesel).await, ["00000000000000"]);
    assert_eq!(made.schema(&Diesel).await, ["setup: CREATE TABLE setup (id int)"]);
    input["to"] = "0".into();
    shift("migrations.down", &input, "b").await;
    assert!(made.schema(&Diesel).await.is_empty());
}

/// refinery's checksum covers the version in 4 or 8 bytes, as the service was built; the ledger's own
/// column says which.
#[tokio::test]
async fn refinery_checksums_follow_the_width_of_the_column() {
    for (kind, width) in [("int4", 4), ("int8", 8)] {
        let made = World::sqlite();
        made.run(&format!(
            "CREATE TABLE refinery_schema_history(version {kind} PRIMARY KEY, name VARCHAR(255), \
             applied_on VARCHAR(255), checksum VARCHAR(255))"
        ))
        .await;
        shift("migrations.up", &made.input(&Refinery, 2), "u").await;
        let row = |at: i32| format!("{at} {} {}", name(at), sum(at, width));
        assert_eq!(made.ledger(&Refinery).await, [row(1), row(2)], "{kind}");
        shift("migrations.down", &made.input(&Refinery, 1), "d").await;
        assert_eq!(made.ledger(&Refinery).await, [row(1)], "{kind}");
        made.run("UPDATE refinery_schema_history SET checksum = '7'").await;
        let reason = refusal(&made, &Refinery, 0).await;
        assert!(reason.contains("V1__users.sql is not the file that was applied"), "{reason}");
    }
}

fn name(at: i32) -> &'static str {
    CHANGES[usize::try_from(at).unwrap() - 1].name
}

fn sum(at: i32, width: usize) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = siphasher::sip::SipHasher13::new();
    let change = &CHANGES[usize::try_from(at).unwrap() - 1];
    change.name.hash(&mut hasher);
    if width == 4 {
        at.hash(&mut hasher);
    } else {
        i64::from(at).hash(&mut hasher);
    }
    change.up.hash(&mut hasher);
    hasher.finish()
}
