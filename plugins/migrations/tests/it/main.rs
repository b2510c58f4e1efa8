//! The actions on real SQLite files, and beside the real goose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod contract;
mod keep;
mod keep_random;
mod mysql;
mod peer;
mod peers_binaries;
mod peers_common;
mod peers_layouts;
mod peers_libraries;
mod peers_locks;
mod plans;
mod postgres;
mod tls;
mod tools_refusals;
mod tools_windows;
mod tools_worlds;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{
    Action, Call, CancellationToken, Context, EffectKey, Fence, LockToken, Outcome, PrepareFailure,
    Prepared, RunId, StepId, SystemSecrets,
};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

/// Four migrations: a table, a column, a table with an index, a trigger.
const FILES: [(&str, &str); 4] = [
    (
        "00001_users.sql",
        "-- +goose Up\nCREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n\
         -- +goose Down\nDROP TABLE users;\n",
    ),
    (
        "00002_email.sql",
        "-- +goose Up\nALTER TABLE users ADD COLUMN email TEXT;\n\
         -- +goose Down\n-- the column goes\nALTER TABLE users DROP COLUMN email;\n",
    ),
    (
        "00003_orders.sql",
        "-- +goose Up\nCREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES \
         users (id));\nCREATE INDEX orders_user ON orders (user_id);\n\
         -- +goose Down\nDROP INDEX orders_user;\nDROP TABLE orders;\n",
    ),
    (
        "00004_trigger.sql",
        "-- +goose Up\n-- +goose StatementBegin\nCREATE TRIGGER no_name AFTER INSERT ON users BEGIN\n\
         UPDATE users SET name = '?' WHERE name = '';\nEND;\n-- +goose StatementEnd\n\
         -- +goose Down\nDROP TRIGGER no_name;\n",
    ),
];

/// What goose itself creates.
const LEDGER: &str = "CREATE TABLE goose_db_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)";

/// A folder with migrations and a database.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// Files without a database.
    fn bare() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.migrations()).unwrap();
        for (name, text) in FILES {
            world.write(name, text);
        }
        world
    }

    /// A database at version 4, its ledger as goose writes it, with rows.
    async fn new() -> Self {
        let world = Self::bare();
        std::fs::write(world.database(), "").unwrap();
        world.run(LEDGER).await;
        for (at, (_, text)) in FILES.iter().enumerate() {
            let (up, _) = text.split_once("-- +goose Down").unwrap();
            world.run(up).await;
            let row = "INSERT INTO goose_db_version (version_id, is_applied) VALUES";
            world.run(&format!("{row} ({}, 1)", at + 1)).await;
        }
        world
            .run("INSERT INTO users (name, email) VALUES ('a', 'a@b'), ('b', NULL), ('c', 'c@d')")
            .await;
        world.run("INSERT INTO orders (user_id) VALUES (1), (1)").await;
        world
    }

    fn migrations(&self) -> PathBuf {
        self.dir.path().join("migrations")
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.migrations().join(name), text).unwrap();
    }

    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.database()).foreign_keys(false);
        options.connect().await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let mut conn = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
    }

    /// All values of a query's rows as text.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let mut conn = self.connect().await;
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut conn).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    }

    async fn versions(&self) -> Vec<String> {
        self.rows("SELECT CAST(version_id AS TEXT) FROM goose_db_version ORDER BY id").await
    }

    /// The schema without our own tables and SQLite's.
    async fn schema(&self) -> Vec<String> {
        self.rows(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'backout%' \
             AND name NOT LIKE 'sqlite_%' ORDER BY name",
        )
        .await
    }

    fn input(&self, to: &str) -> Value {
        json!({"path": self.database(), "dir": self.migrations(), "to": to})
    }
}

fn context() -> Context {
    Context {
        run: RunId::new("0123456789"),
        step: StepId::new("s"),
        attempt: 1,
        epoch: 1,
        timeout: Duration::from_secs(20),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| ()),
        secrets: Arc::new(SystemSecrets::default()),
        scratch: PathBuf::from("/nonexistent"),
        traceparent: None,
        now_ms: 1_767_225_600_000,
    }
}

fn action(name: &str) -> Arc<dyn Action> {
    backout_plugin_migrations::actions()
        .into_iter()
        .find(|action| action.manifest().name.as_str() == name)
        .expect("the action is registered")
}

async fn prepare(name: &str, input: &Value) -> Result<Prepared, PrepareFailure> {
    action(name).prepare(&context(), input).await
}

fn call(input: &Value, prepared: &Arc<Prepared>, effect: usize, dispatch: u32) -> Call {
    Call {
        input: input.clone(),
        prepared: Arc::clone(prepared),
        effect,
        key: EffectKey::from_text(&format!("0123456789/s/1/{effect}")),
        fence: Fence { store: "st".to_owned(), token: LockToken(1), dispatch },
    }
}

/// Prepares and makes everything, under keys that begin with `run`.
async fn shift(name: &str, input: &Value, run: &str) {
    let action = action(name);
    let prepared = Arc::new(action.prepare(&context(), input).await.unwrap());
    for effect in 0..prepared.effects.len() {
        let mut call = call(input, &prepared, effect, 1);
        call.key = EffectKey::from_text(&format!("{run}/s/1/{effect}"));
        let outcome = action.apply(&context(), &call).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
}

#[test]
fn each_example_is_an_input_that_check_accepts() {
    for action in backout_plugin_migrations::actions() {
        let manifest = action.manifest();
        let input: Value = ron::from_str(manifest.example).unwrap();
        let checked = action.check(&input);
        assert!(checked.problems.is_empty(), "{}: {:?}", manifest.name, checked.problems);
        let schema = (manifest.input)();
        let fields = schema.get("properties").and_then(Value::as_object).unwrap();
        for name in input.as_object().unwrap().keys() {
            assert!(fields.contains_key(name), "{}: {name}", manifest.name);
        }
        assert!(!action.by_hand(&input).commands.is_empty(), "{}", manifest.name);
    }
}
