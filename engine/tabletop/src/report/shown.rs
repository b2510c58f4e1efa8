//! A report as a page, and the handouts of a scenario.

use super::Report;
use crate::log::Kind;
use crate::page::Block;
use crate::scenario::{Scenario, clock, msel};

/// The report as a page.
pub fn blocks(report: &Report) -> Vec<Block> {
    let mut page = vec![
        Block::heading(1, format!("After-action report: {}", report.title)),
        Block::Banner(banner(report)),
        Block::Table(
            vec!["", ""],
            vec![
                vec!["runbook".into(), report.runbook.clone()],
                vec!["scenario".into(), format!("{}, seed {}", report.scenario, report.seed)],
                vec!["run".into(), report.run.clone().unwrap_or_else(|| "none".into())],
                vec!["took".into(), clock(report.took_ms).replace('+', "")],
                vec!["ended".into(), report.ended.clone()],
                vec!["the run".into(), report.outcome.clone()],
            ],
        ),
    ];
    if !report.situation.is_empty() {
        page.extend([Block::heading(2, "Situation"), Block::text(report.situation.clone())]);
    }
    objectives(report, &mut page);
    expected(report, &mut page);
    decisions(report, &mut page);
    findings(report, &mut page);
    rest(report, &mut page);
    page
}

fn banner(report: &Report) -> String {
    let kind = match report.exercise {
        Kind::Drill => "DRILL",
        Kind::Discussion => "DISCUSSION",
        Kind::WhatIf => "WHAT-IF",
    };
    format!(
        "{kind}: nothing real was touched. Objectives and the runbook are rated, never persons."
    )
}

fn objectives(report: &Report, page: &mut Vec<Block>) {
    if report.objectives.is_empty() {
        return;
    }
    page.push(Block::heading(2, "Objectives"));
    let row = |one: &super::ObjectiveReport| {
        let rating = one.rating.map_or("not rated".to_owned(), |r| format!("{r:?}: {}", r.words()));
        vec![
            one.id.clone(),
            one.text.clone(),
            one.capability.clone(),
            rating,
            one.rated_by.clone(),
            one.notes.join(" "),
        ]
    };
    let head = vec!["objective", "text", "capability", "rating", "by", "notes"];
    page.push(Block::Table(head, report.objectives.iter().map(row).collect()));
}

fn expected(report: &Report, page: &mut Vec<Block>) {
    if report.expected.is_empty() {
        return;
    }
    page.push(Block::heading(2, "Expected against actual"));
    let since = |at: Option<backout_core::id::Timestamp>| {
        at.map(|at| clock(at.since_ms(report.begin))).unwrap_or_default()
    };
    let row = |one: &crate::judge::Judged| {
        vec![
            one.expected.clone(),
            one.verdict.word().to_owned(),
            since(one.from),
            since(one.due),
            since(one.done),
        ]
    };
    let head = vec!["expected", "actual", "from", "due", "done"];
    page.push(Block::Table(head, report.expected.iter().map(row).collect()));
}

fn decisions(report: &Report, page: &mut Vec<Block>) {
    if report.decisions.is_empty() {
        return;
    }
    page.push(Block::heading(2, "Decisions, and how long each took"));
    let row = |one: &super::DecisionReport| {
        let took = one.took_ms.map(|ms| clock(ms).replace('+', "")).unwrap_or_default();
        vec![
            clock(one.at.since_ms(report.begin)),
            one.by.clone(),
            one.what.clone(),
            took,
            one.asked_by.clone().unwrap_or_default(),
            one.refused.as_ref().map_or_else(
                || one.reason.clone().unwrap_or_default(),
                |r| format!("not possible: {r}"),
            ),
        ]
    };
    let head = vec!["time", "by", "decision", "took", "since", "why"];
    page.push(Block::Table(head, report.decisions.iter().map(row).collect()));
}

