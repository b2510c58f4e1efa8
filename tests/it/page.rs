//! The web page in a real browser, against the real binary: started, approved, its engine killed and
//! started again, settled, finished. Screenshots are kept in the target folder.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use backout_test_targets::{Daemon, free_port, missing, program};
use fantoccini::error::CmdError;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Running, TestEnv, wait_until};

/// A browser's window, and whether it is dark.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    name: &'static str,
    width: u32,
    height: u32,
    dark: bool,
}

pub(crate) const DESK: Window = Window { name: "desk", width: 1280, height: 900, dark: false };
const DESK_DARK: Window = Window { name: "desk-dark", width: 1280, height: 900, dark: true };
pub(crate) const PHONE_DARK: Window =
    Window { name: "phone-dark", width: 500, height: 900, dark: true };

/// Keys as a browser's driver takes them.
const ARROW_RIGHT: &str = "\u{e014}";
const HOME: &str = "\u{e011}";

/// Chromium behind its driver.
pub(crate) struct Browser {
    pub(crate) client: Client,
    window: Window,
    _driver: Daemon,
}

/// Where axe-core is, where the tests' tools are installed.
fn axe() -> Option<PathBuf> {
    let tools = std::env::var_os("TOOLS")?;
    let file = Path::new(&tools).join("axe/node_modules/axe-core/axe.min.js");
    file.exists().then_some(file)
}

pub(crate) fn is_here() -> bool {
    let how = "tests/setup/page.sh installs it";
    (program("chromium").is_some() && program("chromedriver").is_some()
        || missing("Chromium with its driver", how))
        && (axe().is_some() || missing("axe-core", how))
}

