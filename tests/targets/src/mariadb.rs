//! MariaDB on loopback, as the account `mysql` where the tests run as root.

use std::io;
use std::ops::Deref;
use std::path::Path;

use crate::account::done;
use crate::authority::Authority;
pub use crate::mysql::{BY_CERTIFICATE, BY_TLS, GUARDED, PASSWORD};
use crate::mysql::{Programs, Server, as_server, tls};
use crate::{missing, program};

const MARIADB: Programs = Programs { server: "mariadbd", client: "mariadb", kind: "mariadb" };
/// Makes the folder of a new server.
const INSTALL: &str = "mariadb-install-db";

/// A server that ends with this value, or with the test's process.
#[derive(Debug)]
pub struct Mariadb(Server);

impl Deref for Mariadb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Mariadb {
    /// Whether it is installed; see [`missing`].
    pub fn is_here() -> bool {
        program(MARIADB.server).is_some() && program(INSTALL).is_some()
            || missing("MariaDB", "apt-get install mariadb-server")
    }

    /// A new, empty server.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start() -> io::Result<Self> {
        Server::start(MARIADB, initialize).map(Self)
    }

    /// A new, empty server that speaks TLS under these names, by a certificate of this authority. Its
    /// user [`BY_TLS`] comes in by TLS only, and [`BY_CERTIFICATE`] with a client's certificate.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start_with_tls(authority: &Authority, names: &[&str]) -> io::Result<Self> {
        let server = Server::start(MARIADB, |folder| {
            let mut options = initialize(folder)?;
            options.extend(tls(folder, authority, names)?);
            Ok(options)
        })?;
        server.create_tls_users()?;
        Ok(Self(server))
    }
}

fn initialize(folder: &Path) -> io::Result<Vec<String>> {
    let mut install = as_server(INSTALL, folder, "KILL")?;
    install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    done(install.arg("--skip-name-resolve"))?;
    Ok(vec!["--performance-schema=OFF".to_owned()])
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
