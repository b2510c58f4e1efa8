//! The suite of the contract, on MariaDB and MySQL.

use std::net::TcpListener;
use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName};
use backout_plugin_migrations::{MigrationsAssert, MigrationsShift};
use backout_test_targets::mysql::{GUARDED, PASSWORD, Server};
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};

use super::super::shift;
use super::{SCHEMA, World};

struct ServerCase {
    world: World,
    action: Box<dyn Action>,
    others: [MigrationsShift; 2],
    input: Value,
    silent: TcpListener,
    slow: Trickle,
}

impl ServerCase {
    fn new(world: World, action: impl Action + 'static, input: Value) -> Self {
        let (port, name) = (world.server.port(), &world.database);
        let password = PASSWORD.replace('/', "%2F").replace(' ', "%20");
        let url = format!("mysql://{GUARDED}:{password}@127.0.0.1:{port}/{name}");
        std::fs::write(world.dir.path().join("url"), url).unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let others = [MigrationsShift::down(), MigrationsShift::up()];
        // A greeting whose end does not come.
        let slow = Trickle::start(b"\xff\0\0\0\x0a").unwrap();
        Self { world, action: Box::new(action), others, input, silent, slow }
    }

    fn elsewhere(&self, at: &str) -> Value {
        let file = self.world.dir.path().join("elsewhere");
        std::fs::write(&file, format!("mysql://{GUARDED}:wrong@{at}/none")).unwrap();
        let mut input = self.input.clone();
        input["database"] = json!(format!("file:{}", file.display()));
        input
    }
}

#[async_trait]
impl Case for ServerCase {
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
            "schema": self.world.rows(SCHEMA),
            "ledger": self.world.rows(ledger),
            "names": self.world.names(),
        })
    }

    async fn image(&self) -> Value {
        json!({ "schema": self.world.rows(SCHEMA), "ledger": self.world.versions() })
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        let found = self.others.iter().find(|action| action.manifest().name == *name);
        found.map(|action| action as &dyn Action)
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.elsewhere("127.0.0.1:1"))
    }

    fn silent(&self) -> Option<Value> {
        Some(self.elsewhere(&self.silent.local_addr().unwrap().to_string()))
    }

    fn slow(&self) -> Option<Value> {
        Some(self.elsewhere(&self.slow.address()))
    }

    /// The server knows another password.
    fn denied(&self) -> Option<Value> {
        Some(self.elsewhere(&format!("127.0.0.1:{}", self.world.server.port())))
    }

    fn secret_values(&self) -> Vec<String> {
        vec![PASSWORD.to_owned()]
    }
}

async fn down_conforms(server: &'static Server) {
    check(async || {
        let world = World::new(server);
        let input = world.input("1");
        ServerCase::new(world, MigrationsShift::down(), input)
    })
    .await
    .assert_kept_on(server.product());
}

async fn up_conforms(server: &'static Server) {
    check(async || {
        let world = World::new(server);
        shift("migrations.down", &world.input("2"), "setup").await;
        let input = world.input("4");
        ServerCase::new(world, MigrationsShift::up(), input)
    })
    .await
    .assert_kept_on(server.product());
}

async fn assert_conforms(server: &'static Server) {
    check(async || {
        let world = World::new(server);
        let input = json!({"database": world.input("4")["database"], "at": 4});
        ServerCase::new(world, MigrationsAssert, input)
    })
    .await
    .assert_kept_on(server.product());
}

on_both! {
    down_conforms,
    up_conforms,
    assert_conforms,
}
