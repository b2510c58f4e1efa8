//! The record as Markdown.

use std::fmt::Write;

use backout_server::view::{counted, duration};

use crate::html::{gist, summary};
use crate::{Report, Took};

/// The record as Markdown, for a wiki or a ticket.
pub fn markdown(report: &Report) -> String {
    let view = &report.run;
    let title = if view.title.is_empty() { &view.runbook } else { &view.title };
    let mut out = format!("# After-action record: {}\n\n", text(title));
    for line in gist(report) {
        say(&mut out, &format!("{}\n", text(&line)));
    }
    say(&mut out, "");
    let facts = summary(report).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    table(&mut out, &["", ""], facts.collect());
    decisions(&mut out, report);
    doubts(&mut out, report);
    approvals(&mut out, report);
    durations(&mut out, report);
    evidence(&mut out, report);
    heading(&mut out, "The plan as it went");
    let _ = writeln!(out, "```mermaid\n{}```", report.mermaid);
    timeline(&mut out, report);
    out
}

fn say(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn heading(out: &mut String, title: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "\n## {title}\n");
}

/// What a record holds is text: nothing of it is markup.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn table(out: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    let _ = writeln!(out, "| {} |", heads.join(" | "));
    let _ = writeln!(out, "|{}", " --- |".repeat(heads.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| text(cell)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

/// A table, or what to say where it would be empty.
fn section(out: &mut String, title: &str, none: &str, heads: &[&str], rows: Vec<Vec<String>>) {
    heading(out, title);
    if rows.is_empty() {
        say(out, none);
    } else {
        table(out, heads, rows);
    }
}

fn decisions(out: &mut String, report: &Report) {
    let row = |d: &crate::Decision| {
        vec![
            after(d.after_ms),
            d.who_words(),
            d.step.clone().unwrap_or_default(),
            d.what.clone(),
            d.reason.clone().unwrap_or_default(),
        ]
    };
    let heads = ["After", "Who", "Step", "What", "Why"];
    let rows = report.decisions.iter().map(row).collect();
    section(out, "Decisions", "Nobody decided anything.", &heads, rows);
}

fn doubts(out: &mut String, report: &Report) {
    let row = |d: &crate::Doubt| {
        vec![
            d.step.clone(),
            d.why.clone(),
            d.settled_words(),
            d.took_ms.map(duration).unwrap_or_default(),
        ]
    };
    let heads = ["Step", "What was not known", "How it was settled", "After"];
    let rows = report.doubts.iter().map(row).collect();
    section(out, "What was in doubt", "Nothing was.", &heads, rows);
}

fn approvals(out: &mut String, report: &Report) {
    let row = |a: &crate::Asked| {
        let answers = if a.answers.is_empty() { "none".into() } else { a.answers.join("; ") };
        vec![a.step.clone(), a.why.clone(), answers, a.waited_ms.map(duration).unwrap_or_default()]
    };
    let heads = ["Step", "Asked", "Answer", "Waited"];
    let rows = report.approvals.iter().map(row).collect();
    section(out, "Approvals", "None were asked for.", &heads, rows);
}

fn durations(out: &mut String, report: &Report) {
    let rows = report.took.iter().map(|took| {
        let name = if took.title.is_empty() {
            took.step.clone()
        } else {
            format!("{}: {}", took.step, took.title)
        };
        vec![
            name,
            took.state.replace('-', " "),
            took.took_ms.map(duration).unwrap_or_default(),
            if took.people_ms > 0 { duration(took.people_ms) } else { String::new() },
            took.expect_ms.map(duration).unwrap_or_default(),
            took.against(),
        ]
    });
    let heads = ["Step", "State", "Took", "Waited for people", "Expected", "Against the plan"];
    section(out, "Durations", "The plan has no steps.", &heads, rows.collect());
}

fn evidence(out: &mut String, report: &Report) {
    let row = |e: &crate::Evidence| vec![e.step.clone(), e.kind.clone(), e.text.clone()];
    let rows = report.evidence.iter().map(row).collect();
    section(out, "Evidence", "None was recorded.", &["Step", "Kind", "What"], rows);
}

fn timeline(out: &mut String, report: &Report) {
    let row = |line: &crate::Line| {
        vec![
            line.seq.to_string(),
            line.at.clone(),
            line.step.clone().unwrap_or_default(),
            line.what.clone(),
            line.who.clone().unwrap_or_default(),
        ]
    };
    let title = format!("Timeline: {}", counted(report.timeline.len(), "event"));
    let rows = report.timeline.iter().map(row).collect();
    section(out, &title, "", &["", "At", "Step", "What", "Who"], rows);
}

/// `+4m 12s`.
pub(crate) fn after(ms: u64) -> String {
    format!("+{}", duration(ms))
}

impl Took {
    /// How it compares to what was expected; waiting for people does not count.
    pub(crate) fn against(&self) -> String {
        let is_done = matches!(self.state.as_str(), "succeeded" | "already-satisfied");
        let (Some(expect), Some(took), true) = (self.expect_ms, self.took_ms, is_done) else {
            return String::new();
        };
        let own = took.saturating_sub(self.people_ms);
        match (own.checked_sub(expect), expect - own.min(expect)) {
            (Some(0), _) => "as expected".to_owned(),
            (Some(late), _) => format!("{} longer", duration(late)),
            (None, early) => format!("{} shorter", duration(early)),
        }
    }
}
