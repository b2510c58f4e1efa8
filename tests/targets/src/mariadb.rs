//! MariaDB on loopback, as the account `mysql` where the tests run as root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::account::{command_as, done, folder_of};
use crate::{Daemon, free_port, missing, program};

/// The account that a server runs as where the tests are root.
const USER: &str = "mysql";

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
        let folder = folder_of(USER, "mariadb")?;
        let data = folder.path().join("data");
        let mut install = command_as(USER, &tool("mariadb-install-db")?, "KILL");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        install.args(["--skip-test-db", "--skip-name-resolve"]);
        install.arg(format!("--datadir={}", data.display()));
        done(install.current_dir(folder.path()))?;
        let port = free_port()?;
        let daemon = Daemon::start(&server(folder.path(), port)?, &folder.path().join("log"))?;
        let mut started = Self { daemon, _folder: folder, port };
        let client = tool("mariadb")?;
        started.daemon.wait_ready(|| {
            run_sql(&client, port, "mysql", "SELECT 1").map(|_| ()).map_err(|why| why.to_string())
        })?;
        Ok(started)
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
