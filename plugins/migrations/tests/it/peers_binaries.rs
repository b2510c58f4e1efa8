//! Beside the real sql-migrate, golang-migrate and dbmate.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers_common::{
    CHANGES, Change, Layout, Peer, Place, World, agrees_with_every_way_down,
    agrees_with_every_way_up, done, refusal, said, tool,
};
use super::peers_layouts::{Dbmate, GolangMigrate, SqlMigrate};
use super::shift;

/// A tool that is a program.
struct Program<L> {
    path: PathBuf,
    layout: L,
}

impl<L> Program<L> {
    fn find(name: &str, layout: L) -> Option<Self> {
        tool(name).map(|path| Self { path, layout })
    }
}

impl<L: Layout> Layout for Program<L> {
    const TOOL: &'static str = L::TOOL;
    const LEDGER: &'static str = L::LEDGER;

    fn write(&self, dir: &Path, at: usize, change: &Change) {
        self.layout.write(dir, at, change);
    }

    fn version(&self, at: usize) -> String {
        self.layout.version(at)
    }

    fn rows(&self, place: &Place) -> String {
        self.layout.rows(place)
    }
}

/// As Go's driver of MariaDB and MySQL takes it.
fn go_dsn(world: &World) -> String {
    let Place::Mysql { server, database } = &world.place else { panic!("no such server") };
    format!("root@tcp(127.0.0.1:{})/{database}", server.port())
}

impl Program<SqlMigrate> {
    fn command(&self, world: &World, dir: &Path, args: &[&str]) -> Command {
        let (dialect, url) = match &world.place {
            Place::Sqlite(_) => ("sqlite3", world.url()),
            Place::Postgres { .. } => ("postgres", world.url()),
            Place::Mysql { .. } => ("mysql", format!("{}?parseTime=true", go_dsn(world))),
        };
        let config = world.dir.path().join("dbconfig.yml");
        let text = format!(
            "development:\n  dialect: {dialect}\n  datasource: {url}\n  dir: {}\n",
            dir.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(&self.path);
        command.args(args).arg("-config").arg(config);
        command
    }
}

impl Peer for Program<SqlMigrate> {
    async fn up(&self, world: &World, dir: &Path) {
        done(&mut self.command(world, dir, &["up"]));
    }

    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool> {
        let text = done(&mut self.command(world, dir, &["status"]));
        let lines = text.lines().filter(|line| line.contains(".sql"));
        lines.map(|line| !line.contains("| no ")).collect()
    }

    async fn down_one(&self, world: &World, dir: &Path) -> bool {
        done(&mut self.command(world, dir, &["down"]));
        true
    }
}

impl Program<GolangMigrate> {
    fn command(&self, world: &World, dir: &Path, args: &[&str]) -> Command {
        let url = match &world.place {
            Place::Sqlite(_) => format!("sqlite://{}", world.url()),
            Place::Postgres { .. } => world.url(),
            Place::Mysql { .. } => format!("mysql://{}?multiStatements=true", go_dsn(world)),
        };
        let mut command = Command::new(&self.path);
        command.arg("-path").arg(dir).arg("-database").arg(url).args(args);
        command
    }
}

impl Peer for Program<GolangMigrate> {
    async fn up(&self, world: &World, dir: &Path) {
        done(&mut self.command(world, dir, &["up"]));
    }

    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool> {
        let (text, is_good) = said(&mut self.command(world, dir, &["version"]));
        let version = if is_good {
            text.trim().parse().unwrap()
        } else {
            assert!(text.contains("no migration"), "{text}");
            0
        };
        (1..=CHANGES.len()).map(|at| at <= version).collect()
    }

    async fn down_one(&self, world: &World, dir: &Path) -> bool {
        done(&mut self.command(world, dir, &["down", "1"]));
        true
    }
}

impl Program<Dbmate> {
    fn command(&self, world: &World, dir: &Path, args: &[&str]) -> Command {
        let scheme = if matches!(world.place, Place::Sqlite(_)) { "sqlite:" } else { "" };
        let mut command = Command::new(&self.path);
        command.arg("--url").arg(format!("{scheme}{}", world.url())).arg("-d").arg(dir);
        command.arg("--no-dump-schema").args(args);
        command
    }
}

impl Peer for Program<Dbmate> {
    async fn up(&self, world: &World, dir: &Path) {
        done(&mut self.command(world, dir, &["up", "--strict"]));
    }

