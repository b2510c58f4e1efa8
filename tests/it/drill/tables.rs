//! A drill that several people are at: the terminal of whoever leads it, other terminals, the API and
//! the page.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use reqwest::Client;
use serde_json::{Value, json};

use backout_test_targets::{free_port, missing};

use super::is_root;
use crate::page::{Browser, DESK, PHONE_DARK, is_here as browser_is_here};
use crate::support::{Running, TestEnv, wait_until};
use crate::watch::{Terminal, backout, is_here, keep};

const BOOK: &str = r#"Runbook(format: 1, name: "shop", title: "The shop back",
    environment: (name: "production", protected: true),
    steps: [
        (id: "flag_off", title: "Nobody gets the new checkout", action: "exec.run", with: (command: ["/nowhere/flag", "off"])),
        (id: "switch", title: "The old release in", action: "exec.run", with: (command: ["/nowhere/switch"]), approval: true),
        (id: "schema_down", title: "The schema down", action: "exec.run", with: (command: ["/nowhere/down"]), approval: (count: 1, by: ["bea"])),
    ])"#;

const SCENARIO: &str = r#"Scenario(format: 1, name: "shop-down", title: "Customers cannot pay", lasts: "60m",
    situation: "03:00. The new checkout loses orders.",
    objectives: [
        (id: "decide", text: "Decisions are made in time", capability: "decision making", guide: ["Somebody says who decides"]),
        (id: "tell", text: "Those who wait are told", capability: "communication"),
    ],
    roles: [(role: "commander", who: "ana"), (role: "facilitator", who: "fay")],
    steps: {"flag_off": (takes: ["1s"]), "switch": (takes: ["1s"]), "schema_down": (takes: ["1s"])},
    injects: [
        (id: "customer", from: "support", to: "ana", by: "phone", text: "Nobody can pay"),
        (id: "killed", text: "The session ends.", what: (kill_engine: (lasts: "2m"))),
    ],
    expected: [
        (id: "told", text: "an update", ask: "note", on: (inject: "customer"), within: "5m", objective: "tell"),
    ],
    hotwash: ["What went well?"],
)"#;

pub(super) struct Exercise {
    pub(super) env: TestEnv,
    pub(super) port: u16,
}

impl Exercise {
    pub(super) fn new() -> Self {
        let env = TestEnv::new();
        env.write("shop.ron", BOOK);
        env.write("scenario.ron", SCENARIO);
        Self { env, port: free_port().unwrap() }
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.env.path("kept")
    }

    fn store(&self) -> String {
        self.kept().join("store").display().to_string()
    }

    pub(super) fn args(&self) -> Vec<String> {
        let kept = self.kept().display().to_string();
        let listen = format!("127.0.0.1:{}", self.port);
        let args = ["drill", "shop.ron", "--scenario", "scenario.ron", "--record", &kept];
        args.into_iter().chain(["--listen", &listen]).map(str::to_owned).collect()
    }

    /// Begins it in a terminal.
    pub(super) fn at_terminal(&self) -> Terminal {
        // What stands on the screen at the end stays there.
        let command = format!("{} {}; cat", backout(), self.args().join(" "));
        let terminal = Terminal::open(&self.env, "leader", &command);
        terminal.shows("asks for a person: switch approval");
        terminal
    }

    /// A command at the drill's own store, as from another terminal.
    fn beside(&self, args: &[&str]) -> String {
        let store = self.store();
        let said = self.env.backout(["--store", &store].iter().chain(args)).exits(0);
        said.out + &said.err
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A token of the real store, by which somebody joins from elsewhere.
    pub(super) fn token(&self, name: &str, role: &str) -> String {
        let said = self.env.backout(["token", "new", "--name", name, "--role", role]).exits(0);
        said.out.trim().to_owned()
    }

    fn run(&self) -> String {
        let latest: Value =
            serde_json::from_str(&self.beside(&["status", "latest", "--json"])).unwrap();
        latest["run"].as_str().unwrap().to_owned()
    }

    pub(super) fn post(&self, token: &str, path: &str, body: &Value) -> (u16, String) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let request = Client::new().post(self.url(path)).json(body);
            let request = if token.is_empty() { request } else { request.bearer_auth(token) };
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }
}

pub(super) fn line(terminal: &Terminal, text: &str) {
    terminal.types(text);
    terminal.keys(&["Enter"]);
}

