//! The demo's shop: a small web service, hidden in this binary so that the demo needs no other.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// The word that asks for it; the releases' start scripts use it.
pub(super) const SERVICE: &str = "__demo-service";
/// Where a shop's port stands, in its root.
pub(super) const PORT_FILE: &str = "port";
/// The file in a shop's root that its demo holds locked while it lives; gone where the demo was told
/// to keep the shop.
pub(super) const DEMO_FILE: &str = "demo.lock";
/// Between two looks at whether anybody still wants the service.
const LOOK: Duration = Duration::from_secs(1);
/// The version whose new checkout is broken.
const BROKEN: &str = "1.4.2";
/// How long a release that is told to end still answers. Long enough to be seen in the demo.
const DRAIN: Duration = Duration::from_secs(1);
/// Connections that wait to be taken.
const BACKLOG: u32 = 64;

#[derive(Clone, Debug)]
struct Shop {
    root: PathBuf,
    version: String,
}

/// What the shop says of itself.
#[derive(Debug, Serialize)]
struct Seen {
    version: String,
    checkout: &'static str,
    schema: i64,
}

/// Runs the service where the first argument asks for it: `__demo-service ROOT VERSION`.
pub(crate) fn if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SERVICE {
        return None;
    }
    let root = PathBuf::from(args.next()?);
    let version = args.next()?.into_string().ok()?;
    // Whoever started it may go; it stays until it is told to end, or its demo is over.
    let _ = rustix::process::setsid().is_ok();
    match run(Shop { root, version }) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(shop: Shop) -> anyhow::Result<()> {
    let listener = listen(port(&shop.root)?)?;
    let mut end = signal(SignalKind::terminate())?;
    let unwanted = unwanted(shop.root.clone());
    fs::write(shop.root.join(format!("run/{}.ready", shop.version)), "")?;
    let routes = Router::new()
        .route("/", get(about))
        .route("/healthz", get(health))
        .route("/checkout", get(checkout))
        .with_state(shop);
    let drained = async move {
        end.recv().await;
        tokio::time::sleep(DRAIN).await;
    };
    let served = axum::serve(listener, routes).with_graceful_shutdown(drained);
    tokio::select! {
        served = served => Ok(served?),
        () = unwanted => Ok(()),
    }
}

/// Ends when nobody wants the service any more: its folder is gone, or the demo that made it.
async fn unwanted(root: PathBuf) {
    let own = identity(&root);
    while own.is_some() && identity(&root) == own && !is_demo_over(&root) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Which folder it is: another one may stand under the same name later.
fn identity(root: &Path) -> Option<(u64, u64)> {
    fs::metadata(root).ok().map(|folder| (folder.dev(), folder.ino()))
}

/// Whether the demo ended without keeping the shop: a lock goes with the process that holds it.
fn is_demo_over(root: &Path) -> bool {
    let Ok(file) = fs::File::open(root.join(DEMO_FILE)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_ok()
}

/// The shop's port.
pub(super) fn port(root: &Path) -> anyhow::Result<u16> {
    let text = fs::read_to_string(root.join(PORT_FILE)).context("the shop has no port")?;
    text.trim().parse().context("the shop's port is no port")
}

/// Two releases may listen side by side, so that the old one answers before the new one goes.
fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn about(State(shop): State<Shop>) -> Result<Json<Seen>, StatusCode> {
    see(&shop).await.map(Json)
}

/// Answers 200 only where everything that is asked for is so: `/healthz?version=1.4.1&schema=2`.
async fn health(
    State(shop): State<Shop>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Result<(StatusCode, Json<Seen>), StatusCode> {
    let seen = see(&shop).await?;
    let is = |name: &str| match name {
        "version" => Some(seen.version.clone()),
        "checkout" => Some(seen.checkout.to_owned()),
        "schema" => Some(seen.schema.to_string()),
        _ => None,
    };
    let holds = asked.iter().all(|(name, value)| is(name).as_ref() == Some(value));
    let status = if holds { StatusCode::OK } else { StatusCode::CONFLICT };
    Ok((status, Json(seen)))
}

async fn checkout(State(shop): State<Shop>) -> (StatusCode, &'static str) {
    let is_new = new_checkout(&shop.root);
    match is_new {
        Ok(true) if shop.version == BROKEN => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the new checkout charged twice\n")
        }
        Ok(_) => (StatusCode::OK, "thank you for your order\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no flags\n"),
    }
}

async fn see(shop: &Shop) -> Result<Seen, StatusCode> {
    let unavailable = |_| StatusCode::SERVICE_UNAVAILABLE;
    let is_new = new_checkout(&shop.root).map_err(unavailable)?;
    let schema = schema(&shop.root).await.map_err(unavailable)?;
    let checkout = if is_new { "new" } else { "old" };
    Ok(Seen { version: shop.version.clone(), checkout, schema })
}

/// Whether somebody may get the new checkout, read from the flag file as it is now.
fn new_checkout(root: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(root.join("flags.yaml"))?;
    let block = text.lines().skip_while(|line| !line.starts_with("new_checkout:")).skip(1);
    let block = block.take_while(|line| line.starts_with([' ', '#']) || line.is_empty());
    Ok(block
        .map(|line| line.split('#').next().unwrap_or_default())
        .any(|line| line.contains("percentage:") || line.contains("variation: enabled")))
}

/// The version that the migration tool's ledger says.
async fn schema(root: &Path) -> anyhow::Result<i64> {
    let options = SqliteConnectOptions::new().filename(root.join("shop.db")).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await?;
    let version = sqlx::query_scalar("SELECT max(version_id) FROM goose_db_version")
        .fetch_one(&mut database)
        .await?;
    database.close().await?;
    Ok(version)
}