    async fn applied(&self, world: &World, dir: &Path) -> Vec<bool> {
        let text = done(&mut self.command(world, dir, &["status"]));
        let lines = text.lines().filter(|line| line.contains(".sql"));
        lines.map(|line| line.starts_with("[X]")).collect()
    }

    async fn down_one(&self, world: &World, dir: &Path) -> bool {
        done(&mut self.command(world, dir, &["rollback"]));
        true
    }
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
async fn sql_migrate_agrees_on_sqlite() {
    let Some(peer) = Program::find("sql-migrate", SqlMigrate) else { return };
    agrees(&peer).await;
}

#[tokio::test]
async fn sql_migrate_agrees_on_postgres() {
    let Some(peer) = Program::find("sql-migrate", SqlMigrate) else { return };
    agrees_on_postgres(&peer).await;
}

#[tokio::test]
async fn sql_migrate_agrees_on_mariadb() {
    let Some(peer) = Program::find("sql-migrate", SqlMigrate) else { return };
    agrees_on_mariadb(&peer).await;
}

#[tokio::test]
async fn sql_migrate_agrees_on_mysql() {
    let Some(peer) = Program::find("sql-migrate", SqlMigrate) else { return };
    agrees_on_mysql(&peer).await;
}

#[tokio::test]
async fn golang_migrate_agrees_on_sqlite() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    agrees(&peer).await;
}

#[tokio::test]
async fn golang_migrate_agrees_on_postgres() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    agrees_on_postgres(&peer).await;
}

#[tokio::test]
async fn golang_migrate_agrees_on_mariadb() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    agrees_on_mariadb(&peer).await;
}

#[tokio::test]
async fn golang_migrate_agrees_on_mysql() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    agrees_on_mysql(&peer).await;
}

#[tokio::test]
async fn dbmate_agrees_on_sqlite() {
    let Some(peer) = Program::find("dbmate", Dbmate) else { return };
    agrees(&peer).await;
}

#[tokio::test]
async fn dbmate_agrees_on_postgres() {
    let Some(peer) = Program::find("dbmate", Dbmate) else { return };
    agrees_on_postgres(&peer).await;
}

#[tokio::test]
async fn dbmate_agrees_on_mariadb() {
    let Some(peer) = Program::find("dbmate", Dbmate) else { return };
    agrees_on_mariadb(&peer).await;
}

#[tokio::test]
async fn dbmate_agrees_on_mysql() {
    let Some(peer) = Program::find("dbmate", Dbmate) else { return };
    agrees_on_mysql(&peer).await;
}

/// `down` runs the UP of what was never applied, and does not record it: refused here.
#[tokio::test]
async fn sql_migrate_goes_up_in_a_hole_and_we_refuse() {
    let Some(peer) = Program::find("sql-migrate", SqlMigrate) else { return };
    let world = World::sqlite();
    let dir = world.folder(&peer, 4);
    peer.up(&world, &dir).await;
    let late = "-- +migrate Up\nCREATE TABLE late (id int);\n-- +migrate Down\nDROP TABLE late;\n";
    std::fs::write(dir.join("2-late.sql"), late).unwrap();
    let why = refusal(&world, &peer, 1).await;
    assert!(why.contains("hole") && why.contains("2-late.sql"), "{why}");
    peer.down_one(&world, &dir).await;
    assert!(world.schema(&peer).await.iter().any(|line| line.starts_with("late: ")));
    assert!(!world.ledger(&peer).await.contains(&"2-late.sql".to_owned()));
}

#[tokio::test]
async fn sql_migrate_takes_the_row_where_the_down_is_missing_and_we_refuse() {
    let Some(peer) = Program::find("sql-migrate", SqlMigrate) else { return };
    let world = World::sqlite();
    let dir = world.folder(&peer, 4);
    std::fs::write(dir.join("5-x.sql"), "-- +migrate Up\nCREATE TABLE x (id int);\n").unwrap();
    peer.up(&world, &dir).await;
    let why = refusal(&world, &peer, 4).await;
    assert!(why.contains("no SQL under `-- +migrate Down`"), "{why}");
    peer.down_one(&world, &dir).await;
    assert!(world.schema(&peer).await.iter().any(|line| line.starts_with("x: ")));
    assert_eq!(world.ledger(&peer).await.len(), 4);
}

