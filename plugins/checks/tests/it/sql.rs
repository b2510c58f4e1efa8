//! `checks.sql` against PostgreSQL, MariaDB, MySQL and SQLite.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backout_plugin_checks::{Gate, SqlCheck};
use backout_test_targets::mariadb::Mariadb;
use backout_test_targets::mysql::{self, Mysql, Server};
use backout_test_targets::postgres::{GUARDED, Postgres};
use backout_test_targets::web::{Silent, closed};
use serde_json::{Value, json};
use sqlx::{Connection, Executor};

use super::{Says, Secrets, look_with};

pub(crate) const CHECK: Gate<SqlCheck> = Gate(SqlCheck);

pub(crate) fn postgres() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let start = || Postgres::is_here().then(|| Postgres::start().unwrap());
    SERVER.get_or_init(start).as_ref()
}

pub(crate) fn mariadb() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Mariadb>> = OnceLock::new();
    let start = || Mariadb::is_here().then(|| Mariadb::start().unwrap());
    SERVER.get_or_init(start).as_deref()
}

pub(crate) fn mysql() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Mysql>> = OnceLock::new();
    let start = || Mysql::is_here().then(|| Mysql::start().unwrap());
    SERVER.get_or_init(start).as_deref()
}

pub(crate) async fn ask(url: &str, query: &str, bound: Value) -> Says {
    let mut input = bound;
    input["url"] = json!("env:URL");
    input["query"] = json!(query);
    look_with(&CHECK, &input, Secrets::of("env:URL", url), Duration::from_secs(30)).await
}

/// What holds on every database that has a table `orders` of three rows, one of them stuck.
async fn check_orders(url: &str) {
    let count = "SELECT count(*) FROM orders WHERE state = 'stuck';";
    let seen = ask(url, count, json!({"at_most": 1})).await.holds();
    assert_eq!(seen["value"], json!(1.0));
    ask(url, count, json!({"at_most": 0})).await.wrong("the value is 1, which is above 0");
    ask(url, "SELECT state FROM orders WHERE id = 1", json!({"equals": "paid"})).await.holds();
    ask(url, "SELECT sum(price) FROM orders", json!({"at_least": 7.5})).await.holds();
    ask(url, "SELECT 1.5 * 2", json!({"equals": 3})).await.holds();
    ask(url, "SELECT state FROM orders", json!({"equals": "paid"})).await.unknown("one row");
    ask(url, "SELECT 1, 2", json!({"equals": 2})).await.unknown("2 columns");
    ask(url, "SELECT id FROM orders WHERE id = 9", json!({"at_most": 1})).await.unknown("no row");
    ask(url, "SELECT NULL", json!({"at_most": 1})).await.unknown("NULL");
    ask(url, "SELECT nothing FROM orders", json!({"at_most": 1})).await.unknown("nothing");
    for writes in ["DELETE FROM orders", "SELECT 1; DELETE FROM orders"] {
        ask(url, writes, json!({"at_most": 9})).await.unknown("");
    }
    ask(url, "SELECT count(*) FROM orders", json!({"equals": 3})).await.holds();
}

const ORDERS: [&str; 2] = [
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, state VARCHAR(20), price DECIMAL(10, 2))",
    "INSERT INTO orders VALUES (1, 'paid', 2.50), (2, 'paid', 2.50), (3, 'stuck', 2.50)",
];

#[tokio::test]
async fn sqlite_gives_a_value_and_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("shop.db").display());
    ask(&url, "SELECT 1", json!({"at_most": 1})).await.unknown("there is no file");
    let mut made = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    for sql in ORDERS {
        made.execute(sql).await.unwrap();
    }
    check_orders(&url).await;
}

