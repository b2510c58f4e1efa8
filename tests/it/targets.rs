//! Real targets, each with a record of its own of what was done to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

/// Lines of a file; none where it does not exist.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A service that makes an effect for each POST and keeps its own log. It remembers idempotency
/// keys where it is told to, and can hold a request before it makes the effect.
pub(crate) struct Server {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<ServerState>,
    changed: Condvar,
}

#[derive(Default)]
struct ServerState {
    /// The key of each effect made, in order.
    made: Vec<String>,
    /// The path of each request received, in order, with its key.
    received: Vec<Request>,
    remembers: bool,
    held: bool,
    ended: bool,
    /// The status that each POST is refused with, the headers that it had in the answer.
    refuses: Option<u16>,
}

/// A request as the service saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Server {
    pub(crate) fn new(remembers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().remembers = remembers;
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.state.lock().unwrap().ended {
                    return;
                }
                let shared = accepting.clone();
                // One thread a connection: a held request holds no other.
                std::thread::spawn(move || answer(&shared, stream).unwrap_or_default());
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How many effects it made.
    pub(crate) fn made(&self) -> usize {
        self.shared.state.lock().unwrap().made.len()
    }

    /// The requests that it received, also those that it holds.
    pub(crate) fn received(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().received.clone()
    }

    /// From now on requests are received and wait before their effect.
    pub(crate) fn hold(&self) {
        self.shared.state.lock().unwrap().held = true;
    }

    /// All that is held goes on.
    pub(crate) fn release(&self) {
        self.shared.state.lock().unwrap().held = false;
        self.shared.changed.notify_all();
    }

    /// From now on each POST is answered with this status, all headers in the body, and no effect.
    pub(crate) fn fail_with_echo(&self, status: u16) {
        self.shared.state.lock().unwrap().refuses = Some(status);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().ended = true;
        self.release();
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn answer(shared: &Shared, stream: std::io::Result<TcpStream>) -> Option<()> {
    let stream = stream.ok()?;
    let request = read_request(&mut BufReader::new(stream.try_clone().ok()?))?;
    let mut state = shared.state.lock().unwrap();
    state.received.push(request.clone());
    let (status, body) = if request.method == "POST" {
        while state.held {
            state = shared.changed.wait(state).unwrap();
        }
        post(&mut state, &request)
    } else {
        let made = request.path != "/made" || !state.made.is_empty();
        (if made { 200 } else { 404 }, "{}".to_owned())
    };
    drop(state);
    let head =
        format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}", body.len());
    write!(&stream, "{head}\r\ncontent-type: application/json\r\n\r\n{body}").ok()
}

fn post(state: &mut ServerState, request: &Request) -> (u16, String) {
    if let Some(status) = state.refuses {
        let echo = format!("{:?}", request.headers);
        return (status, serde_json::json!({ "error": "no", "you_sent": echo }).to_string());
    }
    let key = request.headers.get("idempotency-key").cloned().unwrap_or_default();
    if !(state.remembers && state.made.contains(&key)) {
        state.made.push(key);
    }
    (200, r#"{"ok": true}"#.to_owned())
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers })
}

/// A go-feature-flag file with one flag that is on and one that is not ours.
pub(crate) struct FlagFile {
    pub(crate) path: PathBuf,
}

/// The file as it is at first.
pub(crate) const FLAGS: &str = "\
# flags of the shop
new_checkout:
  variations:
    on: true
    off: false
  defaultRule:
    variation: on
other: # not ours
  variations: {a: 1, b: 2}
  defaultRule:
    variation: a
";

/// What the flag is put back to by `flags.restore` in the crash tests.
pub(crate) const OLD_BLOCK: &str = "new_checkout:\n  variations:\n    on: true\n    off: false\n  \
                                    defaultRule:\n    variation: off\n  trackEvents: false\n";

impl FlagFile {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("flags/flags.yaml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, FLAGS).unwrap();
        Self { path }
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }

    /// Swaps by the names that they leave: each keeps what it displaced, and the displaced file of
    /// the only one holds what was there at first.
    pub(crate) fn swaps(&self) -> usize {
        if self.text() == FLAGS {
            // What stands beside it is at the most staged.
            return 0;
        }
        let displaced = displaced(&self.path);
        for path in &displaced {
            assert_eq!(fs::read_to_string(path).unwrap(), FLAGS, "{}", path.display());
        }
        displaced.len()
    }
}

/// What swaps of a target left beside it: files that were displaced, or staged.
fn displaced(target: &Path) -> Vec<PathBuf> {
    let name = target.file_name().unwrap().to_str().unwrap();
    let prefix = format!(".{name}.backout-");
    let names = fs::read_dir(target.parent().unwrap()).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let is_displaced = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.strip_prefix(&prefix).is_some_and(|rest| rest != "lock" && !rest.contains('.'))
    };
    paths.filter(is_displaced).collect()
}

/// The advisory lock that a swap takes first; while a test holds it, a swap is in its middle.
pub(crate) fn hold_swap(target: &Path) -> File {
    let name = target.file_name().unwrap().to_str().unwrap();
    let lock = target.with_file_name(format!(".{name}.backout-lock"));
    let file = File::options().create(true).append(true).open(lock).unwrap();
    file.lock().unwrap();
    file
}

/// Two releases behind a symlink, the newer one current.
pub(crate) struct Releases {
    pub(crate) root: PathBuf,
}

