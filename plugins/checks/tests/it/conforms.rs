//! The conformance suite, for each check on its real system.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, SecretSource};
use backout_plugin_checks::{Gate, HttpCheck, TcpCheck};
use backout_test_targets::web::{Silent, Trickle, Web, closed};
use backout_test_targets::{mysql, postgres};
use serde_json::{Value, json};

use super::{Secrets, grpc, prometheus, sql};

const SECRET: &str = "hunter2-of-the-checks";

struct Look {
    action: Arc<dyn Action>,
    input: Value,
    unreachable: Value,
    silent: Value,
    slow: Value,
    denied: Option<Value>,
    secrets: Arc<Secrets>,
    folder: tempfile::TempDir,
    observe: Box<dyn Fn() -> Value + Send + Sync>,
    _silent: Silent,
}

#[async_trait]
impl Case for Look {
    fn action(&self) -> &dyn Action {
        self.action.as_ref()
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        (self.observe)()
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        self.secrets.clone()
    }

    fn secret_values(&self) -> Vec<String> {
        [SECRET, postgres::PASSWORD, mysql::PASSWORD].map(str::to_owned).to_vec()
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.unreachable.clone())
    }

    fn silent(&self) -> Option<Value> {
        Some(self.silent.clone())
    }

    fn slow(&self) -> Option<Value> {
        Some(self.slow.clone())
    }

    fn denied(&self) -> Option<Value> {
        self.denied.clone()
    }
}

impl Look {
    /// A check of something at `place`; elsewhere it is put where nobody listens, or listens only.
    fn new(
        action: Arc<dyn Action>,
        input: &Value,
        field: &str,
        at: impl Fn(&str) -> String,
    ) -> Self {
        let silent = Silent::start().unwrap();
        let put = |place: String| {
            let mut input = input.clone();
            input[field] = json!(place);
            input
        };
        Self {
            action,
            input: input.clone(),
            unreachable: put(at(&closed().unwrap())),
            silent: put(at(&silent.address())),
            slow: put(at(&Trickle::web().unwrap().address())),
            denied: None,
            secrets: Secrets::of("env:SECRET", SECRET),
            folder: tempfile::tempdir().unwrap(),
            observe: Box::new(|| Value::Null),
            _silent: silent,
        }
    }

    /// The same, and there is a server that lets nobody in.
    fn guarded(mut self, field: &str) -> Self {
        let strict = Web::start().unwrap();
        strict.say(401, "who are you?");
        let mut input = self.input.clone();
        input[field] = json!(strict.url("/"));
        self.denied = Some(input);
        self
    }
}

#[tokio::test]
async fn http_conforms() {
    check(async || {
        let web = Web::start().unwrap();
        web.say(200, "fine");
        let input = json!({"url": web.url("/"), "bearer": "env:SECRET", "contains": "fine"});
        Look::new(Arc::new(Gate(HttpCheck)), &input, "url", |at| format!("http://{at}/"))
            .guarded("url")
    })
    .await
    .assert_kept_on("a web server");
}

#[tokio::test]
async fn tcp_conforms() {
    check(async || {
        let web = Web::start().unwrap();
        let input = json!({"address": web.address(), "send": "GET / HTTP/1.0\r\n\r\n",
            "expect": "HTTP/1.1"});
        let mut look = Look::new(Arc::new(Gate(TcpCheck)), &input, "address", str::to_owned);
        // What is expected would be there at once.
        look.slow["address"] = json!(Trickle::start(b"220 ").unwrap().address());
        look
    })
    .await
    .assert_kept_on("a port");
}

#[tokio::test]
async fn grpc_conforms() {
    check(async || {
        let (_, url) = grpc::server().await;
        let input = json!({"url": url, "service": "shop.Cart", "bearer": "env:SECRET"});
        Look::new(Arc::new(grpc::CHECK), &input, "url", |at| format!("http://{at}")).guarded("url")
    })
    .await
    .assert_kept_on("tonic's health service");
}

