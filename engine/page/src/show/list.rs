//! All runs.

use backout_core::id::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::words::{ago, badge, plain, run_sign};
use super::{Frame, Spot, whole};
use crate::book::Row;

/// Rows on one page; the filters find the others.
const ROWS_SHOWN_MAX: usize = 200;

const STATES: [&str; 9] = [
    "running",
    "waiting",
    "paused",
    "interrupted",
    "succeeded",
    "failed",
    "aborted",
    "undone",
    "superseded",
];

/// Which runs are shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    state: String,
    text: String,
}

impl Filter {
    fn takes(&self, row: &Row) -> bool {
        let state = match self.state.as_str() {
            "" => true,
            "you" => !row.wants.is_empty() || row.alarms > 0,
            state => row.listed.state == state,
        };
        state && self.text.split_whitespace().all(|word| has(row, &word.to_lowercase()))
    }
}

fn has(row: &Row, word: &str) -> bool {
    let listed = &row.listed;
    let place = row.environment.as_deref().unwrap_or_default();
    [&listed.run, &listed.runbook, &row.title, &listed.starter, place]
        .iter()
        .any(|text| text.to_lowercase().contains(word))
}

/// The list.
pub(crate) fn page(frame: &Frame, filter: &Filter, rows: &[Row], unreadable: &[String]) -> Markup {
    let found: Vec<&Row> = rows.iter().filter(|row| filter.takes(row)).collect();
    let main = html! {
        h1 { "Runs" }
        (form(filter))
        section id="runs" data-part="" aria-label="Runs" {
            @for why in unreadable { p.card.is-failed { "Cannot be read: " (why) } }
            @if found.is_empty() { (nothing(rows.is_empty())) } @else { (table(&found, frame.now)) }
        }
    };
    whole(frame, "Runs - Backout", Some("/api/v1/changes"), &main)
}

fn form(filter: &Filter) -> Markup {
    html! {
        form.filter method="get" action="/" {
            label { "State "
                select name="state" id="filter-state" {
                    option value="" { "all" }
                    option value="you" selected[filter.state == "you"] { "waiting for a person" }
                    @for state in STATES {
                        option value=(state) selected[filter.state == state] { (state) }
                    }
                }
            }
            label { "Text "
                input type="search" name="text" id="filter-text" value=(filter.text)
                    placeholder="runbook, run, person";
            }
            button type="submit" { "Show" }
        }
    }
}

fn nothing(at_all: bool) -> Markup {
    html! {
        @if at_all {
            p.empty { "No runs yet. " a href="/start" { "Start a runbook" } ", or on a terminal: " code { "backout run FILE" } }
        } @else {
            p.empty { "No run fits. " a href="/" { "Show all" } }
        }
    }
}

fn table(found: &[&Row], now: Timestamp) -> Markup {
    html! {
        table.runs {
            thead { tr { th { "Run" } th { "State" } th { "Waits for a person" } th { "Steps" }
                th { "Started" } } }
            tbody { @for row in found.iter().take(ROWS_SHOWN_MAX) { (line(row, now)) } }
        }
        @if found.len() > ROWS_SHOWN_MAX {
            p { "The newest " (ROWS_SHOWN_MAX) " of " (found.len()) "; filter to see others." }
        }
    }
}

fn line(row: &Row, now: Timestamp) -> Markup {
    let listed = &row.listed;
    let title = if row.title.is_empty() { &listed.runbook } else { &row.title };
    html! {
        tr {
            td data-head="Run" {
                a.name href={ "/runs/" (listed.run) } { (title) }
                div.small { code { (listed.run) } " of " (listed.runbook)
                    @if let Some(place) = &row.environment { " in " b { (place) } } }
            }
            td data-head="State" {
                (badge(&listed.state, run_sign(&listed.state)))
                @if listed.stale { " " span.mark { "stale" } }
                @if listed.break_glass { " " span.mark.loud { "break glass" } }
                @if row.alarms > 0 { " " span.mark.loud { "alarm" } }
            }
            td data-head="Waits for a person" {
                @for (what, step) in row.wants.iter().take(3) {
                    div { b { (plain(what)) } " "
                        a href=(Spot::now(&listed.run).step(step)) { (step) } }
                }
                @if row.wants.len() > 3 { div { "and " (row.wants.len() - 3) " more" } }
                @if row.wants.is_empty() { span.small { "-" } }
            }
            td data-head="Steps" { (listed.done) " of " (listed.steps) " done" }
            td data-head="Started" { (ago(&listed.created, now)) div.small { "by " (listed.starter) } }
        }
    }
}
