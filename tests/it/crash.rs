//! Every action, its engine killed by SIGKILL in every window, resumed, and compared with what the
//! target itself recorded. The results are kept in `expected/crash-matrix.md`, which
//! `docs/guarantees.md` shows: `BACKOUT_BLESS=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use backout_test_targets::postgres::Postgres;
use serde_json::Value;

use crate::support::{DOCKER, Said, TestEnv, wait_until};
use crate::targets::lines;

mod rigs;

use rigs::{
    Activate, Approval, Commands, Containers, FlagVerb, Flags, Http, Migrations, Noop, Notify,
    Postgresql, Timer,
};

/// Cells that are made at once: most of their time they wait for processes.
const AT_ONCE: usize = 4;

/// Where the engine is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    /// The intent is decided, and not on disk.
    BeforeIntent,
    /// The intent is on disk, and nothing was sent.
    AfterIntent,
    /// The target is at work; it ends while no engine is there.
    Middle,
    /// The target is at work, and still is when the run is resumed.
    MiddleGoesOn,
    /// The target is at work, and dies with the engine.
    MiddleDies,
    /// The effect is made, and its outcome is not on disk.
    AfterEffect,
    /// The outcome is on disk.
    AfterOutcome,
    /// After a step of the effect itself.
    Inside(&'static str),
}

use Window::{
    AfterEffect, AfterIntent, AfterOutcome, BeforeIntent, Inside, Middle, MiddleDies, MiddleGoesOn,
};

const WINDOWS: [(Window, &str); 7] = [
    (BeforeIntent, "before the intent is durable"),
    (AfterIntent, "after it, before the effect"),
    (Middle, "in the middle"),
    (MiddleGoesOn, "in the middle, and the target is still at it on resume"),
    (MiddleDies, "in the middle, and the command dies too"),
    (AfterEffect, "after the effect, before its outcome is durable"),
    (AfterOutcome, "after that"),
];

/// One action with one guarantee, on a real target.
struct Case {
    action: &'static str,
    guarantee: &'static str,
    windows: &'static [Window],
    rig: fn(&TestEnv) -> Box<dyn Rig>,
}

/// A target, and the step that acts on it.
trait Rig {
    /// The fields of the step, without its id.
    fn step(&self) -> String;
    /// How often the effect was made, by the target's own record.
    fn made(&self, env: &TestEnv) -> usize;
    /// How many effects the step has.
    fn wanted(&self) -> usize {
        1
    }
    /// Whether a repeat does no harm and is not prevented.
    fn may_repeat(&self) -> bool {
        false
    }
    /// Whether the target has a record of its own; else the journal is asked.
    fn has_record(&self) -> bool {
        true
    }
    /// Whatever else must hold at the end.
    fn check(&self, _: &TestEnv) {}
    /// Makes the target stand still in the middle of the effect.
    fn hold(&mut self) {}
    /// Whether it stands there.
    fn is_held(&self, env: &TestEnv) -> bool {
        let _ = env;
        false
    }
    /// Lets it go on.
    fn release(&mut self) {}
    /// Ends what the engine left running.
    fn kill(&self) {}
    /// Where a gate is killed, which has no effect: around it.
    fn crash_point(&self, window: Window) -> Option<&'static str> {
        match window {
            BeforeIntent => Some("before-intent:it"),
            AfterIntent => Some("after-intent:it"),
            AfterEffect => Some("after-effect:it"),
            AfterOutcome => Some("after-outcome:it"),
            Middle | MiddleGoesOn | MiddleDies | Inside(_) => None,
        }
    }
}

const POINTS: [Window; 4] = [BeforeIntent, AfterIntent, AfterEffect, AfterOutcome];
const GATE: [Window; 4] = [BeforeIntent, Middle, AfterEffect, AfterOutcome];
const SWAP: [Window; 5] = [BeforeIntent, AfterIntent, Middle, AfterEffect, AfterOutcome];
const OUTSIDE: [Window; 6] =
    [BeforeIntent, AfterIntent, Middle, MiddleGoesOn, AfterEffect, AfterOutcome];
const COMMAND: [Window; 7] =
    [BeforeIntent, AfterIntent, Middle, MiddleGoesOn, MiddleDies, AfterEffect, AfterOutcome];

