//! The targets of the crash tests, each with its own record of what was done to it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use backout_test_targets::docker::Engine;
use serde_json::Value;

use super::Rig;
use super::Window::{
    self, AfterEffect, AfterIntent, AfterOutcome, BeforeIntent, Inside, Middle, MiddleDies,
    MiddleGoesOn,
};
use crate::support::{DOCKER, POSTGRES, TestEnv, kill};
use crate::targets::{
    Database, FLAGS, FlagFile, OLD_BLOCK, OLD_SHA256, Releases, Server, hold_swap, lines,
};

/// `noop.run`: its only record is the journal.
pub(super) struct Noop;

impl Rig for Noop {
    fn step(&self) -> String {
        r#"action: "noop.run""#.to_owned()
    }

    fn has_record(&self) -> bool {
        false
    }

    fn made(&self, env: &TestEnv) -> usize {
        // Nothing is made; an outcome is as near as it comes. Before it is durable none is there.
        let done = |event: &&Value| {
            let kind = event["kind"].as_str().unwrap();
            let settled = kind == "effect-settled" && event["settled"].get("done").is_some();
            event["step"] == "it" && (kind == "effect-done" || settled)
        };
        env.history("latest").iter().filter(done).count()
    }
}

/// `wait.for`: its moment stands in the journal once, however often it is resumed.
pub(super) struct Timer;

impl Rig for Timer {
    fn step(&self) -> String {
        r#"action: "wait.for", with: (time: "2s")"#.to_owned()
    }

    fn made(&self, env: &TestEnv) -> usize {
        let history = env.history("latest");
        let ends = history.iter().filter(|e| e["step"] == "it" && e["kind"] == "step-succeeded");
        ends.count()
    }

    fn check(&self, env: &TestEnv) {
        let history = env.history("latest");
        let due = |e: &&Value| e["step"] == "it" && e["kind"] == "step-waits";
        let dues: Vec<&Value> = history.iter().filter(due).map(|e| &e["wait"]["due"]).collect();
        assert_eq!(dues.len(), 1, "the timer was begun anew: {dues:?}");
        let it = env.status("latest")["steps"][1].clone();
        assert!(it["took_ms"].as_u64().unwrap() >= 2_000, "{it:#}");
    }

    fn is_held(&self, env: &TestEnv) -> bool {
        env.history("latest").iter().any(|e| e["step"] == "it" && e["kind"] == "step-waits")
    }

    fn crash_point(&self, window: Window) -> Option<&'static str> {
        around_a_gate(window)
    }
}

fn around_a_gate(window: Window) -> Option<&'static str> {
    match window {
        BeforeIntent | AfterIntent => Some("after-intent:before"),
        AfterEffect => Some("before-intent:after"),
        AfterOutcome => Some("after-intent:after"),
        Middle | MiddleGoesOn | MiddleDies | Inside(_) => None,
    }
}

/// `wait.approval`: one yes is enough, before the crash or after it. A busy step beside it keeps the
/// engine there while it waits.
pub(super) struct Approval {
    pub(super) busy: PathBuf,
}

impl Rig for Approval {
    fn step(&self) -> String {
        format!(
            r#"action: "wait.approval", with: (text: "is it quiet?")),
    (id: "busy", needs: [], action: "exec.run", with: (
        command: ["sh", "-c", "while [ -e {busy} ]; do sleep 0.05; done"])),
    (id: "join", needs: ["it", "busy"], action: "noop.run""#,
            busy = self.busy.display()
        )
    }

    fn made(&self, env: &TestEnv) -> usize {
        let history = env.history("latest");
        history.iter().filter(|e| e["step"] == "it" && e["kind"] == "step-approved").count()
    }

    fn hold(&mut self) {
        fs::write(&self.busy, "").unwrap();
    }

    fn is_held(&self, env: &TestEnv) -> bool {
        env.history("latest").iter().any(|e| e["step"] == "it" && e["kind"] == "step-waits")
    }

    fn release(&mut self) {
        fs::remove_file(&self.busy).unwrap();
    }

    fn crash_point(&self, window: Window) -> Option<&'static str> {
        around_a_gate(window)
    }
}

/// `exec.run`: the command appends to a file, once for each time that it ran to its end.
pub(super) struct Commands {
    folder: PathBuf,
    settle: bool,
    read_only: bool,
}

impl Commands {
    pub(super) fn rig(env: &TestEnv, settle: bool, read_only: bool) -> Box<dyn Rig> {
        let folder = env.path("commands");
        fs::create_dir_all(&folder).unwrap();
        Box::new(Self { folder, settle, read_only })
    }
}