#[test]
fn a_drill_is_led_from_a_terminal_to_the_hotwash() {
    if !is_here() {
        return;
    }
    let exercise = Exercise::new();
    let leader = exercise.at_terminal();
    leader.shows("DRILL +");
    line(&leader, "inject customer");
    leader.shows("support: inject customer to ana by phone: Nobody can pay");
    line(&leader, "say head of sales -> ana: when is it back?");
    leader.shows("head of sales: live inject to ana: when is it back?");
    line(&leader, "stop");
    leader.shows("facilitator: stopped the clock");
    let stood = exercise.beside(&["status", "latest"]);
    line(&leader, "jump 10m");
    leader.shows("facilitator: turned the clock by +10:00");
    line(&leader, "ana: note two of three are told");
    leader.shows("ana: note: two of three are told");
    leader.shows("DRILL +1");
    line(&leader, "eve: observe nobody looked at the clock");
    leader.shows("eve (observer): nobody looked at the clock");
    line(&leader, "rate decide M slow, but right");
    leader.shows("decide: M. slow, but right");
    line(&leader, "status");
    leader.shows("WAITING");
    keep("drill-leader", &leader.screen());
    assert!(stood.contains("DRILL, nothing here is real: Customers cannot pay"), "{stood}");
    let history = exercise.beside(&["history", "latest"]);
    // What does not fit a line goes on below it.
    let begins = |line: &&str| !line.is_empty() && !line.starts_with("      ");
    let (lines, days): (Vec<&str>, Vec<&str>) =
        history.lines().filter(begins).partition(|line| !line.contains("(UTC)"));
    assert!(days.len() == 1 && lines.iter().all(|line| line.starts_with("DRILL ")), "{history}");
    line(&leader, "end");
    leader.shows("the exercise is over: the facilitator ended it");
    leader.shows("Those who wait are told");
    line(&leader, "well");
    leader.shows("write `rate");
    line(&leader, "S late");
    leader.shows("What went well?");
    line(&leader, "we talked");
    leader.shows("What is to be improved?");
    line(&leader, "communication | name who tells | ana | 2027-01-31");
    keep("drill-hotwash", &leader.screen());
    leader.keys(&["Enter"]);
    let report = exercise.kept().join("report.json");
    wait_until("the report is written", || report.exists());
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let rated: Vec<_> = report["objectives"].as_array().unwrap().iter().collect();
    assert_eq!((&rated[0]["rating"], &rated[1]["rating"]), (&json!("M"), &json!("S")), "{rated:?}");
    assert_eq!(report["answers"][0][1], "we talked");
    assert_eq!(report["improvements"][0]["owner"], "ana");
    assert_eq!(report["notes"][0]["who"], "eve (observer)");
    exercise.env.backout(["--store", &exercise.store(), "replay", "latest", "--verify"]).exits(0);
}

