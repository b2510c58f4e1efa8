//! `checks.sql` by TLS: the server's certificate is checked as the URL says, and a failure says what to
//! do.

use std::path::Path;

use backout_test_targets::authority::Authority;
use backout_test_targets::mariadb::Mariadb;
use backout_test_targets::mysql::{self, Mysql, Server};
use backout_test_targets::postgres::{self, Postgres};
use serde_json::json;

use super::Says;
use super::sql::ask;

/// How a database's URLs say what they want.
struct Words {
    /// `postgres://by_tls@HOST:5432/name`, the host still to be named.
    url: String,
    clear: &'static str,
    no_name: &'static str,
    full: &'static str,
    authority: &'static str,
}

impl Words {
    async fn look(&self, host: &str, options: &[&str]) -> Says {
        let url = format!("{}?{}", self.url.replace("HOST", host), options.join("&"));
        ask(&url, "SELECT 7", json!({"equals": 7})).await
    }

    fn trusts(&self, file: &Path) -> String {
        format!("{}={}", self.authority, file.display())
    }

    /// A server that is `127.0.0.1` by this authority, and lets this user in by TLS only.
    async fn check(&self, authority: &Authority) {
        let own = &self.trusts(&authority.certificate());
        let another = Authority::new("another").unwrap();
        let anothers = &self.trusts(&another.certificate());
        let advice = &format!("`{}=PATH`", self.authority);
        self.look("127.0.0.1", &[self.full, own]).await.holds();
        self.look("127.0.0.1", &[self.clear]).await.unknown("");
        for mode in [self.no_name, self.full] {
            self.look("127.0.0.1", &[mode, anothers]).await.unknown(advice);
            self.look("127.0.0.1", &[mode]).await.unknown(advice);
        }
        self.look("localhost", &[self.full, own]).await.unknown("a name that stands in its");
        self.look("localhost", &[self.no_name, own]).await.holds();
        let missing = &self.trusts(Path::new("/nonexistent/authority.pem"));
        self.look("127.0.0.1", &[self.full, missing]).await.unknown("is not there");
    }
}

#[tokio::test]
async fn postgres_is_asked_by_tls_as_the_url_says() {
    if !Postgres::is_here() {
        return;
    }
    let authority = Authority::new("ours").unwrap();
    let server = Postgres::start_with_tls(&authority, &["127.0.0.1"]).unwrap();
    let words = Words {
        url: format!("postgres://{}@HOST:{}/postgres", postgres::BY_TLS, server.port()),
        clear: "sslmode=disable",
        no_name: "sslmode=verify-ca",
        full: "sslmode=verify-full",
        authority: "sslrootcert",
    };
    words.check(&authority).await;
}

#[tokio::test]
async fn mariadb_is_asked_by_tls_as_the_url_says() {
    if Mariadb::is_here() {
        let authority = Authority::new("ours").unwrap();
        let server = Mariadb::start_with_tls(&authority, &["127.0.0.1"]).unwrap();
        is_asked_by_tls(&authority, &server).await;
    }
}

#[tokio::test]
async fn mysql_is_asked_by_tls_as_the_url_says() {
    if Mysql::is_here() {
        let authority = Authority::new("ours").unwrap();
        let server = Mysql::start_with_tls(&authority, &["127.0.0.1"]).unwrap();
        is_asked_by_tls(&authority, &server).await;
    }
}

async fn is_asked_by_tls(authority: &Authority, server: &Server) {
    let words = Words {
        url: format!("mysql://{}@HOST:{}/mysql", mysql::BY_TLS, server.port()),
        clear: "ssl-mode=DISABLED",
        no_name: "ssl-mode=VERIFY_CA",
        full: "ssl-mode=VERIFY_IDENTITY",
        authority: "ssl-ca",
    };
    words.check(authority).await;
}
