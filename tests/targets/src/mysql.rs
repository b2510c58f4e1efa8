//! Servers that speak MySQL's protocol, on loopback, as the account `mysql` where the tests run as
//! root: what MariaDB and MySQL have in common, and MySQL itself.

use std::io;
use std::ops::Deref;
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

/// The programs of a kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    pub(crate) server: &'static str,
    pub(crate) client: &'static str,
    /// Also begins the name of its folder.
    pub(crate) kind: &'static str,
}

/// A server that ends with this value, or with the test's process. Its user `root` needs no
/// password from 127.0.0.1.
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    // Removed after the server ended.
    _folder: TempDir,
    port: u16,
    client: PathBuf,
    kind: &'static str,
}

fn tool(name: &str) -> io::Result<PathBuf> {
    program(name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing")))
}

/// A program of the server as its account, in a folder that is that account's own.
pub(crate) fn as_server(name: &str, folder: &Path, signal: &str) -> io::Result<Command> {
    let mut command = command_as(USER, &tool(name)?, signal);
    command.arg("--no-defaults").arg(format!("--datadir={}", folder.join("data").display()));
    command.current_dir(folder);
    Ok(command)
}

impl Server {
    /// Starts it: `initialize` fills the folder `data` of a new folder and gives options for the server.
    pub(crate) fn start(
        programs: Programs,
        initialize: impl FnOnce(&Path) -> io::Result<Vec<String>>,
    ) -> io::Result<Self> {
        let folder = folder_of(USER, programs.kind)?;
        let options = initialize(folder.path())?;
        let (port, client) = (free_port()?, tool(programs.client)?);
        let mut server = command(programs.server, folder.path(), port)?;
        let daemon = Daemon::start(server.args(options), &folder.path().join("log"))?;
        let mut started = Self { daemon, _folder: folder, port, client, kind: programs.kind };
        let client = &started.client;
        started.daemon.wait_ready(|| {
            run_sql(client, port, "mysql", "SELECT 1").map(|_| ()).map_err(|why| why.to_string())
        })?;
        started.create_user(GUARDED, &format!("IDENTIFIED BY '{PASSWORD}'"))?;
        Ok(started)
    }

    /// Makes the users of a server that speaks TLS.
    pub(crate) fn create_tls_users(&self) -> io::Result<()> {
        for (user, wants) in [(BY_TLS, "SSL"), (BY_CERTIFICATE, "X509")] {
            self.create_user(user, &format!("REQUIRE {wants}"))?;
        }
        Ok(())
    }

    fn create_user(&self, name: &str, how: &str) -> io::Result<()> {
        let account = format!("{name}@'127.0.0.1'");
        let create = format!("CREATE USER {account} {how}; GRANT ALL ON *.* TO {account}");
        self.sql("mysql", &create).map(|_| ())
    }

    /// MariaDB or MySQL, as people write it.
    pub fn product(&self) -> &'static str {
        if self.kind == MYSQL.kind { "MySQL" } else { "MariaDB" }
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
        run_sql(&self.client, self.port, database, sql)
    }
}

fn command(name: &str, folder: &Path, port: u16) -> io::Result<Command> {
    // Whoever starts the next one removes the folder of a test's process that ended, and MySQL never ends
    // by TERM once its folder is gone.
    let mut server = as_server(name, folder, "KILL")?;
    server.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
    server.arg(format!("--port={port}"));
    server.arg(format!("--socket={}", folder.join("socket").display()));
    server.arg(format!("--pid-file={}", folder.join("pid").display()));
    // Tests survive kill -9 of it, not a power cut.
    server.arg("--innodb-flush-log-at-trx-commit=2");
    Ok(server)
}

/// The options by which a server speaks TLS under these names.
pub(crate) fn tls(folder: &Path, authority: &Authority, names: &[&str]) -> io::Result<Vec<String>> {
    let own = authority.server(folder, names)?;
    let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
    Ok(vec![
        option("cert", &own.certificate),
        option("key", &own.key),
        option("ca", &authority.certificate()),
    ])
}

fn run_sql(client: &Path, port: u16, database: &str, sql: &str) -> io::Result<String> {
    let mut command = Command::new(client);
    command.args(["--no-defaults", "--batch", "--skip-column-names", "-h", "127.0.0.1"]);
    command.args(["-u", "root", "-P", &port.to_string(), "-D", database, "-e", sql]);
    let output = done(&mut command)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

const MYSQL: Programs = Programs { server: "mysql-server", client: "mysql-client", kind: "mysql" };

/// MySQL itself, as `tests/setup/mysql.sh` brings it.
#[derive(Debug)]
pub struct Mysql(Server);

impl Deref for Mysql {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Mysql {
    /// Whether it is installed; see [`missing`].
    pub fn is_here() -> bool {
        program(MYSQL.server).is_some() && program(MYSQL.client).is_some()
            || missing("MySQL", "tests/setup/mysql.sh brings it into a folder on the path")
    }

    /// A new, empty server.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start() -> io::Result<Self> {
        Server::start(MYSQL, initialize).map(Self)
    }

    /// A new, empty server that speaks TLS under these names, by a certificate of this authority. Its
    /// user [`BY_TLS`] comes in by TLS only, and [`BY_CERTIFICATE`] with a client's certificate.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start_with_tls(authority: &Authority, names: &[&str]) -> io::Result<Self> {
        let server = Server::start(MYSQL, |folder| {
            let mut options = initialize(folder)?;
            options.extend(tls(folder, authority, names)?);
            Ok(options)
        })?;
        server.create_tls_users()?;
        Ok(Self(server))
    }
}

/// Its own `root` only comes in by a host's name, and hosts have no names here.
const FIRST_USER: &str = "CREATE USER root@'127.0.0.1';\n\
                          GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n";

fn initialize(folder: &Path) -> io::Result<Vec<String>> {
    let first = folder.join("first.sql");
    std::fs::write(&first, FIRST_USER)?;
    // Where Debian has it import files from is not there.
    let own = "--secure-file-priv=NULL".to_owned();
    let mut install = as_server(MYSQL.server, folder, "KILL")?;
    install.args(["--initialize-insecure", &own]);
    done(install.arg(format!("--init-file={}", first.display())))?;
    // Changes of a schema are flushed one by one, and no test cuts the power.
    let quick = [
        "--mysqlx=OFF",
        "--skip-log-bin",
        "--innodb-flush-method=nosync",
        "--innodb-doublewrite=OFF",
    ];
    Ok(quick.map(str::to_owned).into_iter().chain([own]).collect())
}

#[cfg(test)]
mod tests {
    use super::Mysql;

    #[test]
    fn it_starts_and_answers() {
        if !Mysql::is_here() {
            return;
        }
        let server = Mysql::start().unwrap();
        let database = server.new_database().unwrap();
        server.sql(&database, "CREATE TABLE a (x int); INSERT INTO a VALUES (1), (2)").unwrap();
        assert_eq!(server.sql(&database, "SELECT x, 7 FROM a ORDER BY x").unwrap(), "1\t7\n2\t7");
        let version = server.sql(&database, "SELECT @@version, @@version_comment").unwrap();
        assert!(!version.contains("MariaDB"), "{version}");
    }
}
