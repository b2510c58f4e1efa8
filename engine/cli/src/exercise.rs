//! What the commands of exercises share: the scenario's file, the runbook that it is about, and the
//! folder in which an exercise is kept, apart from the real runs.

mod console;
mod desk;
mod hotwash;
pub(crate) mod join;
mod led;
mod lost;
mod parts;
mod room;
mod seat;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backout_core::event::Recorded;
use backout_core::id::{RunId, Timestamp};
use backout_runbook::{GivenParam, Problem, Source, Style, render};
use backout_runtime::survey::best_guarantee;
use backout_server::drilled::{STORE, exercises_of};
use backout_server::view::{counted, sentence};
use backout_store::EmbeddedStore;
use backout_tabletop::decisions::{self, Decisions};
use backout_tabletop::drill::{Broken, Drill, Setup};
use backout_tabletop::log::Exercise;
use backout_tabletop::page;
use backout_tabletop::record::Recorder;
use backout_tabletop::report::{Report, blocks, report, without_names};
use backout_tabletop::rng::digest;
use backout_tabletop::scenario::{self, Scenario};

pub(crate) use console::Console;
use desk::{DrillDesk, RoomDesk};
pub(crate) use hotwash::Prompts;
pub(crate) use led::Led;
pub(crate) use lost::{Why, report_of, unreported};
pub(crate) use parts::PartArgs;
pub(crate) use room::Room;
use table::TICK;
pub(crate) use table::Table;

use crate::app::App;
use crate::exit::Failure;
use crate::params::{self, ParamArgs};
use crate::{reading, runbook_file};

/// When an exercise begins, by its own clock: 03:00 UTC of a winter night. It is always the same, so
/// that the same seed and decisions give the same bytes.
const BEGIN: Timestamp = Timestamp(1_767_236_400_000);
/// Bytes of a scenario or of decisions: as of a runbook.
const BYTES_MAX: u64 = backout_core::limits::RUNBOOK_BYTES_MAX as u64;
/// Exercises of one scenario that are kept side by side.
const FOLDERS_MAX: u32 = 100_000;
/// The record of what was done besides.
const EXERCISE: &str = "exercise.json";
/// Locked by whoever leads the exercise, for as long as that process lives.
const LEADER: &str = "leader.lock";
/// The report for programs; the others have the same name.
pub(crate) const REPORT: &str = "report.json";

/// A scenario, and its runbook ready to be drilled.
pub(crate) fn setup(
    app: &App,
    runbook: &Path,
    scenario: &Path,
    args: &ParamArgs,
    seed: Option<u64>,
) -> Result<Setup, Failure> {
    let text = read(scenario)?;
    // The parameters stand in the scenario; what it names of the runbook is checked afterwards.
    let first = parsed(app, scenario, &text, |text| scenario::read(text, None))?;
    let mut given = params::read(args)?;
    for (name, value) in &first.params {
        given.entry(name.clone()).or_insert_with(|| GivenParam::Value(value.clone()));
    }
    made_for(app, runbook, scenario, &first);
    let host = app.host();
    let loaded = runbook_file::load(app, &host, runbook, &given)?;
    let scenario = parsed(app, scenario, &text, |text| scenario::read(text, Some(&loaded.plan)))?;
    let best =
        |step: &backout_core::plan::PlanStep| Some((step.id.clone(), best_guarantee(&host, step)?));
    let seed = seed.unwrap_or(scenario.seed);
    Ok(Setup {
        run: RunId::from_random(digest(&format!("{} {seed}", scenario.name))),
        guarantees: loaded.plan.steps.iter().filter_map(best).collect(),
        plan: loaded.plan,
        text: loaded.text,
        scenario,
        seed,
        begin: BEGIN,
        decisions: Vec::new(),
        chaos: 0,
    })
}

/// Says where a scenario is made for another runbook: its injects and what it expects may never come.
fn made_for(app: &App, runbook: &Path, file: &Path, scenario: &Scenario) {
    let named = scenario.runbook.as_ref().and_then(|name| Some(file.parent()?.join(name)));
    let (Some(named), Ok(given)) = (named, runbook.canonicalize()) else { return };
    if named.canonicalize().is_ok_and(|named| named != given) {
        app.ui.warn(&format!(
            "{} is made for {}, and this drills {}: what it expects may never come",
            file.display(),
            named.display(),
            runbook.display()
        ));
    }
}

/// A scenario alone, for a discussion.
pub(crate) fn scenario_alone(app: &App, path: &Path) -> Result<Scenario, Failure> {
    let text = read(path)?;
    parsed(app, path, &text, |text| scenario::read(text, None))
}