#[tokio::test]
async fn postgres_gives_a_value_and_is_not_written() {
    let Some(server) = postgres() else { return };
    let database = server.new_database().unwrap();
    for sql in ORDERS {
        server.psql(&database, sql).unwrap();
    }
    let url = server.url(&database);
    check_orders(&url).await;
    ask(&url, "SELECT 'NaN'::float8", json!({"at_most": 1})).await.unknown("NaN");
    ask(&url, "SELECT true", json!({"equals": true})).await.holds();
    ask(&url, "SELECT now()::date > '2000-01-01'", json!({"equals": true})).await.holds();
    server.psql(&database, "CREATE SEQUENCE s").unwrap();
    ask(&url, "SELECT nextval('s')", json!({"at_least": 1})).await.unknown("read-only");
    server
        .psql(
            &database,
            "CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'",
        )
        .unwrap();
    ask(&url, "SELECT wipe()", json!({"at_least": 1})).await.unknown("read-only");
}

#[tokio::test]
async fn mariadb_gives_a_value_and_is_not_written() {
    if let Some(server) = mariadb() {
        gives_a_value_and_is_not_written(server).await;
    }
}

#[tokio::test]
async fn mysql_gives_a_value_and_is_not_written() {
    let Some(server) = mysql() else { return };
    gives_a_value_and_is_not_written(server).await;
    // Only its users log in by a way that wants TLS.
    let guarded = format!("mysql://{}:hunter2@127.0.0.1:{}/mysql", mysql::GUARDED, server.port());
    let said = ask(&format!("{guarded}?ssl-mode=DISABLED"), "SELECT 1", json!({"equals": 1})).await;
    assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
    said.unknown("`ssl-mode=REQUIRED` in the URL");
}

async fn gives_a_value_and_is_not_written(server: &Server) {
    let database = server.new_database().unwrap();
    let url = server.url(&database);
    let mut made = sqlx::MySqlConnection::connect(&url).await.unwrap();
    for sql in ORDERS {
        made.execute(sql).await.unwrap();
    }
    check_orders(&url).await;
    ask(&url, "SELECT CAST(18446744073709551615 AS UNSIGNED) > 1", json!({"equals": 1}))
        .await
        .holds();
    ask(&url, "SELECT 1 = 1", json!({"equals": 1})).await.holds();
    let mariadb = url.replacen("mysql://", "mariadb://", 1);
    ask(&mariadb, "SELECT 1e3", json!({"equals": 1000})).await.holds();
}

#[tokio::test]
async fn who_does_not_answer_is_unknown_and_no_password_is_told() {
    let port = closed().unwrap();
    let url = format!("postgres://shop:hunter2@{port}/shop");
    ask(&url, "SELECT 1", json!({"at_most": 1})).await.unknown("refused");
    ask("oracle://hunter2@x/y", "SELECT 1", json!({"at_most": 1})).await.unknown("none of");
    let silent = Silent::start().unwrap();
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://shop:hunter2@{}/shop", silent.address());
        let input = json!({"url": "env:URL", "query": "SELECT 1", "at_most": 1});
        let wait = Duration::from_secs(2);
        let said = look_with(&CHECK, &input, Secrets::of("env:URL", &url), wait).await;
        if scheme == "postgres" {
            said.unknown("no connection within");
        } else {
            said.unknown("within");
        }
        assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
    }
    let Some(server) = postgres() else { return };
    let url = format!("postgres://{GUARDED}:hunter2@127.0.0.1:{}/postgres", server.port());
    let said = ask(&url, "SELECT 1", json!({"at_most": 1})).await;
    said.unknown("password authentication failed");
    assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
}

#[tokio::test]
async fn a_slow_query_ends_in_time() {
    let Some(server) = postgres() else { return };
    let url = server.url("postgres");
    let input = json!({"url": "env:URL", "query": "SELECT pg_sleep(30)", "equals": ""});
    let begun = std::time::Instant::now();
    let secrets: Arc<Secrets> = Secrets::of("env:URL", &url);
    let said = look_with(&CHECK, &input, secrets, Duration::from_secs(2)).await;
    said.unknown("");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
