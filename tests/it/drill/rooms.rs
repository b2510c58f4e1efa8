//! Exercises of several people who are known: what each may see and do, a discussion from several
//! screens, and a hotwash at a terminal and on pages at once.

use std::fs;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::exercise as scenario;
use super::tables::{Exercise, line};
use crate::page::{Browser, DESK, PHONE_DARK, is_here as browser_is_here};
use crate::support::{Running, wait_until};
use crate::watch::{Terminal, backout, is_here, keep};

/// What a door says to those who knock.
struct Guest<'a> {
    at: &'a Exercise,
    token: String,
}

impl<'a> Guest<'a> {
    fn new(at: &'a Exercise, name: &str, role: &str) -> Self {
        Self { at, token: at.token(name, role) }
    }

    fn types(&self, line: &str) -> (u16, String) {
        self.at.post(&self.token, "/api/v1/exercise", &json!({ "line": line }))
    }

    fn reads(&self, path: &str) -> (u16, String) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let asked = Client::new().get(self.at.url(path)).bearer_auth(&self.token);
            let answer = asked.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    fn seat(&self) -> Value {
        serde_json::from_str(&self.reads("/api/v1/exercise/seat").1).unwrap()
    }
}

/// Lines that change something, and who may type them: facilitator, evaluator, data collector,
/// participant.
const LINES: &[(&str, [bool; 4])] = &[
    ("observe the clock is not looked at", [true, true, true, true]),
    ("plan", [true, true, true, false]),
    ("world", [true, true, true, false]),
    ("rate tell S they asked twice", [true, true, false, false]),
    ("improve communication | name who tells | ana | 2027-01-31", [true, true, false, false]),
    ("inject customer", [true, false, false, false]),
    ("say look at the disk", [true, false, false, false]),
    ("stop", [true, false, false, false]),
    ("jump 1m", [true, false, false, false]),
    ("speed 2", [true, false, false, false]),
    ("step", [true, false, false, false]),
];

fn listens(exercise: &Exercise) {
    let address = ("127.0.0.1", exercise.port);
    wait_until("it listens", || std::net::TcpStream::connect(address).is_ok());
}

#[test]
fn whoever_has_a_token_joins_a_drill_and_does_what_their_part_may() {
    let exercise = Exercise::new();
    let guests = [
        Guest::new(&exercise, "fay", "operator"),
        Guest::new(&exercise, "eve", "viewer"),
        Guest::new(&exercise, "dan", "viewer"),
        Guest::new(&exercise, "tom", "approver"),
    ];
    let args = exercise.args();
    let parts = ["--part", "eve=evaluator", "--part", "dan=data collector"];
    let drill = exercise.env.spawn(args.iter().map(String::as_str).chain(parts));
    listens(&exercise);
    for (line, may) in LINES {
        for (guest, may) in guests.iter().zip(may) {
            let (status, text) = guest.types(line);
            let wanted = if *may { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, wanted.as_u16(), "{line}: {text}");
            assert!(*may || text.contains("takes the part of facilitator"), "{line}: {text}");
        }
    }
    let [_, eve, _, tom] = &guests;
    let (seen, hidden) = (eve.seat(), tom.seat());
    assert_eq!((&seen["part"], &hidden["part"]), (&json!("evaluator"), &json!("participant")));
    assert_eq!(seen["script"]["injects"][1]["id"], "killed");
    assert_eq!(seen["objectives"][1]["rating"], "S they asked twice");
    assert!(hidden.get("script").is_none() && hidden["objectives"][1]["rating"].is_null());
    let noted: Vec<&Value> = hidden["log"].as_array().unwrap().iter().collect();
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!(noted[0]["who"], "tom (observer)");
    let page = tom.reads("/exercise").1;
    assert!(page.contains("Take part") && page.contains("What takes another part"), "{page}");
    for secret in ["The session ends", "engine dies", "Behind the curtain", "Somebody says who"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    let real = tom.at.post(&tom.token, "/api/v1/exercise/emergency", &json!({ "text": "fire" }));
    assert_eq!(real.0, 200, "{}", real.1);
    assert!(drill.wait().err.contains("REAL EMERGENCY"), "anybody may call it");
}

#[test]
fn who_takes_part_sees_on_the_page_what_takes_another_part() {
    if !browser_is_here() {
        return;
    }
    let exercise = Exercise::new();
    let fay = Guest::new(&exercise, "fay", "viewer");
    let [eve, tom] = ["eve", "tom"].map(|name| exercise.token(name, "viewer"));
    let args = exercise.args();
    let parts = ["--part", "eve=evaluator"];
    let drill = exercise.env.spawn(args.iter().map(String::as_str).chain(parts));
    listens(&exercise);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let rates = signed_in(&exercise, DESK, &eve).await;
        rates.client.goto(&exercise.url("/exercise")).await.unwrap();
        rates.sees("Evaluate the exercise").await;
        rates.sees("Behind the curtain").await;
        rates.click("#do-rate-tell > summary").await;
        rates.click("#do-rate-tell button").await;
        rates.sees("Rated P").await;
        rates.shoot_whole("drill-5-evaluator").await;
        rates.is_open_to_all().await;
        rates.close().await;
        let team = signed_in(&exercise, PHONE_DARK, &tom).await;
        team.client.goto(&exercise.url("/exercise")).await.unwrap();
        team.sees("Take part").await;
        team.sees("fire a planned inject").await;
        team.click("#do-observe > summary").await;
        team.write("#observe-text", "nobody looked at the clock").await;
        team.click("#do-observe button").await;
        team.sees("tom (observer)").await;
        team.shoot_whole("drill-5-participant").await;
        team.is_open_to_all().await;
        team.fits().await;
        team.close().await;
    });
    assert_eq!(fay.types("end").0, 200);
    assert_eq!(fay.types("finish").0, 200);
    drop(drill.wait());
}

