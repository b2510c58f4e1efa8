//! TLS to a database: a server's certificate is checked as the URL says, and a failure says where it was
//! and what to do.

use std::path::Path;

use backout_plugin_api::PrepareFailure;
use backout_test_targets::authority::Authority;
use backout_test_targets::mariadb::Mariadb;
use backout_test_targets::mysql::{self, Mysql, Server};
use backout_test_targets::postgres::{self, Postgres};
use serde_json::json;

use super::peers_common::{Layout, Place, World};
use super::peers_layouts::Diesel;
use super::{prepare, shift};

/// What diesel itself creates.
const LEDGER: &str = "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT \
                      NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";

/// A server that speaks TLS as `127.0.0.1` only, and how its URLs say what they want.
struct Secured {
    world: World,
    scheme: &'static str,
    port: u16,
    authority: &'static Authority,
    /// Who comes in by TLS only, and who with a certificate only.
    users: [&'static str; 2],
    /// In the clear, checked without the name, checked with it.
    modes: [&'static str; 3],
    /// The options that name the authority's file, our certificate's, its key's.
    files: [&'static str; 3],
}

impl Secured {
    fn postgres() -> Option<Self> {
        let authority: &Authority = Box::leak(Box::new(Authority::new("ours").unwrap()));
        let start = || Postgres::start_with_tls(authority, &["127.0.0.1"]).unwrap();
        let server: &Postgres = Box::leak(Box::new(Postgres::is_here().then(start)?));
        let database = server.new_database().unwrap();
        Some(Self {
            port: server.port(),
            world: World::on(Place::Postgres { server, database }),
            scheme: "postgres",
            authority,
            users: [postgres::BY_TLS, postgres::BY_CERTIFICATE],
            modes: ["sslmode=disable", "sslmode=verify-ca", "sslmode=verify-full"],
            files: ["sslrootcert", "sslcert", "sslkey"],
        })
    }

    fn mariadb() -> Option<Self> {
        let authority: &Authority = Box::leak(Box::new(Authority::new("ours").unwrap()));
        let start = || Mariadb::start_with_tls(authority, &["127.0.0.1"]).unwrap();
        let server: &Mariadb = Box::leak(Box::new(Mariadb::is_here().then(start)?));
        Some(Self::on(server, authority))
    }

    fn mysql() -> Option<Self> {
        let authority: &Authority = Box::leak(Box::new(Authority::new("ours").unwrap()));
        let start = || Mysql::start_with_tls(authority, &["127.0.0.1"]).unwrap();
        let server: &Mysql = Box::leak(Box::new(Mysql::is_here().then(start)?));
        Some(Self::on(server, authority))
    }

    fn on(server: &'static Server, authority: &'static Authority) -> Self {
        let database = server.new_database().unwrap();
        Self {
            port: server.port(),
            world: World::on(Place::Mysql { server, database }),
            scheme: "mysql",
            authority,
            users: [mysql::BY_TLS, mysql::BY_CERTIFICATE],
            modes: ["ssl-mode=DISABLED", "ssl-mode=VERIFY_CA", "ssl-mode=VERIFY_IDENTITY"],
            files: ["ssl-ca", "ssl-cert", "ssl-key"],
        }
    }

    /// Writes the URL that the actions read.
    fn at(&self, user: &str, host: &str, options: &[String]) {
        let (scheme, port) = (self.scheme, self.port);
        let name = match &self.world.place {
            Place::Postgres { database, .. } | Place::Mysql { database, .. } => database,
            Place::Sqlite(_) => unreachable!(),
        };
        let url = format!("{scheme}://{user}@{host}:{port}/{name}?{}", options.join("&"));
        std::fs::write(self.world.dir.path().join("url"), url).unwrap();
    }

    fn trusts(&self, file: &Path) -> String {
        format!("{}={}", self.files[0], file.display())
    }

    async fn looks(&self) -> Result<(), String> {
        let mut input = self.world.input(&Diesel, 1);
        input.as_object_mut().unwrap().retain(|name, _| name != "dir" && name != "to");
        input["at"] = json!(Diesel.version(1));
        match prepare("migrations.assert", &input).await {
            Ok(_) => Ok(()),
            Err(PrepareFailure::Unreachable { reason }) => Err(reason),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// What is said of a connection that does not come about, with the address in it.
    async fn refused(&self, says: &[&str]) {
        let reason = self.looks().await.unwrap_err();
        assert!(reason.contains(&format!(":{}: ", self.port)), "{reason}");
        for part in says {
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }

    /// Up and down by a user whom the server lets in by TLS only.
    async fn migrates(&self) {
        let [by_tls, _] = self.users;
        let [clear, _, full] = self.modes.map(str::to_owned);
        self.world.run(LEDGER).await;
        self.at(by_tls, "127.0.0.1", &[full, self.trusts(&self.authority.certificate())]);
        shift("migrations.up", &self.world.input(&Diesel, 4), "up").await;
        shift("migrations.down", &self.world.input(&Diesel, 1), "down").await;
        assert_eq!(self.world.ledger(&Diesel).await, [Diesel.version(1)]);
        self.looks().await.unwrap();
        self.at(by_tls, "127.0.0.1", &[clear]);
        self.refused(&[]).await;
    }

    /// Who is not who it should be.
    async fn refuses_another(&self) {
        let [by_tls, _] = self.users;
        let [_, no_name, full] = self.modes.map(str::to_owned);
        let own = self.trusts(&self.authority.certificate());
        let other = Authority::new("another").unwrap();
        let others = self.trusts(&other.certificate());
        let trust = format!("`{}=PATH`", self.files[0]);
        for mode in [&no_name, &full] {
            self.at(by_tls, "127.0.0.1", &[mode.clone(), others.clone()]);
            self.refused(&["certificate", &trust]).await;
            self.at(by_tls, "127.0.0.1", std::slice::from_ref(mode));
            self.refused(&["certificate", &trust]).await;
            let missing = self.trusts(Path::new("/nonexistent/authority.pem"));
            self.at(by_tls, "127.0.0.1", &[mode.clone(), missing]);
            self.refused(&["a file that the URL names", "is not there"]).await;
        }
        self.at(by_tls, "localhost", &[full, own.clone()]);
        self.refused(&["not valid for name \"localhost\"", "a name that stands in its"]).await;
        self.at(by_tls, "localhost", &[no_name, own]);
        self.looks().await.unwrap();
    }

    /// Who must show a certificate of its own.
    async fn shows_a_certificate(&self) {
        let [_, by_certificate] = self.users;
        let full = self.modes[2].to_owned();
        let own = self.trusts(&self.authority.certificate());
        self.at(by_certificate, "127.0.0.1", &[full.clone(), own.clone()]);
        self.refused(&[]).await;
        let client = self.authority.client(by_certificate).unwrap();
        let [_, certificate, key] = self.files;
        let certificate = format!("{certificate}={}", client.certificate.display());
        let key = format!("{key}={}", client.key.display());
        self.at(by_certificate, "127.0.0.1", &[full, own, certificate, key]);
        self.looks().await.unwrap();
    }
}

async fn check(secured: &Secured) {
    secured.migrates().await;
    secured.refuses_another().await;
    secured.shows_a_certificate().await;
}

/// A server that speaks none.
async fn wants_tls(secured: &Secured, plain: &World) {
    let url = format!("{}?{}", plain.url().split('?').next().unwrap(), secured.modes[2]);
    std::fs::write(plain.dir.path().join("url"), url).unwrap();
    let failure = prepare("migrations.down", &plain.input(&Diesel, 1)).await.unwrap_err();
    assert!(failure.reason().contains("wants TLS and this server has none"), "{failure:?}");
}

#[tokio::test]
async fn postgres_is_reached_by_tls_as_the_url_says() {
    if let (Some(secured), Some(plain)) = (Secured::postgres(), World::postgres()) {
        check(&secured).await;
        wants_tls(&secured, &plain).await;
    }
}

#[tokio::test]
async fn mariadb_is_reached_by_tls_as_the_url_says() {
    if let (Some(secured), Some(plain)) = (Secured::mariadb(), World::mariadb()) {
        check(&secured).await;
        wants_tls(&secured, &plain).await;
    }
}

/// It always speaks TLS, by a certificate of its own making where it is given none. A user who logs in
/// as its users do by default, with a password, comes in by TLS only.
#[tokio::test]
async fn mysql_is_reached_by_tls_as_the_url_says() {
    let (Some(secured), Some(plain)) = (Secured::mysql(), World::mysql()) else { return };
    check(&secured).await;
    let url = plain.url().replace("root@", &format!("{}:guess@", mysql::GUARDED));
    std::fs::write(plain.dir.path().join("url"), url + "?ssl-mode=DISABLED").unwrap();
    let failure = prepare("migrations.down", &plain.input(&Diesel, 1)).await.unwrap_err();
    assert!(failure.reason().contains("`ssl-mode=REQUIRED` in the URL"), "{failure:?}");
}