/// The steps of a swap of two names.
const SWAP_STEPS: [Window; 5] =
    [Inside("Locked"), Inside("Staged"), Inside("Begun"), Inside("Swapped"), Inside("Marked")];
/// The steps of a migration's transaction.
const MIGRATION_STEPS: [Window; 5] = [
    Inside("Begun"),
    Inside("Recorded"),
    Inside("Migrated"),
    Inside("Ledgered"),
    Inside("Committed"),
];

/// The steps of a container's replacement.
const REPLACE_STEPS: [Window; 6] = [
    Inside("Looked"),
    Inside("Marked"),
    Inside("Started"),
    Inside("Awaited"),
    Inside("Kept"),
    Inside("Named"),
];

/// The steps inside an effect after which it is killed besides.
fn inside(case: &Case) -> &'static [Window] {
    match case.guarantee {
        "transactional" => &MIGRATION_STEPS,
        "keyed" if case.action.starts_with("containers") => &REPLACE_STEPS,
        "conditional" if case.action != "noop.run" => &SWAP_STEPS,
        _ => &[],
    }
}

fn cases() -> Vec<Case> {
    let case = |action, guarantee, windows, rig| Case { action, guarantee, windows, rig };
    vec![
        case("noop.run", "conditional", &POINTS, |_| Box::new(Noop)),
        case("wait.for", "read-only", &GATE, |_| Box::new(Timer)),
        case("wait.approval", "read-only", &GATE, |env| {
            Box::new(Approval { busy: env.path("busy") })
        }),
        case("exec.run with `settle`", "probed", &COMMAND, |env| Commands::rig(env, true, false)),
        case("exec.run", "manual", &COMMAND, |env| Commands::rig(env, false, false)),
        case("exec.run, `read_only`", "read-only", &SWAP, |env| Commands::rig(env, false, true)),
        case("http.request, `keyed`", "keyed", &OUTSIDE, |_| Http::rig(r#"keyed: "1h""#, true)),
        case("http.request with `probe`", "probed", &OUTSIDE, |_| Http::rig("PROBE", false)),
        case("http.request", "manual", &OUTSIDE, |_| Http::rig("", false)),
        case("notify.send, a webhook with `remembers`", "keyed", &OUTSIDE, |env| {
            Notify::rig(env, "hook")
        }),
        case("notify.send, a chat", "manual", &OUTSIDE, |env| Notify::rig(env, "chat")),
        case("flags.off", "conditional", &SWAP, |env| Flags::rig(env, FlagVerb::Off)),
        case("flags.set", "conditional", &SWAP, |env| Flags::rig(env, FlagVerb::Set)),
        case("flags.restore", "conditional", &SWAP, |env| Flags::rig(env, FlagVerb::Restore)),
        case("migrations.down", "transactional", &SWAP, |env| Migrations::rig(env, false)),
        case("migrations.up", "transactional", &SWAP, |env| Migrations::rig(env, true)),
        case("releases.activate", "conditional", &SWAP, |env| Activate::rig(env)),
    ]
}

/// Those that need a server; none of a kind that is not installed.
fn cases_on_servers() -> Vec<Case> {
    let case = |action, guarantee, rig| Case { action, guarantee, windows: &POINTS, rig };
    let mut cases = Vec::new();
    if Postgres::is_here() {
        cases.push(case("migrations.down, PostgreSQL", "transactional", |env| {
            Postgresql::rig(env, false)
        }));
        cases.push(case("migrations.up, PostgreSQL", "transactional", |env| {
            Postgresql::rig(env, true)
        }));
    }
    if DOCKER.is_some() {
        cases.push(case("containers.rollback, Docker", "keyed", |_| Containers::rig()));
    }
    cases
}

const CASES_ON_SERVERS: usize = 3;

#[test]
fn every_action_survives_every_window() {
    let mut cases = cases();
    let on_servers = cases_on_servers();
    let is_all = on_servers.len() == CASES_ON_SERVERS;
    cases.extend(on_servers);
    let cells: Vec<(&Case, Window)> = cases
        .iter()
        .flat_map(|case| case.windows.iter().chain(inside(case)).map(move |window| (case, *window)))
        .collect();
    let only = std::env::var("BACKOUT_TEST_CELL").unwrap_or_default();
    let results = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((case, window)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if format!("{} {window:?}", case.action).contains(&only) {
                        let result = attempt(case, *window);
                        results.lock().unwrap().push((case.action, *window, result));
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let failed = |(action, window, result): &(&str, Window, Result<&str, String>)| {
        result.as_ref().err().map(|why| format!("{action}, {window:?}:\n{why}\n"))
    };
    let failures: Vec<String> = results.iter().filter_map(failed).collect();
    assert!(failures.is_empty(), "{} cells failed:\n\n{}", failures.len(), failures.join("\n"));
    if only.is_empty() && is_all {
        compare(&table(&cases, &results));
    }
}

fn attempt(case: &Case, window: Window) -> Result<&'static str, String> {
    catch_unwind(AssertUnwindSafe(|| survive(case, window))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}

/// Kills the engine in a window, resumes, and says what came of it.
fn survive(case: &Case, window: Window) -> &'static str {
    let env = TestEnv::new();
    let mut rig = (case.rig)(&env);
    env.write("rb.ron", &runbook(&*rig, &env));
    match (window, rig.crash_point(window)) {
        (Inside(point), _) => crash_inside(&env, point),
        (_, Some(point)) => crash_at(&env, point),
        (_, None) => crash_in_the_middle(&env, rig.as_mut(), window),
    }
    env.backout(["verify"]).exits(0);
    let status = env.status("latest");
    assert_eq!(status["state"], "interrupted");
    if window != BeforeIntent {
        // Until the target was looked at it is the best that the input allows.
        let guarantee = &step(&status, "it")["guarantee"];
        assert_eq!(guarantee, case.guarantee, "{status:#}");
    }
    check_before(case, window, &*rig, &env);
    let said = if window == MiddleGoesOn {
        resume_beside(&env, rig.as_mut())
    } else {
        env.backout(["resume"])
    };
    let result = finish(case, &*rig, &env, said);
    assert_eq!(lines(&env.path("after")).len(), 1, "what comes after ran once");
    assert_eq!(env.status("latest")["state"], "succeeded");
    env.backout(["verify"]).exits(0);
    rig.check(&env);
    result
}

fn runbook(rig: &dyn Rig, env: &TestEnv) -> String {
    let after = env.path("after");
    format!(
        r#"Runbook(format: 1, name: "crash", steps: [
    (id: "before", action: "noop.run"),
    (id: "it", {}),
    (id: "after", action: "exec.run", with: (command: ["sh", "-c", "echo after >> {}"])),
])"#,
        rig.step(),
        after.display()
    )
}

/// A debug build kills itself at a named point. A gate needs its person first.
fn crash_at(env: &TestEnv, point: &str) {
    let mut said = env.backout_with(["run", "rb.ron"], "BACKOUT_TEST_CRASH", point);
    if said.code == 4 {
        env.backout(["approve", "latest", "it"]).exits(0);
        said = env.backout_with(["resume"], "BACKOUT_TEST_CRASH", point);
        if said.code != -1 {
            said = env.backout_with(["resume", "latest"], "BACKOUT_TEST_CRASH", point);
        }
    }
    assert_eq!(said.code, -1, "it was not killed at {point}\n{}\n{}", said.out, said.err);
}

/// A debug build kills itself at a named point of the effect.
fn crash_inside(env: &TestEnv, point: &str) {
    let said = env.backout_with(["run", "rb.ron"], "BACKOUT_TEST_CRASH_INSIDE", point);
    assert_eq!(said.code, -1, "it was not killed after {point}\n{}\n{}", said.out, said.err);
}

fn crash_in_the_middle(env: &TestEnv, rig: &mut dyn Rig, window: Window) {
    rig.hold();
    let running = env.spawn(["run", "rb.ron"]);
    wait_until("the target is in the middle", || rig.is_held(env));
    running.signal("KILL");
    assert_eq!(running.wait().code, -1);
    match window {
        MiddleDies => rig.kill(),
        MiddleGoesOn => {}
        _ => rig.release(),
    }
}

/// Resumes while the target is still at work, and lets that end only when an engine is there again.
fn resume_beside(env: &TestEnv, rig: &mut dyn Rig) -> Said {
    let resuming = env.spawn(["resume"]);
    wait_until("an engine took the run up again", || {
        let history = env.history("latest");
        history.iter().filter(|event| event["kind"] == "engine-attached").count() == 2
    });
    rig.release();
    resuming.wait()
}

/// What the target must say before the run is resumed: else the window was missed.
fn check_before(case: &Case, window: Window, rig: &dyn Rig, env: &TestEnv) {
    let made = rig.made(env);
    match window {
        BeforeIntent | AfterIntent => assert_eq!(made, 0, "it was made too early"),
        AfterEffect | AfterOutcome if case.guarantee != "read-only" && rig.has_record() => {
            assert_eq!(made, 1, "the first effect is made");
        }
        Middle | MiddleGoesOn | MiddleDies | AfterEffect | AfterOutcome | Inside(_) => {}
    }
}

/// Goes on to the end, as a person would, and says how often the effect was made.
fn finish(case: &Case, rig: &dyn Rig, env: &TestEnv, mut said: Said) -> &'static str {
    let mut in_doubt = false;
    if said.code == 4 {
        let status = env.status("latest");
        let it = step(&status, "it");
        if it["wait"]["for"] == "approval" {
            env.backout(["approve", "latest", "it"]).exits(0);
        } else {
            settle_by_hand(case, rig, env, it);
            in_doubt = true;
        }
        said = env.backout(["resume", "latest"]);
    }
    said.exits(0);
    let made = rig.made(env);
    if rig.may_repeat() {
        assert!(made > 0, "it was never made");
        return "may be repeated";
    }
    assert_eq!(made, rig.wanted(), "made so many times");
    if in_doubt { "in doubt, never repeated; settled by a person, then once" } else { "once" }
}