fn findings(report: &Report, page: &mut Vec<Block>) {
    page.push(Block::heading(2, "Findings"));
    if report.findings.is_empty() {
        page.push(Block::text("None."));
    } else {
        page.push(Block::List(report.findings.clone()));
    }
    if !report.improvements.is_empty() {
        page.push(Block::heading(2, "Improvement plan"));
        let row = |one: &super::Improvement| {
            let agreed = |text: &str| {
                if text.is_empty() { "to be agreed".to_owned() } else { text.to_owned() }
            };
            vec![
                one.capability.clone(),
                one.action.clone(),
                agreed(&one.owner),
                agreed(&one.due),
                one.state.clone(),
            ]
        };
        let head = vec!["capability", "action", "owner", "due", "state"];
        page.push(Block::Table(head, report.improvements.iter().map(row).collect()));
    }
}

fn rest(report: &Report, page: &mut Vec<Block>) {
    if !report.answers.is_empty() {
        page.push(Block::heading(2, "Questions and answers"));
        let rows = report.answers.iter().map(|(question, answer, plan)| {
            vec![question.clone(), answer.clone(), plan.clone().unwrap_or_default()]
        });
        page.push(Block::Table(vec!["question", "the team", "the plan"], rows.collect()));
    }
    page.extend([Block::heading(2, "Hotwash"), Block::List(report.hotwash.clone())]);
    let line = |one: &super::TimelineLine| {
        vec![one.clock.clone(), one.kind.clone(), one.who.clone(), one.text.clone()]
    };
    let head = || vec!["time", "kind", "who", "what"];
    if !report.notes.is_empty() {
        page.push(Block::heading(2, "Notes"));
        page.push(Block::Table(head(), report.notes.iter().map(line).collect()));
    }
    if !report.timeline.is_empty() {
        page.push(Block::heading(2, "Timeline"));
        page.push(Block::Table(head(), report.timeline.iter().map(line).collect()));
    }
    if !report.msel.is_empty() {
        page.push(Block::heading(2, "Master scenario events list"));
        page.push(events(&report.msel));
    }
}

fn events(rows: &[crate::scenario::Row]) -> Block {
    let head =
        vec!["no.", "time", "from", "to", "by", "text", "expected action", "objective", "seen"];
    let row = |row: &crate::scenario::Row| {
        vec![
            row.number.to_string(),
            row.time.clone(),
            row.from.clone(),
            row.to.clone(),
            row.by.clone(),
            row.text.clone(),
            row.expected.clone(),
            row.objective.clone(),
            row.seen.clone(),
        ]
    };
    Block::Table(head, rows.iter().map(row).collect())
}

/// The handouts of a scenario, to be printed: the facilitator's guide with the events list and what
/// to look for, and with `participants` what those who take part may read before.
pub fn handout(scenario: &Scenario, participants: bool) -> Vec<Block> {
    let kind = if participants { "Handout for participants" } else { "Facilitator's guide" };
    let mut page = vec![
        Block::heading(1, format!("{kind}: {}", scenario.title)),
        Block::Banner(
            "EXERCISE: nothing real is touched. A real emergency ends it: say REAL EMERGENCY."
                .into(),
        ),
        Block::heading(2, "Situation"),
        Block::text(scenario.situation.clone()),
        Block::heading(2, "Roles"),
    ];
    let role = |one: &crate::scenario::Role| {
        vec![one.role.clone(), one.who.clone().unwrap_or_default(), one.does.clone()]
    };
    page.push(Block::Table(vec!["role", "who", "does"], scenario.roles.iter().map(role).collect()));
    page.push(Block::heading(2, "Objectives"));
    page.push(Block::List(scenario.objectives.iter().map(|one| one.text.clone()).collect()));
    if participants {
        page.extend([
            Block::heading(2, "My notes"),
            Block::Table(vec!["time", "what"], vec![vec![String::new(); 2]; 12]),
        ]);
        return page;
    }
    page.extend([
        Block::heading(2, "Master scenario events list"),
        events(&msel(scenario)),
        Block::PageBreak,
    ]);
    page.push(Block::heading(2, "Evaluation guide"));
    for objective in &scenario.objectives {
        page.push(Block::heading(3, objective.text.clone()));
        page.push(Block::Boxes(objective.guide.clone()));
        page.push(Block::text("Rating: P / S / M / U. Why: ____________________"));
    }
    page.extend([Block::heading(2, "Hotwash"), Block::List(scenario.hotwash())]);
    page
}
