//! The page of guarantees shows what the tests found: the crash matrix, and what each plugin's own
//! tests keep beside them. `BACKOUT_BLESS=1` writes the page anew.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::TestEnv;
use tables::{Matrix, cuts, killed_inside, suites, summary, windows};

/// Characters of a line that a terminal shows beside an editor's margin.
const LINE_CHARS_MAX: usize = 100;

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

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
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
    let matrix = Matrix::read(&crash);
    let path = root().join("docs/guarantees.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut wanted = with(&page, "actions", &summary(actions, &suites_all, &cuts_all, &matrix));
    wanted = with(&wanted, "suite", &suites(&suites_all));
    wanted = with(&wanted, "windows", &windows(&matrix));
    wanted = with(&wanted, "inside", &killed_inside(&matrix));
    wanted = with(&wanted, "cuts", &cuts(&cuts_all));
    if std::env::var_os("BACKOUT_BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(page == wanted, "docs/guarantees.md is not what the tests found: BACKOUT_BLESS=1");
}

/// At 03:00 it is read on a terminal.
#[test]
fn the_page_fits_a_terminal() {
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let wide: Vec<_> = page.lines().filter(|line| line.chars().count() > LINE_CHARS_MAX).collect();
    assert!(wide.is_empty(), "over {LINE_CHARS_MAX} characters: {wide:#?}");
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
