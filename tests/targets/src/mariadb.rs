//! MariaDB on loopback, as the account `mysql` where the tests run as root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::account::{command_as, done, folder_of};
use crate::authority::Authority;
use crate::{Daemon, free_port, missing, program};

/// The account that a server runs as where the tests are root.
const USER: &str = "mysql";
/// A user that needs the password [`PASSWORD`]; it may do everything in every database.
pub const GUARDED: &str = "guarded";
/// What [`GUARDED`] logs in with.
pub const PASSWORD: &str = "s3cret/of the guarded one";
/// A user that only comes in by TLS; of a server that speaks it.
pub const BY_TLS: &str = "by_tls";
/// A user that only comes in with a certificate; of a server that speaks TLS.
pub const BY_CERTIFICATE: &str = "by_certificate";

/// A server that ends with this value, or with the test's process. Its user `root` needs no
/// password from 127.0.0.1.
#[derive(Debug)]
pub struct Mariadb {
    daemon: Daemon,
    // Removed after the server ended.
    _folder: TempDir,
    port: u16,
}

fn tool(name: &str) -> io::Result<PathBuf> {
    program(name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing")))
}

impl Mariadb {
    /// Whether it is installed; see [`missing`].
    pub fn is_here() -> bool {
        program("mariadbd").is_some() && program("mariadb-install-db").is_some()
            || missing("MariaDB", "apt-get install mariadb-server")
    }

    /// A new, empty server.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start() -> io::Result<Self> {
        Self::start_prepared(|_| Ok(Vec::new()))
    }

    /// A new, empty server that speaks TLS under these names, by a certificate of this authority. Its
    /// user [`BY_TLS`] comes in by TLS only, and [`BY_CERTIFICATE`] with a client's certificate.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start_with_tls(authority: &Authority, names: &[&str]) -> io::Result<Self> {
        let server = Self::start_prepared(|folder| {
            let own = authority.server(folder, names)?;
            let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
            Ok(vec![
                option("cert", &own.certificate),
                option("key", &own.key),
                option("ca", &authority.certificate()),
            ])
        })?;
        for (user, wants) in [(BY_TLS, "SSL"), (BY_CERTIFICATE, "X509")] {
            server.create_user(user, &format!("REQUIRE {wants}"))?;
        }
        Ok(server)
    }

    fn start_prepared(prepare: impl FnOnce(&Path) -> io::Result<Vec<String>>) -> io::Result<Self> {
        let folder = folder_of(USER, "mariadb")?;
        let data = folder.path().join("data");
        let mut install = command_as(USER, &tool("mariadb-install-db")?, "KILL");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        install.args(["--skip-test-db", "--skip-name-resolve"]);
        install.arg(format!("--datadir={}", data.display()));
        done(install.current_dir(folder.path()))?;
        let port = free_port()?;
        let mut server = server(folder.path(), port)?;
        server.args(prepare(folder.path())?);
        let daemon = Daemon::start(&server, &folder.path().join("log"))?;
        let mut started = Self { daemon, _folder: folder, port };
        let client = tool("mariadb")?;
        started.daemon.wait_ready(|| {
            run_sql(&client, port, "mysql", "SELECT 1").map(|_| ()).map_err(|why| why.to_string())
        })?;
        started.create_user(GUARDED, &format!("IDENTIFIED BY '{PASSWORD}'"))?;
        Ok(started)
    }

    fn create_user(&self, name: &str, how: &str) -> io::Result<()> {
        let account = format!("{name}@'127.0.0.1'");
        let create = format!("CREATE USER {account} {how}; GRANT ALL ON *.* TO {account}");
        self.sql("mysql", &create).map(|_| ())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How `root` reaches a database.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database with a name of its own, and gives the name.
    ///
    /// # Errors
    /// As the server says.
    pub fn new_database(&self) -> io::Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("db{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("mysql", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs SQL by the server's own client: each row one line, columns divided by a tab.
    ///
    /// # Errors
    /// As the server says.
    pub fn sql(&self, database: &str, sql: &str) -> io::Result<String> {
        run_sql(&tool("mariadb")?, self.port, database, sql)
    }
}

fn server(folder: &Path, port: u16) -> io::Result<Command> {
    let mut server = command_as(USER, &tool("mariadbd")?, "TERM");
    server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    server.arg(format!("--port={port}"));
    server.arg(format!("--datadir={}", folder.join("data").display()));
    server.arg(format!("--socket={}", folder.join("socket").display()));
    server.arg(format!("--pid-file={}", folder.join("pid").display()));
    // Tests survive kill -9 of it, not a power cut.
    server.args(["--innodb-flush-log-at-trx-commit=2", "--performance-schema=OFF"]);
    server.current_dir(folder);
    Ok(server)
}

fn run_sql(client: &Path, port: u16, database: &str, sql: &str) -> io::Result<String> {
    let mut command = Command::new(client);
    command.args(["--no-defaults", "--batch", "--skip-column-names", "-h", "127.0.0.1"]);
    command.args(["-u", "root", "-P", &port.to_string(), "-D", database, "-e", sql]);
    let output = done(&mut command)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::Mariadb;

    #[test]
    fn it_starts_and_answers() {
        if !Mariadb::is_here() {
            return;
        }
        let server = Mariadb::start().unwrap();
        let database = server.new_database().unwrap();
        server.sql(&database, "CREATE TABLE a (x int); INSERT INTO a VALUES (1), (2)").unwrap();
        assert_eq!(server.sql(&database, "SELECT x, 7 FROM a ORDER BY x").unwrap(), "1\t7\n2\t7");
    }
}
