//! The runbooks that the engine knows by name: the files of one folder. A name is only ever looked up
//! among the files that are there; it never becomes a path.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use backout_core::contract::hex;
use backout_core::limits::RUNBOOK_BYTES_MAX;
use backout_core::plan::Plan;
use backout_runbook::{
    Compiled, FileFact, GivenParam, Mode, Outline, Problem as Fault, RELEASES_FILE, Source, accept,
    compile_beside, describe,
};
use backout_runtime::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::catalogue::Actions;
use crate::problem::Problem;
use crate::view::counted;

/// Runbooks in the folder: what a person can still find one in. Further ones are left out.
const BOOKS_MAX: usize = 1_000;
/// Folders below the folder that are looked into.
const DEPTH_MAX: usize = 3;
/// How the files end.
const ENDING: &str = "ron";

/// The folder of runbooks; none is no runbooks.
#[derive(Clone, Debug, Default)]
pub struct Books {
    folder: Option<PathBuf>,
}

/// The parameters of a runbook by name, as they are sent. A text takes the parameter's type.
pub type Params = BTreeMap<String, Value>;

/// A runbook in the list.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BookListed {
    /// Its file's name in the folder, without the ending; what it is started by.
    pub name: String,
    /// What it says of itself; absent where it is no runbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outline: Option<Outline>,
    /// Why it cannot be run, in words with the line; empty is: it can, given its parameters.
    pub problems: Vec<String>,
}

/// A runbook.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BookView {
    /// As in the list.
    #[serde(flatten)]
    pub listed: BookListed,
    /// What is doubtful, in words with the line.
    pub warnings: Vec<String>,
    /// The parameters that must be given.
    pub missing: Vec<String>,
    /// The file's text.
    pub text: String,
}

/// A runbook with all its parameters, ready to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// What it will do.
    pub plan: Plan,
    /// The file's text.
    pub text: String,
    /// What is doubtful, in words.
    pub warnings: Vec<String>,
    /// Names the plan: the same file and parameters give the same.
    pub digest: String,
}

/// The manifest of releases beside a runbook.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Its path.
    pub file: String,
    /// Its text; empty where it could not be read.
    pub text: String,
    /// What is wrong with it, in its own order.
    pub problems: Vec<Fault>,
}

impl Books {
    /// The runbooks of a folder and the folders in it.
    pub fn of(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    /// Whether there is a folder at all.
    pub fn is_open(&self) -> bool {
        self.folder.is_some()
    }

    /// All of them, by name. Blocks for the disk.
    pub fn list(&self, host: &Host) -> Vec<BookListed> {
        let listed = |(name, file): (&String, &PathBuf)| {
            let read = Read::of(name, file);
            read.listed(&read.compiled(host, &BTreeMap::new(), Mode::Check))
        };
        self.files().iter().map(listed).collect()
    }

    /// One of them. Blocks for the disk.
    pub fn view(&self, host: &Host, name: &str) -> Result<BookView, Problem> {
        let read = self.read(name)?;
        let compiled = read.compiled(host, &BTreeMap::new(), Mode::Check);
        Ok(BookView {
            listed: read.listed(&compiled),
            warnings: compiled.warnings.iter().map(words).collect(),
            missing: compiled.missing,
            text: read.text,
        })
    }

    /// One of them with its parameters, as a plan. Blocks for the disk.
    pub fn ready(&self, host: &Host, name: &str, params: &Params) -> Result<Ready, Problem> {
        let read = self.read(name)?;
        let compiled = read.compiled(host, &given(params), Mode::Run);
        let Some(plan) = compiled.plan else {
            let lines = read.faults(&compiled);
            let detail =
                format!("runbook `{name}` cannot be run: {}", counted(lines.len(), "problem"));
            return Err(Problem::unfit(detail).listing(lines));
        };
        let bytes = serde_json::to_vec(&plan).unwrap_or_default();
        Ok(Ready {
            digest: hex(&Sha256::digest(&bytes)),
            warnings: compiled.warnings.iter().map(|fault| fault.message.clone()).collect(),
            text: read.text,
            plan,
        })
    }

    fn read(&self, name: &str) -> Result<Read, Problem> {
        let files = self.files();
        let none = || {
            let detail = format!("this engine knows no runbook `{name}`");
            let help = match &self.folder {
                Some(folder) => format!("it knows those of {}", folder.display()),
                None => "start it with `backout serve --runbooks DIR`".to_owned(),
            };
            Problem::new(StatusCode::NOT_FOUND, "no such runbook", detail).helped(help)
        };
        files.get_key_value(name).map(|(name, file)| Read::of(name, file)).ok_or_else(none)
    }

    fn files(&self) -> BTreeMap<String, PathBuf> {
        let mut found = BTreeMap::new();
        if let Some(folder) = &self.folder {
            gather(folder, "", DEPTH_MAX, &mut found);
        }
        found
    }
}

/// The runbooks in a folder. What cannot be read is left out.
fn gather(folder: &Path, before: &str, depth: usize, found: &mut BTreeMap<String, PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if stem.starts_with('.') || found.len() >= BOOKS_MAX {
            continue;
        }
        if path.is_dir() && depth > 0 {
            gather(&path, &format!("{before}{stem}/"), depth - 1, found);
        } else if path.extension().is_some_and(|ending| ending == ENDING)
            && path.file_name().is_some_and(|name| name != RELEASES_FILE)
        {
            found.insert(format!("{before}{stem}"), path);
        }
    }
}

