//! The deployment: made, looked at and ended.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use backout_plugin_api::files::sha256_hex;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::runtime::Handle;

use super::service::{self, DEMO_FILE, PORT_FILE, SERVICE};

/// The release that hurts.
pub(super) const FROM: &str = "1.4.2";
/// The release to go back to.
pub(super) const TO: &str = "1.4.1";
/// The schema version that [`TO`] was made for.
pub(super) const SCHEMA: i64 = 2;

const FLAGS: &str = include_str!("shop/flags.yaml");
const SHOPCTL: &str = include_str!("shop/bin/shopctl");
/// How long a service that is told to end may take, ten times what it takes.
const END: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// The migrations: version, file name, text.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "00001_orders.sql", include_str!("shop/migrations/00001_orders.sql")),
    (2, "00002_order_notes.sql", include_str!("shop/migrations/00002_order_notes.sql")),
    (3, "00003_gift_cards.sql", include_str!("shop/migrations/00003_gift_cards.sql")),
    (4, "00004_delivery_slot.sql", include_str!("shop/migrations/00004_delivery_slot.sql")),
];
/// The ledger as goose 3.27 makes it, with its first row.
const LEDGER: &str = "CREATE TABLE goose_db_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1);";
/// What the shop has sold.
const ROWS: &str = "INSERT INTO orders (item, cents, delivery_slot) VALUES
    ('a teapot', 3900, 'evening'), ('two cups', 1800, 'noon'), ('a spoon', 400, NULL);
INSERT INTO gift_cards VALUES ('TEA-FOR-TWO', 5000);";

/// Where it is.
#[derive(Clone, Debug)]
pub(super) struct Shop {
    /// The folder of the whole demo.
    pub(super) folder: PathBuf,
    /// The shop's own folder in it.
    pub(super) root: PathBuf,
}

impl Shop {
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), root: folder.join("shop") }
    }

    /// Says that the demo lives, for as long as the file is held; see [`Shop::keep`].
    pub(super) fn hold(&self) -> anyhow::Result<fs::File> {
        fs::create_dir_all(&self.root)?;
        let file = fs::File::create_new(self.root.join(DEMO_FILE))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Lets the service go on when the demo is over.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.root.join(DEMO_FILE))?)
    }

    /// Makes all of it and starts the release that hurts.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.root.join("run"))?;
        fs::write(self.root.join("flags.yaml"), FLAGS)?;
        fs::write(self.root.join(PORT_FILE), format!("{}\n", free_port()?))?;
        write_program(&self.root.join("bin/shopctl"), SHOPCTL)?;
        for version in [TO, FROM] {
            self.make_release(version)?;
        }
        symlink(format!("releases/{FROM}"), self.root.join("current"))?;
        Handle::current().block_on(self.make_database()).context("making shop.db")?;
        self.control(&["switch", FROM])
    }

    fn make_release(&self, version: &str) -> anyhow::Result<()> {
        let own = std::env::current_exe()?;
        let text = format!(
            "#!/bin/sh\n# Starts release {version} of the shop: shop ROOT VERSION\n\
             exec '{}' {SERVICE} \"$@\"\n",
            own.display()
        );
        write_program(&self.root.join(format!("releases/{version}/bin/shop")), &text)
    }

    async fn make_database(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.root.join("migrations"))?;
        let options = SqliteConnectOptions::new().filename(self.database()).create_if_missing(true);
        let mut database = SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql(LEDGER).execute(&mut database).await?;
        for (version, name, text) in MIGRATIONS {
            fs::write(self.root.join("migrations").join(name), text)?;
            let up = text.split("-- +goose Down").next().unwrap_or(text);
            sqlx::raw_sql(up).execute(&mut database).await.context(name)?;
            sqlx::query("INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)")
                .bind(version)
                .execute(&mut database)
                .await?;
        }
        sqlx::raw_sql(ROWS).execute(&mut database).await?;
        database.close().await?;
        Ok(())
    }

    /// The database's file.
    pub(super) fn database(&self) -> PathBuf {
        self.root.join("shop.db")
    }

    /// Where it answers.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://127.0.0.1:{}", service::port(&self.root)?))
    }

    /// The runbook's parameters, as a file.
    pub(super) fn params(&self) -> anyhow::Result<String> {
        let artifact = fs::read(self.root.join(format!("releases/{TO}/bin/shop")))?;
        let params = json!({
            "root": self.root,
            "url": self.url()?,
            "from": FROM,
            "to": TO,
            "sha256": sha256_hex(&artifact),
            "schema": SCHEMA,
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&params)?))
    }

    /// What was started so far, one line each: the shop's own record.
    pub(super) fn starts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("run/starts.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the old release was started again.
    pub(super) fn is_started_again(&self) -> bool {
        self.starts().iter().any(|line| line.starts_with(&format!("started {TO} ")))
    }

    /// Whether the release that hurts is still there.
    pub(super) fn is_going(&self) -> bool {
        self.root.join(format!("run/{FROM}.pid")).exists()
    }

    /// Whether the flag file's bytes outside the flag that goes off are as they were.
    pub(super) fn is_rest_of_flags_kept(&self) -> anyhow::Result<bool> {
        let now = fs::read_to_string(self.root.join("flags.yaml"))?;
        let around = |text: &str| {
            let (head, rest) = text.split_once("new_checkout:")?;
            let (_, tail) = rest.split_once("# Not ours")?;
            Some((head.to_owned(), tail.to_owned()))
        };
        Ok(around(&now).is_some() && around(&now) == around(FLAGS))
    }

    /// Ends whatever of it runs: as its own control does it, and by the process ids of what is left.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        if self.root.join("bin/shopctl").exists() {
            // Where that fails, the next lines do it.
            let _ = self.control(&["stop"]).is_ok();
        }
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END;
        while !self.services().is_empty() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                bail!("the shop's service did not end when it was told to; it was killed");
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        for pid in self.services() {
            // It may have ended meanwhile.
            let _ = kill_process(pid, signal).is_ok();
        }
    }

    /// The processes that serve this very folder, by what they were started with.
    fn services(&self) -> Vec<Pid> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        let pids = processes.filter_map(Result::ok).filter_map(pid);
        pids.filter(|pid| self.is_service(*pid)).filter_map(Pid::from_raw).collect()
    }

    fn is_service(&self, pid: i32) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        words.next() == Some(SERVICE.as_bytes())
            && words.next() == Some(self.root.as_os_str().as_bytes())
    }

    fn control(&self, args: &[&str]) -> anyhow::Result<()> {
        let said = Command::new(self.root.join("bin/shopctl"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("starting shopctl")?;
        let why = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "shopctl {}: {}", args.join(" "), why.trim());
        Ok(())
    }
}

fn write_program(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A port that nothing listens on now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