/// In doubt: no resume repeats it, and it goes on as a person says.
fn settle_by_hand(case: &Case, rig: &dyn Rig, env: &TestEnv, it: &Value) {
    assert_eq!(it["state"], "in-doubt", "{it:#}");
    assert_eq!(case.guarantee, "manual", "only a manual effect may be in doubt: {it:#}");
    let made = rig.made(env);
    env.backout(["resume", "latest"]).exits(4);
    assert_eq!(step(&env.status("latest"), "it")["state"], "in-doubt");
    env.backout(["retry", "latest", "it"]).exits(2);
    assert_eq!(rig.made(env), made, "an effect in doubt was repeated");
    let verdict = if made == rig.wanted() { "--done" } else { "--not-done" };
    env.backout(["settle", "latest", "it", verdict]).exits(2);
    env.backout(["settle", "latest", "it", verdict, "--reason", "looked at its log"]).exits(0);
}

fn step<'a>(status: &'a Value, id: &str) -> &'a Value {
    let steps = status["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap()
}

type Cell = (&'static str, Window, Result<&'static str, String>);

fn table(cases: &[Case], results: &[Cell]) -> String {
    let mut out = String::from(
        "<!-- Made by tests/it/crash.rs: BACKOUT_BLESS=1 cargo test -p backout-cli --test it every_action -->\n\n",
    );
    out.push_str("| action | guarantee |");
    for (_, name) in WINDOWS {
        write!(out, " {name} |").unwrap();
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(WINDOWS.len()));
    out.push('\n');
    for case in cases {
        write!(out, "| {} | `{}` |", case.action, case.guarantee).unwrap();
        for (window, _) in WINDOWS {
            write!(out, " {} |", cell(results, case, window)).unwrap();
        }
        out.push('\n');
    }
    out.push_str("\nKilled inside the effect, after each of its own steps:\n\n| action | after | result |\n|---|---|---|\n");
    for case in cases {
        for (result, points) in by_result(case, results) {
            writeln!(out, "| {} | {} | {result} |", case.action, points.join(", ")).unwrap();
        }
    }
    out
}

/// The points inside a case's effect, by what came of a kill there.
fn by_result(case: &Case, results: &[Cell]) -> BTreeMap<&'static str, Vec<String>> {
    let mut points: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for window in inside(case) {
        if let Inside(point) = window {
            points.entry(cell(results, case, *window)).or_default().push(point.to_lowercase());
        }
    }
    points
}

fn cell(results: &[Cell], case: &Case, window: Window) -> &'static str {
    let found = results.iter().find(|(action, at, _)| *action == case.action && *at == window);
    found.and_then(|cell| cell.2.as_ref().ok()).copied().unwrap_or("-")
}

fn compare(table: &str) {
    println!("{table}");
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/expected/crash-matrix.md");
    if std::env::var_os("BACKOUT_BLESS").is_some() {
        fs::write(&path, table).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, kept, "{} is not up to date: BACKOUT_BLESS=1 writes it", path.display());
}