#[test]
fn people_join_from_elsewhere_under_their_own_names() {
    if !is_here() {
        return;
    }
    let exercise = Exercise::new();
    let (bea, fay) = (exercise.token("bea", "approver"), exercise.token("fay", "admin"));
    let leader = exercise.at_terminal();
    exercise.beside(&["approve", "latest", "switch", "--reason", "quiet here"]);
    leader.shows("approve switch (quiet here)");
    leader.shows("asks for a person: schema_down approval");
    let run = exercise.run();
    let ask =
        json!({ "ask": { "ask": "approve", "step": "schema_down" }, "by": { "reason": "looked" } });
    let (status, text) = exercise.post(&bea, &format!("/api/v1/runs/{run}/ask"), &ask);
    assert_eq!(status, 200, "{text}");
    leader.shows("bea: approve schema_down (looked)");
    let lead = json!({ "line": "inject customer" });
    assert_eq!(exercise.post(&bea, "/api/v1/exercise", &lead).0, 403, "she does not lead it");
    assert_eq!(exercise.post(&fay, "/api/v1/exercise", &json!({ "line": "approve x" })).0, 422);
    assert_eq!(
        exercise.post(&fay, "/exercise", &json!({ "line": "end" })).0,
        415,
        "no form of ours"
    );
    let history: Vec<Value> = {
        let text = exercise.beside(&["history", "latest", "--json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let approved = |step: &str| {
        let is_it = |one: &&Value| one["kind"] == "step-approved" && one["step"] == step;
        history.iter().find(is_it).unwrap_or_else(|| panic!("{history:#?}"))
    };
    assert_eq!(
        (&approved("schema_down")["actor"], &approved("schema_down")["verified"]),
        (&json!("bea"), &json!(true))
    );
    assert_eq!(approved("switch")["reason"], "quiet here");
    for one in &history {
        assert!(one["roles"].as_array().unwrap().contains(&json!("drill")), "{one}");
    }
    leader.shows("the exercise is over: the run is over");
}

#[test]
fn a_real_emergency_is_on_every_screen() {
    if !is_here() || !browser_is_here() {
        return;
    }
    let exercise = Exercise::new();
    let leader = exercise.at_terminal();
    let watch = format!("{} --store {} watch latest", backout(), exercise.store());
    let other = Terminal::open(&exercise.env, "other", &watch);
    other.shows("DRILL");
    other.shows("switch");
    keep("drill-watch", &other.screen());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(on_the_page(&exercise));
    leader.shows("REAL EMERGENCY: the exercise is over, this is real now.");
    other.shows("REAL EMERGENCY: the exercise is over, this is real now.");
    keep("drill-emergency", &other.screen());
    wait_until("it is over", || exercise.kept().join("report.json").exists());
    let after = exercise.beside(&["status", "latest"]);
    assert!(after.contains("REAL EMERGENCY: the exercise is over"), "{after}");
    let view: Value =
        serde_json::from_str(&exercise.beside(&["status", "latest", "--json"])).unwrap();
    assert_eq!(view["drill"]["over"], true);
    let wants = view["wants"].as_array().unwrap();
    assert!(
        !wants.is_empty() && wants.iter().all(|want| want["commands"] == json!([])),
        "{wants:?}"
    );
    let note = ["--store", &exercise.store(), "note", "latest", "--reason", "and so on"];
    let said = exercise.env.backout(note).exits(2);
    assert!(said.err.contains("record of a drill"), "{}", said.err);
    assert!(!after.contains("backout resume"), "nothing goes on: {after}");
    let said = exercise.env.backout(["--store", &exercise.store(), "resume", "latest"]).exits(2);
    assert!(said.err.contains("record of a drill"), "{}", said.err);
}

async fn on_the_page(exercise: &Exercise) {
    let (team, lead) =
        (Browser::open(&exercise.env, DESK).await, Browser::open(&exercise.env, PHONE_DARK).await);
    let runs = exercise.url("/");
    team.client.goto(&runs).await.unwrap();
    team.sees("Customers cannot pay").await;
    team.click("table.runs a").await;
    team.sees("What you are told").await;
    lead.client.goto(&exercise.url("/exercise")).await.unwrap();
    lead.sees("Behind the curtain").await;
    lead.click("form:has(input[value='inject customer']) button").await;
    team.sees("Nobody can pay").await;
    team.sees("DRILL").await;
    team.line_is("live").await;
    team.shoot("drill-1-run").await;
    team.is_open_to_all().await;
    lead.click("#do-rate-tell > summary").await;
    lead.write("#rate-tell-text", "they asked twice").await;
    lead.click("#do-rate-tell button").await;
    lead.sees("Rated P they asked twice").await;
    lead.click("form:has(input[value='stop']) button").await;
    lead.sees("the clock stands still").await;
    team.sees("the clock stands still").await;
    lead.shoot("drill-2-lead").await;
    lead.is_open_to_all().await;
    lead.fits().await;
    team.click("#do-emergency > summary").await;
    team.write("#emergency-text", "the warehouse burns").await;
    team.click("#do-emergency button").await;
    team.sees("REAL EMERGENCY: the exercise is over").await;
    lead.sees("REAL EMERGENCY: the exercise is over").await;
    lead.sees("the warehouse burns").await;
    team.shoot("drill-3-emergency").await;
    lead.shoot("drill-3-emergency").await;
    team.close().await;
    lead.close().await;
}

#[test]
fn a_drill_without_a_terminal_is_led_and_closed_on_the_page() {
    if !browser_is_here() {
        return;
    }
    let exercise = Exercise::new();
    let drill = exercise.env.spawn(exercise.args());
    wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", exercise.port)).is_ok());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(hotwash(&exercise));
    drop(drill.wait());
    let report = fs::read_to_string(exercise.kept().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let said = report["answers"][0][1].as_str().unwrap();
    assert!(said.ends_with(": we talked early"), "{said}");
    assert_eq!(report["objectives"][1]["rating"], "P");
    assert_eq!(report["improvements"][0]["owner"], "ana");
}

async fn hotwash(exercise: &Exercise) {
    let desk = Browser::open(&exercise.env, DESK).await;
    desk.client.goto(&exercise.url("/exercise")).await.unwrap();
    desk.click("#do-end > summary").await;
    desk.click("#do-end button").await;
    desk.sees("What went well?").await;
    desk.click("#do-answer-1 > summary").await;
    desk.write("#answer-1-text", "we talked early").await;
    desk.click("#do-answer-1 button").await;
    desk.sees(": we talked early").await;
    desk.click("#do-rate-tell > summary").await;
    desk.click("#do-rate-tell button").await;
    desk.sees("Rated P").await;
    desk.click("#do-improve > summary").await;
    desk.write("#improve-text", "communication | name who tells | ana | 2027-01-31").await;
    desk.click("#do-improve button").await;
    desk.sees("Done.").await;
    desk.shoot("drill-4-hotwash").await;
    desk.is_open_to_all().await;
    desk.click("#do-finish > summary").await;
    desk.click("#do-finish button").await;
    desk.sees("It is closed").await;
    desk.close().await;
}

/// The connections of a process in its own network: local and remote address and state, in the
/// kernel's hex.
fn connections(pid: u32) -> Vec<(String, String, String)> {
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|table| format!("/proc/{pid}/net/{table}"));
    let read = tables.iter().flat_map(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    });
    let words = |line: String| {
        let mut words = line.split_whitespace().skip(1).map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    read.filter_map(words).collect()
}

#[test]
fn a_drill_that_listens_opens_nothing_but_its_door_on_loopback() {
    if !is_root() && !missing("a network of its own", "run the tests as root") {
        return;
    }
    let exercise = Exercise::new();
    let args = exercise.args();
    let inside = exercise.env.command(&args);
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "sh",
        "-c",
        "PATH=$PATH:/usr/sbin:/sbin ip link set lo up && exec \"$@\"",
        "sh",
    ]);
    command.arg(inside.get_program()).args(inside.get_args());
    command.current_dir(exercise.env.path("")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in inside.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let drill = Running::new(&mut command);
    wait_until("it asks for a person", || drill.err().contains("asks for a person: switch"));
    exercise.beside(&["approve", "latest", "switch"]);
    wait_until("it asks again", || drill.err().contains("asks for a person: schema_down"));
    let open = connections(drill.pid());
    let door = format!("0100007F:{:04X}", exercise.port);
    assert_eq!(open.len(), 1, "only its door: {open:?}");
    assert_eq!((&open[0].0, open[0].2.as_str()), (&door, "0A"), "it listens: {open:?}");
    exercise.beside(&["note", "latest", "--reason", "Real emergency, stop"]);
    let said = drill.wait();
    assert!(said.err.contains("REAL EMERGENCY: the exercise is over"), "{}", said.err);
}

#[test]
fn improvements_are_listed_agreed_on_done_and_shown_to_the_next_exercise() {
    let exercise = Exercise::new();
    let none = exercise.env.write("none.ron", "Decisions(format: 1, decisions: [])");
    let none = none.display().to_string();
    let told = exercise.env.write(
        "scenario.ron",
        &SCENARIO.replace(r#"(id: "customer", "#, r#"(id: "customer", at: "5s", "#),
    );
    let play = ["drill", "shop.ron", "--scenario", &told.display().to_string(), "--auto", &none];
    exercise.env.backout(play).exits(1);
    let listed = exercise.env.backout(["improvements"]).exits(0);
    assert!(listed.out.contains("proposed shop-down-1/1 [shop]"), "{}", listed.out);
    let agree = ["improvements", "--agree", "shop-down-1/1", "--owner", "ana"];
    exercise.env.backout(agree.into_iter().chain(["--due", "soon"])).exits(2);
    exercise.env.backout(agree.into_iter().chain(["--due", "2027-01-31"])).exits(0);
    let again = exercise.env.backout(play).exits(1);
    assert!(again.err.contains("open improvements of shop"), "{}", again.err);
    assert!(again.err.contains("(ana, 2027-01-31)"), "{}", again.err);
    let done = exercise.env.backout(["improvements", "--done", "shop-down-1/1"]).exits(0);
    assert!(!done.out.contains("shop-down-1/1"), "{}", done.out);
    let all = exercise.env.backout(["improvements", "--all", "--json"]).exits(0).json();
    let one = all.as_array().unwrap().iter().find(|one| one["name"] == "shop-down-1/1").unwrap();
    assert_eq!((&one["state"], &one["owner"]), (&json!("done"), &json!("ana")));
    exercise.env.backout(["improvements", "--done", "shop-down-9/1"]).exits(2);
}
