//! `verify`: every checksum and every chain of the store, of one run, or of an exported file.

use std::path::Path;

use backout_core::id::{RunId, Seq};
use backout_core::redact::{Rule, Taken};
use backout_store::{Finding, find_head, head, verify};
use serde::Serialize;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::{self, Reading};
use crate::view::style::{GOOD, TROUBLE, paint};
use backout_server::view::counted;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`, or an exported file; without it, the whole store
    #[arg(value_name = "RUN|FILE")]
    run: Option<String>,
    /// The head of the run's chain as it was kept elsewhere: proves that nothing was changed since
    #[arg(long, value_name = "HEX", requires = "run")]
    head: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    sound: bool,
    runs: usize,
    findings: Vec<Found>,
    /// The head of the one run that was checked.
    head: Option<String>,
    /// The event that has the head that was given.
    head_at: Option<u64>,
    /// How many events follow that one.
    after_head: Option<u64>,
    /// Of a redacted file: how much was taken out, by rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<Taken>,
}

#[derive(Serialize)]
struct Found {
    run: Option<String>,
    file: String,
    offset: u64,
    what: String,
}

impl From<Finding> for Found {
    fn from(found: Finding) -> Self {
        let run = found.run.map(|run| run.to_string());
        Self { run, file: found.file, offset: found.offset, what: found.what }
    }
}

/// Checks, and ends with 1 where something is not what was written.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let (report, run) = match args.run.as_deref().map(Path::new).filter(|path| path.is_file()) {
        Some(file) => of_file(file, args.head.as_deref())?,
        None => of_store(app, args)?,
    };
    if args.json {
        app.ui.json(&report)?;
    } else {
        app.ui.data(&shown(&report, run.as_ref()))?;
    }
    Ok(if report.sound { Exit::Done } else { Exit::RunFailed })
}

fn of_store(app: &App, args: &Args) -> Result<(Report, Option<RunId>), Failure> {
    let reading = Reading::open(app)?;
    let run = args.run.as_deref().map(|name| reading.find(name)).transpose()?;
    Ok((report(&reading, run.as_ref(), args.head.as_deref())?, run))
}

/// A file is read whole, or its first fault is the failure. A head that was kept earlier is found in
/// the chain that the file goes on from.
fn of_file(path: &Path, wanted: Option<&str>) -> Result<(Report, Option<RunId>), Failure> {
    let file = reading::exported_with_head(path, wanted)?;
    let last = file.events.as_ref().and_then(|events| events.last()).map(|last| last.seq.0);
    let head_at = file.head_at.map(|at| at.0);
    let missing = wanted.filter(|_| head_at.is_none());
    let findings: Vec<Found> =
        missing.map(|wanted| other_history(&file.run, wanted)).into_iter().collect();
    let report = Report {
        sound: findings.is_empty(),
        runs: 1,
        head_at,
        after_head: last.zip(head_at).map(|(last, at)| last.saturating_sub(at)),
        head: Some(file.head),
        findings,
        redacted: file.redacted.map(|(_, taken)| taken),
    };
    Ok((report, Some(file.run)))
}

fn report(reading: &Reading, run: Option<&RunId>, wanted: Option<&str>) -> Result<Report, Failure> {
    let Some(reader) = reading.reader() else {
        return Ok(Report {
            sound: true,
            runs: 0,
            findings: Vec::new(),
            head: None,
            head_at: None,
            after_head: None,
            redacted: None,
        });
    };
    let mut findings: Vec<Found> =
        verify(reading.folder(), run)?.into_iter().map(Found::from).collect();
    let mut head_at: Option<Seq> = None;
    if let (Some(run), Some(wanted), true) = (run, wanted, findings.is_empty()) {
        head_at = find_head(reader, run, &wanted.to_ascii_lowercase())?;
        if head_at.is_none() {
            findings.push(other_history(run, wanted));
        }
    }
    Ok(Report {
        sound: findings.is_empty(),
        runs: run.map_or(reading.names().len(), |_| 1),
        findings,
        head: run.and_then(|run| head(reader, run).ok()),
        head_at: head_at.map(|seq| seq.0),
        after_head: head_at.and_then(|at| Some(after(reading, run?, at))),
        redacted: None,
    })
}

/// How many events of a run follow one of them.
fn after(reading: &Reading, run: &RunId, at: Seq) -> u64 {
    let last = reading.state(run).map_or(at, |state| state.seq);
    last.0.saturating_sub(at.0)
}

fn other_history(run: &RunId, wanted: &str) -> Found {
    Found {
        run: Some(run.to_string()),
        file: format!("run {run}"),
        offset: 0,
        what: format!(
            "no event has the head {wanted}: the record was changed, or it is another run's"
        ),
    }
}

fn shown(report: &Report, run: Option<&RunId>) -> String {
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .map(|f| {
            format!("{} {} at byte {}: {}", paint(TROUBLE, "damaged"), f.file, f.offset, f.what)
        })
        .collect();
    if report.sound {
        let what = run.map_or_else(|| counted(report.runs, "run"), |run| format!("run {run}"));
        lines.push(format!("{} {what}: every checksum and chain holds", paint(GOOD, "sound")));
    }
    if let Some(at) = report.head_at {
        let more = report.after_head.and_then(|count| usize::try_from(count).ok());
        let more = match more {
            Some(0) => "the record ends there".to_owned(),
            Some(count) => format!("the record goes on from it by {}", counted(count, "event")),
            None => "the record goes on from it".to_owned(),
        };
        lines.push(format!(
            "the head that was kept is event {at}: nothing up to it was changed; {more}"
        ));
    }
    if let Some(taken) = &report.redacted {
        lines.push(
            "it is redacted: the chain is that of the store, what it says is as given".into(),
        );
        let removed = |(rule, count): (&Rule, &u64)| format!("removed {count}: {}", rule.words());
        lines.extend(taken.iter().map(removed));
    }
    if let Some(head) = &report.head {
        lines.push(format!("head {head}"));
    }
    lines.join("\n")
}
