//! What a crate's tests found, kept in a file beside them: the table in the docs is made from these
//! files, and a test whose result is another than the one that is kept fails.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Report;
use crate::ActionName;

/// Where a crate keeps what its tests found, from its own folder.
pub const FOUND_FILE: &str = "tests/expected/conformance.json";
/// The version of [`Found`].
const VERSION: u32 = 1;

/// All that the tests of one crate found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The version of this form.
    pub version: u32,
    /// The suite's reports, by action and target.
    pub suites: Vec<Suite>,
    /// What came of a stop in each window inside an effect, by action, target and kind of stop.
    pub cuts: Vec<Cuts>,
}

impl Default for Found {
    fn default() -> Self {
        Self { version: VERSION, suites: Vec::new(), cuts: Vec::new() }
    }
}

/// The suite's report for one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// The target, in words: "a YAML file".
    pub target: String,
    /// What the suite found.
    pub report: Report,
}

/// What came of a stop after each sub-step of one effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    /// The action.
    pub action: ActionName,
    /// The target, in words.
    pub target: String,
    /// Who ended the sending: "SIGKILL".
    pub by: String,
    /// The sub-steps, in the order in which they were tried.
    pub after: Vec<Cut>,
}

/// What came of a stop after one sub-step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The sub-step that was the last.
    pub point: String,
    /// What came of it when it was gone on with.
    pub result: String,
}

impl Cuts {
    /// Whatever comes of a stop here, the effect is there once in the end.
    pub const ONCE: &str = "once";
    /// Nothing tells whether it was made, so a person decides.
    pub const IN_DOUBT: &str = "in doubt, never repeated";
    /// A part is made and stays; what is left is an effect of its own.
    pub const IN_PART: &str = "the part that was made stays, the rest is made once";

    /// No stop was tried yet.
    pub fn new(action: &str, target: &str, by: &str) -> Self {
        let (target, by) = (target.to_owned(), by.to_owned());
        Self { action: ActionName::new(action), target, by, after: Vec::new() }
    }

    /// A stop was tried, and all that is wanted of the result was seen.
    pub fn add(&mut self, point: &impl Debug, result: &str) {
        let point = format!("{point:?}").to_lowercase();
        self.after.push(Cut { point, result: result.to_owned() });
    }

    /// Ends the test unless this is what is kept beside the crate's tests; `BACKOUT_BLESS=1` keeps
    /// it anew.
    #[track_caller]
    pub fn assert_kept(self) {
        assert_same(self);
    }
}

/// One entry of the file.
pub(super) trait Entry: Clone + Debug + PartialEq {
    /// The entries of its kind.
    fn of(found: &mut Found) -> &mut Vec<Self>;
    /// What tells it from the others.
    fn key(&self) -> (String, String, String);
}

impl Entry for Suite {
    fn of(found: &mut Found) -> &mut Vec<Self> {
        &mut found.suites
    }

    fn key(&self) -> (String, String, String) {
        (self.report.action.to_string(), self.target.clone(), String::new())
    }
}

impl Entry for Cuts {
    fn of(found: &mut Found) -> &mut Vec<Self> {
        &mut found.cuts
    }

    fn key(&self) -> (String, String, String) {
        (self.action.to_string(), self.target.clone(), self.by.clone())
    }
}

#[track_caller]
pub(super) fn assert_same(entry: impl Entry) {
    let same = compare(entry);
    assert!(same.is_ok(), "{}", same.err().unwrap_or_default());
}

/// Compares an entry with the one that is kept, or keeps it where that is asked for.
fn compare<E: Entry>(entry: E) -> Result<(), String> {
    // The tests of a crate run beside each other in one process, and share its file.
    static FILE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let crate_folder = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "run it by cargo")?;
    let path = PathBuf::from(crate_folder).join(FOUND_FILE);
    let mut found = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string())?,
        Err(_) => Found::default(),
    };
    let entries = E::of(&mut found);
    let kept = entries.iter().find(|kept| kept.key() == entry.key());
    if kept == Some(&entry) {
        return Ok(());
    }
    if std::env::var_os("BACKOUT_BLESS").is_none() {
        let path = path.display();
        return Err(format!("{path} is not up to date (BACKOUT_BLESS=1 writes it): {entry:#?}"));
    }
    entries.retain(|kept| kept.key() != entry.key());
    entries.push(entry);
    entries.sort_by_key(Entry::key);
    write(&path, &found).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &std::path::Path, found: &Found) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(found)?))
}
