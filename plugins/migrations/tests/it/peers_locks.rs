//! The locks that tools take are those that we take: each waits for the other.
//! sqlx on MariaDB waits for nobody.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_api::{Action, Outcome};
use backout_plugin_migrations::MigrationsShift;
use backout_test_targets::mysql::Server;
use backout_test_targets::wait_until;
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{Connection, MySqlConnection, PgConnection};

use super::peers_common::{Layout, Peer, Place, World, tool};
use super::peers_layouts::{GolangMigrate, Sqlx};
use super::{call, context, prepare};

/// How long a program may take until it asks for its lock.
const WITHIN: Duration = Duration::from_mins(1);

/// The keys that a way down takes.
async fn keys(world: &World, layout: &impl Layout) -> Vec<i64> {
    let prepared = prepare("migrations.down", &world.input(layout, 2)).await.unwrap();
    let locks = prepared.effects[0].data["locks"].as_array().unwrap().clone();
    locks.iter().filter_map(|lock| lock["advisory"].as_i64()).collect()
}

async fn hold(world: &World, key: i64) -> PgConnection {
    let mut conn = PgConnection::connect(&world.url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut conn).await.unwrap();
    conn
}

/// Waits until somebody waits for an advisory lock with this key.
fn wait_for_waiter(world: &World, key: i64) {
    let Place::Postgres { server, database } = &world.place else { return };
    let query = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 1 \
         AND ((classid::bigint << 32) | objid::bigint) = {key}"
    );
    wait_until(WITHIN, || {
        match server.psql(database, &query).map_err(|error| error.to_string())? {
            count if count == "1" => Ok(()),
            count => Err(format!("{count} wait for {key}")),
        }
    })
    .unwrap();
}

/// While somebody holds the key, we are refused and say who.
async fn we_wait(world: &World, layout: &impl Layout, key: i64) {
    let mut holder = hold(world, key).await;
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    let input: Value = world.input(layout, 2);
    let down = MigrationsShift::down();
    let prepared = Arc::new(down.prepare(&context(), &input).await.unwrap());
    let outcome = down.apply(&context(), &call(&input, &prepared, 0, 1)).await;
    let Outcome::Refused { reason } = outcome else { panic!("not refused: {outcome:?}") };
    assert!(
        reason.contains("own lock is held by") && reason.contains(&pid.to_string()),
        "{reason}"
    );
}

