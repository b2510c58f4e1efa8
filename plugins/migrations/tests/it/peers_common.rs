//! The contract with every migration tool: it migrates up, Backout rolls down, it agrees.

use std::path::{Path, PathBuf};
use std::process::Command;

use backout_plugin_api::PrepareFailure;
use backout_test_targets::mysql::Server;
use backout_test_targets::postgres::Postgres;
use backout_test_targets::{missing, program};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

use super::{mysql, postgres, prepare, shift};

/// One change of a schema, in SQL that every database here takes.
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

/// Two statements, a comment and a quoted semicolon are in it.
pub(crate) const CHANGES: [Change; 4] = [
    Change {
        name: "users",
        up: "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n",
        down: "DROP TABLE users;\n",
    },
    Change {
        name: "add_email",
        up: "ALTER TABLE users ADD COLUMN email VARCHAR(50) DEFAULT ';';\n",
        down: "-- the column goes\nALTER TABLE users DROP COLUMN email;\n",
    },
    Change {
        name: "orders",
        up: "CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER);\n\
             CREATE INDEX orders_user ON orders (user_id);\n",
        down: "DELETE FROM orders;\nDROP TABLE orders;\n",
    },
    Change {
        name: "view",
        up: "CREATE VIEW mails AS SELECT id, email FROM users;\n",
        down: "DROP VIEW mails;\n",
    },
];

/// Where a tool's files and its ledger are, and how they look.
pub(crate) trait Layout {
    /// As the field `tool` has it.
    const TOOL: &'static str;
    const LEDGER: &'static str;

    /// Writes the files of version `at`, from 1 on.
    fn write(&self, dir: &Path, at: usize, change: &Change);

    /// How version `at` is written in `to`.
    fn version(&self, at: usize) -> String {
        at.to_string()
    }

    /// What must be the same in the ledger, whoever wrote it: one text a row.
    fn rows(&self, place: &Place) -> String;
}

/// A tool that runs here.
pub(crate) trait Peer: Layout {
    /// Applies everything in a folder.
    async fn up(&self, world: &World, dir: &Path);

    /// Which migrations of a folder are applied, as the tool says.
    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool>;

    /// Takes the newest one back by itself; false where it cannot.
    async fn down_one(&self, world: &World, dir: &Path) -> bool;
}

/// Which database.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres {
        server: &'static Postgres,
        database: String,
    },
    /// MariaDB or MySQL.
    Mysql {
        server: &'static Server,
        database: String,
    },
}

/// A database of its own and folders of migrations.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) place: Place,
}

impl World {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        std::fs::write(&path, "").unwrap();
        Self { dir, place: Place::Sqlite(path) }
    }

    /// Nothing where PostgreSQL is missing and that is no failure.
    pub(crate) fn postgres() -> Option<Self> {
        let server = postgres::server()?;
        let database = server.new_database().unwrap();
        Some(Self::on(Place::Postgres { server, database }))
    }

    /// Nothing where MariaDB is missing and that is no failure.
    pub(crate) fn mariadb() -> Option<Self> {
        mysql::mariadb().map(Self::on_server)
    }

    /// Nothing where MySQL is missing and that is no failure.
    pub(crate) fn mysql() -> Option<Self> {
        mysql::mysql().map(Self::on_server)
    }

    pub(crate) fn on_server(server: &'static Server) -> Self {
        let database = server.new_database().unwrap();
        Self::on(Place::Mysql { server, database })
    }

    pub(crate) fn on(place: Place) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), place };
        std::fs::write(world.dir.path().join("url"), world.url()).unwrap();
        world
    }

    /// Another one of the same kind.
    fn another(&self) -> Self {
        match self.place {
            Place::Sqlite(_) => Self::sqlite(),
            Place::Postgres { .. } => Self::postgres().unwrap(),
            Place::Mysql { server, .. } => Self::on_server(server),
        }
    }

    /// A path, or a URL as libraries take it.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::Sqlite(path) => path.display().to_string(),
            Place::Postgres { server, database } => server.url(database) + "?sslmode=disable",
            Place::Mysql { server, database } => server.url(database),
        }
    }

    /// The folder with the first `count` migrations.
    pub(crate) fn folder(&self, layout: &impl Layout, count: usize) -> PathBuf {
        let dir = self.dir.path().join(format!("migrations-{count}"));
        if !dir.is_dir() {
            std::fs::create_dir(&dir).unwrap();
            for (at, change) in CHANGES.iter().enumerate().take(count) {
                layout.write(&dir, at + 1, change);
            }
        }
        dir
    }

    pub(crate) fn input(&self, layout: &impl Layout, to: usize) -> Value {
        let mut input = match &self.place {
            Place::Sqlite(path) => json!({ "path": path }),
            Place::Postgres { .. } | Place::Mysql { .. } => {
                json!({ "database": format!("file:{}", self.dir.path().join("url").display()) })
            }
        };
        input["tool"] = json!(tool_of(layout));
        input["dir"] = json!(self.folder(layout, CHANGES.len()));
        input["to"] = json!(if to == 0 { "0".to_owned() } else { layout.version(to) });
        input
    }

    pub(crate) async fn connect(&self) -> SqliteConnection {
        let Place::Sqlite(path) = &self.place else { panic!("not SQLite") };
        SqliteConnectOptions::new().filename(path).foreign_keys(false).connect().await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        match &self.place {
            Place::Sqlite(_) => {
                let mut conn = self.connect().await;
                sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
            }
            Place::Postgres { server, database } => drop(server.psql(database, sql).unwrap()),
            Place::Mysql { server, database } => drop(server.sql(database, sql).unwrap()),
        }
    }

    /// The first value of each row, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        match &self.place {
            Place::Sqlite(_) => {
                let mut conn = self.connect().await;
                let sql = AssertSqlSafe(sql.to_owned());
                let rows = sqlx::query(sql).fetch_all(&mut conn).await.unwrap();
                rows.iter().map(|row| row.get::<String, _>(0)).collect()
            }
            Place::Postgres { server, database } => {
                let text = server.psql(database, sql).unwrap();
                text.lines().map(str::to_owned).collect()
            }
            Place::Mysql { server, database } => {
                let text = server.sql(database, sql).unwrap();
                text.lines().map(str::to_owned).collect()
            }
        }
    }

    /// The schema as lines, without ledgers and our own table.
    pub(crate) async fn schema(&self, layout: &impl Layout) -> Vec<String> {
        let query = match self.place {
            Place::Sqlite(_) => {
                "SELECT tbl_name || ': ' || sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT \
                 LIKE 'sqlite_%' ORDER BY name"
            }
            Place::Postgres { .. } => {
                "SELECT table_name || ': ' || column_name || ' ' || data_type || ' ' || is_nullable \
                     || ' ' || coalesce(column_default, '') FROM information_schema.columns \
                     WHERE table_schema = 'public' \
                 UNION ALL SELECT tablename || ': ' || indexdef FROM pg_indexes \
                     WHERE schemaname = 'public' \
                 UNION ALL SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) \
                     FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1"
            }
            Place::Mysql { .. } => {
                "SELECT concat(table_name, ': ', concat_ws(' ', column_name, column_type, \
                     is_nullable, column_default)) FROM information_schema.columns \
                     WHERE table_schema = database() \
                 UNION ALL SELECT concat(table_name, ': ', index_name, ' ', column_name) \
                     FROM information_schema.statistics WHERE table_schema = database() ORDER BY 1"
            }
        };
        let own = [ledger_of(layout), backout_plugin_migrations::EFFECT_TABLE];
        let is_own = |line: &str| {
            own.iter().any(|name| line.starts_with(&format!("{name}: ")))
                || line.starts_with(backout_plugin_migrations::KEPT_TABLE)
        };
        self.texts(query).await.into_iter().filter(|line| !is_own(line)).collect()
    }

    pub(crate) async fn ledger(&self, layout: &impl Layout) -> Vec<String> {
        self.texts(&layout.rows(&self.place)).await
    }
}

