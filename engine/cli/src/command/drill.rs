//! `drill`: a runbook rehearsed in a simulated world. No plugin is given to it: only what their
//! manifests and checks say of the runbook's inputs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use backout_server::view::counted;
use backout_tabletop::drill::{Drill, Setup};
use backout_tabletop::explore::{Explored, explore, play_seed};
use backout_tabletop::page::{html, markdown};
use backout_tabletop::report::{Report, handout};
use backout_tabletop::scenario::{csv, msel, table};
use clap::ValueEnum;

use crate::access::AccessArgs;
use crate::app::App;
use crate::exercise::join::{self, Joining};
use crate::exercise::{self, Kept, PartArgs, broken};
use crate::exit::{Exit, Failure};
use crate::params::ParamArgs;
use crate::view::style::{BOLD, GOOD, TROUBLE, WARN, paint};

/// Arguments of `drill`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The scenario
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    #[command(flatten)]
    params: ParamArgs,
    /// Play by itself with the decisions of this file; ends with 0 where all that is expected was met
    #[arg(long, value_name = "FILE")]
    auto: Option<PathBuf>,
    /// What decides every chance, in place of the scenario's own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Play so many seeds with trouble by chance, and tell where the runbook is weak
    #[arg(long, value_name = "N", conflicts_with = "auto")]
    explore: Option<u64>,
    /// Play the one seed of an exploration again, and keep its record
    #[arg(long, value_name = "N", conflicts_with_all = ["auto", "explore"])]
    explored: Option<u64>,
    /// How much faster than real time the clock goes, where people decide
    #[arg(long, value_name = "X", default_value_t = 1)]
    speed: u32,
    /// Let people join on a page and over the API, here; port 0 takes any free one
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["auto", "explore", "explored"])]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    parts: PartArgs,
    /// Print the master scenario events list and end
    #[arg(long, value_name = "FORM", value_enum)]
    msel: Option<Msel>,
    /// Print a handout as HTML and end
    #[arg(long, value_name = "FOR", value_enum)]
    handout: Option<Handout>,
    /// Keep the exercise in this new folder
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Leave names out of the report
    #[arg(long)]
    no_names: bool,
    /// Print the report as one JSON document
    #[arg(long)]
    json: bool,
}

/// A form of the events list.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Msel {
    /// A Markdown table
    Table,
    /// For a spreadsheet
    Csv,
}

/// Whom a handout is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Handout {
    /// The guide with the events list and what to look for
    Facilitator,
    /// What those who take part may read before
    Participants,
    /// The facilitator's guide as Markdown
    Markdown,
}

/// Plays, explores or prints.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let mut setup = exercise::setup(app, &args.file, &args.scenario, &args.params, args.seed)?;
    args.parts.give(&mut setup.scenario)?;
    if let Some(form) = args.msel {
        let rows = msel(&setup.scenario);
        let text = match form {
            Msel::Table => table(&rows),
            Msel::Csv => csv(&rows),
        };
        app.ui.data(&text)?;
        return Ok(Exit::Done);
    }
    if let Some(form) = args.handout {
        return print_handout(app, &setup, form);
    }
    if let Some(seeds) = args.explore {
        return explored(app, args, &setup, seeds);
    }
    exercise::show_open(app, &setup.plan.name)?;
    if let Some(path) = &args.auto {
        setup.decisions = exercise::decided(app, path)?.decisions;
        return play(app, args, setup);
    }
    if let Some(seed) = args.explored {
        return again(app, args, &setup, seed);
    }
    let kept = exercise::keep(app, args.record.as_deref(), &setup.scenario.name)?;
    let joining = Joining { listen: args.listen, access: &args.access };
    let table = join::drill(app, joining, setup, args.speed, &kept)?;
    table.look(|drill, _| finish(app, args, drill, &kept))
}

fn print_handout(app: &App, setup: &Setup, form: Handout) -> Result<Exit, Failure> {
    let page = handout(&setup.scenario, matches!(form, Handout::Participants));
    let text = match form {
        Handout::Facilitator | Handout::Participants => html(&setup.scenario.title, &page),
        Handout::Markdown => markdown(&page),
    };
    app.ui.data(&text)?;
    Ok(Exit::Done)
}

fn play(app: &App, args: &Args, setup: Setup) -> Result<Exit, Failure> {
    let mut drill = Drill::begin(setup).map_err(broken)?;
    drill.play().map_err(broken)?;
    let mut kept = exercise::keep(app, args.record.as_deref(), &drill.scenario().name)?;
    kept.record(&drill)?;
    finish(app, args, &drill, &kept)
}

fn again(app: &App, args: &Args, setup: &Setup, seed: u64) -> Result<Exit, Failure> {
    let drill = play_seed(setup, seed).map_err(broken)?;
    let mut kept = exercise::keep(app, args.record.as_deref(), &drill.scenario().name)?;
    kept.record(&drill)?;
    finish(app, args, &drill, &kept)
}

/// Keeps the report, shows the report in short, and says by the exit code whether all was met.
fn finish(app: &App, args: &Args, drill: &Drill, kept: &Kept) -> Result<Exit, Failure> {
    let report = exercise::reported(drill, args.no_names);
    kept.write(&drill.exercise(), &report)?;
    if args.json {
        app.ui.json(&report)?;
    } else {
        app.ui.data(&shown(&report))?;
    }
    app.ui.say(&format!("kept in {}", kept.folder.display()));
    app.ui.say(&format!("the run: backout --store {} status latest", kept.store().display()));
    let well = report.expected.iter().all(|one| one.verdict.is_well());
    Ok(if well { Exit::Done } else { Exit::RunFailed })
}

fn shown(report: &Report) -> String {
    let mut lines = vec![
        format!("{} {}", paint(WARN, "DRILL"), paint(BOLD, &report.title)),
        format!(
            "runbook {}, seed {}: the run {}; {}",
            report.runbook, report.seed, report.outcome, report.ended
        ),
    ];
    for one in &report.expected {
        let style = if one.verdict.is_well() { GOOD } else { TROUBLE };
        lines.push(format!(
            "  {} {}",
            paint(style, &format!("{:<8}", one.verdict.word())),
            one.expected
        ));
    }
    for one in &report.objectives {
        let rating = one.rating.map_or("-".to_owned(), |rating| format!("{rating:?}"));
        lines.push(format!("  {rating:<8} {} (by {})", one.text, one.rated_by));
    }
    lines.extend(report.findings.iter().map(|one| format!("  {} {one}", paint(WARN, "finding"))));
    lines.join("\n")
}

fn explored(app: &App, args: &Args, setup: &Setup, seeds: u64) -> Result<Exit, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let began = Instant::now();
    let first = args.seed.unwrap_or(0);
    let found = explore(setup, first, seeds, threads).map_err(broken)?;
    if args.json {
        app.ui.json(&found)?;
    } else {
        app.ui.data(&weak(&found))?;
        app.ui.say(&format!(
            "{} in {:.1}s",
            counted(usize::try_from(seeds).unwrap_or(0), "drill"),
            began.elapsed().as_secs_f64()
        ));
    }
    Ok(Exit::Done)
}

fn weak(found: &Explored) -> String {
    let ends: Vec<String> =
        found.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
    let mut lines = vec![format!("{} drills: {}", found.seeds, ends.join(", "))];
    for one in &found.weak {
        lines.push(format!(
            "  {:<24} {} (in {} of {}; `--explored {}` shows it)",
            if one.step.is_empty() { "the runbook" } else { &one.step },
            paint(WARN, one.weakness.words()),
            one.seeds,
            found.seeds,
            one.seed
        ));
    }
    lines.join("\n")
}
