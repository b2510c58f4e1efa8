//! `replay`: a record walked through as the people saw it, checked, or left at one moment for another
//! way. Nothing is executed; the journal's bytes are the only input.

mod page;
mod player;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use backout_core::event::Recorded;
use backout_core::id::Seq;
use backout_core::plan::Plan;
use backout_server::view::duration;
use backout_tabletop::decisions::Decision;
use backout_tabletop::drill::{Drill, Setup};
use backout_tabletop::replay::{Comparison, Tape, Verified, compare, verify};
use backout_tabletop::scenario::Scenario;

use crate::app::App;
use crate::exercise::{self, broken};
use crate::exit::{Exit, Failure};
use crate::reading::{self, Reading};
use crate::view::style::{GOOD, TROUBLE, WARN, paint};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`; or an exported file
    #[arg(value_name = "RUN|FILE")]
    run: String,
    /// Run the core over the record: is every state reproduced, and every decision?
    #[arg(long, conflicts_with_all = ["what_if", "at"])]
    verify: bool,
    /// Show what was known after this event, and end
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// How much faster than it was; 0 waits for a key at every event
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed: f64,
    /// Leave the record after this event, and go on in a simulated world
    #[arg(long, value_name = "SEQ", conflicts_with = "at")]
    what_if: Option<u64>,
    /// What is decided there instead; times count from where the record is left
    #[arg(long, value_name = "FILE", requires = "what_if")]
    auto: Option<PathBuf>,
    /// What happens there besides
    #[arg(long, value_name = "FILE", requires = "what_if")]
    scenario: Option<PathBuf>,
    /// Keep the other way in this new folder
    #[arg(long, value_name = "DIR", requires = "what_if")]
    record: Option<PathBuf>,
    /// Replay it on a page, on this machine alone; port 0 takes any free one
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["verify", "at", "what_if", "json", "speed"])]
    listen: Option<SocketAddr>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Plays, verifies, or leaves the record.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let (journal, redacted) = journal(app, &args.run)?;
    if let Some(listen) = args.listen {
        return page::serve(app, listen, journal);
    }
    if args.verify {
        return verified(app, args, &verify(&journal, redacted));
    }
    if let Some(at) = args.what_if {
        return what_if(app, args, &journal, Seq(at));
    }
    let mut tape = Tape::new(journal);
    if let Some(at) = args.at {
        tape.jump_to(Seq(at)).map_err(broken)?;
        return player::show(app, &tape, args.json);
    }
    player::play(app, tape, args.speed)
}

/// The events of a run of the store, or of an exported file; and whether they are redacted.
fn journal(app: &App, name: &str) -> Result<(Vec<Recorded>, bool), Failure> {
    let path = Path::new(name);
    if path.is_file() {
        return of_file(path);
    }
    let reading = Reading::open(app)?;
    let run = reading.find(name)?;
    let (events, damage) = reading.readable(&run)?;
    damage.map_or(Ok((events, false)), Err)
}

fn of_file(path: &Path) -> Result<(Vec<Recorded>, bool), Failure> {
    let exported = reading::exported(path)?;
    let events = exported.events.ok_or_else(|| {
        Failure::usage(
            format!("{} holds digests alone, and no events", path.display()),
            "have it exported again, with --redact by a newer release or without it",
        )
    })?;
    Ok((events, exported.redacted.is_some()))
}

fn verified(app: &App, args: &Args, verified: &Verified) -> Result<Exit, Failure> {
    if args.json {
        app.ui.json(verified)?;
    } else {
        app.ui.data(&shown(verified))?;
    }
    Ok(if verified.is_sound() { Exit::Done } else { Exit::RunFailed })
}

fn shown(verified: &Verified) -> String {
    let mut lines = Vec::new();
    match &verified.broken {
        None => lines.push(format!(
            "{} {} events, every state reproduced",
            paint(GOOD, "sound"),
            verified.events
        )),
        Some(why) => lines.push(format!(
            "{} after {} of {} events: {why}",
            paint(TROUBLE, "broken"),
            verified.folded,
            verified.events
        )),
    }
    if verified.compared {
        lines.push(format!(
            "core {}: {} decided alike, {} came from outside, {} differ",
            verified.core,
            verified.decided,
            verified.given,
            verified.differs.len()
        ));
    } else if verified.core == verified.core_now {
        lines.push("it is redacted: decisions are not compared".to_owned());
    } else {
        lines.push(format!(
            "made by core {}, this is core {}: decisions are not compared",
            verified.core, verified.core_now
        ));
    }
    lines.extend(verified.differs.iter().map(|one| {
        format!("  {}: recorded {}\n      decided {}", one.seq, one.recorded, one.decided)
    }));
    lines.join("\n")
}

fn what_if(app: &App, args: &Args, journal: &[Recorded], at: Seq) -> Result<Exit, Failure> {
    let last = journal.last().map_or(Seq(0), |recorded| recorded.seq);
    if at > last {
        return Err(Failure::usage(
            format!("the record has {last} events, and none at {at}"),
            format!("leave it at an event from 1 to {last}"),
        ));
    }
    let setup = left(app, args, journal, at)?;
    let mut other = Drill::leave(setup, journal, at).map_err(broken)?;
    other.play().map_err(broken)?;
    let compared = compare(journal, other.journal(), at).map_err(broken)?;
    if let Some(folder) = &args.record {
        let mut kept = exercise::keep(app, Some(folder), "what-if")?;
        kept.record(&other)?;
        kept.write(&other.exercise(), &exercise::reported(&other, false))?;
    }
    if args.json {
        app.ui.json(&compared)?;
    } else {
        app.ui.data(&compared_words(&compared))?;
    }
    Ok(Exit::Done)
}

/// What the other way begins with: the plan as it was at that event, and other decisions.
fn left(app: &App, args: &Args, journal: &[Recorded], at: Seq) -> Result<Setup, Failure> {
    let mut tape = Tape::new(journal.to_vec());
    tape.jump_to(at).map_err(broken)?;
    let state = tape.state().ok_or_else(|| {
        Failure::usage(format!("the record has nothing at event {at}"), "name an event from 1 on")
    })?;
    let plan: Plan = state.plan.clone();
    let decisions: Vec<Decision> = match &args.auto {
        Some(path) => exercise::decided(app, path)?.decisions,
        None => Vec::new(),
    };
    let scenario = match &args.scenario {
        Some(path) => exercise::scenario_alone(app, path)?,
        None => Scenario {
            name: format!("what-if-{}", plan.name),
            title: format!("What if: {} from event {at}", plan.name),
            lasts: "24h".to_owned(),
            ..Scenario::default()
        },
    };
    Ok(Setup {
        run: state.run.clone(),
        plan,
        text: String::new(),
        guarantees: std::collections::BTreeMap::new(),
        seed: scenario.seed,
        scenario,
        begin: state.last,
        decisions,
        chaos: 0,
    })
}

fn compared_words(compared: &Comparison) -> String {
    let mut lines = vec![
        format!("{} left after event {}", paint(WARN, "WHAT-IF, simulated:"), compared.left_at),
        format!("  {:<22} {:<16} {}", "", "the record", "the other way"),
        format!("  {:<22} {:<16} {}", "the run", compared.record, compared.other),
        format!(
            "  {:<22} {:<16} {}",
            "took from there",
            duration(compared.record_ms),
            duration(compared.other_ms)
        ),
        format!("  {:<22} {:<16} {}", "effects sent", compared.record_sent, compared.other_sent),
        format!("  {:<22} {:<16} {}", "doubts", compared.record_doubts, compared.other_doubts),
    ];
    lines.extend(
        compared
            .steps
            .iter()
            .map(|one| format!("  {:<22} {:<16} {}", one.step, one.record, one.other)),
    );
    lines.join("\n")
}