fn tool_of<L: Layout>(_: &L) -> &'static str {
    L::TOOL
}

fn ledger_of<L: Layout>(_: &L) -> &'static str {
    L::LEDGER
}

/// From version 4 down to each one below: the tool says so, the schema and the ledger are as those
/// that the tool makes by itself, and it goes on from there.
pub(crate) async fn agrees_with_every_way_down(peer: &impl Peer, first: World) {
    let all = CHANGES.len();
    for to in 0..all {
        let world = first.another();
        let dir = world.folder(peer, all);
        peer.up(&world, &dir).await;
        world.run("INSERT INTO users (id, name) VALUES (1, 'a')").await;
        shift("migrations.down", &world.input(peer, to), "down").await;
        let wanted: Vec<_> = (1..=all).map(|at| at <= to).collect();
        assert_eq!(peer.applied(&world, &dir).await, wanted, "down to {to}");

        let fresh = first.another();
        if to > 0 {
            peer.up(&fresh, &fresh.folder(peer, to)).await;
            assert_eq!(world.ledger(peer).await, fresh.ledger(peer).await, "down to {to}");
        }
        assert_eq!(world.schema(peer).await, fresh.schema(peer).await, "down to {to}");

        peer.up(&world, &dir).await;
        assert_eq!(peer.applied(&world, &dir).await, vec![true; all], "up again from {to}");
    }
}

/// From each version up to 4: the same, and the tool takes back what we made.
pub(crate) async fn agrees_with_every_way_up(peer: &impl Peer, first: World) {
    let all = CHANGES.len();
    let whole = first.another();
    peer.up(&whole, &whole.folder(peer, all)).await;
    for from in 1..all {
        let world = first.another();
        peer.up(&world, &world.folder(peer, from)).await;
        shift("migrations.up", &world.input(peer, all), "up").await;
        let dir = world.folder(peer, all);
        assert_eq!(peer.applied(&world, &dir).await, vec![true; all], "up from {from}");
        assert_eq!(world.schema(peer).await, whole.schema(peer).await, "up from {from}");
        assert_eq!(world.ledger(peer).await, whole.ledger(peer).await, "up from {from}");
        peer.up(&world, &dir).await;
        if peer.down_one(&world, &dir).await {
            let wanted: Vec<_> = (1..=all).map(|at| at < all).collect();
            assert_eq!(peer.applied(&world, &dir).await, wanted, "its own down after {from}");
        }
    }
}

/// Why a way down is refused.
pub(crate) async fn refusal(world: &World, layout: &impl Layout, to: usize) -> String {
    match prepare("migrations.down", &world.input(layout, to)).await {
        Err(PrepareFailure::Refused { reason }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// A tool's binary; nothing where it is missing and that is no failure.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools").join(name);
    let found = program(name).or_else(|| tools.is_file().then_some(tools));
    if found.is_none() {
        missing(name, "tests/setup/migration-tools.sh puts it into a folder of the path");
    }
    found
}

/// Runs a command; what it said, and whether it went well.
pub(crate) fn said(command: &mut Command) -> (String, bool) {
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (text, output.status.success())
}

/// Runs a command that must go well.
pub(crate) fn done(command: &mut Command) -> String {
    let (text, is_good) = said(command);
    assert!(is_good, "{command:?}: {text}");
    text
}
