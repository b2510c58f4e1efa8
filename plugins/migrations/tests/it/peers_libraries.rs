//! Beside the real libraries of sqlx, refinery and diesel.

use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use diesel::Connection as _;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use refinery_core::rusqlite;
use refinery_core::tokio_postgres;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Connection as _, MySqlConnection, PgConnection};

use super::peers_common::{
    CHANGES, Layout, Peer, Place, World, agrees_with_every_way_down, agrees_with_every_way_up,
    done, refusal, tool,
};
use super::peers_layouts::{Diesel, Refinery, Sqlx};

impl Peer for Sqlx {
    async fn up(&self, world: &World, dir: &Path) {
        let migrator = Migrator::new(dir).await.unwrap();
        match world.place {
            Place::Sqlite(_) => migrator.run(&mut world.connect().await).await.unwrap(),
            Place::Postgres { .. } => migrator.run(&mut pg(world).await).await.unwrap(),
            Place::Mysql { .. } => migrator.run(&mut mysql(world).await).await.unwrap(),
        }
    }

    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool> {
        let migrator = Migrator::new(dir).await.unwrap();
        let known = match world.place {
            Place::Sqlite(_) => known(&mut world.connect().await).await,
            Place::Postgres { .. } => known(&mut pg(world).await).await,
            Place::Mysql { .. } => known(&mut mysql(world).await).await,
        };
        let ups = migrator.iter().filter(|migration| migration.migration_type.is_up_migration());
        ups.map(|migration| known.contains(&(migration.version, migration.checksum.to_vec())))
            .collect()
    }

    async fn down_one(&self, world: &World, dir: &Path) -> bool {
        let migrator = Migrator::new(dir).await.unwrap();
        let to = 3;
        match world.place {
            Place::Sqlite(_) => migrator.undo(&mut world.connect().await, to).await.unwrap(),
            Place::Postgres { .. } => migrator.undo(&mut pg(world).await, to).await.unwrap(),
            Place::Mysql { .. } => migrator.undo(&mut mysql(world).await, to).await.unwrap(),
        }
        true
    }
}

async fn pg(world: &World) -> PgConnection {
    PgConnection::connect(&world.url()).await.unwrap()
}

async fn mysql(world: &World) -> MySqlConnection {
    MySqlConnection::connect(&world.url()).await.unwrap()
}

/// What sqlx has as applied, none of it dirty.
async fn known(conn: &mut impl Migrate) -> Vec<(i64, Vec<u8>)> {
    assert_eq!(conn.dirty_version(Sqlx::LEDGER).await.unwrap(), None);
    let rows = conn.list_applied_migrations(Sqlx::LEDGER).await.unwrap();
    rows.into_iter().map(|row| (row.version, row.checksum.to_vec())).collect()
}

impl Peer for Refinery {
    async fn up(&self, world: &World, dir: &Path) {
        let runner = runner(dir);
        match &world.place {
            Place::Sqlite(path) => {
                drop(runner.run(&mut rusqlite::Connection::open(path).unwrap()).unwrap());
            }
            Place::Postgres { .. } => {
                drop(runner.run_async(&mut client(world).await).await.unwrap());
            }
            Place::Mysql { .. } => drop(by_program("refinery", "up", world, dir)),
        }
    }

    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool> {
        let runner = runner(dir);
        let applied = match &world.place {
            Place::Sqlite(path) => {
                runner.get_applied_migrations(&mut rusqlite::Connection::open(path).unwrap())
            }
            Place::Postgres { .. } => {
                runner.get_applied_migrations_async(&mut client(world).await).await
            }
            Place::Mysql { .. } => {
                let applied = by_program("refinery", "applied", world, dir);
                return are_in(self, &applied);
            }
        };
        let applied = applied.unwrap();
        let mut migrations = runner.get_migrations().clone();
        migrations.sort();
        // Equal means: version, name and checksum.
        migrations.iter().map(|migration| applied.contains(migration)).collect()
    }

    async fn down_one(&self, _: &World, _: &Path) -> bool {
        false
    }
}

fn runner(dir: &Path) -> refinery_core::Runner {
    refinery_core::Runner::new(&refinery_core::load_sql_migrations(dir).unwrap())
}

