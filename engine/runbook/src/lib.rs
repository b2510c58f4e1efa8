//! RON text to a valid plan, with every problem at its line.
//!
//! [`compile`] reads a text into a tree with places, the tree into a draft, and the draft into a
//! [`Plan`]; it reports all problems it finds on the way. Nothing here reads files, looks at a
//! target or asks the clock.

use std::collections::BTreeMap;

use backout_core::id::StepId;
use backout_core::limits::RUNBOOK_BYTES_MAX;
use backout_core::plan::Plan;

mod catalogue;
pub mod codes;
pub mod document;
mod draft;
mod each;
mod fields;
mod fits;
mod graph;
mod input;
mod labels;
mod lower;
mod names;
mod number;
mod outline;
mod params;
mod problem;
mod read;
mod reference;
mod releases;
mod render;
pub mod ron_file;
mod scan;
mod schema;
mod source;
pub mod tables;
mod tree;

pub use catalogue::{ActionInfo, Catalogue, Check, Checked, InputProblem};
pub use lower::StepFacts;
pub use outline::{Outline, ParamOutline, StepOutline, describe};
pub use params::{GivenParam, ParamType};
pub use problem::{Label, Problem, Severity, Source};
pub use reference::reference_page;
pub use releases::RELEASES_FILE;
pub use render::{Style, render};
pub use source::{FileFact, accept};

use lower::Report;
use releases::{Manifest, Releases};
use schema::Actions;
use tree::Node;

/// Whether all parameters must have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For a run or a plan: a parameter without a value is a problem.
    Run,
    /// For `check`: what depends on a missing value is left open.
    Check,
}

/// What [`compile`] gives.
#[derive(Debug)]
pub struct Compiled {
    /// The plan; nothing where there is a problem. Where [`Self::missing`] is not empty it is only
    /// for looking at: a `for_each` over a missing list is one step in it.
    pub plan: Option<Plan>,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
    /// What is doubtful, in the order of the file.
    pub warnings: Vec<Problem>,
    /// What is wrong with the [`RELEASES_FILE`] beside it, in the order of that file.
    pub release_problems: Vec<Problem>,
    /// The parameters that have no value yet.
    pub missing: Vec<String>,
    /// What is known of each step of the plan.
    pub steps: BTreeMap<StepId, StepFacts>,
}

/// Reads a runbook, with the values of its parameters and the actions that there are.
pub fn compile(
    source: &Source<'_>,
    params: &BTreeMap<String, GivenParam>,
    mode: Mode,
    catalogue: &dyn Catalogue,
) -> Compiled {
    compile_beside(source, None, params, mode, catalogue)
}

/// Reads a runbook beside which a [`RELEASES_FILE`] with this text stands. Where a parameter that is
/// a release has no value, the runbook is tried with every entry.
pub fn compile_beside(
    source: &Source<'_>,
    releases: Option<&str>,
    params: &BTreeMap<String, GivenParam>,
    mode: Mode,
    catalogue: &dyn Catalogue,
) -> Compiled {
    let given = Given { text: source.text, releases, params, mode, catalogue };
    let mut report = Report::default();
    let mut read = whole(&given, &mut report);
    problem::settle(&mut report.problems, source.text);
    problem::settle(&mut report.warnings, source.text);
    problem::settle(&mut read.release_problems, releases.unwrap_or_default());
    let valid = report.problems.is_empty() && read.release_problems.is_empty();
    let (plan, steps) = match read.lowered {
        Some(lowered) if valid => (Some(lowered.plan), lowered.facts),
        _ => (None, BTreeMap::new()),
    };
    Compiled {
        plan,
        problems: report.problems,
        warnings: report.warnings,
        release_problems: read.release_problems,
        missing: read.missing,
        steps,
    }
}

/// All that a runbook is read with.
#[derive(Clone, Copy)]
struct Given<'g> {
    text: &'g str,
    releases: Option<&'g str>,
    params: &'g BTreeMap<String, GivenParam>,
    mode: Mode,
    catalogue: &'g dyn Catalogue,
}

