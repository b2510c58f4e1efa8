//! PostgreSQL on loopback, as the account `postgres` where the tests run as root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::account::{command_as, done, folder_of, signal};
use crate::authority::Authority;
use crate::{Daemon, free_port, missing, program};

/// The account that a server runs as where the tests are root, and the superuser inside it.
const USER: &str = "postgres";
/// A role that needs the password [`PASSWORD`], made by [`Postgres::start`]; it may log in and no
/// more. Every other role needs none.
pub const GUARDED: &str = "guarded";
/// A superuser that only comes in by TLS; of a server that speaks it.
pub const BY_TLS: &str = "by_tls";
/// A superuser that only comes in with its own certificate; of a server that speaks TLS.
pub const BY_CERTIFICATE: &str = "by_certificate";
/// What [`GUARDED`] logs in with.
pub const PASSWORD: &str = "s3cret/of guarded";

/// A server that ends with this value, or with the test's process.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
}

/// The newest `initdb` and its fellows; Debian keeps them beside the path.
fn tool(name: &str) -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|found| found.flatten().map(|entry| entry.path().join("bin").join(name)).collect())
        .unwrap_or_default();
    versions.sort();
    versions.into_iter().rev().find(|path| path.is_file()).or_else(|| program(name))
}

fn tool_or_error(name: &str) -> io::Result<PathBuf> {
    tool(name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing")))
}

impl Postgres {
    /// Whether it is installed; see [`missing`].
    pub fn is_here() -> bool {
        tool("postgres").is_some() && tool("initdb").is_some()
            || missing("PostgreSQL", "apt-get install postgresql")
    }

    /// A new, empty server.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// A new, empty server with settings such as `max_connections=10`.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start_with(settings: &[&str]) -> io::Result<Self> {
        Self::start_prepared(settings, |_| Ok(()))
    }

    /// A new, empty server that speaks TLS under these names, by a certificate of this authority. Its
    /// role [`BY_TLS`] comes in by TLS only, and [`BY_CERTIFICATE`] with a client's certificate.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start_with_tls(authority: &Authority, names: &[&str]) -> io::Result<Self> {
        let clients = format!("ssl_ca_file={}", authority.certificate().display());
        let settings = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key", &clients];
        let server = Self::start_prepared(&settings, |data| {
            authority.server(data, names)?;
            first_lines(
                &data.join("pg_hba.conf"),
                &format!(
                    "hostnossl all {BY_TLS},{BY_CERTIFICATE} all reject\n\
                     hostssl all {BY_CERTIFICATE} all trust clientcert=verify-full\n"
                ),
            )
        })?;
        for role in [BY_TLS, BY_CERTIFICATE] {
            server.psql("postgres", &format!("CREATE ROLE {role} LOGIN SUPERUSER"))?;
        }
        Ok(server)
    }

    fn start_prepared(
        settings: &[&str],
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let folder = folder_of(USER, "postgres")?;
        let mut initdb = command_as(USER, &tool_or_error("initdb")?, "KILL");
        initdb.arg("-D").arg(folder.path().join("data"));
        initdb.args(["-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        done(initdb.current_dir(folder.path()))?;
        let guarded = format!("host all {GUARDED} 127.0.0.1/32 scram-sha-256\n");
        first_lines(&folder.path().join("data/pg_hba.conf"), &guarded)?;
        prepare(&folder.path().join("data"))?;
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        let port = free_port()?;
        let daemon = launch(folder.path(), port, &settings)?;
        let mut server = Self { daemon, folder, port, settings };
        server.wait_ready()?;
        let quoted = PASSWORD.replace('\'', "''");
        server.psql("postgres", &format!("CREATE ROLE {GUARDED} LOGIN PASSWORD '{quoted}'"))?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let psql = tool_or_error("psql")?;
        let port = self.port;
        self.daemon.wait_ready(|| {
            run_psql(&psql, port, "postgres", "SELECT 1").map(|_| ()).map_err(|why| why.to_string())
        })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pid of its first process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The folder that it owns; its unix socket is there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How its superuser reaches a database, without a password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database with a name of its own, and gives the name.
    ///
    /// # Errors
    /// As the server says.
    pub fn new_database(&self) -> io::Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("db{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs SQL by `psql`: each row one line, columns divided by `|`.
    ///
    /// # Errors
    /// As the server says.
    pub fn psql(&self, database: &str, sql: &str) -> io::Result<String> {
        run_psql(&tool_or_error("psql")?, self.port, database, sql)
    }

    /// A `PgBouncer` in front of it, in this pool mode (`transaction`, `session`), and its port.
    /// Nothing where it is not installed; see [`missing`].
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn pool(&self, mode: &str) -> io::Result<Option<(Daemon, u16)>> {
        let Some(bouncer) = program("pgbouncer") else {
            missing("PgBouncer", "apt-get install pgbouncer");
            return Ok(None);
        };
        let port = free_port()?;
        let config = self.folder().join(format!("pgbouncer-{port}.ini"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={USER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits\n",
            self.port
        );
        std::fs::write(&config, text)?;
        let mut command = command_as(USER, &bouncer, "TERM");
        command.arg(&config).current_dir(self.folder());
        let mut daemon = Daemon::start(&command, &self.folder().join(format!("pool-{port}.log")))?;
        daemon.wait_ready(|| {
            let reached = std::net::TcpStream::connect(("127.0.0.1", port));
            reached.map(|_| ()).map_err(|error| error.to_string())
        })?;
        Ok(Some((daemon, port)))
    }

    /// Ends every process of the server at once, as a crash does, and starts it again on the same
    /// port with the same data.
    ///
    /// # Errors
    /// It does not start again.
    pub fn crash_and_restart(&mut self) -> io::Result<()> {
        // Immediate shutdown: no checkpoint, so that it recovers from its log as after a crash.
        signal(self.daemon.pid(), "QUIT")?;
        self.daemon.stop()?;
        self.daemon = launch(self.folder.path(), self.port, &self.settings)?;
        self.wait_ready()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // TERM, which a `Daemon` sends, waits for clients; INT ends them.
        signal(self.daemon.pid(), "INT").unwrap_or_default();
    }
}

fn launch(folder: &Path, port: u16, settings: &[String]) -> io::Result<Daemon> {
    let mut server = command_as(USER, &tool_or_error("postgres")?, "INT");
    server.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    server.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
    // Tests survive kill -9 of it, not a power cut, and need no synced disk.
    for setting in ["listen_addresses=127.0.0.1", "fsync=off", "log_min_messages=warning"] {
        server.args(["-c", setting]);
    }
    for setting in settings {
        server.args(["-c", setting]);
    }
    Daemon::start(server.current_dir(folder), &folder.join("log"))
}

/// Of the lines that say who comes in, the first that fits decides.
fn first_lines(hba: &Path, lines: &str) -> io::Result<()> {
    let rest = std::fs::read_to_string(hba)?;
    std::fs::write(hba, lines.to_owned() + &rest)
}

fn run_psql(psql: &Path, port: u16, database: &str, sql: &str) -> io::Result<String> {
    let mut command = Command::new(psql);
    command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
    command.args(["-U", USER, "-p", &port.to_string(), "-d", database, "-c", sql]);
    let output = done(&mut command)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{GUARDED, Postgres};

    #[test]
    fn it_starts_answers_survives_a_crash_and_asks_for_a_password() {
        if !Postgres::is_here() {
            return;
        }
        let mut server = Postgres::start().unwrap();
        let database = server.new_database().unwrap();
        server.psql(&database, "CREATE TABLE a (x int); INSERT INTO a VALUES (1), (2)").unwrap();
        server.crash_and_restart().unwrap();
        assert_eq!(server.psql(&database, "SELECT x, 7 FROM a ORDER BY x").unwrap(), "1|7\n2|7");
        let hba = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method LIKE 'scram%'";
        assert_eq!(server.psql(&database, hba).unwrap(), "1", "{GUARDED} needs its password");
    }
}
