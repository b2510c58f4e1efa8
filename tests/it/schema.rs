//! `runbooks/schema_*.ron`, each after the real tool on a real database: goose while a service writes,
//! golang-migrate, dbmate and sql-migrate; sqlx, diesel and refinery by their libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use backout_test_targets::mariadb::Mariadb;
use backout_test_targets::postgres::Postgres;
use backout_test_targets::{missing, program};

use crate::support::{POSTGRES, Said, TestEnv};

const MIGRATIONS: [(&str, &str); 3] = [
    (
        "00041_orders.sql",
        "-- +goose Up\nCREATE TABLE orders (id bigserial PRIMARY KEY, price int NOT NULL);\n\
         -- +goose Down\nDROP TABLE orders;\n",
    ),
    (
        "00042_note.sql",
        "-- +goose Up\nALTER TABLE orders ADD COLUMN note text;\n\
         -- +goose Down\nALTER TABLE orders DROP COLUMN note;\n",
    ),
    (
        "00043_gifts.sql",
        "-- +goose Up\nCREATE TABLE gifts (id int PRIMARY KEY, code text NOT NULL);\n\
         INSERT INTO gifts VALUES (1, 'spring'), (2, 'autumn');\n\
         -- +goose Down\nDROP TABLE gifts;\n",
    ),
];

struct Shop {
    env: TestEnv,
    database: String,
}

impl Shop {
    fn new() -> Self {
        let env = TestEnv::new();
        for (file, text) in MIGRATIONS {
            env.write(&format!("migrations/{file}"), text);
        }
        Self { env, database: POSTGRES.new_database().unwrap() }
    }