impl Rig for Commands {
    fn step(&self) -> String {
        let settle = r#"settle: ["sh", "-c", "test -s made"],"#;
        format!(
            r#"action: "exec.run", with: (cwd: "{}", read_only: {}, {} command: ["sh", "-c",
        "echo $$ $PPID >> begun; while [ -e held ]; do sleep 0.05; done; echo $BACKOUT_KEY >> made"])"#,
            self.folder.display(),
            self.read_only,
            if self.settle { settle } else { "" },
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        lines(&self.folder.join("made")).len()
    }

    fn may_repeat(&self) -> bool {
        self.read_only
    }

    fn hold(&mut self) {
        fs::write(self.folder.join("held"), "").unwrap();
    }

    fn is_held(&self, _: &TestEnv) -> bool {
        !lines(&self.folder.join("begun")).is_empty()
    }

    fn release(&mut self) {
        fs::remove_file(self.folder.join("held")).unwrap();
    }

    fn kill(&self) {
        let begun = lines(&self.folder.join("begun"));
        let (command, shim) = begun[0].split_once(' ').unwrap();
        // The shim first, so that it cannot record how the command ended.
        kill("KILL", shim);
        kill("KILL", command);
        fs::remove_file(self.folder.join("held")).unwrap();
    }
}

/// `http.request`, against a service that keeps its own log.
pub(super) struct Http {
    server: Server,
    promise: String,
}

impl Http {
    pub(super) fn rig(promise: &str, remembers: bool) -> Box<dyn Rig> {
        let server = Server::new(remembers);
        let probe = format!(r#"probe: (url: "{}", settles_within: "2s")"#, server.url("/made"));
        Box::new(Self { promise: promise.replace("PROBE", &probe), server })
    }
}

impl Rig for Http {
    fn step(&self) -> String {
        format!(
            r#"action: "http.request", with: (method: POST, url: "{}", json: {{"off": true}}, {})"#,
            self.server.url("/drain"),
            self.promise
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        self.server.made()
    }

    fn hold(&mut self) {
        self.server.hold();
    }

    fn is_held(&self, _: &TestEnv) -> bool {
        self.server.received().iter().any(|request| request.method == "POST")
    }

    fn release(&mut self) {
        self.server.release();
    }
}

/// `notify.send`: the receiver's record of what people saw.
pub(super) struct Notify {
    server: Server,
    channel: &'static str,
}

impl Notify {
    /// Of a chat, or of a webhook whose receiver remembers what it had.
    pub(super) fn rig(env: &TestEnv, channel: &'static str) -> Box<dyn Rig> {
        let server = Server::new(channel == "hook");
        let secret = |name: &str, value: &str| env.write(name, value).display().to_string();
        let (url, key) = (secret("slack-url", &server.url("/chat")), secret("hook-key", "k3y"));
        let text = format!(
            r#"Channels(format: 1, channels: {{
    "chat": Slack(url: "file:{url}"),
    "hook": Webhook(url: "{}", key: "file:{key}", remembers: "1h"),
}})"#,
            server.url("/hook")
        );
        env.write("config/backout/channels.ron", &text);
        Box::new(Self { server, channel })
    }
}

impl Rig for Notify {
    fn step(&self) -> String {
        format!(
            r#"action: "notify.send", with: (channel: "{}", kind: "update", title: "back",
        text: "The flag is off.")"#,
            self.channel
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        self.server.made()
    }

    fn hold(&mut self) {
        self.server.hold();
    }

    fn is_held(&self, _: &TestEnv) -> bool {
        self.server.received().iter().any(|request| request.method == "POST")
    }

    fn release(&mut self) {
        self.server.release();
    }
}

#[derive(Clone, Copy)]
pub(super) enum FlagVerb {
    Off,
    Set,
    Restore,
}

/// `flags.*` on a go-feature-flag file.
pub(super) struct Flags {
    file: FlagFile,
    verb: FlagVerb,
    lock: Option<File>,
}

impl Flags {
    pub(super) fn rig(env: &TestEnv, verb: FlagVerb) -> Box<dyn Rig> {
        Box::new(Self { file: FlagFile::new(&env.path("")), verb, lock: None })
    }
}

