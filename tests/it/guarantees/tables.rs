//! The tables of the page, narrow enough for a terminal: short words over the columns, which the page
//! explains, and cells filled up to them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::{LINE_CHARS_MAX, text};

/// The columns of the suite: the word over one, and of each of its signs a part of the check's sentence.
const CHECKS: [(&str, &[&str]); 6] = [
    ("look", &["prepare reads only", "apply, then prepare"]),
    ("once", &["one key makes one", "reply lost", "never happened"]),
    ("fence", &["older fence", "changed by others"]),
    ("back", &["revert restores", "tidy leaves"]),
    ("fails", &["cannot be reached", "does not answer", "byte by byte", "credentials"]),
    ("mask", &["no record holds"]),
];

/// The words over the windows, in the order of the crash matrix.
const WINDOWS: [&str; 7] = ["plan", "sent", "mid", "busy", "dead", "made", "known"];

/// What came of a kill, as the crash matrix says it, and the page's word for it.
const RESULTS: [(&str, &str); 3] = [
    ("once", "once"),
    ("may be repeated", "again"),
    ("in doubt, never repeated; settled by a person, then once", "asks"),
];

/// What the tests did not run against the thing itself: the page's sign for it.
const BY_DOCUMENTATION: &str = ", by its documentation";

/// The crash matrix as its file has it.
pub(super) struct Matrix {
    /// By action and kind, what came of a kill in each window.
    windows: Vec<(String, Vec<String>)>,
    /// By action and kind: after which sub-steps, and what came of it.
    inside: Vec<[String; 3]>,
}

impl Matrix {
    pub(super) fn read(text: &str) -> Self {
        let (windows, inside) = text.split_once("\nKilled inside").unwrap();
        let windows = rows(windows).into_iter().map(|mut row| {
            let results = row.split_off(2);
            assert_eq!(results.len(), WINDOWS.len(), "{row:?}");
            (row.remove(0), results.iter().map(|result| short(result)).collect())
        });
        let inside = rows(inside).into_iter().map(|row| <[String; 3]>::try_from(row).unwrap());
        Self { windows: windows.collect(), inside: inside.collect() }
    }

