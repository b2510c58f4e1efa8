//! Databases at version 4, their ledgers made by each tool's own DDL: no tool is needed for them.

use super::peers_common::{CHANGES, Layout, World};
use super::peers_layouts::{Dbmate, Diesel, Flyway, GolangMigrate, SqlMigrate, Sqlx};

/// A world at version 4, whose ledger is made by `ddl` and has `row` for each version.
async fn world<L: Layout>(layout: &L, ddl: &str, row: impl Fn(usize) -> String) -> World {
    let world = World::sqlite();
    world.folder(layout, CHANGES.len());
    world.run(ddl).await;
    for (at, change) in CHANGES.iter().enumerate() {
        world.run(&format!("{}; {}", change.up, row(at + 1))).await;
    }
    world
}

pub(crate) async fn sql_migrate() -> World {
    let ddl = "CREATE TABLE \"gorp_migrations\" (\"id\" varchar(255) not null primary key, \
               \"applied_at\" datetime)";
    world(&SqlMigrate, ddl, |at| {
        let name = CHANGES[at - 1].name;
        // As on a machine east of Greenwich.
        format!(
            "INSERT INTO gorp_migrations VALUES ('{at}-{name}.sql', '2025-01-01 10:00:0{at}.9+02:00')"
        )
    })
    .await
}

pub(crate) async fn golang_migrate() -> World {
    let ddl = "CREATE TABLE schema_migrations (version uint64,dirty bool); \
               CREATE UNIQUE INDEX version_unique ON schema_migrations (version)";
    let row = |at| {
        format!("DELETE FROM schema_migrations; INSERT INTO schema_migrations VALUES ({at}, 0)")
    };
    world(&GolangMigrate, ddl, row).await
}

pub(crate) async fn dbmate() -> World {
    let ddl = "CREATE TABLE \"schema_migrations\" (version varchar(128) primary key)";
    let row = |at| format!("INSERT INTO schema_migrations VALUES ('{}')", Dbmate.version(at));
    world(&Dbmate, ddl, row).await
}

pub(crate) async fn sqlx() -> World {
    let ddl = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
               installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
               checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
    world(&Sqlx, ddl, |at| {
        use sha2::{Digest, Sha384};
        use std::fmt::Write;
        let sum = Sha384::digest(CHANGES[at - 1].up).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ({at}, 'x', 1, X'{sum}', 5)"
        )
    })
    .await
}

pub(crate) async fn diesel() -> World {
    let ddl = "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, \
               run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";
    let row = |at| {
        let version = Diesel.version(at);
        format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}')")
    };
    world(&Diesel, ddl, row).await
}

pub(crate) async fn flyway() -> World {
    let ddl = "CREATE TABLE flyway_schema_history (installed_rank INT PRIMARY KEY, version VARCHAR(50), \
               description VARCHAR(200), type VARCHAR(20), script VARCHAR(1000), checksum INTEGER, \
               installed_by VARCHAR(100), installed_on TIMESTAMP, execution_time INTEGER, success \
               BOOLEAN)";
    world(&Flyway, ddl, |at| {
        format!(
            "INSERT INTO flyway_schema_history (installed_rank, version, type, script, success) \
             VALUES ({at}, '1.{at}', 'SQL', 'V1.{at}', 1)"
        )
    })
    .await
}
