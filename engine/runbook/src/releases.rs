//! The manifest beside a runbook, [`RELEASES_FILE`]: what each release was made of. A parameter of
//! type `release` takes an entry's id, and its value is the whole entry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::codes;
use crate::fields::{At, Record};
use crate::params::{Declared, ParamType};
use crate::problem::{Problem, advice};
use crate::read::read;
use crate::tables;
use crate::tree::{Kind, Node, Span};

/// The file's name, in the folder of the runbook.
pub const RELEASES_FILE: &str = "releases.ron";
/// The version of the manifest's format that this release reads.
pub(crate) const FORMAT: u32 = 1;
/// Entries of one manifest: `check` tries the runbook with each, and nobody rolls back further.
const RELEASES_MAX: usize = 200;
/// Hex digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// What stands beside the runbook.
#[derive(Debug)]
pub(crate) enum Releases {
    /// No such file.
    Absent,
    /// A file that cannot be used; what is wrong with it was reported.
    Unreadable,
    /// The entries.
    Known(Manifest),
}

/// The entries of a manifest, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) releases: Vec<Release>,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) id: String,
    /// Nothing where it is wrong, which was reported.
    deployed_at: Option<SystemTime>,
    /// As expressions see it.
    pub(crate) value: Value,
    /// The schema version that it left behind, by database.
    pub(crate) schemas: BTreeMap<String, i64>,
    /// The schema versions that it works with, by database: first and last of each span.
    works_with: BTreeMap<String, Vec<(i64, i64)>>,
}

impl Manifest {
    /// The entry of an id.
    pub(crate) fn find(&self, id: &str) -> Option<&Release> {
        self.releases.iter().find(|release| release.id == id)
    }

    /// The one deployed last.
    pub(crate) fn newest(&self) -> Option<&Release> {
        self.releases.iter().max_by_key(|release| release.deployed_at)
    }

    /// What is said of an id that is none.
    pub(crate) fn unknown(&self, id: &str) -> Problem {
        let ids: Vec<&str> = self.releases.iter().map(|release| release.id.as_str()).collect();
        let message = format!("{RELEASES_FILE} has no release `{id}`");
        Problem::new(codes::RELEASE_UNKNOWN, message).help(advice(id, "its releases are", &ids))
    }
}

impl Release {
    /// Whether it works with a version of a database's schema. Where the manifest says nothing, it
    /// works with its own.
    pub(crate) fn works_with(&self, database: &str, version: i64) -> bool {
        match self.works_with.get(database) {
            Some(spans) => spans.iter().any(|(first, last)| (*first..=*last).contains(&version)),
            None => self.schemas.get(database) == Some(&version),
        }
    }