/// A file of decisions.
pub(crate) fn decided(app: &App, path: &Path) -> Result<Decisions, Failure> {
    let text = read(path)?;
    parsed(app, path, &text, decisions::read)
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::file(format!("reading {}", path.display()), error);
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > BYTES_MAX {
        let what = format!("reading {}", path.display());
        return Err(Failure::file(what, format!("it has more than {BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Reads a text, and shows every problem with the lines under it.
fn parsed<T>(
    app: &App,
    path: &Path,
    text: &str,
    read: impl Fn(&str) -> Result<T, Vec<Problem>>,
) -> Result<T, Failure> {
    read(text).map_err(|problems| {
        let name = path.display().to_string();
        let source = Source { name: &name, text };
        let style =
            Style { width: app.ui.width.min(120), colour: true, unicode: app.ui.interactive };
        for problem in &problems {
            app.ui.say(render(problem, &source, style).trim_end());
        }
        Failure::InvalidRunbook { file: name, count: counted(problems.len(), "problem") }
    })
}

/// The folder of all exercises: beside the store of the real runs, and never in it.
pub(crate) fn root(app: &App) -> Result<PathBuf, Failure> {
    Ok(exercises_of(&app.store()?))
}

/// An exercise that is kept.
pub(crate) struct Kept {
    /// Its folder.
    pub(crate) folder: PathBuf,
    recorder: Option<Recorder>,
}

/// Makes a folder for an exercise: the given one, or the next of its scenario.
pub(crate) fn keep(app: &App, given: Option<&Path>, name: &str) -> Result<Kept, Failure> {
    let folder = match given {
        Some(folder) => made(folder)?.then(|| folder.to_owned()).ok_or_else(|| {
            Failure::usage(format!("{} is there already", folder.display()), "name a new folder")
        })?,
        None => next(&root(app)?, name)?,
    };
    Ok(Kept { folder, recorder: None })
}

fn next(root: &Path, name: &str) -> Result<PathBuf, Failure> {
    for number in 1..FOLDERS_MAX {
        let folder = root.join(format!("{name}-{number}"));
        if made(&folder)? {
            return Ok(folder);
        }
    }
    Err(Failure::usage(
        format!("{} has too many exercises of {name}", root.display()),
        "move the old ones away",
    ))
}

/// Makes a folder; false where it is there already.
fn made(folder: &Path) -> Result<bool, Failure> {
    let failed = |error| Failure::file(format!("making {}", folder.display()), error);
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

impl Kept {
    /// The exercise in a folder that is there.
    fn at(folder: PathBuf) -> Self {
        Self { folder, recorder: None }
    }

    /// Writes what is new in the run's journal into the exercise's own store.
    pub(crate) fn record(&mut self, drill: &Drill) -> Result<(), Failure> {
        let Some(state) = drill.state() else { return Ok(()) };
        if self.recorder.is_none() {
            let (store, _) = self.own()?;
            self.recorder = Some(Recorder::new(Arc::clone(&store) as _, state.run.clone()));
        }
        let Some(recorder) = &mut self.recorder else { return Ok(()) };
        recorder.write(drill.journal()).map_err(|why| Failure::file("writing the record", why))
    }

    /// Opens the exercise's own store; also since when, RFC 3339.
    pub(crate) fn own(&self) -> Result<(Arc<EmbeddedStore>, String), Failure> {
        let (store, _, since) = reading::own(&self.store())?;
        Ok((store, since))
    }

    /// Writes the record of what was done, and the report in its three forms.
    pub(crate) fn write(&self, exercise: &Exercise, report: &Report) -> Result<(), Failure> {
        let page = blocks(report);
        self.put(EXERCISE, &json(exercise)?)?;
        self.put(REPORT, &json(report)?)?;
        self.put("report.md", &page::markdown(&page))?;
        self.put("report.html", &page::html(&format!("Report: {}", report.title), &page))
    }

    fn put(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.folder.join(name);
        let failed = |error| Failure::file(format!("writing {}", path.display()), error);
        fs::write(&path, text).map_err(failed)
    }

    /// The store, for who wants to look at the run as at any other.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join(STORE)
    }
}

/// A document as it is kept.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|error| Failure::Internal(error.to_string()))? + "\n")
}

/// The report of a drill.
pub(crate) fn reported(drill: &Drill, no_names: bool) -> Report {
    let exercise = drill.exercise();
    let report = report(&exercise, drill.journal(), &sentence);
    if no_names { without_names(&report, &exercise) } else { report }
}

/// The report of an exercise and the journal of its run.
fn reported_of(record: &Exercise, journal: &[Recorded]) -> Report {
    report(record, journal, &sentence)
}

/// The report of a discussion.
pub(crate) fn talked(record: &Exercise, no_names: bool) -> Report {
    let report = reported_of(record, &[]);
    if no_names { without_names(&report, record) } else { report }
}

/// The desk of a discussion, for the face of a terminal.
pub(crate) fn desk_of(room: &Arc<Room>) -> impl backout_server::desk::Desk + 'static + use<> {
    RoomDesk::new(room.clone())
}

/// An exercise that cannot go on.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn broken(error: Broken) -> Failure {
    Failure::Internal(error.to_string())
}

/// A report that is kept, with its folder's name.
pub(crate) struct OldReport {
    /// The folder's name.
    pub(crate) exercise: String,
    /// Where the report is.
    pub(crate) path: PathBuf,
    /// The report.
    pub(crate) report: Report,
}

/// The reports of all exercises that are kept, oldest first. What cannot be read is told and left
/// out.
pub(crate) fn reports(app: &App) -> Result<Vec<OldReport>, Failure> {
    let root = root(app)?;
    let Ok(entries) = fs::read_dir(&root) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path().join(REPORT);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match serde_json::from_str::<Report>(&text) {
            Ok(report) => {
                let exercise = entry.file_name().to_string_lossy().into_owned();
                let written = entry.metadata().and_then(|meta| meta.modified()).ok();
                all.push((written, OldReport { exercise, path, report }));
            }
            Err(error) => app.ui.warn(&format!("{} cannot be read: {error}", path.display())),
        }
    }
    all.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.exercise.cmp(&b.exercise)));
    Ok(all.into_iter().map(|(_, report)| report).collect())
}

/// What earlier exercises of this runbook left to be improved.
pub(crate) fn show_open(app: &App, runbook: &str) -> Result<(), Failure> {
    let reports = reports(app)?;
    let of = reports.iter().filter(|old| old.report.runbook == runbook);
    let open: Vec<String> = of
        .flat_map(|old| &old.report.improvements)
        .filter(|one| one.state == "open")
        .map(|one| format!("  {} ({}, {})", one.action, one.owner, one.due))
        .collect();
    if !open.is_empty() {
        app.ui.say(&format!("open improvements of {runbook}:\n{}", open.join("\n")));
    }
    Ok(())
}