impl Browser {
    pub(crate) async fn open(env: &TestEnv, window: Window) -> Self {
        let port = free_port().unwrap();
        let mut command = Command::new(program("chromedriver").unwrap());
        command.arg(format!("--port={port}"));
        let log = env.path(&format!("driver-{}.log", window.name));
        let mut driver = Daemon::start(&command, &log).unwrap();
        let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).map(drop);
        driver.wait_ready(|| is_up().map_err(|error| error.to_string())).unwrap();
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            format!("--window-size={},{}", window.width, window.height),
        ];
        if window.dark {
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let chrome = json!({ "args": args, "binary": program("chromium").unwrap() });
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": chrome });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, window, _driver: driver }
    }

    /// What of the page is read by people.
    async fn text(&self) -> String {
        let read = "return document.body ? document.body.innerText : ''";
        let text = self.client.execute(read, Vec::new()).await;
        text.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text().await;
            if holds(&text) {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}:\n{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn sees(&self, part: &str) {
        self.until(&format!("the page says `{part}`"), |text| text.contains(part)).await;
    }

    /// Waits until the sign at the top is of a kind.
    pub(crate) async fn line_is(&self, kind: &str) {
        let wait = self.client.wait().at_most(PATIENCE);
        wait.for_element(Locator::Css(&format!("#line.{kind}"))).await.unwrap();
    }

    /// Clicks, away from what stays at the top while a page is scrolled. What is live is drawn anew at
    /// any moment, so an element may be gone between two words with the browser.
    pub(crate) async fn click(&self, css: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_click(css).await {
            assert!(Instant::now() < deadline, "{css}: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_click(&self, css: &str) -> Result<(), CmdError> {
        let element = self.client.find(Locator::Css(css)).await?;
        let middle = "arguments[0].scrollIntoView({block: 'center'})";
        self.client.execute(middle, vec![serde_json::to_value(&element).unwrap()]).await?;
        element.click().await
    }

    pub(crate) async fn write(&self, css: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_write(css, text).await {
            assert!(Instant::now() < deadline, "{css}: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_write(&self, css: &str, text: &str) -> Result<(), CmdError> {
        self.client.find(Locator::Css(css)).await?.send_keys(text).await
    }

    /// Waits until a field holds a text.
    async fn holds(&self, css: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let read =
            "const field = document.querySelector(arguments[0]); return field && field.value";
        loop {
            let value = self.client.execute(read, vec![css.into()]).await.unwrap_or_default();
            if value == text {
                return;
            }
            assert!(Instant::now() < deadline, "{css} holds {value} and not {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an element has a text of its own.
    async fn reads(&self, css: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let read =
            "const part = document.querySelector(arguments[0]); return part && part.textContent";
        loop {
            let found = self.client.execute(read, vec![css.into()]).await.unwrap_or_default();
            if found.as_str().is_some_and(|found| found.trim() == text) {
                return;
            }
            assert!(Instant::now() < deadline, "{css} says {found} and not {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps a picture.
    pub(crate) async fn shoot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}-{}.png", self.window.name)), picture).unwrap();
    }

    /// Keeps a picture of the whole page, also of what is below the window.
    pub(crate) async fn shoot_whole(&self, name: &str) {
        let long = "return document.documentElement.scrollHeight";
        let long = self.client.execute(long, Vec::new()).await.unwrap().as_u64().unwrap();
        let (width, height) = (self.window.width, self.window.height);
        let whole = height.max(u32::try_from(long).unwrap() + 200);
        self.client.set_window_size(width, whole).await.unwrap();
        self.shoot(name).await;
        self.client.set_window_size(width, height).await.unwrap();
    }

    /// What axe-core finds here that keeps people out.
    async fn serious(&self) -> Vec<String> {
        let rules = std::fs::read_to_string(axe().unwrap()).unwrap();
        self.client.execute(&rules, Vec::new()).await.unwrap();
        let run = "const done = arguments[arguments.length - 1]; \
                   axe.run(document).then((found) => done(found.violations), (e) => done(String(e)));";
        let found = self.client.execute_async(run, Vec::new()).await.unwrap();
        let all = found.as_array().unwrap_or_else(|| panic!("axe: {found}"));
        let serious =
            |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
        let line = |found: &Value| {
            format!("{}: {} {}", found["id"], found["help"], found["nodes"][0]["html"])
        };
        all.iter().filter(serious).map(line).collect()
    }

    pub(crate) async fn is_open_to_all(&self) {
        let found = self.serious().await;
        assert!(found.is_empty(), "{}: {}", self.window.name, found.join("\n"));
    }

    /// Nothing stands beside the window.
    pub(crate) async fn fits(&self) {
        let wide = "return document.documentElement.scrollWidth - window.innerWidth";
        let over = self.client.execute(wide, Vec::new()).await.unwrap();
        assert!(over.as_i64().unwrap() <= 0, "{}: {over} pixels too wide", self.window.name);
    }

    /// The event after which a replay stands.
    async fn at(&self) -> u64 {
        let url = self.client.current_url().await.unwrap();
        let at = url.query_pairs().find(|(name, _)| name == "at");
        at.and_then(|(_, at)| at.parse().ok()).unwrap_or_default()
    }

    async fn stands_at(&self, at: u64) {
        self.sees(&format!("Event {at} of ")).await;
    }

    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
    }
}

/// A service that takes an order, says so, and never answers.
fn silent() -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, taken) = channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let read = stream.read(&mut [0; 4096]).unwrap_or(0);
            open.push(stream);
            if read > 0 && sender.send(()).is_err() {
                return;
            }
        }
    });
    (port, taken)
}

fn serve(env: &TestEnv, port: u16) -> Running {
    let running =
        env.spawn(["serve", "--listen", &format!("127.0.0.1:{port}"), "--runbooks", "books"]);
    wait_until("the engine listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    running
}

fn book(env: &TestEnv, service: u16) {
    let gate = env.path("gate").display().to_string();
    env.write(
        "books/shop.ron",
        &format!(
            r#"Runbook(format: 1, name: "shop", title: "The shop back to the old release",
    params: {{ "why": (help: "the incident") }},
    steps: [
        (id: "quiet", title: "Somebody looks first", action: "wait.approval",
            with: (text: "is it quiet? ${{params.why}}")),
        (id: "order", title: "One order on the old release", action: "http.request",
            with: (method: POST, url: "http://127.0.0.1:{service}/order")),
        (id: "side", title: "Beside it", needs: ["quiet"], action: "exec.run",
            with: (command: ["sh", "-c", "echo begun; until [ -e {gate} ]; do sleep 0.1; done; echo so"])),
        (id: "over", title: "Say that it is over", needs: ["order", "side"], action: "noop.run"),
    ])"#
        ),
    );
}

#[test]
fn an_incident_is_led_from_the_page_over_the_death_of_its_engine() {
    if !is_here() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(incident());
}

async fn incident() {
    let env = TestEnv::new();
    let (service, taken) = silent();
    book(&env, service);
    let port = free_port().unwrap();
    let engine = serve(&env, port);
    let base = format!("http://127.0.0.1:{port}");
    let desk = Browser::open(&env, DESK).await;
    start(&desk, &base).await;
    let run = desk.client.current_url().await.unwrap().path().to_owned();
    approve(&desk).await;
    taken.recv_timeout(PATIENCE).unwrap();
    printed(&env, &desk).await;
    desk.until("the order is under way", |text| text.contains("order (running)")).await;
    desk.shoot("3-under-way").await;

    // What is typed is not lost when the engine dies, nor when the page is loaded again.
    desk.click("details.do-note > summary").await;
    desk.write("#run-note--reason", "the desk is told").await;
    engine.signal("KILL");
    drop(engine.wait());
    desk.line_is("stale").await;
    desk.sees("trying again").await;
    desk.shoot("4-engine-dead").await;
    let engine = serve(&env, port);
    desk.line_is("live").await;
    desk.sees("In doubt: order").await;
    desk.client.refresh().await.unwrap();
    desk.holds("#run-note--reason", "the desk is told").await;
    desk.shoot("5-in-doubt").await;
    desk.is_open_to_all().await;
    others_see_it(&env, &format!("{base}{run}")).await;

    by_hand(&desk).await;
    settle(&env, &desk).await;
    desk.sees("The run succeeded").await;
    desk.sees("the old shop has order 17").await;
    desk.shoot("6-succeeded").await;
    desk.is_open_to_all().await;
    assert_eq!(env.status("latest")["state"], "succeeded");
    replay(&desk).await;
    phone_replays(&env, &format!("{base}{run}?at=9")).await;
    desk.client.goto(&format!("{base}/locks")).await.unwrap();
    desk.sees("No target is held").await;
    desk.is_open_to_all().await;
    drop(engine);
    alone(&env, &desk).await;
    desk.close().await;
}

/// The record of it, moved through by links, by keys on the bar, and by the player.
async fn replay(desk: &Browser) {
    desk.click("#head a[href$='at=1']").await;
    desk.sees("Event 1 of ").await;
    desk.sees("What was known then").await;
    desk.is_open_to_all().await;
    desk.click("a#move-decision-next").await;
    desk.sees("quiet approved by").await;
    desk.sees("nobody buys now").await;
    desk.shoot("7-replay").await;
    let known = desk.text().await;
    assert!(!known.contains("the old shop has order 17"), "{known}");
    assert!(!known.contains("In doubt: order"), "{known}");
    let decided = desk.at().await;
    desk.write("#scrub-at", ARROW_RIGHT).await;
    desk.stands_at(decided + 1).await;
    desk.write("#scrub-at", "n").await;
    desk.sees("inserted: call_bank, before over by").await;
    desk.write("#scrub-at", "p").await;
    desk.stands_at(decided).await;
    desk.client.back().await.unwrap();
    desk.sees("inserted: call_bank").await;
    desk.write("#scrub-at", HOME).await;
    desk.stands_at(1).await;
    desk.click("#scrub-speed option[value='60']").await;
    desk.click("#scrub-play").await;
    desk.sees("Pause").await;
    desk.sees("The run succeeded").await;
    desk.sees("run succeeded").await;
    let last = desk.client.find(Locator::Css("#scrub-at")).await.unwrap();
    let last = last.attr("max").await.unwrap().unwrap();
    desk.stands_at(last.parse().unwrap()).await;
    desk.until("the player stops at the end", |text| text.contains("Play")).await;
    desk.shoot("8-replayed").await;
    desk.is_open_to_all().await;
    desk.click("#replay-place a[href^='/runs/']").await;
}

async fn phone_replays(env: &TestEnv, address: &str) {
    let phone = Browser::open(env, PHONE_DARK).await;
    phone.client.goto(address).await.unwrap();
    phone.sees("Event 9 of ").await;
    phone.shoot("7-replay").await;
    phone.is_open_to_all().await;
    phone.fits().await;
    phone.close().await;
}

/// The exported record on another machine: there is no store and no engine.
async fn alone(env: &TestEnv, desk: &Browser) {
    env.backout(["export", "latest", "run.backout"]).exits(0);
    let other = TestEnv::new();
    let port = free_port().unwrap();
    let file = env.path("run.backout");
    let replaying =
        other.spawn(["replay", file.to_str().unwrap(), "--listen", &format!("127.0.0.1:{port}")]);
    wait_until("the replay listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    desk.client.goto(&format!("http://127.0.0.1:{port}/")).await.unwrap();
    desk.sees("there is no engine here").await;
    desk.click("a#move-last").await;
    desk.sees("The run succeeded").await;
    desk.is_open_to_all().await;
    desk.shoot("9-alone").await;
    replaying.signal("TERM");
    replaying.wait().exits(0);
}

async fn start(desk: &Browser, base: &str) {
    desk.client.goto(base).await.unwrap();
    desk.sees("No runs yet").await;
    desk.is_open_to_all().await;
    desk.click("nav a[href='/start']").await;
    desk.click("a[href='/start?runbook=shop']").await;
    desk.write("#param-why", "INC-7").await;
    desk.click("form.params button").await;
    desk.sees("What it would do").await;
    desk.sees("is it quiet? INC-7").await;
    desk.is_open_to_all().await;
    desk.shoot("1-plan").await;
    desk.write("#start-reason", "the new release loses orders").await;
    desk.click("form.start button").await;
    desk.sees("Waits for approval: quiet").await;
    desk.line_is("live").await;
    desk.shoot("2-waits").await;
    desk.is_open_to_all().await;
}

async fn approve(desk: &Browser) {
    desk.click("#now details.do-approve > summary").await;
    desk.write("#now-approve-quiet-reason", "nobody buys now").await;
    desk.client.refresh().await.unwrap();
    desk.click("#now details.do-approve > summary").await;
    desk.holds("#now-approve-quiet-reason", "nobody buys now").await;
    desk.click("#now details.do-approve button").await;
    desk.sees("Recorded as event").await;
    desk.sees("nobody buys now").await;
}

/// What a command prints is read while it works, and kept when it is over.
async fn printed(env: &TestEnv, desk: &Browser) {
    desk.click("#dag a[href*='step=side']").await;
    desk.sees("What it prints").await;
    desk.reads("#live-output", "begun").await;
    desk.shoot("3-prints").await;
    env.write("gate", "");
    desk.sees("All that it printed (9 bytes)").await;
    desk.click("#dag a[href*='step=order']").await;
}

/// A step that nobody planned, added and said to be done.
async fn by_hand(desk: &Browser) {
    desk.click("#whole details.do-insert > summary").await;
    desk.write("#run-insert--name", "call_bank").await;
    desk.write("#run-insert--does", "Call the bank").await;
    desk.write("#run-insert--before", "over").await;
    desk.write("#run-insert--reason", "they hold the payments").await;
    desk.is_open_to_all().await;
    desk.click("#whole details.do-insert button").await;
    desk.sees("Waits for approval: call_bank").await;
    desk.click("#now details.do-approve > summary").await;
    desk.write("#now-approve-call_bank-reason", "they let go").await;
    desk.shoot("5-by-hand").await;
    desk.click("#now details.do-approve button").await;
    desk.until("the bank is called", |text| !text.contains("Waits for approval: call_bank")).await;
}

/// What shows it is a file, read into the field above it before it is sent; one that is too large is
/// not taken.
async fn settle(env: &TestEnv, desk: &Browser) {
    let large = env.write("large.txt", &"x".repeat(300 * 1024));
    let small = env.write("seen.txt", "the old shop has order 17");
    desk.click("#now details.do-settle-done > summary").await;
    desk.write("#now-settle-done-order-file", &large.display().to_string()).await;
    desk.sees("more than EVIDENCE_BYTES_MAX (262144): not taken").await;
    desk.write("#now-settle-done-order-file", &small.display().to_string()).await;
    desk.holds("#now-settle-done-order-evidence", "the old shop has order 17").await;
    desk.shoot("5-evidence").await;
    desk.write("#now-settle-done-order-reason", "I looked into the shop").await;
    desk.click("#now details.do-settle-done button").await;
}

/// The same in the dark, and on a phone.
async fn others_see_it(env: &TestEnv, address: &str) {
    for window in [DESK_DARK, PHONE_DARK] {
        let other = Browser::open(env, window).await;
        other.client.goto(address).await.unwrap();
        other.sees("In doubt: order").await;
        other.line_is("live").await;
        other.shoot("5-in-doubt").await;
        other.is_open_to_all().await;
        other.fits().await;
        other.close().await;
    }
}