/// A database with a row in its table `t`, and what shows that.
struct Database {
    scheme: &'static str,
    /// With a password.
    url: String,
    /// With another one than the server knows.
    wrong: String,
    /// A server that begins to greet and does not end.
    slow: Trickle,
    observe: Box<dyn Fn() -> Value + Send + Sync>,
}

impl Database {
    fn look(self) -> Look {
        let input = json!({"url": "env:URL", "query": "SELECT count(*) FROM t", "equals": 1});
        let mut look = Look::new(Arc::new(sql::CHECK), &input, "url", str::to_owned);
        let scheme = self.scheme;
        let at = |place: &str| format!("{scheme}://shop:{SECRET}@{place}/shop");
        let urls = [
            ("env:URL", self.url),
            ("env:CLOSED", at(look.unreachable["url"].as_str().unwrap())),
            ("env:SILENT", at(look.silent["url"].as_str().unwrap())),
            ("env:SLOW", at(&self.slow.address())),
            ("env:WRONG", self.wrong),
        ];
        look.secrets.0.lock().unwrap().extend(urls.map(|(name, url)| (name.to_owned(), url)));
        look.unreachable["url"] = json!("env:CLOSED");
        look.silent["url"] = json!("env:SILENT");
        look.slow["url"] = json!("env:SLOW");
        let mut denied = look.input.clone();
        denied["url"] = json!("env:WRONG");
        look.denied = Some(denied);
        look.observe = self.observe;
        look
    }
}

/// As a part of a URL.
fn escaped(password: &str) -> String {
    password.replace('/', "%2F").replace(' ', "%20")
}

#[tokio::test]
async fn sql_conforms_on_postgres() {
    let Some(server) = sql::postgres() else { return };
    check(async || {
        let database = server.new_database().unwrap();
        server.psql(&database, "CREATE TABLE t AS SELECT 1 AS n").unwrap();
        server.psql(&database, &format!("GRANT SELECT ON t TO {}", postgres::GUARDED)).unwrap();
        let place = format!("127.0.0.1:{}/{database}", server.port());
        let url = |password: &str| format!("postgres://{}:{password}@{place}", postgres::GUARDED);
        Database {
            scheme: "postgres",
            url: url(&escaped(postgres::PASSWORD)),
            wrong: url(SECRET),
            slow: Trickle::web().unwrap(),
            observe: Box::new(move || json!(server.psql(&database, "SELECT * FROM t").unwrap())),
        }
        .look()
    })
    .await
    .assert_kept_on("PostgreSQL");
}

#[tokio::test]
async fn sql_conforms_on_mariadb() {
    if let Some(server) = sql::mariadb() {
        sql_conforms(server).await;
    }
}

#[tokio::test]
async fn sql_conforms_on_mysql() {
    if let Some(server) = sql::mysql() {
        sql_conforms(server).await;
    }
}

async fn sql_conforms(server: &'static mysql::Server) {
    check(async || {
        let database = server.new_database().unwrap();
        server.sql(&database, "CREATE TABLE t AS SELECT 1 AS n").unwrap();
        let place = format!("127.0.0.1:{}/{database}", server.port());
        let url = |password: &str| format!("mysql://{}:{password}@{place}", mysql::GUARDED);
        Database {
            scheme: "mysql",
            url: url(&escaped(mysql::PASSWORD)),
            wrong: url(SECRET),
            slow: Trickle::start(b"\xff\0\0\0\x0a").unwrap(),
            observe: Box::new(move || json!(server.sql(&database, "SELECT * FROM t").unwrap())),
        }
        .look()
    })
    .await
    .assert_kept_on(server.product());
}

#[tokio::test]
async fn prometheus_conforms() {
    let Some(shop) = prometheus::shop() else { return };
    check(async || {
        let input = json!({"url": shop.server.url(), "query": "vector(1)", "at_most": 1,
            "bearer": "env:SECRET"});
        Look::new(Arc::new(prometheus::CHECK), &input, "url", |at| format!("http://{at}"))
            .guarded("url")
    })
    .await
    .assert_kept_on("Prometheus");
}