/// Begins a discussion of a scenario that is ready, served.
fn discussed(exercise: &Exercise) -> Running {
    let kept = exercise.kept().display().to_string();
    let listen = format!("127.0.0.1:{}", exercise.port);
    let scenario = scenario("engine_killed.ron");
    let args = ["tabletop", &scenario, "--record", &kept, "--listen", &listen];
    let running = exercise.env.spawn(args.into_iter().chain(["--part", "fay=facilitator"]));
    listens(exercise);
    running
}

fn report(exercise: &Exercise) -> Value {
    let report = exercise.kept().join("report.json");
    wait_until("the report is written", || report.exists());
    serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap()
}

#[test]
fn of_two_who_answer_at_once_both_answers_stand() {
    let exercise = Exercise::new();
    let [fay, bea, tom] = ["fay", "bea", "tom"].map(|name| Guest::new(&exercise, name, "viewer"));
    let talk = discussed(&exercise);
    std::thread::scope(|scope| {
        for (guest, line) in [(&bea, "reply 1 3"), (&tom, "reply 1 ask who is on call")] {
            scope.spawn(move || assert_eq!(guest.types(line).0, 200));
        }
    });
    let seat = tom.seat();
    let first = &seat["talk"]["asked"][0];
    assert_eq!(first["answers"].as_array().unwrap().len(), 2, "{first}");
    assert!(first["plan"].is_null() && first["hidden"] == true, "not shown yet: {first}");
    assert_eq!(first["look_for"], json!([]), "that is for those who rate");
    assert_eq!(tom.types("next").0, 403);
    assert_eq!(tom.types("show").0, 403);
    assert!(tom.types("reply 2 too early").1.contains("not asked yet"));
    assert_eq!(fay.types("show").0, 200);
    let shown = tom.seat()["talk"]["asked"][0]["plan"].as_str().unwrap().to_owned();
    assert!(shown.contains("schema_down runs migrations.down"), "{shown}");
    assert!(fay.types("approve schema_down").1.contains("no run in a discussion"));
    assert_eq!(fay.types("next").0, 200);
    assert_eq!(bea.types("reply 1 and tell the others").0, 200, "a late word stands too");
    assert_eq!(fay.types("next").0, 200);
    assert_eq!(bea.types("answer 1 it was clear").0, 200);
    assert_eq!(tom.types("finish").0, 403);
    assert_eq!(fay.types("finish").0, 200);
    let said = talk.wait().exits(0);
    assert!(said.err.contains("bea: to `What went well?`: it was clear"), "{}", said.err);
    let report = report(&exercise);
    let mut answers: Vec<&str> =
        report["answers"].as_array().unwrap().iter().filter_map(|one| one[1].as_str()).collect();
    answers.sort_unstable();
    assert_eq!(
        answers,
        [
            "bea: Start the engine and look at `backout status`",
            "bea: and tell the others",
            "bea: it was clear",
            "no answer",
            "tom: ask who is on call",
        ]
    );
    assert_eq!(report["exercise"], "discussion");
    assert_eq!(
        (&report["expected"], &report["findings"]),
        (&json!([]), &json!([])),
        "nobody acted"
    );
    assert_eq!(report["ended"], "all was asked");
}