fn start(migrate: &std::path::Path, world: &World, dir: &std::path::Path) -> Child {
    let mut command = Command::new(migrate);
    command.arg("-path").arg(dir).arg("-database").arg(world.url()).arg("up");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn golang_migrate_waits_for_the_key_of_its_command_and_we_take_both() {
    let (Some(migrate), Some(world)) = (tool("migrate"), World::postgres()) else { return };
    let dir = world.folder(&GolangMigrate, 4);
    assert!(start(&migrate, &world, &dir).wait().unwrap().success());
    let keys = keys(&world, &GolangMigrate).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    let holder = hold(&world, keys[0]).await;
    let mut waiting = start(&migrate, &world, &dir);
    wait_for_waiter(&world, keys[0]);
    holder.close().await.unwrap();
    assert!(waiting.wait().unwrap().success());
    for key in keys {
        we_wait(&world, &GolangMigrate, key).await;
    }
}

#[tokio::test]
async fn sqlx_waits_for_its_key_and_so_do_we() {
    let Some(world) = World::postgres() else { return };
    let dir = world.folder(&Sqlx, 4);
    Sqlx.up(&world, &dir).await;
    let keys = keys(&world, &Sqlx).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let key = keys[0];
    let holder = hold(&world, key).await;
    let migrator = Migrator::new(dir.as_path()).await.unwrap();
    let mut conn = PgConnection::connect(&world.url()).await.unwrap();
    let looked = tokio::task::spawn_blocking(move || {
        wait_for_waiter(&world, key);
        world
    });
    let release = async {
        let world = looked.await.unwrap();
        holder.close().await.unwrap();
        world
    };
    let (run, world) = tokio::join!(migrator.run(&mut conn), release);
    run.unwrap();
    drop(conn);
    we_wait(&world, &Sqlx, key).await;
}

/// Holds the one name that a way down takes.
async fn hold_name(world: &World, layout: &impl Layout) -> MySqlConnection {
    let prepared = prepare("migrations.down", &world.input(layout, 2)).await.unwrap();
    let locks = prepared.effects[0].data["locks"].as_array().unwrap().clone();
    let names: Vec<_> = locks.iter().filter_map(|lock| lock["named"].as_str()).collect();
    let [name] = names[..] else { panic!("{names:?}") };
    let mut holder = MySqlConnection::connect(&world.url()).await.unwrap();
    let take = "SELECT GET_LOCK(?, 0)";
    let taken: i64 = sqlx::query_scalar(take).bind(name).fetch_one(&mut holder).await.unwrap();
    assert_eq!(taken, 1);
    holder
}

#[tokio::test]
async fn golang_migrate_waits_for_its_name_on_mariadb() {
    if let (Some(migrate), Some(world)) = (tool("migrate"), World::mariadb()) {
        golang_migrate_waits_for_its_name(&migrate, world).await;
    }
}

#[tokio::test]
async fn golang_migrate_waits_for_its_name_on_mysql() {
    if let (Some(migrate), Some(world)) = (tool("migrate"), World::mysql()) {
        golang_migrate_waits_for_its_name(&migrate, world).await;
    }
}

async fn golang_migrate_waits_for_its_name(migrate: &std::path::Path, world: World) {
    let Place::Mysql { server, database } = &world.place else { return };
    let dir = world.folder(&GolangMigrate, 4);
    let url =
        format!("mysql://root@tcp(127.0.0.1:{})/{database}?multiStatements=true", server.port());
    let start = || {
        let mut command = Command::new(migrate);
        command.arg("-path").arg(&dir).arg("-database").arg(&url).arg("up");
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    assert!(start().wait().unwrap().success());
    let holder = hold_name(&world, &GolangMigrate).await;
    let mut waiting = start();
    wait_for_user_lock(server, database);
    holder.close().await.unwrap();
    assert!(waiting.wait().unwrap().success());
    we_are_refused_a_name(&world, &GolangMigrate).await;
}

/// Waits until a session of the database waits for a lock with a name.
fn wait_for_user_lock(server: &Server, database: &str) {
    let query = format!(
        "SELECT count(*) FROM information_schema.processlist WHERE state = 'User lock' AND db = \
         '{database}'"
    );
    wait_until(WITHIN, || {
        let count = server.sql("mysql", &query).map_err(|error| error.to_string())?;
        if count == "1" { Ok(()) } else { Err(format!("{count} wait")) }
    })
    .unwrap();
}

/// While somebody holds the name, we are refused and say who.
async fn we_are_refused_a_name(world: &World, layout: &impl Layout) {
    let mut holder = hold_name(world, layout).await;
    let id: u64 =
        sqlx::query_scalar("SELECT connection_id()").fetch_one(&mut holder).await.unwrap();
    let input: Value = world.input(layout, 2);
    let down = MigrationsShift::down();
    let prepared = Arc::new(down.prepare(&context(), &input).await.unwrap());
    let outcome = down.apply(&context(), &call(&input, &prepared, 0, 1)).await;
    let Outcome::Refused { reason } = outcome else { panic!("not refused: {outcome:?}") };
    let who = format!("held by connection {id} of root from 127.0.0.1");
    assert!(reason.contains(&who), "{reason}");
    holder.close().await.unwrap();
}

/// MySQL takes its endless wait for what it is.
#[tokio::test]
async fn sqlx_waits_for_its_name_on_mysql() {
    let Some(world) = World::mysql() else { return };
    let dir = world.folder(&Sqlx, 4);
    Sqlx.up(&world, &world.folder(&Sqlx, 3)).await;
    let holder = hold_name(&world, &Sqlx).await;
    let migrator = Migrator::new(dir.as_path()).await.unwrap();
    let mut conn = MySqlConnection::connect(&world.url()).await.unwrap();
    let release = async {
        let Place::Mysql { server, database } = &world.place else { return };
        let (server, database) = (*server, database.clone());
        let waiting = move || wait_for_user_lock(server, &database);
        tokio::task::spawn_blocking(waiting).await.unwrap();
        assert_eq!(Sqlx.applied(&world, &dir).await, [true, true, true, false]);
        holder.close().await.unwrap();
    };
    let (run, ()) = tokio::join!(migrator.run(&mut conn), release);
    run.unwrap();
    drop(conn);
    assert_eq!(Sqlx.applied(&world, &dir).await, [true; 4]);
    we_are_refused_a_name(&world, &Sqlx).await;
}

/// It asks for its lock with an endless wait, written as -1, which MySQL takes and MariaDB answers
/// with NULL; it does not look at the answer.
#[tokio::test]
async fn sqlx_has_no_lock_on_mariadb() {
    let Some(world) = World::mariadb() else { return };
    let dir = world.folder(&Sqlx, 4);
    Sqlx.up(&world, &world.folder(&Sqlx, 3)).await;
    let holder = hold_name(&world, &Sqlx).await;
    Sqlx.up(&world, &dir).await;
    assert_eq!(Sqlx.applied(&world, &dir).await, [true; 4]);
    holder.close().await.unwrap();
}
