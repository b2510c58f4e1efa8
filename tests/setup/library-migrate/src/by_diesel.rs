//! diesel, through the C libraries of PostgreSQL and MariaDB.

use diesel::backend::Backend;
use diesel::{Connection as _, MysqlConnection, PgConnection};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use crate::{Done, Library};

struct Diesel<C> {
    connection: C,
    migrations: FileBasedMigrations,
}

pub(crate) fn connect(url: &str, folder: &str) -> Done<Box<dyn Library>> {
    let migrations = FileBasedMigrations::from_path(folder)?;
    if url.starts_with("mysql:") {
        let connection = MysqlConnection::establish(url)?;
        return Ok(Box::new(Diesel { connection, migrations }));
    }
    let connection = PgConnection::establish(url)?;
    Ok(Box::new(Diesel { connection, migrations }))
}

impl<C, D> Library for Diesel<C>
where
    C: MigrationHarness<D> + diesel::Connection<Backend = D>,
    D: Backend + 'static,
{
    fn up(&mut self) -> Done<()> {
        self.connection.run_pending_migrations(self.migrations.clone()).map(drop)
    }

    fn applied(&mut self) -> Done<Vec<String>> {
        let applied = self.connection.applied_migrations()?;
        let mut versions: Vec<String> = applied.iter().map(ToString::to_string).collect();
        versions.sort();
        Ok(versions)
    }

    fn down(&mut self) -> Done<()> {
        self.connection.revert_last_migration(self.migrations.clone()).map(drop)
    }
}
