//! `doctor`: is this machine fit to drive a rollback? Each finding has a verdict and what to do.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backout_core::limits::CAPTURE_BYTES_MAX;
use backout_runtime::survey::Looked;
use backout_server::client::Client;
use backout_server::view::{counted, duration};
use chrono::DateTime;
use serde::Serialize;

use super::plan::surveyed;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::ParamArgs;
use crate::reading::Reading;
use crate::view::style::{GOOD, TROUBLE, WARN, paint};
use crate::view::text::wrapped;

/// Writes that are timed: enough that one slow moment does not decide.
const SYNCS: u32 = 25;
/// Bytes of one: an append of a busy run.
const SYNC_BYTES: usize = 4 * 1024;
/// A sync in the middle that is slower makes a run slow; each effect waits for two.
const SYNC_SLOW: Duration = Duration::from_millis(30);
/// Slower than this, a disk is failing or shared to death.
const SYNC_BAD: Duration = Duration::from_millis(500);
/// Bytes below which the output of one effect may fill the disk.
const ROOM_LOW: u64 = 4 * CAPTURE_BYTES_MAX;
/// Bytes below which a run would soon stop for want of room.
const ROOM_BAD: u64 = CAPTURE_BYTES_MAX;
/// Milliseconds that a record may be ahead of this machine's clock.
const CLOCK_AHEAD_MS: i64 = 5_000;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 fit, or with something to know; 1 something must be mended first."
)]
pub(crate) struct Args {
    /// A runbook whose targets are looked at too
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    params: ParamArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    Attention,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Good, found: found.into(), help: None }
    }

    fn attention(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        let verdict = Verdict::Attention;
        Self { what, verdict, found: found.into(), help: Some(help.into()) }
    }

    fn bad(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Bad, found: found.into(), help: Some(help.into()) }
    }
}

#[derive(Serialize)]
struct Report {
    verdict: Verdict,
    findings: Vec<Finding>,
}

/// Looks at everything, and says in one line whether it will do.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let folder = app.store()?;
    let mut findings = vec![store(app), syncs(&folder), room(&folder), clock(app)];
    findings.push(app.block_on(async { Ok(socket(&folder).await) })?);
    findings.push(channels());
    if let Some(file) = &args.file {
        findings.push(targets(app, file, &args.params)?);
    }
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good);
    let report = Report { verdict, findings };
    if args.json {
        app.ui.json(&report)?;
    } else {
        app.ui.data(shown(&report, app.ui.width).trim_end())?;
    }
    Ok(if verdict == Verdict::Bad { Exit::RunFailed } else { Exit::Done })
}

fn shown(report: &Report, width: usize) -> String {
    const COLUMNS: usize = 22;
    let mut out = String::new();
    for finding in &report.findings {
        let (style, word) = match finding.verdict {
            Verdict::Good => (GOOD, "ok  "),
            Verdict::Attention => (WARN, "note"),
            Verdict::Bad => (TROUBLE, "BAD "),
        };
        let text = wrapped(&finding.found, COLUMNS, width);
        let _ = writeln!(out, "{}  {:<15} {}", paint(style, word), finding.what, text.trim());
        if let Some(help) = &finding.help {
            out.push_str(&wrapped(help, COLUMNS, width));
        }
    }
    out.push_str(match report.verdict {
        Verdict::Good => "\nFit: a rollback can be driven from here.\n",
        Verdict::Attention => "\nUsable: a rollback can be driven from here; see the notes.\n",
        Verdict::Bad => "\nNOT fit: mend what is BAD first, or drive the rollback elsewhere.\n",
    });
    out
}

/// Whether the store can be read, and every run in it.
fn store(app: &App) -> Finding {
    let what = "store";
    let reading = match Reading::open(app) {
        Ok(reading) => reading,
        Err(failure) => return Finding::bad(what, failure.to_string(), "backout verify"),
    };
    let broken: Vec<String> = reading
        .names()
        .iter()
        .filter(|run| reading.state(run).is_err())
        .map(ToString::to_string)
        .collect();
    let place = reading.place();
    if broken.is_empty() {
        let runs = counted(reading.names().len(), "run");
        return Finding::good(what, format!("{place}, {runs}, all readable"));
    }
    let found = format!("{place}: cannot be read: run {}", broken.join(", "));
    Finding::bad(what, found, "backout verify names the first bad byte; others are not touched")
}