    /// The versions that it works with, for people.
    pub(crate) fn versions(&self, database: &str) -> String {
        let own = self.schemas.get(database).map(|own| vec![(*own, *own)]);
        let spans = self.works_with.get(database).cloned().or(own).unwrap_or_default();
        let word = |(first, last): &(i64, i64)| {
            if first == last { first.to_string() } else { format!("{first} to {last}") }
        };
        spans.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

/// Reads what stands beside a runbook that declares these parameters. It is not looked at where
/// none of them is a release.
pub(crate) fn beside(
    params: &[Declared<'_>],
    text: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Releases {
    if !params.iter().any(|param| param.kind == ParamType::Release) {
        return Releases::Absent;
    }
    let Some(text) = text else { return Releases::Absent };
    let (root, syntax) = read(text);
    if !syntax.is_empty() {
        problems.extend(syntax);
        return Releases::Unreadable;
    }
    match manifest(&root, problems) {
        Some(manifest) if problems.is_empty() => Releases::Known(manifest),
        _ => Releases::Unreadable,
    }
}

fn manifest(root: &Node<'_>, problems: &mut Vec<Problem>) -> Option<Manifest> {
    let record = Record::open(root, &tables::RELEASES, problems)?;
    record.require("format", problems);
    record.require("releases", problems);
    if record.has("format") && record.whole("format", (FORMAT, FORMAT, ""), problems).is_none() {
        // Nothing else can be said about a file of another format.
        return None;
    }
    let nodes = record.list("releases", problems)?;
    if let Some(node) = nodes.get(RELEASES_MAX) {
        let message =
            format!("{} releases are more than RELEASES_MAX ({RELEASES_MAX})", nodes.len());
        let problem = Problem::new(codes::LIMIT, message).at(node.span, "the first one too many");
        problems.push(problem.advise("leave out those that nobody goes back to"));
        return None;
    }
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let releases = nodes.iter().filter_map(|node| release(node, &mut seen, problems)).collect();
    Some(Manifest { releases })
}

fn release(
    node: &Node<'_>,
    seen: &mut BTreeMap<String, Span>,
    problems: &mut Vec<Problem>,
) -> Option<Release> {
    let record = Record::open(node, &tables::RELEASE, problems)?;
    record.require("id", problems);
    record.require("deployed_at", problems);
    let id = id(&record, seen, problems);
    let (deployed_at, deployed) = deployed(&record, problems);
    let schemas = schemas(&record, problems);
    let (works_with, written) = works_with(&record, &schemas, problems);
    let mut value = json!({
        "id": id,
        "deployed_at": deployed,
        "services": services(&record, problems),
        "schemas": schemas.iter().map(|(name, at)| (name.clone(), at.value)).collect::<BTreeMap<_, _>>(),
        "works_with": written,
        "flags": record.lines("flags", problems),
    });
    if let Some(config) = sha256(&record, "config", problems) {
        value["config"] = config.into();
    }
    let schemas = schemas.into_iter().map(|(name, at)| (name, at.value)).collect();
    Some(Release { id, deployed_at, value, schemas, works_with })
}

fn id(
    record: &Record<'_, '_>,
    seen: &mut BTreeMap<String, Span>,
    problems: &mut Vec<Problem>,
) -> String {
    let Some(id) = record.text("id", problems) else { return String::new() };
    if id.value.trim().is_empty() || id.value.contains(char::is_control) {
        let problem = Problem::new(codes::BAD_NAME, "a release's id is one line of text");
        problems.push(problem.at(id.span, "not a name"));
    } else if let Some(first) = seen.insert(id.value.to_owned(), id.span) {
        let problem =
            Problem::new(codes::RELEASE_TWICE, format!("two entries are release `{}`", id.value));
        problems.push(
            problem.at(id.span, "again here").at(first, "first here").advise("remove one of them"),
        );
    }
    id.value.to_owned()
}

fn deployed(
    record: &Record<'_, '_>,
    problems: &mut Vec<Problem>,
) -> (Option<SystemTime>, Option<String>) {
    let Some(text) = record.text("deployed_at", problems) else { return (None, None) };
    if let Ok(at) = humantime::parse_rfc3339(text.value) {
        return (Some(at), Some(text.value.to_owned()));
    }
    let message = format!("`{}` is not a moment in UTC", text.value);
    problems.push(
        Problem::new(codes::BAD_DATE, message)
            .at(text.span, "not a moment")
            .advise("write it as \"2026-01-31T18:30:00Z\""),
    );
    (None, None)
}

fn services(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Value {
    let entries = record.entries("services", problems);
    let services = entries
        .into_iter()
        .filter_map(|(name, node)| Some((name.value.to_owned(), service(name, node, problems)?)));
    Value::Object(services.collect::<Map<_, _>>())
}

fn service(name: At<&str>, node: &Node<'_>, problems: &mut Vec<Problem>) -> Option<Value> {
    let record = Record::open(node, &tables::SERVICE, problems)?;
    match (record.has("image"), record.has("artifact")) {
        (true, false) => Some(json!({ "image": image(&record, problems)? })),
        (false, true) => Some(json!({ "artifact": artifact(&record, problems)? })),
        (has_both, _) => {
            let what = if has_both { "both" } else { "none of both" };
            let message =
                format!("a service is an `image` or an `artifact`, and `{}` is {what}", name.value);
            problems.push(
                Problem::new(codes::CONFLICT, message)
                    .at(name.span, "this service")
                    .advise("write (image: \"name@sha256:…\") or (artifact: (sha256: \"…\"))"),
            );
            None
        }
    }
}

fn image(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Option<String> {
    let text = record.text("image", problems)?;
    let digest = text.value.split_once("@sha256:").filter(|(name, _)| !name.is_empty());
    if digest.is_some_and(|(_, digest)| is_sha256(digest)) {
        return Some(text.value.to_owned());
    }
    let message = format!("the image `{}` is not named by its digest", text.value);
    problems.push(
        Problem::new(codes::RELEASE_DIGEST, message)
            .at(text.span, "a tag may name another image tomorrow")
            .advise("write name@sha256: and 64 hex digits, as the registry tells them"),
    );
    None
}

fn artifact(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Option<Value> {
    let inner = Record::open(record.get("artifact")?, &tables::ARTIFACT, problems)?;
    inner.require("sha256", problems);
    let mut artifact = Map::new();
    if let Some(path) = inner.owned("path", problems) {
        artifact.insert("path".to_owned(), path.into());
    }
    artifact.insert("sha256".to_owned(), sha256(&inner, "sha256", problems)?.into());
    Some(Value::Object(artifact))
}

fn sha256(record: &Record<'_, '_>, field: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let text = record.text(field, problems)?;
    if is_sha256(text.value) {
        return Some(text.value.to_owned());
    }
    let problem = Problem::new(codes::RELEASE_DIGEST, format!("`{field}` is not a SHA-256"));
    problems.push(
        problem
            .at(text.span, "64 digits, 0 to 9 and a to f, are expected here")
            .advise("sha256sum FILE tells it"),
    );
    None
}

fn is_sha256(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == SHA256_DIGITS && text.bytes().all(hex)
}

fn schemas(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> BTreeMap<String, At<i64>> {
    let entries = record.entries("schemas", problems);
    let version = |(name, node): (At<&str>, &Node<'_>)| {
        let at = At { value: integer(node, problems)?, span: node.span };
        Some((name.value.to_owned(), at))
    };
    entries.into_iter().filter_map(version).collect()
}

/// A schema version.
fn integer(node: &Node<'_>, problems: &mut Vec<Problem>) -> Option<i64> {
    if let Kind::Integer(whole) = node.bare().kind {
        if let Ok(version) = i64::try_from(whole) {
            return Some(version);
        }
    } else if matches!(node.bare().kind, Kind::Bad) {
        return None;
    }
    let message = format!("{} instead of a schema version", node.describe());
    problems.push(
        Problem::new(codes::WRONG_TYPE, message)
            .at(node.span, "a whole number is expected here")
            .advise("write the number of the migration: 41, 20251103120000"),
    );
    None
}

type Spans = BTreeMap<String, Vec<(i64, i64)>>;

/// What it works with, and the same as expressions see it.
fn works_with(
    record: &Record<'_, '_>,
    schemas: &BTreeMap<String, At<i64>>,
    problems: &mut Vec<Problem>,
) -> (Spans, Value) {
    let mut spans = Spans::new();
    let mut written = Map::new();
    for (name, node) in record.entries("works_with", problems) {
        let Kind::List(items) = &node.bare().kind else {
            let message = format!("{} instead of a list of versions", node.describe());
            problems.push(
                Problem::new(codes::WRONG_TYPE, message)
                    .at(node.span, "a list `[…]` is expected here")
                    .advise("write [40, 41] or [(from: 40, to: 42)]"),
            );
            continue;
        };
        let found: Vec<(i64, i64)> = items.iter().filter_map(|one| span(one, problems)).collect();
        let own = schemas.get(name.value);
        problems.extend(unfit_own(name, own, &found));
        let shown = found.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
        written.insert(name.value.to_owned(), Value::Array(shown));
        spans.insert(name.value.to_owned(), found);
    }
    (spans, Value::Object(written))
}

/// `41`, or `(from: 40, to: 42)`.
fn span(node: &Node<'_>, problems: &mut Vec<Problem>) -> Option<(i64, i64)> {
    if !matches!(node.bare().kind, Kind::Struct(..)) {
        return integer(node, problems).map(|version| (version, version));
    }
    let record = Record::open(node, &tables::VERSIONS, problems)?;
    record.require("from", problems);
    record.require("to", problems);
    let from = record.get("from").and_then(|node| integer(node, problems));
    let to = record.get("to").and_then(|node| integer(node, problems));
    let (from, to) = (from?, to?);
    if from > to {
        let message = format!("no version is from {from} to {to}");
        problems.push(Problem::new(codes::OUT_OF_RANGE, message).at(node.span, "empty"));
        return None;
    }
    Some((from, to))
}

fn unfit_own(name: At<&str>, own: Option<&At<i64>>, found: &[(i64, i64)]) -> Option<Problem> {
    let Some(own) = own else {
        let message =
            format!("`works_with` names `{}`, and `schemas` has no such database", name.value);
        return Some(
            Problem::new(codes::RELEASE_SCHEMA, message).at(name.span, "no such database").help(
                format!(
                    "add the version that this release left: schemas: {{\"{}\": …}}",
                    name.value
                ),
            ),
        );
    };
    let fits = found.iter().any(|(first, last)| (*first..=*last).contains(&own.value));
    if fits {
        return None;
    }
    let message = format!(
        "the release left schema {} of `{}`, and does not work with it",
        own.value, name.value
    );
    Some(
        Problem::new(codes::RELEASE_SCHEMA, message)
            .at(name.span, "its own version is not among these")
            .at(own.span, "left behind")
            .help(format!("add {} to the list", own.value)),
    )
}

/// The problems that the runbook has with some entries, each once, with those entries' names.
pub(crate) fn told_once(param: &str, found: Vec<(String, Vec<Problem>)>) -> Vec<Problem> {
    let mut told: Vec<(Problem, BTreeSet<String>)> = Vec::new();
    for (id, problems) in found {
        for problem in problems {
            match told.iter_mut().find(|(known, _)| *known == problem) {
                Some((_, ids)) => drop(ids.insert(id.clone())),
                None => told.push((problem, BTreeSet::from([id.clone()]))),
            }
        }
    }
    told.into_iter().map(|(problem, ids)| of_entries(problem, param, &ids)).collect()
}

fn of_entries(problem: Problem, param: &str, ids: &BTreeSet<String>) -> Problem {
    /// Entries named in one message; the others are counted.
    const NAMED_MAX: usize = 3;
    let mut names: Vec<String> =
        ids.iter().take(NAMED_MAX).map(|id| format!("{param}={id}")).collect();
    if ids.len() > NAMED_MAX {
        names.push(format!("{} more", ids.len() - NAMED_MAX));
    }
    let message = format!("with {}: {}", names.join(", "), problem.message);
    let help = problem.help.clone().or_else(|| {
        Some(format!("look at the entry in {RELEASES_FILE}; `check -p {}` tries one", names[0]))
    });
    Problem { message, help, ..problem }
}

/// The place of a step in the file, as far as a label needs it.
pub(crate) fn place_of(offset: usize) -> Range<usize> {
    offset..offset + 1
}
