//! The list of runs: filters, pages, and whether it changed.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use backout_core::contract::hex;
use backout_core::id::{RunId, Timestamp};
use backout_runtime::herald::ABOUT_LABEL;
use chrono::DateTime;
use sha2::{Digest, Sha256};

use crate::api::{Head, Operation};
use crate::etag::tagged;
use crate::extract::Wanted;
use crate::face::{Face, blocking};
use crate::problem::Problem;
use crate::shelf::Rows;
use crate::view::{Row, STATES};
use crate::wire::{RunsPage, RunsQuery, Unreadable};

/// Runs on a page where nothing is said.
const LIMIT_DEFAULT: u16 = 50;
/// Runs on a page at the most: what a page shows without a search.
const LIMIT_MAX: u16 = 200;
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("list_runs", "/api/v1/runs", list)
            .says("The runs, the newest first", "")
            .query::<RunsQuery>()
            .heads(&[Head::IfNoneMatch])
            .json::<RunsPage>(),
    ]
}

async fn list(
    State(face): State<Face>,
    Wanted(query): Wanted<RunsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let page = blocking(move || face.runs(&query)).await?;
    let digest = Sha256::digest(serde_json::to_vec(&page).unwrap_or_default());
    Ok(tagged(&headers, &hex(&digest[..16]), &page))
}

impl Face {
    /// A page of the runs that are wanted, the newest first. Blocks for the disk.
    pub fn runs(&self, query: &RunsQuery) -> Result<RunsPage, Problem> {
        let filter = Filter::of(query)?;
        let Rows { rows, unread } = self.rows()?;
        let driven: BTreeSet<RunId> = self.engine.driven().into_iter().collect();
        let mut rows: Vec<Arc<Row>> =
            rows.into_iter().filter(|row| filter.wants(row, driven.contains(&row.run))).collect();
        rows.sort_by_key(|row| Place::of(row));
        let matching = rows.len();
        let begin =
            filter.after.map_or(0, |after| rows.partition_point(|row| Place::of(row) <= after));
        let rest = rows.get(begin..).unwrap_or_default();
        let shown = rest.get(..filter.limit).unwrap_or(rest);
        let next =
            shown.last().filter(|_| shown.len() < rest.len()).map(|row| Place::of(row).text());
        let now = self.now();
        Ok(RunsPage {
            runs: shown.iter().map(|row| row.listed(now, driven.contains(&row.run))).collect(),
            matching,
            next,
            unreadable: unread.into_iter().map(Unreadable::of).collect(),
        })
    }
}

impl Unreadable {
    fn of((run, why): (RunId, String)) -> Self {
        Self { run: run.to_string(), why }
    }
}

/// A place in the list: the newest first, by name where two are as old.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<i64>, String);

impl Place {
    fn of(row: &Row) -> Self {
        Self(Reverse(row.created.0), row.run.to_string())
    }

    fn text(&self) -> String {
        format!("{}.{}", self.0.0, self.1)
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let parts = text.split_once('.').and_then(|(ms, run)| Some((ms.parse().ok()?, run)));
        let (ms, run) = parts.ok_or_else(|| unfit("after", text, "the `next` of a page"))?;
        Ok(Self(Reverse(ms), run.to_owned()))
    }
}

/// What is wanted, read.
struct Filter {
    states: Vec<String>,
    runbook: Option<String>,
    label: Option<(String, String)>,
    owner: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    text: Option<String>,
    limit: usize,
    after: Option<Place>,
}

impl Filter {
    fn of(query: &RunsQuery) -> Result<Self, Problem> {
        let moment = |name, text: &Option<String>| {
            text.as_deref().map(|text| parse_moment(name, text)).transpose()
        };
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(unfit("limit", &limit.to_string(), &format!("1 to {LIMIT_MAX}")));
        }
        Ok(Self {
            states: query.state.as_deref().map(parse_states).transpose()?.unwrap_or_default(),
            runbook: query.runbook.clone(),
            label: query.label.as_deref().map(parse_label).transpose()?,
            owner: query.owner.clone(),
            since: moment("since", &query.since)?,
            until: moment("until", &query.until)?,
            text: query.text.as_ref().map(|text| text.to_lowercase()),
            limit: usize::from(limit),
            after: query.after.as_deref().map(Place::parse).transpose()?,
        })
    }

    fn wants(&self, row: &Row, driven: bool) -> bool {
        let word = row.word(driven);
        // Messages to people outside are runs too, and are shown to who asks for them.
        let asks_for_messages = self.label.as_ref().is_some_and(|(key, _)| key == ABOUT_LABEL);
        (asks_for_messages || !row.labels.contains_key(ABOUT_LABEL))
            && (self.states.is_empty() || self.states.iter().any(|state| state == word))
            && self.runbook.as_ref().is_none_or(|name| name == row.runbook())
            && self.label.as_ref().is_none_or(|(key, value)| row.labels.get(key) == Some(value))
            && self.owner.as_ref().is_none_or(|owner| row.owner() == Some(owner))
            && self.since.is_none_or(|since| row.created >= since)
            && self.until.is_none_or(|until| row.created < until)
            && self.text.as_ref().is_none_or(|text| row.has_text(text))
    }
}

fn parse_states(text: &str) -> Result<Vec<String>, Problem> {
    let states: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    match states.iter().find(|word| !STATES.contains(&word.as_str())) {
        Some(wrong) => Err(unfit("state", wrong, &format!("one of {}", STATES.join(", ")))),
        None => Ok(states),
    }
}

fn parse_label(text: &str) -> Result<(String, String), Problem> {
    let (key, value) = text.split_once(':').ok_or_else(|| unfit("label", text, "`key:value`"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_moment(name: &str, text: &str) -> Result<Timestamp, Problem> {
    let read = DateTime::parse_from_rfc3339(text);
    let moment = read.map_err(|_| unfit(name, text, "a moment as 2026-01-31T12:00:00Z"))?;
    Ok(Timestamp(moment.timestamp_millis()))
}

fn unfit(name: &str, given: &str, wanted: &str) -> Problem {
    let detail = format!("`{name}` is `{given}`; wanted is {wanted}");
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "unreadable request", detail)
}
