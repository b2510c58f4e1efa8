//! How each tool's files and ledger look.

use std::path::Path;

use super::peers_common::{Change, Layout, Place};

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

pub(crate) struct SqlMigrate;

impl Layout for SqlMigrate {
    const TOOL: &'static str = "sql-migrate";
    const LEDGER: &'static str = "gorp_migrations";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        let Change { name, up, down } = change;
        let text = format!("-- +migrate Up\n{up}\n-- +migrate Down\n{down}");
        write(dir, &format!("{at}-{name}.sql"), &text);
    }

    fn rows(&self, _: &Place) -> String {
        "SELECT id FROM gorp_migrations ORDER BY id".to_owned()
    }
}

pub(crate) struct GolangMigrate;

impl Layout for GolangMigrate {
    const TOOL: &'static str = "golang-migrate";
    const LEDGER: &'static str = "schema_migrations";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        write(dir, &format!("{at:06}_{}.up.sql", change.name), change.up);
        write(dir, &format!("{at:06}_{}.down.sql", change.name), change.down);
    }

    fn rows(&self, _: &Place) -> String {
        "SELECT concat_ws(' ', version, dirty) FROM schema_migrations".to_owned()
    }
}

pub(crate) struct Dbmate;

impl Layout for Dbmate {
    const TOOL: &'static str = "dbmate";
    const LEDGER: &'static str = "schema_migrations";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        let Change { name, up, down } = change;
        let text = format!("-- migrate:up\n{up}\n-- migrate:down\n{down}");
        write(dir, &format!("2025010100000{at}_{name}.sql"), &text);
    }

    fn version(&self, at: usize) -> String {
        format!("2025010100000{at}")
    }

    fn rows(&self, _: &Place) -> String {
        "SELECT version FROM schema_migrations ORDER BY version".to_owned()
    }
}

pub(crate) struct Sqlx;

impl Layout for Sqlx {
    const TOOL: &'static str = "sqlx";
    const LEDGER: &'static str = "_sqlx_migrations";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        write(dir, &format!("{at}_{}.up.sql", change.name), change.up);
        write(dir, &format!("{at}_{}.down.sql", change.name), change.down);
    }

    fn rows(&self, place: &Place) -> String {
        let hex = match place {
            Place::Sqlite(_) | Place::Mysql { .. } => "lower(hex(checksum))",
            Place::Postgres { .. } => "encode(checksum, 'hex')",
        };
        format!(
            "SELECT concat_ws(' ', version, description, success, {hex}) FROM _sqlx_migrations ORDER BY version"
        )
    }
}

pub(crate) struct Refinery;

impl Layout for Refinery {
    const TOOL: &'static str = "refinery";
    const LEDGER: &'static str = "refinery_schema_history";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        // It looks into folders, too.
        let folder = if at == 2 { dir.join("later") } else { dir.to_owned() };
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder, &format!("V{at}__{}.sql", change.name), change.up);
        write(&folder, &format!("V{at}__{}.down.sql", change.name), change.down);
    }

    fn rows(&self, _: &Place) -> String {
        "SELECT concat_ws(' ', version, name, checksum) FROM refinery_schema_history ORDER BY version"
            .to_owned()
    }
}

pub(crate) struct Diesel;

impl Layout for Diesel {
    const TOOL: &'static str = "diesel";
    const LEDGER: &'static str = "__diesel_schema_migrations";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        let folder = dir.join(format!("2025-01-01-00000{at}_{}", change.name));
        std::fs::create_dir(&folder).unwrap();
        write(&folder, "up.sql", change.up);
        write(&folder, "down.sql", change.down);
    }

    fn version(&self, at: usize) -> String {
        format!("2025010100000{at}")
    }

    fn rows(&self, _: &Place) -> String {
        "SELECT version FROM __diesel_schema_migrations ORDER BY version".to_owned()
    }
}

pub(crate) struct Flyway;

impl Layout for Flyway {
    const TOOL: &'static str = "flyway";
    const LEDGER: &'static str = "flyway_schema_history";

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        write(dir, &format!("V1.{at}__{}.sql", change.name), change.up);
        write(dir, &format!("U1.{at}__{}.sql", change.name), change.down);
    }

    fn version(&self, at: usize) -> String {
        format!("1.{at}")
    }

    fn rows(&self, _: &Place) -> String {
        "SELECT concat_ws(' ', version, type) FROM flyway_schema_history ORDER BY installed_rank"
            .to_owned()
    }
}
