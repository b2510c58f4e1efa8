//! The conformance suite on each action.

use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName, Guarantee};
use backout_plugin_migrations::{MigrationsAssert, MigrationsShift};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::{World, shift};

struct SqliteCase {
    world: World,
    action: Box<dyn Action>,
    others: [MigrationsShift; 2],
    input: Value,
    /// A writer of another world that does not end.
    busy: (World, Mutex<SqliteConnection>),
}

impl SqliteCase {
    async fn new(world: World, action: impl Action + 'static, input: Value) -> Self {
        let others = [MigrationsShift::down(), MigrationsShift::up()];
        let busy = World::new().await;
        if action.manifest().name.as_str() == "migrations.up" {
            shift("migrations.down", &busy.input("2"), "setup").await;
        }
        let mut writer = busy.connect().await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
        let busy = (busy, Mutex::new(writer));
        Self { world, action: Box::new(action), others, input, busy }
    }
}

#[async_trait]
impl Case for SqliteCase {
    fn action(&self) -> &dyn Action {
        &*self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.world.dir.path().join("scratch")
    }

    /// Schema, the ledger's rows with their ids, and the ids given so far.
    async fn observe(&self) -> Value {
        let ledger = "SELECT id || ':' || version_id || ':' || is_applied FROM goose_db_version";
        let given = "SELECT CAST(seq AS TEXT) FROM sqlite_sequence WHERE name='goose_db_version'";
        json!({
            "schema": self.world.schema().await,
            "ledger": self.world.rows(ledger).await,
            "given": self.world.rows(given).await,
        })
    }

    async fn image(&self) -> Value {
        json!({ "schema": self.world.schema().await, "ledger": self.world.versions().await })
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        let found = self.others.iter().find(|action| action.manifest().name == *name);
        found.map(|action| action as &dyn Action)
    }

    async fn interfere(&self) -> bool {
        self.world.run("DELETE FROM goose_db_version WHERE version_id = 4").await;
        self.world.run("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, 1)").await;
        true
    }

    fn unreachable(&self) -> Option<Value> {
        let mut input = self.input.clone();
        input["path"] = json!("/nonexistent/shop.db");
        Some(input)
    }

    fn silent(&self) -> Option<Value> {
        if self.action.manifest().guarantee == Guarantee::ReadOnly {
            return None;
        }
        let mut input = self.input.clone();
        input["path"] = json!(self.busy.0.database());
        Some(input)
    }
}

#[tokio::test]
async fn down_conforms() {
    check(async || {
        let world = World::new().await;
        let input = world.input("1");
        SqliteCase::new(world, MigrationsShift::down(), input).await
    })
    .await
    .assert_kept_on("SQLite");
}

#[tokio::test]
async fn up_conforms() {
    check(async || {
        let world = World::new().await;
        shift("migrations.down", &world.input("2"), "setup").await;
        let input = world.input("4");
        SqliteCase::new(world, MigrationsShift::up(), input).await
    })
    .await
    .assert_kept_on("SQLite");
}

#[tokio::test]
async fn assert_conforms() {
    check(async || {
        let world = World::new().await;
        let input = json!({"path": world.database(), "at": 4});
        SqliteCase::new(world, MigrationsAssert, input).await
    })
    .await
    .assert_kept_on("SQLite");
}