/// SHA-256 of `shop 1.4.1` and a line end.
pub(crate) const OLD_SHA256: &str =
    "31d15745f9bf47bc5a4410be6628bee3666ae716c2076d8df5709447220ba877";

impl Releases {
    pub(crate) fn new(folder: &Path) -> Self {
        let root = folder.join("shop");
        for version in ["1.4.1", "1.5.0"] {
            let bin = root.join("releases").join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("shop"), format!("shop {version}\n")).unwrap();
        }
        std::os::unix::fs::symlink("releases/1.5.0", root.join("current")).unwrap();
        Self { root }
    }

    pub(crate) fn link(&self) -> PathBuf {
        self.root.join("current")
    }

    pub(crate) fn current(&self) -> String {
        fs::read_link(self.link()).unwrap().to_str().unwrap().to_owned()
    }

    /// Swaps by the names that they leave.
    pub(crate) fn swaps(&self) -> usize {
        if self.current() == "releases/1.5.0" {
            return 0;
        }
        let displaced = displaced(&self.link());
        for path in &displaced {
            assert_eq!(fs::read_link(path).unwrap(), Path::new("releases/1.5.0"));
        }
        displaced.len()
    }
}

/// A SQLite database with goose's ledger. Each migration writes one row of `audit` each way, so that
/// the database itself tells how often one was made.
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) migrations: PathBuf,
    runtime: tokio::runtime::Runtime,
    reader: Option<SqliteConnection>,
}

const LEDGER: &str = "
    CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
        is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
    INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1);
    CREATE TABLE audit (what TEXT NOT NULL)";

const MIGRATIONS: [(&str, &str, &str); 3] = [
    ("00001_users", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)", "DROP TABLE users"),
    (
        "00002_email",
        "ALTER TABLE users ADD COLUMN email TEXT",
        "ALTER TABLE users DROP COLUMN email",
    ),
    ("00003_orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY)", "DROP TABLE orders"),
];

impl Database {
    /// At this version.
    pub(crate) fn new(folder: &Path, version: usize) -> Self {
        let migrations = folder.join("migrations");
        fs::create_dir_all(&migrations).unwrap();
        for (at, (name, up, down)) in MIGRATIONS.iter().enumerate() {
            let audit =
                |way: &str| format!("INSERT INTO audit (what) VALUES ('{way} {}');", at + 1);
            let text = format!(
                "-- +goose Up\n{up};\n{}\n-- +goose Down\n{down};\n{}\n",
                audit("up"),
                audit("down")
            );
            fs::write(migrations.join(format!("{name}.sql")), text).unwrap();
        }
        let path = folder.join("shop.db");
        fs::write(&path, "").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = Self { path, migrations, runtime, reader: None };
        database.execute(LEDGER);
        for (at, (_, up, _)) in MIGRATIONS.iter().take(version).enumerate() {
            database.execute(up);
            let row = "INSERT INTO goose_db_version (version_id, is_applied) VALUES";
            database.execute(&format!("{row} ({}, 1)", at + 1));
        }
        database
    }

    async fn connect(path: &Path) -> SqliteConnection {
        SqliteConnectOptions::new().filename(path).connect().await.unwrap()
    }

    fn execute(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut conn = Self::connect(&self.path).await;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        });
    }

    /// The first column of a query, as text.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut conn = Self::connect(&self.path).await;
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect()
        })
    }

    /// What was done, in order, by the database's own rows.
    pub(crate) fn audit(&self) -> Vec<String> {
        self.texts("SELECT what FROM audit ORDER BY rowid")
    }

    /// The applied versions by goose's ledger, the last written row of a version deciding.
    pub(crate) fn ledger(&self) -> Vec<String> {
        self.texts(
            "SELECT CAST(version_id AS TEXT) FROM goose_db_version g WHERE is_applied = 1 AND version_id > 0 AND id = \
             (SELECT max(id) FROM goose_db_version WHERE version_id = g.version_id) ORDER BY id",
        )
    }

    /// The shop's tables and their columns.
    pub(crate) fn schema(&self) -> Vec<String> {
        self.texts(
            "SELECT t.name || '.' || c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE \
             t.name IN ('users', 'orders') ORDER BY 1",
        )
    }

    /// The keys that the effects left in the database.
    pub(crate) fn keys(&self) -> Vec<String> {
        let there = "SELECT name FROM sqlite_master WHERE name = 'backout_effects'";
        if self.texts(there).is_empty() {
            return Vec::new();
        }
        self.texts("SELECT key FROM backout_effects WHERE state = 'done' ORDER BY key")
    }

    /// Holds a reader's lock: a writer then stands in the middle of its commit, its journal on disk.
    pub(crate) fn hold(&mut self) {
        let reader = self.runtime.block_on(async {
            let mut conn = Self::connect(&self.path).await;
            sqlx::raw_sql("BEGIN; SELECT * FROM audit").execute(&mut conn).await.unwrap();
            conn
        });
        self.reader = Some(reader);
    }

    /// Whether a writer is in the middle.
    pub(crate) fn is_held(&self) -> bool {
        self.reader.is_some() && self.path.with_file_name("shop.db-journal").exists()
    }

    /// Lets go.
    pub(crate) fn release(&mut self) {
        if let Some(mut conn) = self.reader.take() {
            self.runtime.block_on(async {
                sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
                sqlx::Connection::close(conn).await.unwrap();
            });
        }
    }
}
