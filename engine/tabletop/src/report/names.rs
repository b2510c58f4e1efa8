//! A report without names: each person becomes their role, or a number.

use std::collections::BTreeMap;

use super::Report;
use crate::log::{Exercise, Logged};

/// The report with every name of a person taken out.
pub fn without_names(report: &Report, exercise: &Exercise) -> Report {
    let names = names(exercise);
    let text = |text: &str| replaced(text, &names);
    let mut report = report.clone();
    for decision in &mut report.decisions {
        decision.by = text(&decision.by);
        decision.what = text(&decision.what);
        decision.reason = decision.reason.as_deref().map(text);
    }
    for line in report.timeline.iter_mut().chain(&mut report.notes) {
        line.who = text(&line.who);
        line.text = text(&line.text);
    }
    for row in &mut report.msel {
        for cell in [&mut row.from, &mut row.to, &mut row.text, &mut row.expected] {
            *cell = text(cell);
        }
    }
    for improvement in &mut report.improvements {
        improvement.owner = text(&improvement.owner);
        improvement.action = text(&improvement.action);
    }
    for objective in &mut report.objectives {
        objective.notes = objective.notes.iter().map(|note| text(note)).collect();
    }
    report.findings = report.findings.iter().map(|finding| text(finding)).collect();
    for (_, answer, _) in &mut report.answers {
        *answer = text(answer);
    }
    report.ended = text(&report.ended);
    report
}

/// By name, what stands in its place.
fn names(exercise: &Exercise) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for role in &exercise.scenario.roles {
        if let Some(who) = &role.who {
            names.insert(who.clone(), role.role.clone());
        }
    }
    let roles: Vec<String> = exercise.scenario.roles.iter().map(|role| role.role.clone()).collect();
    let mut number = 0;
    for entry in &exercise.log {
        let (Logged::Decision { by, .. }
        | Logged::Note { by, .. }
        | Logged::Rated { by, .. }
        | Logged::Emergency { by, .. }
        | Logged::Answered { by, .. }
        | Logged::Closed { by }
        | Logged::Silence { who: by }) = &entry.what
        else {
            continue;
        };
        if !by.is_empty() && !roles.contains(by) && !names.contains_key(by) {
            number += 1;
            names.insert(by.clone(), format!("person {number}"));
        }
    }
    names
}

/// The text with each name replaced where it stands as a word.
fn replaced(text: &str, names: &BTreeMap<String, String>) -> String {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if part(c) {
            word.push(c);
            continue;
        }
        let bare = word.trim_end_matches('.');
        match names.get(bare) {
            Some(instead) => {
                out.push_str(instead);
                out.push_str(word.get(bare.len()..).unwrap_or_default());
            }
            None => out.push_str(&word),
        }
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_where_it_is_a_word() {
        let names = BTreeMap::from([("ana".to_owned(), "commander".to_owned())]);
        assert_eq!(
            replaced("ana asked banana. Ask ana.", &names),
            "commander asked banana. Ask commander."
        );
    }
}