async fn client(world: &World) -> tokio_postgres::Client {
    let config = tokio_postgres::Config::from_str(&world.url()).unwrap();
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Peer for Diesel {
    async fn up(&self, world: &World, dir: &Path) {
        let Place::Sqlite(_) = world.place else {
            return drop(by_program("diesel", "up", world, dir));
        };
        let files = FileBasedMigrations::from_path(dir).unwrap();
        drop(diesel_on_sqlite(world).run_pending_migrations(files).unwrap());
    }

    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool> {
        let Place::Sqlite(_) = world.place else {
            return are_in(self, &by_program("diesel", "applied", world, dir));
        };
        let files = FileBasedMigrations::from_path(dir).unwrap();
        let mut conn = diesel_on_sqlite(world);
        let applied = conn.applied_migrations().unwrap();
        let applied: Vec<_> = applied.iter().map(ToString::to_string).collect();
        let pending = conn.pending_migrations(files).unwrap();
        assert_eq!(applied.len() + pending.len(), CHANGES.len());
        are_in(self, &applied)
    }

    async fn down_one(&self, world: &World, dir: &Path) -> bool {
        let Place::Sqlite(_) = world.place else {
            by_program("diesel", "down", world, dir);
            return true;
        };
        let files = FileBasedMigrations::from_path(dir).unwrap();
        diesel_on_sqlite(world).revert_last_migration(files).unwrap();
        true
    }
}

fn diesel_on_sqlite(world: &World) -> diesel::SqliteConnection {
    diesel::SqliteConnection::establish(&world.url()).unwrap()
}

/// What speaks to databases through C libraries, or by features that the product is not built with, is
/// a program beside the tests (`tests/setup/library-migrate`).
fn by_program(library: &str, verb: &str, world: &World, dir: &Path) -> Vec<String> {
    let mut program = Command::new(tool(PROGRAM).unwrap());
    let said = done(program.args([library, verb, &world.url()]).arg(dir));
    said.lines().map(str::to_owned).collect()
}

const PROGRAM: &str = "library-migrate";

/// Which of all versions are among these.
fn are_in(layout: &impl Layout, applied: &[String]) -> Vec<bool> {
    (1..=CHANGES.len()).map(|at| applied.contains(&layout.version(at))).collect()
}

async fn agrees(peer: &impl Peer) {
    agrees_with_every_way_down(peer, World::sqlite()).await;
    agrees_with_every_way_up(peer, World::sqlite()).await;
}

async fn agrees_on_postgres(peer: &impl Peer) {
    if let Some(world) = World::postgres() {
        agrees_with_every_way_down(peer, world).await;
        agrees_with_every_way_up(peer, World::postgres().unwrap()).await;
    }
}

async fn agrees_on_mariadb(peer: &impl Peer) {
    if let Some(world) = World::mariadb() {
        agrees_with_every_way_down(peer, world).await;
        agrees_with_every_way_up(peer, World::mariadb().unwrap()).await;
    }
}

async fn agrees_on_mysql(peer: &impl Peer) {
    if let Some(world) = World::mysql() {
        agrees_with_every_way_down(peer, world).await;
        agrees_with_every_way_up(peer, World::mysql().unwrap()).await;
    }
}

#[tokio::test]
async fn sqlx_agrees_on_sqlite() {
    agrees(&Sqlx).await;
}

#[tokio::test]
async fn sqlx_agrees_on_postgres() {
    agrees_on_postgres(&Sqlx).await;
}

#[tokio::test]
async fn sqlx_agrees_on_mariadb() {
    agrees_on_mariadb(&Sqlx).await;
}

#[tokio::test]
async fn sqlx_agrees_on_mysql() {
    agrees_on_mysql(&Sqlx).await;
}

#[tokio::test]
async fn refinery_agrees_on_sqlite() {
    agrees(&Refinery).await;
}

#[tokio::test]
async fn refinery_agrees_on_postgres() {
    agrees_on_postgres(&Refinery).await;
}

#[tokio::test]
async fn diesel_agrees_on_sqlite() {
    agrees(&Diesel).await;
}

#[tokio::test]
async fn diesel_agrees_on_postgres() {
    if tool(PROGRAM).is_some() {
        agrees_on_postgres(&Diesel).await;
    }
}

#[tokio::test]
async fn diesel_agrees_on_mariadb() {
    if tool(PROGRAM).is_some() {
        agrees_on_mariadb(&Diesel).await;
    }
}

#[tokio::test]
async fn diesel_agrees_on_mysql() {
    if tool(PROGRAM).is_some() {
        agrees_on_mysql(&Diesel).await;
    }
}

#[tokio::test]
async fn refinery_agrees_on_mariadb() {
    if tool(PROGRAM).is_some() {
        agrees_on_mariadb(&Refinery).await;
    }
}

#[tokio::test]
async fn refinery_agrees_on_mysql() {
    if tool(PROGRAM).is_some() {
        agrees_on_mysql(&Refinery).await;
    }
}

/// It passes over what has no way down and takes back the one below: refused here.
#[tokio::test]
async fn sqlx_skips_what_has_no_way_down_and_we_refuse() {
    let world = World::sqlite();
    let dir = world.folder(&Sqlx, 4);
    std::fs::write(dir.join("5_x.sql"), "CREATE TABLE x (id int);").unwrap();
    Sqlx.up(&world, &dir).await;
    let why = refusal(&world, &Sqlx, 3).await;
    assert!(why.contains("no file for the way down") && why.contains("pass over"), "{why}");
    Sqlx.down_one(&world, &dir).await;
    let versions: Vec<_> = world.ledger(&Sqlx).await;
    let versions: Vec<_> = versions.iter().filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(versions, ["1", "2", "3", "5"]);
}

/// Why our way down is a file with two dots and not one in a folder of its own: refinery would run it
/// on the way up, and it is committed before the ledger says no.
#[tokio::test]
async fn refinery_runs_what_is_in_folders_below_and_leaves_names_with_two_dots() {
    let world = World::sqlite();
    let dir = world.folder(&Refinery, 4);
    assert_eq!(runner(&dir).get_migrations().len(), 4);
    Refinery.up(&world, &world.folder(&Refinery, 2)).await;
    std::fs::create_dir(dir.join("down")).unwrap();
    std::fs::write(dir.join("down/V3__orders.sql"), "DROP TABLE users;").unwrap();
    let Place::Sqlite(path) = &world.place else { return };
    let mut conn = rusqlite::Connection::open(path).unwrap();
    assert!(runner(&dir).run(&mut conn).is_err());
    let schema = world.schema(&Refinery).await;
    assert!(!schema.iter().any(|line| line.starts_with("users: ")), "{schema:?}");
    let why = refusal(&world, &Refinery, 2).await;
    assert!(why.contains("two files for 3 up"), "{why}");
}

#[tokio::test]
async fn diesel_reads_none_of_a_folder_with_a_stray_one_and_we_refuse() {
    let world = World::sqlite();
    let dir = world.folder(&Diesel, 4);
    Diesel.up(&world, &dir).await;
    std::fs::create_dir(dir.join("notes")).unwrap();
    assert!(FileBasedMigrations::from_path(&dir).is_err());
    let why = refusal(&world, &Diesel, 2).await;
    assert!(why.contains("no up.sql"), "{why}");
}
