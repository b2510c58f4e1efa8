//! refinery on MariaDB; it has no way down.

use refinery_core::{Runner, load_sql_migrations};

use crate::{Done, Library};

struct Refinery {
    connection: mysql::Conn,
    runner: Runner,
}

pub(crate) fn connect(url: &str, folder: &str) -> Done<Box<dyn Library>> {
    let connection = mysql::Conn::new(url)?;
    let runner = Runner::new(&load_sql_migrations(folder)?);
    Ok(Box::new(Refinery { connection, runner }))
}

impl Library for Refinery {
    fn up(&mut self) -> Done<()> {
        self.runner.run(&mut self.connection).map(drop).map_err(Into::into)
    }

    fn applied(&mut self) -> Done<Vec<String>> {
        let applied = self.runner.get_applied_migrations(&mut self.connection)?;
        let mut migrations = self.runner.get_migrations().clone();
        migrations.sort();
        // Equal means: version, name and checksum.
        let known = migrations.iter().filter(|migration| applied.contains(migration));
        Ok(known.map(|migration| migration.version().to_string()).collect())
    }

    fn down(&mut self) -> Done<()> {
        Err("refinery has no way down".into())
    }
}
