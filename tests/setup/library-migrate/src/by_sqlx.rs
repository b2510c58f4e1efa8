//! sqlx.

use std::path::Path;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Connection as _, MySqlConnection};
use tokio::runtime::{Builder, Runtime};

use crate::{Done, Library};

/// As sqlx calls its ledger.
const LEDGER: &str = "_sqlx_migrations";

struct Sqlx {
    runtime: Runtime,
    connection: MySqlConnection,
    migrator: Migrator,
}

pub(crate) fn connect(url: &str, folder: &str) -> Done<Box<dyn Library>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let connection = runtime.block_on(MySqlConnection::connect(url))?;
    let migrator = runtime.block_on(Migrator::new(Path::new(folder)))?;
    Ok(Box::new(Sqlx { runtime, connection, migrator }))
}

impl Sqlx {
    fn versions(&mut self) -> Done<Vec<i64>> {
        let known = self.runtime.block_on(self.connection.list_applied_migrations(LEDGER))?;
        let ups = self.migrator.iter().filter(|found| found.migration_type.is_up_migration());
        let is_known = |version: i64, checksum: &[u8]| {
            known.iter().any(|row| row.version == version && *row.checksum == *checksum)
        };
        let ups = ups.filter(|found| is_known(found.version, &found.checksum));
        Ok(ups.map(|found| found.version).collect())
    }
}

impl Library for Sqlx {
    fn up(&mut self) -> Done<()> {
        Ok(self.runtime.block_on(self.migrator.run(&mut self.connection))?)
    }

    fn applied(&mut self) -> Done<Vec<String>> {
        Ok(self.versions()?.iter().map(ToString::to_string).collect())
    }

    fn down(&mut self) -> Done<()> {
        let versions = self.versions()?;
        let to = versions.iter().rev().nth(1).copied().unwrap_or(0);
        Ok(self.runtime.block_on(self.migrator.undo(&mut self.connection, to))?)
    }
}
