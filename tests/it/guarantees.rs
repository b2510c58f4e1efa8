//! The page of guarantees shows what the tests found: the crash matrix, and what each plugin's own
//! tests keep beside them. `BACKOUT_BLESS=1` writes the page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::TestEnv;

/// The checks that are columns: what stands over the column, and a part of the check's sentence.
const COLUMNS: [(&str, &str); 14] = [
    ("reads only", "prepare reads only"),
    ("is seen", "apply, then prepare"),
    ("one key, once", "one key makes one"),
    ("older fence", "older fence"),
    ("changed since", "changed by others"),
    ("lost reply", "reply lost"),
    ("late sending", "never happened"),
    ("revert", "revert restores"),
    ("tidy", "tidy leaves"),
    ("unreachable", "cannot be reached"),
    ("silent", "does not answer"),
    ("slow", "byte by byte"),
    ("denied", "credentials"),
    ("no secret", "no record holds"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What the tests of each plugin found, by the plugin's folder: `backout_plugin_api::conformance`
/// writes it.
fn found() -> BTreeMap<PathBuf, Value> {
    let folders = fs::read_dir(root().join("plugins")).unwrap();
    let read = |entry: fs::DirEntry| {
        let text = fs::read(entry.path().join("tests/expected/conformance.json")).ok()?;
        let found: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(found["version"], 1);
        Some((entry.path(), found))
    };
    folders.filter_map(|entry| read(entry.unwrap())).collect()
}

/// One row for an action on a target, as the suite found it. What says nothing about an action has a
/// letter, and the reason stands under the table.
fn suites(all: &[&Value]) -> String {
    let mut out = String::from("| action | on | guarantee |");
    for (name, _) in COLUMNS {
        write!(out, " {name} |").unwrap();
    }
    writeln!(out, "\n|---|---|---|{}", "---|".repeat(COLUMNS.len())).unwrap();
    let mut reasons: Vec<&str> = Vec::new();
    for suite in all {
        let (report, target) = (&suite["report"], text(suite, "target"));
        let (action, guarantee) = (text(report, "action"), text(report, "guarantee"));
        write!(out, "| {action} | {target} | `{guarantee}` |").unwrap();
        for (_, part) in COLUMNS {
            let mut lines = lines(suite);
            let line = lines.find(|line| text(line, "check").contains(part)).unwrap();
            write!(out, " {} |", cell(line, &mut reasons)).unwrap();
        }
        out.push('\n');
    }
    out.push('\n');
    for (index, reason) in reasons.iter().enumerate() {
        writeln!(out, "- {}: {reason}", letter(index)).unwrap();
    }
    out
}

fn lines(suite: &Value) -> impl Iterator<Item = &Value> {
    suite["report"]["lines"].as_array().unwrap().iter()
}

/// Why a check says nothing about a case.
fn not_applicable(line: &Value) -> Option<&str> {
    line["verdict"]["not-applicable"]["why"].as_str()
}

fn cell<'a>(line: &'a Value, reasons: &mut Vec<&'a str>) -> String {
    let Some(why) = not_applicable(line) else {
        return text(line, "verdict").to_owned();
    };
    if !reasons.contains(&why) {
        reasons.push(why);
    }
    letter(reasons.iter().position(|reason| *reason == why).unwrap())
}

fn letter(index: usize) -> String {
    char::from(b'a' + u8::try_from(index).unwrap()).to_string()
}

/// One row for each result that came of stops after the sub-steps of an action on a target.
fn cuts(all: &[&Value]) -> String {
    let mut out =
        String::from("| action | on | ended by | after | result |\n|---|---|---|---|---|\n");
    for cuts in all {
        let mut results: Vec<(&str, Vec<&str>)> = Vec::new();
        for cut in cuts["after"].as_array().unwrap() {
            let (point, result) = (text(cut, "point"), text(cut, "result"));
            match results.iter_mut().find(|of| of.0 == result) {
                Some((_, points)) => points.push(point),
                None => results.push((result, vec![point])),
            }
        }
        let [action, target, by] = ["action", "target", "by"].map(|field| text(cuts, field));
        for (result, points) in results {
            let points = points.join(", ");
            writeln!(out, "| {action} | {target} | {by} | {points} | {result} |").unwrap();
        }
    }
    out
}

/// The rows of the crash matrix, by the name of the action alone.
fn matrix() -> BTreeMap<String, Vec<Vec<String>>> {
    let text = fs::read_to_string(root().join("tests/it/expected/crash-matrix.md")).unwrap();
    let windows = text.split("\nKilled inside").next().unwrap();
    let mut rows: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in windows.lines().filter(|line| line.starts_with("| ") && line.contains('.')) {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let action = cells[1].split([',', ' ']).next().unwrap().to_owned();
        rows.entry(action).or_default().push(cells[3..cells.len() - 1].to_vec());
    }
    rows
}

/// One row for every action that there is, with what was run of it and what was not.
fn summary(actions: &[Value], suites: &[&Value], cuts: &[&Value]) -> String {
    let mut out = String::from(
        "| action | best guarantee | the suite, on | kept of what applies | killed in the engine's \
         windows | stopped inside the effect |\n|---|---|---|---|---|---|\n",
    );
    let matrix = matrix();
    for action in actions {
        let (name, guarantee) = (text(action, "action"), text(action, "guarantee"));
        let of = suites.iter().filter(|suite| suite["report"]["action"] == *name);
        let of: Vec<&Value> = of.copied().collect();
        let targets: Vec<&str> = of.iter().map(|suite| text(suite, "target")).collect();
        let asked = of.iter().flat_map(|suite| lines(suite));
        let asked: Vec<_> = asked.filter(|line| not_applicable(line).is_none()).collect();
        let kept = asked.iter().filter(|line| line["verdict"] == "kept").count();
        let kept =
            if of.is_empty() { "-".to_owned() } else { format!("{kept} of {}", asked.len()) };
        let of_cuts = cuts.iter().filter(|cuts| cuts["action"] == *name);
        let inside: usize = of_cuts.map(|cuts| cuts["after"].as_array().unwrap().len()).sum();
        let inside = if inside == 0 { "-".to_owned() } else { format!("{inside} sub-steps") };
        writeln!(
            out,
            "| {name} | `{guarantee}` | {} | {kept} | {} | {inside} |",
            or_not_run(targets.join("; ")),
            windows_of(name, guarantee, &matrix),
        )
        .unwrap();
    }
    out
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn or_not_run(said: String) -> String {
    if said.is_empty() { "not run".to_owned() } else { said }
}

/// What the crash matrix says of an action in a few words.
fn windows_of(name: &str, guarantee: &str, matrix: &BTreeMap<String, Vec<Vec<String>>>) -> String {
    let Some(rows) = matrix.get(name) else {
        let is_a_look = guarantee == "read-only";
        return if is_a_look { "not run: it changes nothing" } else { "not run" }.to_owned();
    };
    let mut results: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in rows.iter().flatten().filter(|cell| *cell != "-") {
        *results.entry(cell).or_default() += 1;
    }
    let said: Vec<String> = results.iter().map(|(result, n)| format!("{n}: {result}")).collect();
    said.join("; ")
}

/// The page with a table put between its marks.
fn with(page: &str, mark: &str, table: &str) -> String {
    let begin = format!("<!-- table: {mark} -->");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    format!("{before}{begin}\n{}\n<!-- end -->{after}", table.trim())
}

#[test]
fn the_page_shows_what_the_tests_found() {
    let found = found();
    let all = |kind: &str| -> Vec<&Value> {
        found.values().flat_map(|found| found[kind].as_array().unwrap()).collect()
    };
    let (suites_all, cuts_all) = (all("suites"), all("cuts"));
    let said = TestEnv::new().backout(["plugins", "--json"]).exits(0);
    let actions = said.json();
    let actions = actions.as_array().unwrap();
    let crash = fs::read_to_string(root().join("tests/it/expected/crash-matrix.md")).unwrap();
    let path = root().join("docs/guarantees.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut wanted = with(&page, "actions", &summary(actions, &suites_all, &cuts_all));
    wanted = with(&wanted, "suite", &suites(&suites_all));
    wanted = with(&wanted, "crash-matrix", crash.split_once("-->").unwrap().1);
    wanted = with(&wanted, "cuts", &cuts(&cuts_all));
    if std::env::var_os("BACKOUT_BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(page == wanted, "docs/guarantees.md is not what the tests found: BACKOUT_BLESS=1");
}

/// Every name that is kept stands in a test of the crate still, so that no result outlives its test.
#[test]
fn no_result_is_kept_of_a_test_that_is_gone() {
    for (folder, found) in found() {
        let mut tests = String::new();
        for path in sources(&folder.join("tests")) {
            tests.push_str(&fs::read_to_string(path).unwrap());
        }
        let entries = ["suites", "cuts"].map(|kind| found[kind].as_array().unwrap().clone());
        let entries = entries.iter().flatten();
        let names: BTreeSet<&str> = entries.map(|entry| text(entry, "target")).collect();
        for name in names {
            // A name is a literal, or begins with one and says the tool, the mode or the guarantee.
            let begin = name.split(", ").next().unwrap();
            let is_there = tests.contains(name) || tests.contains(&format!("{begin}, "));
            assert!(is_there, "{}: {name}", folder.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}