#[test]
fn a_real_emergency_ends_a_discussion_and_is_told_in_its_words() {
    let exercise = Exercise::new();
    let tom = Guest::new(&exercise, "tom", "viewer");
    let talk = discussed(&exercise);
    assert_eq!(tom.types("reply 1 REAL EMERGENCY, the warehouse burns").0, 200);
    let said = talk.wait().exits(0);
    assert!(said.err.contains("REAL EMERGENCY: the exercise is over"), "{}", said.err);
    let report = report(&exercise);
    assert_eq!(report["ended"], "REAL EMERGENCY, called by tom");
    assert_eq!(report["answers"][0][1], "no answer", "{report}");
    let file = scenario("engine_killed.ron");
    let next = exercise.env.backout(["tabletop", &file, "--part", "fay"]);
    assert!(next.exits(2).err.contains("write --part NAME=PART"));
}

async fn signed_in(exercise: &Exercise, window: crate::page::Window, token: &str) -> Browser {
    let browser = Browser::open(&exercise.env, window).await;
    browser.client.goto(&exercise.url("/")).await.unwrap();
    browser.write("#token", token).await;
    browser.click("button").await;
    // Where it goes next must not be overtaken by where it was sent.
    browser.sees("You act as").await;
    browser
}

#[test]
fn a_discussion_is_held_from_several_screens() {
    if !browser_is_here() {
        return;
    }
    let exercise = Exercise::new();
    let [fay, bea] = ["fay", "bea"].map(|name| exercise.token(name, "viewer"));
    let talk = discussed(&exercise);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(on_two_screens(&exercise, &fay, &bea));
    drop(talk.wait().exits(0));
    let report = report(&exercise);
    assert_eq!(report["objectives"][0]["rating"], "P", "{report}");
    assert_eq!(report["improvements"][0]["owner"], "ana");
    let said = report["answers"][0][1].as_str().unwrap();
    assert_eq!(said, "bea: Look at the ledger by hand: and wake the DBA");
}

async fn on_two_screens(exercise: &Exercise, fay: &str, bea: &str) {
    let lead = signed_in(exercise, DESK, fay).await;
    let team = signed_in(exercise, PHONE_DARK, bea).await;
    lead.sees("Lead the exercise").await;
    lead.sees("Still to be asked").await;
    team.sees("Take part").await;
    team.sees("What do you do first?").await;
    team.line_is("live").await;
    team.click("#choice-1-2").await;
    team.write("#reply-1-text", "and wake the DBA").await;
    team.click("#reply-1 button").await;
    lead.sees("bea: Look at the ledger by hand: and wake the DBA").await;
    lead.write("#reply-1-text", "half a thou").await;
    lead.click("form:has(input[value='show']) button").await;
    team.sees("schema_down runs migrations.down").await;
    team.shoot("talk-1-team").await;
    team.is_open_to_all().await;
    team.fits().await;
    lead.sees("Done.").await;
    lead.shoot_whole("talk-1-lead").await;
    lead.is_open_to_all().await;
    lead.click("form:has(input[value='next 1']) button").await;
    team.sees("How do you go on without it?").await;
    team.sees("Asked before").await;
    team.write("#reply-2-text", "by hand").await;
    team.shoot_whole("talk-2-team").await;
    lead.click("#do-end > summary").await;
    lead.click("#do-end button").await;
    team.sees("Hotwash").await;
    lead.sees("What went well?").await;
    rated(&lead).await;
    team.sees("It is closed").await;
    team.shoot_whole("talk-3-team").await;
    team.is_open_to_all().await;
    team.close().await;
    lead.close().await;
}

async fn rated(lead: &Browser) {
    lead.click("[id^='do-rate-'] > summary").await;
    lead.click("[id^='do-rate-'][open] button").await;
    lead.sees("Rated P").await;
    lead.click("#do-improve > summary").await;
    lead.write("#improve-text", "communication | name who tells | ana | 2027-01-31").await;
    lead.click("#do-improve button").await;
    lead.sees("to be improved (communication)").await;
    lead.shoot_whole("talk-3-lead").await;
    lead.is_open_to_all().await;
    lead.click("#do-finish > summary").await;
    lead.click("#do-finish button").await;
    lead.sees("It is closed").await;
}

#[test]
fn a_hotwash_at_the_terminal_hears_the_pages_and_ends_with_them() {
    if !is_here() {
        return;
    }
    let exercise = Exercise::new();
    let (fay, tom) =
        (Guest::new(&exercise, "fay", "operator"), Guest::new(&exercise, "tom", "viewer"));
    let leader = exercise.at_terminal();
    line(&leader, "end");
    leader.shows("the exercise is over: the facilitator ended it");
    leader.shows("Decisions are made in time");
    assert_eq!(tom.types("answer 1 we were told late").0, 200);
    leader.shows("tom: to `What went well?`: we were told late");
    assert_eq!(fay.types("rate tell S asked twice").0, 200);
    leader.shows("fay: tell: S. asked twice");
    line(&leader, "M slow");
    leader.shows("What went well? (enter leaves it open)");
    keep("drill-hotwash-both", &leader.screen());
    line(&leader, "we talked");
    leader.shows("What is to be improved?");
    assert_eq!(fay.types("finish").0, 200);
    leader.shows("fay: closed the hotwash");
    let report = report(&exercise);
    let rated: Vec<&Value> = report["objectives"].as_array().unwrap().iter().collect();
    assert_eq!((&rated[0]["rating"], &rated[1]["rating"]), (&json!("M"), &json!("S")), "{rated:?}");
    let answers = &report["answers"];
    assert_eq!(
        (&answers[0][1], &answers[1][1]),
        (&json!("tom: we were told late"), &json!("we talked"))
    );
}

