//! The targets of the crash tests, each with its own record of what was done to it.

use std::fs::{self, File};
use std::path::PathBuf;

use serde_json::Value;

use super::Rig;
use super::Window::{
    self, AfterEffect, AfterIntent, AfterOutcome, BeforeIntent, Inside, Middle, MiddleDies,
    MiddleGoesOn,
};
use crate::support::{TestEnv, kill};
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
