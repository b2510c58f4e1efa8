//! `backout watch` in a real terminal: tmux holds it, and tells what stands on its screen.

use std::path::Path;
use std::process::Command;

use backout_test_targets::{free_port, missing, program};

use crate::support::{Running, TestEnv, wait_until};

/// A terminal of 80 by 24 of its own.
pub(crate) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a command in it, on the store of the environment.
    pub(crate) fn open(env: &TestEnv, name: &str, command: &str) -> Self {
        let socket = env.path(name).display().to_string();
        let terminal = Self { socket };
        let store = format!("BACKOUT_STORE={}", env.store().display());
        let folder = env.path("").display().to_string();
        let mut tmux = terminal.tmux();
        tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", &folder]);
        tmux.args(["-e", &store, "-e", "LANG=C.UTF-8", "-e", "USER=tester", command]);
        assert!(tmux.status().unwrap().success());
        terminal
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-S", &self.socket]).env_remove("TMUX");
        tmux
    }

    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        let out = self.tmux().args(["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn shows(&self, part: &str) {
        let mut last = String::new();
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&format!("the screen shows `{part}`"), || {
                last = self.screen();
                last.contains(part)
            });
        }));
        assert!(said.is_ok(), "no `{part}` on the screen:\n{last}");
    }

    pub(crate) fn keys(&self, keys: &[&str]) {
        assert!(self.tmux().arg("send-keys").args(keys).status().unwrap().success());
    }

    /// Types a text as it is.
    pub(crate) fn types(&self, text: &str) {
        assert!(self.tmux().args(["send-keys", "-l", text]).status().unwrap().success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It ends by itself with the last command.
        let _ = self.tmux().arg("kill-server").output().is_ok();
    }
}

pub(crate) fn is_here() -> bool {
    program("tmux").is_some() || missing("tmux", "tests/setup/page.sh installs it")
}

const BOOK: &str = r#"Runbook(format: 1, name: "shop", title: "The shop back", steps: [
    (id: "quiet", title: "Somebody looks first", action: "wait.approval", with: (text: "is it quiet?")),
    (id: "left", title: "Not there", needs: ["quiet"], action: "exec.run", with: (command: ["false"])),
    (id: "side", needs: ["quiet"], action: "noop.run"),
    (id: "over", needs: ["left", "side"], action: "noop.run"),
])"#;

fn serve(env: &TestEnv, listen: &str) -> Running {
    let engine = env.spawn(["serve", "--listen", listen]);
    wait_until("the engine listens", || std::net::TcpStream::connect(listen).is_ok());
    engine
}

/// A run that waits for a person under an engine that serves, and where that listens.
fn waiting(env: &TestEnv) -> (Running, String) {
    env.write("shop.ron", BOOK);
    let mut first = env.spawn(["run", "shop.ron"]);
    wait_until("it waits", || env.backout(["status", "latest"]).out.contains("quiet"));
    if !first.is_over() {
        first.signal("TERM");
    }
    drop(first.wait());
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    (serve(env, &listen), listen)
}

pub(crate) fn backout() -> &'static str {
    env!("CARGO_BIN_EXE_backout")
}

/// The screen of the terminal program is kept, for people to look at.
pub(crate) fn keep(name: &str, screen: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watch");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.txt")), screen).unwrap();
}

#[test]
fn a_run_is_led_from_a_terminal() {
    if !is_here() {
        return;
    }
    let env = TestEnv::new();
    let (engine, _) = waiting(&env);
    let terminal = Terminal::open(&env, "tmux", &format!("{} watch", backout()));
    terminal.shows("shop");
    terminal.shows("waiting");
    keep("list", &terminal.screen());
    terminal.keys(&["Enter"]);
    terminal.shows("approval: quiet is it quiet?");
    terminal.shows("live");
    keep("waits", &terminal.screen());

    terminal.types("a");
    terminal.shows("say yes to what this step would do");
    terminal.types("nobody buys now");
    keep("form", &terminal.screen());
    terminal.keys(&["Enter"]);
    terminal.shows("person: left");
    let given = |event: &serde_json::Value| event["reason"] == "nobody buys now";
    assert!(env.history("latest").iter().any(given), "the reason is in the record");
    terminal.keys(&["Enter"]);
    terminal.shows("commands: enter or the key");
    keep("commands", &terminal.screen());
    terminal.types("s");
    terminal.shows("leave the step out");
    terminal.keys(&["Enter"]);
    terminal.shows("write why");
    terminal.types("it was never there");
    terminal.keys(&["Enter"]);
    terminal.shows("succeeded");
    keep("succeeded", &terminal.screen());
    assert_eq!(env.status("latest")["state"], "succeeded");
    let history = env.history("latest");
    let said = history.iter().any(|event| event["reason"] == "it was never there");
    assert!(said, "{history:#?}");
    terminal.keys(&["q"]);
    wait_until("the terminal is closed", || terminal.screen().is_empty());
    drop(engine);
}

#[test]
fn the_death_of_the_engine_is_told_and_its_return_is_seen() {
    if !is_here() {
        return;
    }
    let env = TestEnv::new();
    let (engine, listen) = waiting(&env);
    let watch = format!("{} watch --url http://{listen}", backout());
    let terminal = Terminal::open(&env, "tmux", &watch);
    terminal.shows("shop");
    terminal.keys(&["Enter"]);
    terminal.shows("approval: quiet");
    engine.signal("KILL");
    drop(engine.wait());
    terminal.shows("STALE since");
    keep("stale", &terminal.screen());
    let engine = serve(&env, &listen);
    terminal.shows("live");
    terminal.types("n");
    terminal.types("back again");
    terminal.keys(&["Enter"]);
    terminal.shows("note: back again");
    drop(engine);
}
