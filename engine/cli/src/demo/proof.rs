//! What happened, from the targets' own records; nothing here reads the engine's journal.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::runtime::Handle;

use super::shop::{SCHEMA, Shop, TO};
use super::{alarm, say, service, trouble};
use crate::ui::Ui;
use crate::view::style::{BOLD, GOOD, paint};

/// How long the shop may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// One effect as its target recorded it.
struct Found {
    effect: String,
    times: usize,
    record: &'static str,
}

/// Shows the records. Gives whether each effect was made once and the shop is as wanted.
pub(super) fn show(ui: &Ui, shop: &Shop) -> anyhow::Result<bool> {
    let found = look(shop)?;
    say(ui, &paint(BOLD, "  times  effect                     recorded in"));
    for one in &found {
        let times = format!("{:>5}", one.times);
        let times = if one.times == 1 { paint(GOOD, &times) } else { trouble(&times) };
        say(ui, &format!("  {times}  {:<25}  {}", one.effect, one.record));
    }
    let is_rest_kept = shop.is_rest_of_flags_kept()?;
    let rest = if is_rest_kept { "are as before, byte for byte" } else { "were CHANGED" };
    say(ui, &format!("  the other flags and comments of flags.yaml {rest}"));
    say(ui, "");
    answers(ui, shop, &["/", "/checkout"])?;
    let (status, about) = get(shop, &wanted())?;
    let is_back = status == 200;
    if !is_back {
        say(ui, &trouble(&format!("  the shop is not as wanted: {about}")));
    }
    Ok(is_back && is_rest_kept && found.iter().all(|one| one.times == 1))
}

fn wanted() -> String {
    format!("/healthz?version={TO}&checkout=old&schema={SCHEMA}")
}

fn look(shop: &Shop) -> anyhow::Result<Vec<Found>> {
    let is_current = fs::read_link(shop.root.join("current"))?.ends_with(format!("releases/{TO}"));
    let started = format!("started {TO} ");
    let starts = shop.starts().into_iter().filter(|line| line.starts_with(&started));
    let mut found = vec![
        Found {
            effect: "flag new_checkout off".to_owned(),
            times: displaced(&shop.root, ".flags.yaml.backout-")?,
            record: "what it displaced, beside flags.yaml",
        },
        Found {
            effect: format!("current -> releases/{TO}"),
            times: if is_current { displaced(&shop.root, ".current.backout-")? } else { 0 },
            record: "what it displaced, beside current",
        },
        Found {
            effect: format!("release {TO} started"),
            times: starts.count(),
            record: "run/starts.log",
        },
    ];
    found.extend(Handle::current().block_on(migrations(shop)).context("reading shop.db")?);
    Ok(found)
}

/// How often something was swapped away: each swap keeps what it displaced, beside its mark.
fn displaced(folder: &Path, prefix: &str) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        count += usize::from(!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    Ok(count)
}

/// Each migration that went down: its row in our table, and no row in goose's ledger.
async fn migrations(shop: &Shop) -> anyhow::Result<Vec<Found>> {
    let options = SqliteConnectOptions::new().filename(shop.database()).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await?;
    let mut found = Vec::new();
    for version in (SCHEMA + 1..=SCHEMA + 2).rev() {
        let made: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM backout_effects
             WHERE version = ? AND direction = 'down' AND state = 'done'
             AND NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = version)",
        )
        .bind(version)
        .fetch_one(&mut database)
        .await?;
        found.push(Found {
            effect: format!("migration {version} down"),
            times: usize::try_from(made).unwrap_or_default(),
            record: "shop.db: backout_effects, goose_db_version",
        });
    }
    database.close().await?;
    Ok(found)
}

/// Asks the shop and shows what it answers.
pub(super) fn answers(ui: &Ui, shop: &Shop, paths: &[&str]) -> anyhow::Result<()> {
    for path in paths {
        let (status, body) = get(shop, path)?;
        let status = if status == 200 { paint(GOOD, "200") } else { alarm(&status.to_string()) };
        say(ui, &format!("  GET {path:<10} {status}  {}", body.trim()));
    }
    Ok(())
}

/// A GET of the shop: status and body. HTTP/1.0, so that the connection's end is the body's.
fn get(shop: &Shop, path: &str) -> anyhow::Result<(u16, String)> {
    let port = service::port(&shop.root)?;
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(ANSWER))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n")?;
    let mut text = String::new();
    connection.read_to_string(&mut text).context("the shop's answer")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the shop's answer has no body")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the shop's answer has no status")?, body.to_owned()))
}