    /// How often each result came of the kills of an action, in the order of [`RESULTS`].
    fn results_of(&self, action: &str) -> String {
        let is_of = |name: &str| name.split([',', ' ']).next() == Some(action);
        let of = self.windows.iter().filter(|(name, _)| is_of(name));
        let cells: Vec<&String> = of.flat_map(|(_, results)| results).collect();
        let count = |word: &str| cells.iter().filter(|cell| **cell == word).count();
        let counts = RESULTS.map(|(_, word)| (count(word), word));
        let said = counts.iter().filter(|(count, _)| *count > 0);
        said.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

/// The cells of a table's rows, without its head.
fn rows(page: &str) -> Vec<Vec<String>> {
    let is_row = |line: &&str| line.starts_with("| ") && line.contains('.');
    let cells = |line: &str| {
        let inner = line.trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    page.lines().filter(is_row).map(cells).collect()
}

fn short(result: &str) -> String {
    let known = RESULTS.iter().find(|(long, _)| *long == result);
    assert!(known.is_some() || result == "-", "no short word for `{result}`");
    known.map_or("-", |(_, word)| word).to_owned()
}

/// A table with cells filled up, so that its text is one, too.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    let width = |at: usize| {
        let cells = rows.iter().chain([&head]).map(|row| row[at].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    format!("{}|{}|\n{}", line(&head), rules.join("|"), rows.iter().map(line).collect::<String>())
}

/// A text as an item of a list, its lines no longer than the page's.
fn item(depth: usize, words: &str) -> String {
    let indent = " ".repeat(2 * depth);
    let mut lines = vec![format!("{indent}-")];
    for word in words.split(' ') {
        let last = lines.last_mut().unwrap();
        if last.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            lines.push(format!("{indent}  {word}"));
        } else {
            write!(last, " {word}").unwrap();
        }
    }
    lines.join("\n") + "\n"
}

/// For each plugin one row for an action on a target, as the suite found it. What says nothing about an
/// action has a letter, and the reason stands before the tables.
pub(super) fn suites(all: &[&Value]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    let mut plugins: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for suite in all {
        let (report, target) = (&suite["report"], text(suite, "target"));
        let (plugin, verb) = text(report, "action").split_once('.').unwrap();
        let target = target.replace(BY_DOCUMENTATION, " \\*");
        let mut row = vec![verb.to_owned(), target, text(report, "guarantee").to_owned()];
        for (_, parts) in CHECKS {
            row.push(parts.iter().map(|part| sign(suite, part, &mut reasons)).collect());
        }
        plugins.entry(plugin).or_default().push(row);
    }
    let words = CHECKS.map(|(word, _)| word);
    let head = [["action", "on", "guarantee"].as_slice(), &words].concat();
    let letters = reasons.iter().enumerate();
    let letters = letters.map(|(at, why)| item(0, &format!("`{}`: {why}", letter(at))));
    let tables = plugins.iter().map(|(plugin, rows)| {
        let table = table(&head, rows);
        format!("\n### {plugin}\n\n{table}")
    });
    letters.chain(tables).collect()
}

fn lines(suite: &Value) -> impl Iterator<Item = &Value> {
    suite["report"]["lines"].as_array().unwrap().iter()
}

/// Why a check says nothing about a case.
fn not_applicable(line: &Value) -> Option<&str> {
    line["verdict"]["not-applicable"]["why"].as_str()
}

fn sign<'a>(suite: &'a Value, part: &str, reasons: &mut Vec<&'a str>) -> char {
    let line = lines(suite).find(|line| text(line, "check").contains(part)).unwrap();
    let Some(why) = not_applicable(line) else {
        assert_eq!(line["verdict"], "kept");
        return '+';
    };
    if !reasons.contains(&why) {
        reasons.push(why);
    }
    letter(reasons.iter().position(|reason| *reason == why).unwrap())
}

fn letter(index: usize) -> char {
    char::from(b'a' + u8::try_from(index).unwrap())
}

/// How sendings were ended, and of what targets.
type Ways<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// One item for all that ended the same way after the same sub-steps of an action.
pub(super) fn cuts(all: &[&Value]) -> String {
    let mut ends: Vec<([String; 3], Ways)> = Vec::new();
    for cuts in all {
        let [action, target, by] = ["action", "target", "by"].map(|field| text(cuts, field));
        for (result, points) in results(cuts) {
            let end = [action.to_owned(), points.join(", "), result.to_owned()];
            let at = ends.iter().position(|(known, _)| *known == end).unwrap_or_else(|| {
                ends.push((end, BTreeMap::new()));
                ends.len() - 1
            });
            ends[at].1.entry(by).or_default().push(target);
        }
    }
    let mut out = String::new();
    for ([action, points, result], ways) in ends {
        out += &item(0, &format!("`{action}`, after {points}: **{result}**"));
        for (by, targets) in ways {
            out += &item(1, &format!("{by}: {}", targets.join("; ")));
        }
    }
    out
}

/// The sub-steps, by what came of a stop after them.
fn results(cuts: &Value) -> Vec<(&str, Vec<&str>)> {
    let mut results: Vec<(&str, Vec<&str>)> = Vec::new();
    for cut in cuts["after"].as_array().unwrap() {
        let (point, result) = (text(cut, "point"), text(cut, "result"));
        match results.iter_mut().find(|of| of.0 == result) {
            Some((_, points)) => points.push(point),
            None => results.push((result, vec![point])),
        }
    }
    results
}

/// What came of a kill in each window of the engine.
pub(super) fn windows(matrix: &Matrix) -> String {
    let row =
        |(name, results): &(String, Vec<String>)| [vec![name.clone()], results.clone()].concat();
    let rows: Vec<_> = matrix.windows.iter().map(row).collect();
    table(&[["action"].as_slice(), &WINDOWS].concat(), &rows)
}

/// What came of a kill of the engine inside an effect: one item for each row of sub-steps.
pub(super) fn killed_inside(matrix: &Matrix) -> String {
    let mut ends: Vec<([&String; 2], Vec<String>)> = Vec::new();
    for [name, points, result] in &matrix.inside {
        let known = ends.iter_mut().find(|(end, _)| *end == [points, result]);
        match known {
            Some((_, names)) => names.push(format!("`{name}`")),
            None => ends.push(([points, result], vec![format!("`{name}`")])),
        }
    }
    let said = |([points, result], names): &([&String; 2], Vec<String>)| {
        item(0, &format!("{}, after {points}: **{result}**", names.join("; ")))
    };
    ends.iter().map(said).collect()
}

/// One row for every action that there is, with what was run of it and what was not.
pub(super) fn summary(
    actions: &[Value],
    suites: &[&Value],
    cuts: &[&Value],
    matrix: &Matrix,
) -> String {
    let row = |action: &Value| {
        let (name, guarantee) = (text(action, "action"), text(action, "guarantee"));
        let inside = cuts.iter().filter(|cuts| cuts["action"] == *name);
        let inside: usize = inside.map(|cuts| cuts["after"].as_array().unwrap().len()).sum();
        vec![
            name.to_owned(),
            guarantee.to_owned(),
            kept(name, suites),
            killed(name, guarantee, matrix),
            if inside == 0 { "-".to_owned() } else { inside.to_string() },
        ]
    };
    let rows: Vec<_> = actions.iter().map(row).collect();
    table(&["action", "best", "kept", "killed", "inside"], &rows)
}

/// How many of the checks that apply an action keeps, on all its targets.
fn kept(action: &str, suites: &[&Value]) -> String {
    let of = suites.iter().filter(|suite| suite["report"]["action"] == *action);
    let asked: Vec<_> =
        of.flat_map(|suite| lines(suite)).filter(|line| not_applicable(line).is_none()).collect();
    let kept = asked.iter().filter(|line| line["verdict"] == "kept").count();
    if asked.is_empty() { "no target".to_owned() } else { format!("{kept} of {}", asked.len()) }
}

fn killed(action: &str, guarantee: &str, matrix: &Matrix) -> String {
    match matrix.results_of(action) {
        said if !said.is_empty() => said,
        _ if guarantee == "read-only" => "reads only".to_owned(),
        _ => "-".to_owned(),
    }
}