impl Rig for Flags {
    fn step(&self) -> String {
        let file = self.file.path.display();
        match self.verb {
            FlagVerb::Off => {
                format!(r#"action: "flags.off", with: (file: "{file}", flag: "new_checkout")"#)
            }
            FlagVerb::Set => format!(
                r#"action: "flags.set", with: (file: "{file}", flag: "new_checkout", variation: "off")"#
            ),
            FlagVerb::Restore => format!(
                r#"action: "flags.restore", with: (file: "{file}", blocks: {{"new_checkout": {OLD_BLOCK:?}}})"#
            ),
        }
    }

    fn made(&self, _: &TestEnv) -> usize {
        self.file.swaps()
    }

    fn check(&self, _: &TestEnv) {
        let text = self.file.text();
        assert!(text.contains("    variation: off\n"), "{text}");
        let rest = FLAGS.split_once("other:").unwrap().1;
        assert!(text.ends_with(rest), "the other flag changed: {text}");
    }

    fn hold(&mut self) {
        self.lock = Some(hold_swap(&self.file.path));
    }

    fn is_held(&self, env: &TestEnv) -> bool {
        is_intended(env)
    }

    fn release(&mut self) {
        self.lock = None;
    }
}

fn is_intended(env: &TestEnv) -> bool {
    env.history("latest").iter().any(|e| e["step"] == "it" && e["kind"] == "effect-intended")
}

/// `migrations.*` on SQLite with goose's ledger: two effects in one step.
pub(super) struct Migrations {
    database: Database,
    up: bool,
}

impl Migrations {
    pub(super) fn rig(env: &TestEnv, up: bool) -> Box<dyn Rig> {
        Box::new(Self { database: Database::new(&env.path(""), if up { 1 } else { 3 }), up })
    }
}

impl Rig for Migrations {
    fn step(&self) -> String {
        format!(
            r#"action: "migrations.{}", accept: ["drops-table", "drops-column", "changes-rows"],
        with: (path: "{}", dir: "{}", to: {})"#,
            if self.up { "up" } else { "down" },
            self.database.path.display(),
            self.database.migrations.display(),
            if self.up { 3 } else { 1 }
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        self.database.audit().len()
    }

    fn wanted(&self) -> usize {
        2
    }

    fn check(&self, env: &TestEnv) {
        let (audit, ledger, schema) = if self.up {
            (
                ["up 2", "up 3"],
                &["1", "2", "3"][..],
                &["orders.id", "users.email", "users.id", "users.name"][..],
            )
        } else {
            (["down 3", "down 2"], &["1"][..], &["users.id", "users.name"][..])
        };
        assert_eq!(self.database.audit(), audit);
        assert_eq!(self.database.ledger(), ledger);
        assert_eq!(self.database.schema(), schema);
        let run = env.status("latest")["run"].as_str().unwrap().to_owned();
        assert_eq!(self.database.keys(), [format!("{run}/it/1/0"), format!("{run}/it/1/1")]);
    }

    fn hold(&mut self) {
        self.database.hold();
    }

    fn is_held(&self, _: &TestEnv) -> bool {
        self.database.is_held()
    }

    fn release(&mut self) {
        self.database.release();
    }
}

/// `releases.activate` on a folder of releases behind a symlink.
pub(super) struct Activate {
    releases: Releases,
    lock: Option<File>,
}

impl Activate {
    pub(super) fn rig(env: &TestEnv) -> Box<dyn Rig> {
        Box::new(Self { releases: Releases::new(&env.path("")), lock: None })
    }
}

impl Rig for Activate {
    fn step(&self) -> String {
        format!(
            r#"action: "releases.activate", with: (root: "{}", release: "1.4.1",
        artifact: (path: "bin/shop", sha256: "{OLD_SHA256}"))"#,
            self.releases.root.display()
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        self.releases.swaps()
    }

    fn check(&self, _: &TestEnv) {
        assert_eq!(self.releases.current(), "releases/1.4.1");
        let text = fs::read_to_string(self.releases.link().join("bin/shop")).unwrap();
        assert_eq!(text, "shop 1.4.1\n");
    }

    fn hold(&mut self) {
        self.lock = Some(hold_swap(&self.releases.link()));
    }

    fn is_held(&self, env: &TestEnv) -> bool {
        is_intended(env)
    }

    fn release(&mut self) {
        self.lock = None;
    }
}

/// `migrations.*` on PostgreSQL with goose's ledger: two effects in one step, each of which leaves a
/// row of its own.
pub(super) struct Postgresql {
    database: String,
    folder: PathBuf,
    up: bool,
}

impl Postgresql {
    pub(super) fn rig(env: &TestEnv, up: bool) -> Box<dyn Rig> {
        let database = POSTGRES.new_database().unwrap();
        let folder = env.path("migrations");
        fs::create_dir_all(&folder).unwrap();
        let file = |number: u32, up: &str, down: &str| {
            let audit = |way: &str| format!("INSERT INTO audit (what) VALUES ('{way} {number}');");
            let text = format!(
                "-- +goose Up\n{up}\n{}\n-- +goose Down\n{down}\n{}\n",
                audit("up"),
                audit("down")
            );
            fs::write(folder.join(format!("0000{number}_it.sql")), text).unwrap();
        };
        file(1, "CREATE TABLE users (id int PRIMARY KEY);", "DROP TABLE users;");
        file(2, "ALTER TABLE users ADD COLUMN email text;", "ALTER TABLE users DROP COLUMN email;");
        file(3, "CREATE TABLE orders (id int PRIMARY KEY);", "DROP TABLE orders;");
        let rig = Self { database, folder, up };
        rig.sql(
            "CREATE TABLE audit (id serial PRIMARY KEY, what text NOT NULL); \
             CREATE TABLE goose_db_version (id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, \
             version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NOT NULL \
             DEFAULT now()); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), \
             (1, true); CREATE TABLE users (id int PRIMARY KEY)",
        );
        if !up {
            rig.sql(
                "ALTER TABLE users ADD COLUMN email text; CREATE TABLE orders (id int PRIMARY KEY); \
                 INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, true), (3, true)",
            );
        }
        Box::new(rig)
    }

