//! The conformance suite.

use std::net::TcpListener;
use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName};
use backout_plugin_migrations::{MigrationsAssert, MigrationsShift};
use backout_test_targets::postgres::{GUARDED, PASSWORD};
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};

use super::{World, server, shift};

struct PostgresCase {
    world: World,
    action: Box<dyn Action>,
    others: [MigrationsShift; 2],
    input: Value,
    /// Takes connections and never answers.
    silent: TcpListener,
    slow: Trickle,
}

impl PostgresCase {
    fn new(world: World, action: impl Action + 'static, input: Value) -> Self {
        // The password stands in the URL; no record may hold it.
        let url = format!(
            "postgres://{GUARDED}:{}@127.0.0.1:{}/{}",
            PASSWORD.replace('/', "%2F").replace(' ', "%20"),
            world.server.port(),
            world.database
        );
        {
            // The server refuses two at once.
            static ONE_BY_ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
            let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            world.run(&format!("ALTER ROLE {GUARDED} SUPERUSER"));
        }
        world.write_url(&url);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let others = [MigrationsShift::down(), MigrationsShift::up()];
        // "Prove who you are", and then no word is whole.
        let slow = Trickle::start(b"R\0\0\x10").unwrap();
        Self { world, action: Box::new(action), others, input, silent, slow }
    }

    fn elsewhere(&self, url: &str) -> Value {
        let file = self.world.dir.path().join("elsewhere");
        std::fs::write(&file, url).unwrap();
        let mut input = self.input.clone();
        input["database"] = json!(format!("file:{}", file.display()));
        input
    }
}

#[async_trait]
impl Case for PostgresCase {
    fn action(&self) -> &dyn Action {
        &*self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.world.dir.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        let ledger = "SELECT id, version_id, is_applied FROM goose_db_version ORDER BY id";
        json!({
            "schema": self.world.schema(),
            "ledger": self.world.rows(ledger),
            "given": self.world.rows("SELECT last_value FROM goose_db_version_id_seq"),
            "data": self.world.rows("SELECT * FROM users ORDER BY id"),
        })
    }

    async fn image(&self) -> Value {
        json!({ "schema": self.world.schema(), "ledger": self.world.versions() })
    }

    fn secret_values(&self) -> Vec<String> {
        vec![PASSWORD.to_owned()]
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        let found = self.others.iter().find(|action| action.manifest().name == *name);
        found.map(|action| action as &dyn Action)
    }

    async fn interfere(&self) -> bool {
        self.world.run("DELETE FROM goose_db_version WHERE version_id = 4");
        self.world.run("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, true)");
        true
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.elsewhere("postgres://nobody:x@127.0.0.1:1/none"))
    }

    fn silent(&self) -> Option<Value> {
        let port = self.silent.local_addr().unwrap().port();
        Some(self.elsewhere(&format!("postgres://nobody:x@127.0.0.1:{port}/none?sslmode=disable")))
    }

    fn slow(&self) -> Option<Value> {
        let at = self.slow.address();
        Some(self.elsewhere(&format!("postgres://nobody:x@{at}/none?sslmode=disable")))
    }

    fn denied(&self) -> Option<Value> {
        let (port, database) = (self.world.server.port(), &self.world.database);
        Some(self.elsewhere(&format!("postgres://{GUARDED}:wrong@127.0.0.1:{port}/{database}")))
    }
}

#[tokio::test]
async fn down_conforms() {
    let Some(server) = server() else { return };
    check(async || {
        let world = World::new(server);
        let input = world.input("1");
        PostgresCase::new(world, MigrationsShift::down(), input)
    })
    .await
    .assert_kept_on("PostgreSQL");
}

#[tokio::test]
async fn up_conforms() {
    let Some(server) = server() else { return };
    check(async || {
        let world = World::new(server);
        shift("migrations.down", &world.input("2"), "setup").await;
        let input = world.input("4");
        PostgresCase::new(world, MigrationsShift::up(), input)
    })
    .await
    .assert_kept_on("PostgreSQL");
}

#[tokio::test]
async fn assert_conforms() {
    let Some(server) = server() else { return };
    check(async || {
        let world = World::new(server);
        let input = json!({"database": world.secret(), "at": 4});
        PostgresCase::new(world, MigrationsAssert, input)
    })
    .await
    .assert_kept_on("PostgreSQL");
}
