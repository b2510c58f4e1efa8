//! The tables of `docs/rules.md`: each is made here by trying everything, and compared with the
//! page. After a change of the rules: `UPDATE_RULES=1 cargo test -p backout-core --test it rules`,
//! then read what changed.

mod approvals;
mod asks;
mod effects;
mod exhausted;
mod runs;
mod settles;
mod steps;
mod undoes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use backout_core::event::{Cause, Event, Recorded};
use backout_core::id::{Epoch, RunId, Seq, Timestamp};
use backout_core::plan::Plan;
use backout_core::state::RunState;
use backout_core::{IllegalEvent, evolve};

/// The page, while it is written anew: every test writes its own part of it.
static PAGE: Mutex<()> = Mutex::new(());

pub(crate) const AT: Timestamp = Timestamp(1_000);

/// Rows that the simulator meets too seldom to ask for, or not at all: an input that changes its
/// kind between two attempts, a lock that goes from one run to a third, a failure during a pause
/// that begins an undo; what an earlier run did is adopted in tests of its own.
const RARE: [(&str, &str); 12] = [
    ("forward", "steps-adopted"),
    ("forward, paused", "steps-adopted"),
    ("forward, offered", "steps-adopted"),
    ("forward, offered", "run-superseded"),
    ("undoing, paused", "steps-held"),
    ("undoing, paused", "steps-freed"),
    ("forward, paused", "undo-begun"),
    ("waiting-retry", "step-skipped when"),
    ("waiting-retry", "step-waits person"),
    ("waiting-retry", "step-waits output"),
    ("waiting-lock", "step-waits lock"),
    ("cancelled", "step-reopened"),
];

/// A run that is made by events alone.
#[derive(Clone)]
pub(crate) struct Folded(pub(crate) Option<RunState>);

impl Folded {
    pub(crate) fn new(plan: Plan) -> Self {
        let run = RunId::from("r0");
        let mut folded = Self(None);
        let created = Event::RunCreated { run, plan: Box::new(plan), text: String::new(), core: 1 };
        folded.add(created).unwrap();
        folded
    }

    pub(crate) fn with(mut self, events: impl IntoIterator<Item = Event>) -> Self {
        events.into_iter().for_each(|event| self.add(event).unwrap());
        self
    }

    pub(crate) fn add(&mut self, event: Event) -> Result<(), IllegalEvent> {
        let seq = self.0.as_ref().map_or(Seq(1), |run| run.seq.next());
        let cause = Cause::engine();
        let recorded = Recorded { seq, epoch: Epoch(1), at: AT, cause, grants: Vec::new(), event };
        evolve(&mut self.0, &recorded)
    }

    pub(crate) fn state(&self) -> &RunState {
        self.0.as_ref().unwrap()
    }
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md")
}

/// Compares a table with the one of this name on the page.
pub(crate) fn check_table(name: &str, head: &[&str], rows: &[Vec<String>]) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let words: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
    let lines = [words, rule];
    let table: String = lines.iter().chain(rows).map(|cells| line(cells)).collect();
    let _one_at_a_time = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(page()).unwrap();
    let open = format!("<!-- table: {name} -->\n");
    let (before, rest) = text.split_once(&open).unwrap_or_else(|| panic!("no table {name}"));
    let (known, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("UPDATE_RULES").is_some() {
        let text = format!("{before}{open}{table}<!-- end -->{after}");
        std::fs::write(page(), text).unwrap();
    } else {
        assert!(known == table, "docs/rules.md, table {name}, is not what the core does:\n{table}");
    }
}

fn rows_of(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(page()).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- table: {name} -->\n")).unwrap();
    let (table, _) = rest.split_once("<!-- end -->").unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = table.lines().skip(2).map(cells).collect();
    rows.into_iter().map(|row| row[1..row.len() - 1].to_vec()).collect()
}

/// Rows of the tables that no simulated run ever took.
pub(crate) fn never_taken(
    steps: &BTreeMap<(String, String), u64>,
    runs: &BTreeMap<(String, String), u64>,
) -> Vec<String> {
    let taken: BTreeSet<&(String, String)> = steps.keys().chain(runs.keys()).collect();
    let rows = rows_of("steps").into_iter().chain(rows_of("runs"));
    let never = rows.filter(|row| !taken.contains(&(row[0].clone(), row[1].clone())));
    let rare = |row: &&Vec<String>| !RARE.contains(&(row[0].as_str(), row[1].as_str()));
    let never = never.collect::<Vec<_>>();
    never.iter().filter(rare).map(|row| format!("{} | {}", row[0], row[1])).collect()
}