    fn sql(&self, sql: &str) -> Vec<String> {
        POSTGRES.psql(&self.database, sql).unwrap().lines().map(str::to_owned).collect()
    }

    fn audit(&self) -> Vec<String> {
        self.sql("SELECT what FROM audit ORDER BY id")
    }
}

impl Rig for Postgresql {
    fn step(&self) -> String {
        let address = self.folder.with_extension("url");
        fs::write(&address, POSTGRES.url(&self.database)).unwrap();
        format!(
            r#"action: "migrations.{}", accept: ["drops-table", "drops-column", "blocks-readers", "blocks-writers"],
        with: (database: "file:{}", dir: "{}", to: {})"#,
            if self.up { "up" } else { "down" },
            address.display(),
            self.folder.display(),
            if self.up { 3 } else { 1 }
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        self.audit().len()
    }

    fn wanted(&self) -> usize {
        2
    }

    fn check(&self, _: &TestEnv) {
        let (audit, ledger) = if self.up {
            (["up 2", "up 3"], &["1", "2", "3"][..])
        } else {
            (["down 3", "down 2"], &["1"][..])
        };
        assert_eq!(self.audit(), audit);
        let applied = "SELECT version_id FROM goose_db_version WHERE version_id > 0 ORDER BY id";
        assert_eq!(self.sql(applied), ledger);
    }
}

/// `containers.rollback` on Docker Engine: exactly one container of the wanted image, and its record
/// is what the engine itself holds.
pub(super) struct Containers {
    label: String,
    name: String,
    wanted: String,
}

impl Containers {
    pub(super) fn rig() -> Box<dyn Rig> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("cell-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let label = format!("cell={name}");
        let docker = DOCKER.as_ref().unwrap();
        let [wanted, running] = &*IMAGES;
        let mut args = vec!["run", "-d", "--restart", "unless-stopped", "--name", &name];
        args.extend(["--label", &label, running]);
        docker.docker(&args).unwrap();
        Box::new(Self { label, name, wanted: wanted.clone() })
    }

    fn containers(&self, more: &[&str]) -> Vec<String> {
        let label = format!("label={}", self.label);
        let mut args = vec!["ps", "-a", "--no-trunc", "--filter", &label];
        args.extend(["--format", "{{.Image}} {{.State}}"]);
        args.extend(more);
        let said = DOCKER.as_ref().unwrap().docker(&args).unwrap();
        said.lines().map(str::to_owned).collect()
    }
}

impl Rig for Containers {
    fn step(&self) -> String {
        format!(
            r#"action: "containers.rollback", with: (labels: {{"cell": "{}"}}, image: "{}", drain: "1ms",
        stable_for: "200ms", engine: (host: "{}"))"#,
            self.name,
            self.wanted,
            DOCKER.as_ref().unwrap().host()
        )
    }

    fn made(&self, _: &TestEnv) -> usize {
        let wanted = format!("{} running", self.wanted);
        self.containers(&[]).iter().filter(|line| **line == wanted).count()
    }

    fn check(&self, _: &TestEnv) {
        let running = self.containers(&["--filter", "status=running"]);
        assert_eq!(running, [format!("{} running", self.wanted)], "one serves, of the right image");
        assert_eq!(self.containers(&[]).len(), 2, "the one before is kept, and nothing else");
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let Some(docker) = DOCKER.as_ref() else { return };
        let label = format!("label={}", self.label);
        for id in docker.docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default().lines() {
            // The engine goes with the test's process and takes what is left.
            drop(docker.docker(&["rm", "-f", id]));
        }
    }
}

/// The images of the release to go back to and of the one that runs, without a health check.
static IMAGES: LazyLock<[String; 2]> = LazyLock::new(|| {
    let docker = DOCKER.as_ref().unwrap();
    ["1", "2"].map(|version| {
        let env = [("VERSION", version), ("NOCHECK", "1")];
        docker.image(&format!("cell:{version}"), &env).unwrap()
    })
});