/// How long the disk takes until something is really there: every effect waits for it.
fn syncs(folder: &Path) -> Finding {
    let what = "disk";
    let timed = match timed_syncs(folder) {
        Ok(timed) => timed,
        Err(error) => {
            let found = format!("nothing can be written in {}: {error}", folder.display());
            return Finding::bad(what, found, "give the store another folder by --store DIR");
        }
    };
    let middle = timed.get(timed.len() / 2).copied().unwrap_or_default();
    let worst = timed.last().copied().unwrap_or_default();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let found = format!("a sync takes {:.1} ms, at worst {:.1} ms", ms(middle), ms(worst));
    if middle > SYNC_BAD {
        Finding::bad(what, found, "the disk is failing, or others use it up; use another folder")
    } else if middle > SYNC_SLOW {
        Finding::attention(what, found, "each effect waits for two syncs: it will be slow")
    } else {
        Finding::good(what, found)
    }
}

fn timed_syncs(folder: &Path) -> std::io::Result<Vec<Duration>> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!(".doctor.{}", std::process::id()));
    let mut file = File::create(&path)?;
    let timed: std::io::Result<Vec<Duration>> = (0..SYNCS)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[0; SYNC_BYTES])?;
            file.sync_data()?;
            Ok(begin.elapsed())
        })
        .collect();
    std::fs::remove_file(&path)?;
    let mut timed = timed?;
    timed.sort_unstable();
    Ok(timed)
}

fn room(folder: &Path) -> Finding {
    let what = "room";
    let free = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Finding::attention(what, format!("not known: {error}"), "look by df");
        }
    };
    let found = format!("{} MiB free", free / (1024 * 1024));
    let help =
        "a run stops between two effects when the disk is full, and goes on when there is room";
    match free {
        free if free < ROOM_BAD => Finding::bad(what, found, help),
        free if free < ROOM_LOW => Finding::attention(what, found, help),
        _ => Finding::good(what, found),
    }
}

/// A clock that was set back makes timers late and the order of records hard to read.
fn clock(app: &App) -> Finding {
    let what = "clock";
    let Ok(reading) = Reading::open(app) else {
        return Finding::good(what, "no record to compare");
    };
    let now = app.now_ms();
    let newest = reading
        .names()
        .iter()
        .filter_map(|run| reading.view(run, now).ok())
        .filter_map(|view| DateTime::parse_from_rfc3339(&view.last).ok())
        .map(|last| last.timestamp_millis())
        .max();
    match newest {
        Some(newest) if newest > now + CLOCK_AHEAD_MS => {
            let ahead = duration(u64::try_from(newest - now).unwrap_or(0));
            let found = format!("the newest record is {ahead} ahead of this machine's clock");
            Finding::attention(
                what,
                found,
                "set the clock by NTP: timers wait until it has caught up",
            )
        }
        _ => Finding::good(what, "no record is ahead of it"),
    }
}

async fn socket(folder: &Path) -> Finding {
    let what = "engine";
    let begin = Instant::now();
    match Client::find(folder).await {
        Ok(None) => Finding::good(what, "none runs on this store; a run or resume begins one"),
        Ok(Some((_, owner))) => {
            let took = begin.elapsed().as_millis();
            let drives = counted(owner.drives.len(), "run");
            Finding::good(
                what,
                format!("process {} answers in {took} ms, drives {drives}", owner.pid),
            )
        }
        Err(error) => Finding::bad(
            what,
            format!("the owner of the store does not answer: {error}"),
            "it may hang: end that process, then backout resume",
        ),
    }
}

fn channels() -> Finding {
    let what = "people outside";
    match backout_plugin_notify::place() {
        Some(file) if file.exists() => Finding::good(what, format!("told by {}", file.display())),
        Some(file) => Finding::attention(
            what,
            format!("nobody is told: there is no {}", file.display()),
            "comms and escalation of a runbook need it; docs/howto/notify.md",
        ),
        None => Finding::attention(what, "nobody is told", "set BACKOUT_CHANNELS to a file"),
    }
}

fn targets(app: &App, file: &Path, params: &ParamArgs) -> Result<Finding, Failure> {
    let what = "targets";
    let (_, report) = surveyed(app, file, params)?;
    let (refused, unseen) = (report.count(Looked::Refused), report.count(Looked::NotSeen));
    let said = report
        .steps
        .iter()
        .filter_map(|step| Some(format!("{}: {}", step.id, step.reason.as_ref()?)));
    let said: Vec<String> = said.collect();
    let help = format!("backout ready {}", file.display());
    Ok(match (refused, unseen) {
        (0, 0) => {
            let steps = counted(report.steps.len(), "step");
            Finding::good(what, format!("{steps} of {} looked at", report.runbook))
        }
        // What cannot be seen from here cannot be taken back from here either.
        _ => Finding::bad(what, said.join("; "), help),
    })
}