fn given(params: &Params) -> BTreeMap<String, GivenParam> {
    let one = |value: &Value| match value {
        Value::String(text) => GivenParam::Text(text.clone()),
        other => GivenParam::Value(other.clone()),
    };
    params.iter().map(|(name, value)| (name.clone(), one(value))).collect()
}

/// A fault in words, with its line.
fn words(fault: &Fault) -> String {
    let help = fault.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    match fault.line {
        0 => format!("{}: {}{help}", fault.code, fault.message),
        line => format!("line {line}: {}: {}{help}", fault.code, fault.message),
    }
}

/// One file as it was read.
struct Read {
    name: String,
    text: String,
    unread: Option<Box<Fault>>,
    beside: Option<Beside>,
}

impl Read {
    fn of(name: &str, file: &Path) -> Self {
        let (text, unread) = match accept(name, read(file)) {
            Ok(text) => (text, None),
            Err(fault) => (String::new(), Some(fault)),
        };
        Self { name: name.to_owned(), text, unread, beside: beside(file) }
    }

    fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.text }
    }

    fn compiled(&self, host: &Host, given: &BTreeMap<String, GivenParam>, mode: Mode) -> Compiled {
        let manifest = self.beside.as_ref().map(|beside| beside.text.as_str());
        compile_beside(&self.source(), manifest, given, mode, &Actions(host))
    }

    fn listed(&self, compiled: &Compiled) -> BookListed {
        let outline = if self.unread.is_some() { None } else { describe(&self.source()) };
        BookListed { name: self.name.clone(), outline, problems: self.faults(compiled) }
    }

    fn faults(&self, compiled: &Compiled) -> Vec<String> {
        if let Some(unread) = &self.unread {
            return vec![words(unread)];
        }
        let of_manifest = compiled.release_problems.iter();
        let of_manifest = of_manifest.map(|fault| format!("{RELEASES_FILE}: {}", words(fault)));
        compiled.problems.iter().map(words).chain(of_manifest).collect()
    }
}

/// The manifest in the folder of a runbook; nothing where there is none.
pub fn beside(runbook: &Path) -> Option<Beside> {
    let file = runbook.parent()?.join(RELEASES_FILE);
    let name = file.display().to_string();
    let fact = read(&file);
    if matches!(&fact, FileFact::Failed(error) if error.kind() == ErrorKind::NotFound) {
        return None;
    }
    Some(match accept(&name, fact) {
        Ok(text) => Beside { file: name, text, problems: Vec::new() },
        Err(problem) => Beside { file: name, text: String::new(), problems: vec![*problem] },
    })
}

/// A file beyond the limit is not read: it may be a disk.
pub fn read(file: &Path) -> FileFact {
    match fs::metadata(file) {
        Ok(meta) if meta.is_dir() => FileFact::Folder,
        Ok(meta) if meta.len() > RUNBOOK_BYTES_MAX as u64 => {
            FileFact::TooLarge { bytes: meta.len() }
        }
        Ok(_) => match fs::read(file) {
            Ok(bytes) => FileFact::Bytes(bytes),
            Err(error) if error.kind() == ErrorKind::IsADirectory => FileFact::Folder,
            Err(error) => FileFact::Failed(error),
        },
        Err(error) => FileFact::Failed(error),
    }
}

/// What a runbook is planned or started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanRequest {
    /// Its parameters by name. A text takes the parameter's type; a secret is given as its
    /// reference, never as its value.
    #[serde(default)]
    pub params: Params,
}