    fn goose(&self, verb: &str) -> String {
        let done = Command::new("goose")
            .args(["-dir", "migrations", "postgres", &POSTGRES.url(&self.database), verb])
            .current_dir(self.env.path(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said
    }

    fn sql(&self, sql: &str) -> String {
        POSTGRES.psql(&self.database, sql).unwrap().trim().to_owned()
    }

    fn backout(&self, args: &[&str]) -> Said {
        self.env.backout_with(args, "SHOP_DATABASE_URL", &POSTGRES.url(&self.database))
    }

    fn run(&self) -> Said {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks/schema_postgres.ron");
        let migrations = format!("migrations={}", self.env.path("migrations").display());
        let file = file.display().to_string();
        self.backout(&["run", &file, "--yes", "--no-wait", "-p", &migrations])
    }
}

/// Orders by the old release's only columns, one after the other, until it is stopped; each is
/// taken or the service fails.
fn orders(shop: &Shop, enough: &AtomicBool, taken: &AtomicU32) {
    while !enough.load(Ordering::Relaxed) {
        shop.sql("INSERT INTO orders (price) VALUES (7)");
        taken.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_schema_goes_back_under_writers_and_comes_back_with_its_rows() {
    let goose = program("goose").is_some()
        || missing("goose", "TOOLS=... bash tests/setup/migration-tools.sh");
    if !goose || !Postgres::is_here() {
        return;
    }
    let shop = Shop::new();
    shop.goose("up");
    shop.sql("INSERT INTO orders (price, note) VALUES (1, 'by the new release')");
    let newer = shop.sql("SELECT * FROM gifts ORDER BY id");
    let (enough, taken) = (AtomicBool::default(), AtomicU32::default());
    std::thread::scope(|scope| {
        scope.spawn(|| orders(&shop, &enough, &taken));
        let said = shop.run().exits(4);
        assert!(said.err.contains("schema_down"), "{}", said.err);
        assert!(shop.goose("version").contains("version 43"), "nothing before anybody is asked");
        let yes = ["approve", "latest", "schema_down", "--reason", "nobody reads notes"];
        shop.env.backout(yes).exits(0);
        shop.backout(&["resume", "latest", "--no-wait"]).exits(0);
        let after = taken.load(Ordering::Relaxed);
        crate::support::wait_until("orders come in after it, too", || {
            taken.load(Ordering::Relaxed) > after + 2
        });
        enough.store(true, Ordering::Relaxed);
    });
    assert_eq!(shop.env.status("latest")["state"], "succeeded");
    assert!(shop.goose("version").contains("version 41"), "{}", shop.goose("version"));
    let written: u32 = shop.sql("SELECT count(*) FROM orders").parse().unwrap();
    assert_eq!(written, taken.load(Ordering::Relaxed) + 1, "no order is lost");
    comes_back(&shop, &newer);
}

/// The undo brings structure and rows, and goose agrees.
fn comes_back(shop: &Shop, newer: &str) {
    shop.backout(&["undo", "latest", "--reason", "it was the cache"]);
    let said = shop.backout(&["resume", "latest", "--no-wait"]);
    let said = with_a_yes(&shop.env, said, |args| shop.backout(args));
    assert!(shop.goose("version").contains("version 43"), "{}\n{}", said.out, said.err);
    assert_eq!(shop.sql("SELECT * FROM gifts ORDER BY id"), newer);
    assert_eq!(shop.sql("SELECT note FROM orders WHERE note IS NOT NULL"), "by the new release");
}

/// Goes on with somebody who says yes to each question of the run, until it asks no more.
fn with_a_yes(env: &TestEnv, first: Said, backout: impl Fn(&[&str]) -> Said) -> Said {
    /// More than any of the examples asks.
    const QUESTIONS_MAX: usize = 5;
    let mut said = first;
    for _ in 0..QUESTIONS_MAX {
        let status = env.status("latest");
        let steps = status["steps"].as_array().unwrap();
        let Some(asks) = steps.iter().find(|step| step["wait"]["for"] == "approval") else {
            return said;
        };
        env.backout(["approve", "latest", asks["id"].as_str().unwrap(), "--reason", "go"]).exits(0);
        said = backout(&["resume", "latest", "--no-wait"]);
    }
    panic!("it asks again and again: {}", said.err)
}

/// The table that each of the other tools makes, and what the newer release adds.
const CHANGES: [(&str, &str, &str); 3] = [
    ("orders", "CREATE TABLE orders (id int PRIMARY KEY, price int);", "DROP TABLE orders;"),
    (
        "note",
        "ALTER TABLE orders ADD COLUMN note varchar(20);",
        "ALTER TABLE orders DROP COLUMN note;",
    ),
    ("paid", "ALTER TABLE orders ADD COLUMN paid int;", "ALTER TABLE orders DROP COLUMN paid;"),
];

/// A tool, and a database that it took to the newest version.
struct Tool {
    env: TestEnv,
    program: PathBuf,
    args: Vec<String>,
}

impl Tool {
    /// Nothing where the program is missing, and that is no failure.
    fn find(name: &str) -> Option<Self> {
        let Some(program) = program(name) else {
            missing(name, "TOOLS=... bash tests/setup/migration-tools.sh");
            return None;
        };
        let env = TestEnv::new();
        fs::create_dir_all(env.path("migrations")).unwrap();
        Some(Self { env, program, args: Vec::new() })
    }

    fn migrations(&self) -> String {
        self.env.path("migrations").display().to_string()
    }

    /// What the tool says, of both streams.
    fn says(&self, args: &[&str]) -> String {
        let done = Command::new(&self.program).args(&self.args).args(args).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(done.status.success(), "{args:?}: {said}");
        said
    }

    /// Runs the example to its end, with a person who says yes.
    fn goes_back(&self, runbook: &str, database: &str, params: &[String]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks").join(runbook);
        let file = file.display().to_string();
        let migrations = format!("migrations={}", self.migrations());
        let mut args = vec!["run", &file, "--yes", "--no-wait", "-p", &migrations];
        args.extend(params.iter().flat_map(|param| ["-p", param]));
        let with = |args: &[&str]| self.env.backout_with(args, "SHOP_DATABASE_URL", database);
        let said = with(&args).exits(4);
        assert!(said.err.contains("waits for approval"), "{}", said.err);
        with_a_yes(&self.env, said, with).exits(0);
        assert_eq!(self.env.status("latest")["state"], "succeeded");
    }
}

#[test]
fn golang_migrate_on_mariadb_agrees() {
    let Some(mut tool) = Tool::find("migrate").filter(|_| Mariadb::is_here()) else { return };
    let server = Mariadb::start().unwrap();
    let database = server.new_database().unwrap();
    for (at, (name, up, down)) in (1..).zip(CHANGES) {
        tool.env.write(&format!("migrations/{at:06}_{name}.up.sql"), up);
        tool.env.write(&format!("migrations/{at:06}_{name}.down.sql"), down);
    }
    let dsn =
        format!("mysql://root@tcp(127.0.0.1:{})/{database}?multiStatements=true", server.port());
    tool.args = ["-path", &tool.migrations(), "-database", &dsn].map(str::to_owned).to_vec();
    tool.says(&["up"]);
    tool.goes_back("schema_golang_migrate.ron", &server.url(&database), &[]);
    assert_eq!(tool.says(&["version"]).trim(), "1");
    tool.says(&["up"]);
    assert_eq!(tool.says(&["version"]).trim(), "3");
}

#[test]
fn dbmate_on_postgres_agrees() {
    let Some(mut tool) = Tool::find("dbmate").filter(|_| Postgres::is_here()) else { return };
    // Its driver wants TLS unless it is told.
    let url = format!("{}?sslmode=disable", POSTGRES.url(&POSTGRES.new_database().unwrap()));
    for (at, (name, up, down)) in (1..).zip(CHANGES) {
        let text = format!("-- migrate:up\n{up}\n-- migrate:down\n{down}\n");
        tool.env.write(&format!("migrations/2025010100000{at}_{name}.sql"), &text);
    }
    let args = ["--url", &url, "-d", &tool.migrations(), "--no-dump-schema"];
    tool.args = args.map(str::to_owned).to_vec();
    tool.says(&["up", "--strict"]);
    tool.goes_back("schema_dbmate.ron", &url, &[]);
    assert!(tool.says(&["status"]).contains("Applied: 1"), "{}", tool.says(&["status"]));
    tool.says(&["up", "--strict"]);
    assert!(tool.says(&["status"]).contains("Applied: 3"));
}

#[test]
fn sql_migrate_on_sqlite_agrees() {
    let Some(tool) = Tool::find("sql-migrate") else { return };
    let database = tool.env.path("shop.db").display().to_string();
    for (at, (name, up, down)) in (1..).zip(CHANGES) {
        let text = format!("-- +migrate Up\n{up}\n-- +migrate Down\n{down}\n");
        tool.env.write(&format!("migrations/{at}-{name}.sql"), &text);
    }
    let config = format!(
        "development:\n  dialect: sqlite3\n  datasource: {database}\n  dir: {}\n",
        tool.migrations()
    );
    let config = tool.env.write("dbconfig.yml", &config).display().to_string();
    let says = |verb: &str| tool.says(&[verb, "-config", &config]);
    says("up");
    tool.goes_back("schema_sql_migrate.ron", "", &[format!("database={database}")]);
    assert_eq!(says("status").matches("| no ").count(), 2, "{}", says("status"));
    says("up");
    assert_eq!(says("status").matches("| no ").count(), 0, "{}", says("status"));
}

/// The program of the libraries of sqlx, diesel and refinery: `LIBRARY VERB URL FOLDER`.
struct Library {
    tool: Tool,
    url: String,
}

impl Library {
    /// Nothing where the program is missing, and that is no failure.
    fn find(name: &str, url: &str) -> Option<Self> {
        let mut tool = Tool::find("library-migrate")?;
        tool.args = vec![name.to_owned()];
        Some(Self { tool, url: url.to_owned() })
    }

    /// What it has as applied, after it did what `verb` says.
    fn applied(&self, verb: &str) -> Vec<String> {
        let folder = self.tool.migrations();
        self.tool.says(&[verb, &self.url, &folder]);
        let said = self.tool.says(&["applied", &self.url, &folder]);
        said.lines().map(str::to_owned).collect()
    }

    /// Up by the library, down by the example, and the library goes forward again.
    fn agrees(&self, runbook: &str, versions: [&str; 3]) {
        assert_eq!(self.applied("up"), versions);
        self.tool.goes_back(runbook, &self.url, &[]);
        assert_eq!(self.applied("applied"), versions[..1]);
        assert_eq!(self.applied("up"), versions);
    }
}

#[test]
fn sqlx_on_mariadb_agrees() {
    let Some(server) = Mariadb::is_here().then(|| Mariadb::start().unwrap()) else { return };
    let url = server.url(&server.new_database().unwrap());
    let Some(library) = Library::find("sqlx", &url) else { return };
    for (at, (name, up, down)) in (1..).zip(CHANGES) {
        library.tool.env.write(&format!("migrations/{at}_{name}.up.sql"), up);
        library.tool.env.write(&format!("migrations/{at}_{name}.down.sql"), down);
    }
    library.agrees("schema_sqlx.ron", ["1", "2", "3"]);
}

#[test]
fn diesel_on_postgres_agrees() {
    if !Postgres::is_here() {
        return;
    }
    let url = POSTGRES.url(&POSTGRES.new_database().unwrap());
    let Some(library) = Library::find("diesel", &url) else { return };
    for (at, (name, up, down)) in (1..).zip(CHANGES) {
        let folder = format!("migrations/2025-01-01-00000{at}_{name}");
        library.tool.env.write(&format!("{folder}/up.sql"), up);
        library.tool.env.write(&format!("{folder}/down.sql"), down);
    }
    library.agrees("schema_diesel.ron", ["20250101000001", "20250101000002", "20250101000003"]);
}

#[test]
fn refinery_on_mariadb_agrees() {
    let Some(server) = Mariadb::is_here().then(|| Mariadb::start().unwrap()) else { return };
    let url = server.url(&server.new_database().unwrap());
    let Some(library) = Library::find("refinery", &url) else { return };
    for (at, (name, up, down)) in (1..).zip(CHANGES) {
        library.tool.env.write(&format!("migrations/V{at}__{name}.sql"), up);
        library.tool.env.write(&format!("migrations/V{at}__{name}.down.sql"), down);
    }
    library.agrees("schema_refinery.ron", ["1", "2", "3"]);
}