/// What was read.
#[derive(Default)]
struct Read {
    lowered: Option<lower::Lowered>,
    missing: Vec<String>,
    release_problems: Vec<Problem>,
    manifest: Option<Manifest>,
    /// The parameters that are releases and have a value, with the entry's id.
    chosen: Vec<(String, String)>,
    /// Those that have none.
    open: Vec<String>,
}

/// The runbook, and the same with every entry of the manifest that may be meant.
fn whole(given: &Given<'_>, report: &mut Report) -> Read {
    if given.text.len() > RUNBOOK_BYTES_MAX {
        report.problems.push(source::too_large(given.text.len() as u64));
        return Read::default();
    }
    let (root, syntax) = read::read(given.text);
    let read = stages(given, &root, syntax, report);
    let (Some(lowered), Some(manifest)) = (&read.lowered, &read.manifest) else { return read };
    if given.mode == Mode::Check {
        let tried = try_entries(given, &root, manifest, &read.open, &report.problems);
        report.problems.extend(tried);
    }
    for (param, id) in &read.chosen {
        let unfit = fits::unfit(&lowered.plan, &lowered.facts, manifest, param, id);
        report.warnings.extend(unfit);
    }
    read
}

/// What is wrong with the runbook when a release that is not given is each of the entries.
fn try_entries(
    given: &Given<'_>,
    root: &Node<'_>,
    manifest: &Manifest,
    open: &[String],
    known: &[Problem],
) -> Vec<Problem> {
    let mut all = Vec::new();
    for param in open {
        let tried = manifest.releases.iter().map(|release| {
            let mut params = given.params.clone();
            params.insert(param.clone(), GivenParam::Text(release.id.clone()));
            let mut report = Report::default();
            stages(&Given { params: &params, ..*given }, root, Vec::new(), &mut report);
            report.problems.retain(|problem| !known.contains(problem));
            (release.id.clone(), report.problems)
        });
        all.extend(releases::told_once(param, tried.collect()));
    }
    all
}

fn stages(given: &Given<'_>, root: &Node<'_>, syntax: Vec<Problem>, report: &mut Report) -> Read {
    let mut read = Read::default();
    let readable = syntax.is_empty();
    let draft = draft::draft(root, &mut report.problems);
    if !readable {
        only_certain(given.text, &syntax, report);
        report.problems.extend(syntax);
        return read;
    }
    let Some(draft) = draft else { return read };
    let found = releases::beside(&draft.params, given.releases, &mut read.release_problems);
    let required = given.mode == Mode::Run;
    let problems = &mut report.problems;
    let values = params::values(&draft.params, given.params, &found, required, problems);
    read.missing.clone_from(&values.missing);
    for param in draft.params.iter().filter(|param| param.kind == ParamType::Release) {
        let name = param.name.value;
        match values.known.get(name).and_then(|known| known.value["id"].as_str()) {
            Some(id) => read.chosen.push((name.to_owned(), id.to_owned())),
            None => read.open.push(name.to_owned()),
        }
    }
    if let Releases::Known(manifest) = found {
        read.manifest = Some(manifest);
    }
    let mut actions = Actions::new(given.catalogue);
    read.lowered = lower::lower(given.text, draft, values, &mut actions, report);
    read
}

/// In a text that could not be read, what follows from that is not told.
fn only_certain(text: &str, syntax: &[Problem], report: &mut Report) {
    // What seems to be missing may stand in the part that could not be read.
    let guessed = [codes::MISSING_FIELD, codes::EMPTY, codes::NOT_A_RUNBOOK];
    // And what stands in the line of a missing quote is not what it seems to be.
    let line = |offset: usize| text.get(..offset).map_or(0, |text| text.matches('\n').count());
    let quotes: Vec<usize> = syntax
        .iter()
        .filter(|problem| problem.code == codes::QUOTE)
        .map(|problem| line(problem.place()))
        .collect();
    report.problems.retain(|problem| {
        !guessed.contains(&problem.code)
            && (quotes.is_empty() || !quotes.contains(&line(problem.place())))
    });
}
