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
mod draft;
mod each;
mod fields;
mod graph;
mod input;
mod lower;
mod names;
mod number;
mod outline;
mod params;
mod problem;
mod read;
mod reference;
mod render;
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
pub use render::{Style, render};
pub use source::{FileFact, accept};

use lower::Report;
use schema::Actions;

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
    let mut report = Report::default();
    let mut missing = Vec::new();
    let lowered = stages(source.text, params, mode, catalogue, &mut report, &mut missing);
    problem::settle(&mut report.problems, source.text);
    problem::settle(&mut report.warnings, source.text);
    let (plan, steps) = match lowered {
        Some(lowered) if report.problems.is_empty() => (Some(lowered.plan), lowered.facts),
        _ => (None, BTreeMap::new()),
    };
    Compiled { plan, problems: report.problems, warnings: report.warnings, missing, steps }
}

fn stages(
    text: &str,
    params: &BTreeMap<String, GivenParam>,
    mode: Mode,
    catalogue: &dyn Catalogue,
    report: &mut Report,
    missing: &mut Vec<String>,
) -> Option<lower::Lowered> {
    if text.len() > RUNBOOK_BYTES_MAX {
        report.problems.push(source::too_large(text.len() as u64));
        return None;
    }
    let (root, syntax) = read::read(text);
    let readable = syntax.is_empty();
    let draft = draft::draft(&root, &mut report.problems);
    if !readable {
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
        report.problems.extend(syntax);
        return None;
    }
    let draft = draft?;
    let values = params::values(&draft.params, params, mode == Mode::Run, &mut report.problems);
    missing.clone_from(&values.missing);
    lower::lower(text, draft, values, &mut Actions::new(catalogue), report)
}