#[test]
fn a_discussion_at_one_terminal_ends_with_the_hotwash() {
    if !is_here() {
        return;
    }
    let exercise = Exercise::new();
    let kept = exercise.kept().display().to_string();
    let scenario = scenario("engine_killed.ron");
    let command = format!("{} tabletop {scenario} --record {kept}; cat", backout());
    let terminal = Terminal::open(&exercise.env, "talk", &command);
    terminal.shows("What do you do first?");
    line(&terminal, "3");
    terminal.shows("the plan: schema_down runs migrations.down");
    terminal.shows("How do you go on without it?");
    line(&terminal, "by hand");
    terminal.shows("P, S, M or U");
    keep("talk-terminal", &terminal.screen());
    line(&terminal, "S slow");
    terminal.keys(&["Enter", "Enter", "Enter", "Enter", "Enter", "Enter"]);
    let report = report(&exercise);
    assert_eq!(report["objectives"][0]["rating"], "S", "{report}");
    let answers = report["answers"].as_array().unwrap();
    assert_eq!(answers[1][1], "by hand", "{answers:?}");
}

#[test]
fn a_drill_that_is_killed_says_so_and_its_report_can_still_be_made() {
    let exercise = Exercise::new();
    let name = exercise.env.store().file_name().unwrap().to_string_lossy().into_owned();
    let beside = exercise.env.store().with_file_name(format!("{name}-exercises"));
    let beside = beside.join("shop-down-1");
    let listen = format!("127.0.0.1:{}", exercise.port);
    let args = ["drill", "shop.ron", "--scenario", "scenario.ron", "--listen", &listen];
    let drill = exercise.env.spawn(args);
    listens(&exercise);
    let eve = Guest { at: &exercise, token: String::new() };
    for line in ["rate tell S asked twice", "observe nobody spoke", "jump 3m", "say still nothing?"]
    {
        assert_eq!(eve.types(line).0, 200);
    }
    let going = exercise.env.backout(["improvements"]).exits(0);
    assert!(going.err.contains("shop-down-1 goes on"), "{}", going.err);
    exercise.env.backout(["report", "--exercise", "shop-down-1"]).exits(2);
    drill.signal("KILL");
    drop(drill.wait());
    let store = beside.join("store").display().to_string();
    for command in ["status", "report"] {
        let said = exercise.env.backout(["--store", &store, command, "latest"]).exits(0);
        let said = said.out.replace('\n', " ");
        assert!(said.contains("DRILL, broken off after +03:0"), "{command}: {said}");
    }
    let replayed =
        exercise.env.backout(["--store", &store, "replay", "latest", "--at", "3"]).exits(0);
    assert!(!replayed.out.contains("broken off"), "it was not known then: {}", replayed.out);
    let told = exercise.env.backout(["improvements"]).exits(0);
    assert!(told.err.contains("shop-down-1 was broken off after +03:0"), "{}", told.err);
    assert!(told.err.contains("backout report --exercise shop-down-1"), "{}", told.err);
    let made =
        exercise.env.backout(["report", "--exercise", "shop-down-1", "--json"]).exits(0).json();
    let ended = made["ended"].as_str().unwrap();
    assert!(ended.starts_with("broken off after +03:0"), "{ended}");
    assert_eq!(made["objectives"][1]["rating"], "S");
    assert_eq!(made["notes"][0]["text"], "nobody spoke");
    assert!(made["took_ms"].as_u64().unwrap() >= 180_000, "{}", made["took_ms"]);
    let told = exercise.env.backout(["improvements"]).exits(0);
    assert!(!told.err.contains("broken off"), "{}", told.err);
    // Also where nothing but the journal is left.
    for file in ["report.json", "exercise.json"] {
        fs::remove_file(beside.join(file)).unwrap();
    }
    let bare =
        exercise.env.backout(["report", "--exercise", "shop-down-1", "--json"]).exits(0).json();
    assert_eq!(bare["title"], "Customers cannot pay");
    assert!(bare["timeline"].as_array().unwrap().len() > 5, "{bare}");
}