#[tokio::test]
async fn golang_migrate_moves_its_ledger_where_a_file_is_missing_and_we_refuse() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    let world = World::sqlite();
    let dir = world.folder(&peer, 4);
    peer.up(&world, &dir).await;
    std::fs::remove_file(dir.join("000004_view.down.sql")).unwrap();
    let why = refusal(&world, &peer, 2).await;
    assert!(why.contains("no file for the way down"), "{why}");
    let before = world.schema(&peer).await;
    peer.down_one(&world, &dir).await;
    assert_eq!(world.schema(&peer).await, before);
    assert_eq!(world.ledger(&peer).await, ["3 0"]);
}

/// A failed migration leaves `dirty`, for up and for down alike.
#[tokio::test]
async fn golang_migrate_leaves_dirty_and_we_refuse() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    let world = World::sqlite();
    let dir = world.folder(&peer, 4);
    peer.up(&world, &dir).await;
    std::fs::write(dir.join("000004_view.down.sql"), "DROP VIEW nowhere;").unwrap();
    let (text, is_good) = said(&mut peer.command(&world, &dir, &["down", "1"]));
    assert!(!is_good, "{text}");
    assert_eq!(world.ledger(&peer).await, ["3 1"]);
    let why = refusal(&world, &peer, 2).await;
    assert!(why.contains("`dirty` at 3") && why.contains("force"), "{why}");
}

/// PostgreSQL takes a file of one such statement without a transaction; so do we, step by step.
#[tokio::test]
async fn golang_migrate_has_an_index_made_concurrently_and_we_take_it_back() {
    let Some(peer) = Program::find("migrate", GolangMigrate) else { return };
    let Some(world) = World::postgres() else { return };
    let dir = world.folder(&peer, 4);
    let index = "CREATE INDEX CONCURRENTLY names ON users (name);";
    std::fs::write(dir.join("5_x.up.sql"), index).unwrap();
    std::fs::write(dir.join("5_x.down.sql"), "DROP INDEX CONCURRENTLY names;").unwrap();
    peer.up(&world, &dir).await;
    let mut input = world.input(&peer, 4);
    shift("migrations.down", &input, "down").await;
    assert_eq!(world.ledger(&peer).await, ["4 f"]);
    assert!(!world.schema(&peer).await.iter().any(|line| line.contains("names")));
    input["to"] = 5.into();
    shift("migrations.up", &input, "up").await;
    assert_eq!(world.ledger(&peer).await, ["5 f"]);
    peer.down_one(&world, &dir).await;
    assert_eq!(world.ledger(&peer).await, ["4 f"]);
}

#[tokio::test]
async fn dbmate_takes_the_row_where_the_down_is_empty_and_we_refuse() {
    let Some(peer) = Program::find("dbmate", Dbmate) else { return };
    let world = World::sqlite();
    let dir = world.folder(&peer, 4);
    let text = "-- migrate:up\nCREATE TABLE x (id int);\n-- migrate:down\n-- nothing\n";
    std::fs::write(dir.join("20250101000005_x.sql"), text).unwrap();
    peer.up(&world, &dir).await;
    let why = refusal(&world, &peer, 4).await;
    assert!(why.contains("no SQL under `-- migrate:down`"), "{why}");
    peer.down_one(&world, &dir).await;
    assert!(world.schema(&peer).await.iter().any(|line| line.starts_with("x: ")));
    assert_eq!(world.ledger(&peer).await.len(), 4);
}

#[tokio::test]
async fn dbmate_breaks_on_several_blocks_and_goes_by_names() {
    let Some(peer) = Program::find("dbmate", Dbmate) else { return };
    let world = World::sqlite();
    let dir = world.dir.path().join("odd");
    std::fs::create_dir(&dir).unwrap();
    let text = "-- migrate:up\nCREATE TABLE x (id int);\n-- migrate:down\nDROP TABLE x;\n";
    std::fs::write(dir.join("10_x.sql"), text).unwrap();
    std::fs::write(dir.join("2_x.sql"), text.replace('x', "y")).unwrap();
    let said_up = done(&mut peer.command(&world, &dir, &["up"]));
    assert!(said_up.find("10_x.sql") < said_up.find("2_x.sql"), "{said_up}");
    std::fs::write(dir.join("3_x.sql"), text.replace('x', "z").repeat(2)).unwrap();
    let (text, is_good) = said(&mut peer.command(&world, &dir, &["up"]));
    assert!(!is_good, "{text}");
}
