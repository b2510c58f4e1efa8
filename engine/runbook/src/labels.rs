//! Labels: what people search by, and those that are not theirs to give.

use std::collections::BTreeMap;

use backout_core::exercise::DRILL_LABELS;

use crate::codes;
use crate::fields::{At, Record, text};
use crate::problem::Problem;

/// What the labels begin with that the engine gives to runs of its own.
const OWN_PREFIX: &str = "backout-";

/// The labels of a runbook.
pub(crate) fn labels(
    record: &Record<'_, '_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let entries = record.entries("labels", problems);
    problems.extend(entries.iter().filter_map(|(key, _)| reserved(*key)));
    let entries = entries.into_iter().filter_map(|(key, value)| {
        Some((key.value.to_owned(), text(value, problems)?.value.to_owned()))
    });
    entries.collect()
}

/// A label by which an engine would take an ordinary run for something else.
fn reserved(key: At<&str>) -> Option<Problem> {
    let (means, help) = if DRILL_LABELS.contains(&key.value) {
        let help = "call it `rehearsal`, or leave it out; `backout drill` marks its runs itself";
        ("marks exercises, and an engine does nothing real for one", help.to_owned())
    } else {
        let rest = Some(key.value.strip_prefix(OWN_PREFIX)?).filter(|rest| !rest.is_empty());
        let other = rest.map_or_else(|| "otherwise".to_owned(), |rest| format!("`{rest}`"));
        ("is kept for the engine's own runs", format!("call it {other}"))
    };
    let message = format!("the label `{}` {means}", key.value);
    Some(Problem::new(codes::RESERVED_LABEL, message).at(key.span, "not allowed").help(help))
}
