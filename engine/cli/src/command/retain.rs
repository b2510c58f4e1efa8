//! `retain`: removes finished runs that are old enough. The only command that removes a record.

use std::collections::BTreeMap;
use std::time::Duration;

use backout_core::id::{RunId, Timestamp};
use backout_server::view::{Listed, counted};
use backout_store::journal::StoreError;
use chrono::DateTime;
use serde::Serialize;

use super::tidy::Remains;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::{self, Reading};
use crate::view;

/// Arguments of `retain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long ago a run must have ended, as in `90d` or `2weeks`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Duration,
    /// Only list what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    removed: Vec<Listed>,
    kept: usize,
}

/// Removes them, or lists them.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let old = old(app, &reading, args);
    let removed: Vec<Listed> = if args.dry_run || reading.reader().is_none() {
        old.into_values().collect()
    } else {
        let removed = remove(app, &reading, args, &old)?;
        removed.iter().filter_map(|run| old.get(run.as_str()).cloned()).collect()
    };
    let kept = reading.names().len().saturating_sub(removed.len());
    let report = Report { dry_run: args.dry_run, removed, kept };
    if args.json {
        app.ui.json(&report)?;
    } else {
        shown(app, &report)?;
    }
    Ok(Exit::Done)
}

fn shown(app: &App, report: &Report) -> Result<(), Failure> {
    if !report.removed.is_empty() {
        app.ui.data(&view::status::list(&report.removed, app.now_ms()))?;
    }
    let done = if report.dry_run { "would be removed" } else { "removed" };
    let (removed, kept) = (counted(report.removed.len(), "run"), report.kept);
    app.ui.say(&format!("{removed} {done}, {kept} kept"));
    Ok(())
}

/// The runs that ended longer ago, by name. One that cannot be read is none of them.
fn old(app: &App, reading: &Reading, args: &Args) -> BTreeMap<String, Listed> {
    let now = Timestamp(app.now_ms());
    let views = reading.names().iter().filter_map(|run| reading.view(run, now.0).ok());
    let is_old = |ended: &str| {
        let ended = DateTime::parse_from_rfc3339(ended).map(|at| at.timestamp_millis());
        ended.is_ok_and(|ended| now.since_ms(Timestamp(ended)) > older_than_ms(args))
    };
    let old = views.filter(|view| view.ended.as_deref().is_some_and(is_old));
    old.map(|view| (view.run.clone(), view.listed())).collect()
}

fn older_than_ms(args: &Args) -> u64 {
    u64::try_from(args.older_than.as_millis()).unwrap_or(u64::MAX)
}

/// Only the store's owner may remove: another owner may be about to write to the same run.
fn remove(
    app: &App,
    reading: &Reading,
    args: &Args,
    old: &BTreeMap<String, Listed>,
) -> Result<Vec<RunId>, Failure> {
    let (store, opened, _) = reading::own(reading.folder()).map_err(refused)?;
    for line in &opened.lines {
        app.ui.warn(line);
    }
    let remains: Vec<Remains> =
        old.keys().filter_map(|run| Remains::of(reading, &RunId::from(run.as_str()))).collect();
    let removed = app.block_on(async {
        let now = Timestamp(app.now_ms());
        Ok(backout_store::retain(&store, older_than_ms(args), now).await?)
    })?;
    // Without their record nothing undoes them any more, so what they kept for that goes too.
    for one in remains.into_iter().filter(|one| removed.contains(one.run())) {
        one.remove(app)?;
    }
    Ok(removed)
}

fn refused(failure: Failure) -> Failure {
    match failure {
        Failure::Store(StoreError::Owned { pid, since }) => Failure::NeedsStore { pid, since },
        other => other,
    }
}
