//! `tabletop`: the discussion. The facilitator shows a situation and its questions, the team says what
//! it would do, and what the runbook's plan would do is shown beside it. With `--listen` each says it
//! from their own screen.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use backout_core::exercise::calls_emergency;
use backout_core::id::Timestamp;
use backout_core::plan::Plan;
use backout_server::{Face, Witness};
use backout_store::MemoryStore;
use backout_tabletop::console::Typed;
use backout_tabletop::discussion::Discussion;
use backout_tabletop::scenario::Scenario;

use crate::access::AccessArgs;
use crate::app::App;
use crate::exercise::join::{self, Joining};
use crate::exercise::{self, Console, Kept, Led, PartArgs, Prompts, Room, broken};
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::{people, runbook_file};

/// How to answer at one terminal.
const HOW: &str = "Answer in your own words or by number; an empty line is no answer; REAL EMERGENCY \
                   ends it.";

/// Arguments of `tabletop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenario
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// The runbook that it is about [default: the one that the scenario names, beside it]
    #[arg(long, value_name = "FILE")]
    runbook: Option<PathBuf>,
    #[command(flatten)]
    params: ParamArgs,
    /// Let each say it on a page of their own, here; port 0 takes any free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    parts: PartArgs,
    /// Keep the exercise in this new folder
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Leave names out of the report
    #[arg(long)]
    no_names: bool,
}

/// Asks, and writes down what is answered.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let mut scenario = exercise::scenario_alone(app, &args.scenario)?;
    if scenario.questions.is_empty() {
        let message = format!("{} has no questions", args.scenario.display());
        return Err(Failure::usage(message, "add `questions`, or run it with `backout drill`"));
    }
    args.parts.give(&mut scenario)?;
    let plan = plan(app, args, &scenario)?;
    if let Some(plan) = &plan {
        exercise::show_open(app, &plan.name)?;
    }
    let kept = exercise::keep(app, args.record.as_deref(), &scenario.name)?;
    let begin = |now: Timestamp| Discussion::begin(scenario, plan.as_ref(), now);
    let room = match args.listen {
        Some(_) => {
            let joining = Joining { listen: args.listen, access: &args.access };
            join::discussion(app, joining, begin, &kept)?
        }
        None => at_one_terminal(app, begin, &kept)?,
    };
    let record = room.record();
    kept.write(&record, &exercise::talked(&record, args.no_names))?;
    app.ui.data(&format!("kept in {}", kept.folder.display()))?;
    Ok(Exit::Done)
}

/// The team answers together, at this terminal.
fn at_one_terminal(
    app: &App,
    begin: impl FnOnce(Timestamp) -> Discussion,
    kept: &Kept,
) -> Result<Arc<Room>, Failure> {
    let witness = Witness::over(Arc::new(MemoryStore::new()));
    let room = Room::open(begin, &kept.folder, witness.clone()).map_err(broken)?;
    let face = Face::new(exercise::desk_of(&room), witness, String::new());
    let mut console = Console::new(app, room.clone(), face);
    console.welcome(&[], HOW);
    while !console.is_over() {
        console.tell();
        match app.ui.ask(">") {
            None => console.end("nobody answers any more")?,
            Some(line) => answered(&room, &mut console, line)?,
        }
    }
    if !console.shout_emergency() {
        console.over();
        talk(app, &room)?;
    }
    Ok(room)
}

/// The team's answer, what the plan would do beside it, and then the next question.
fn answered(room: &Room, console: &mut Console<'_>, line: String) -> Result<(), Failure> {
    if calls_emergency(&line) {
        let typed = Typed::Emergency(line);
        return room.typed(&typed, &people::user()).map(drop).map_err(broken);
    }
    for typed in [Typed::Reply(None, line), Typed::Show, Typed::Next(None)] {
        room.typed(&typed, "").map_err(broken)?;
    }
    console.tell();
    Ok(())
}

/// The hotwash: asked where somebody types, else told.
fn talk(app: &App, room: &Room) -> Result<(), Failure> {
    let record = room.record();
    if !app.ui.interactive {
        app.ui.say(&record.scenario.hotwash().join("\n"));
        return Ok(());
    }
    let mut prompts = Prompts::of(&record);
    while let Some(prompt) = prompts.next(&room.record()) {
        app.ui.say(&prompt.asks());
        let Some(line) = app.ui.ask(">") else { return Ok(()) };
        let answer = prompts.answer(room, prompt, &line, &people::user());
        if let Some(answer) = answer.map_err(broken)? {
            app.ui.say(&answer);
        }
    }
    Ok(())
}

/// The plan of the runbook, where there is one.
fn plan(app: &App, args: &Args, scenario: &Scenario) -> Result<Option<Plan>, Failure> {
    let beside =
        scenario.runbook.as_ref().and_then(|name| Some(args.scenario.parent()?.join(name)));
    let Some(file) = args.runbook.clone().or(beside) else { return Ok(None) };
    let mut given = params::read(&args.params)?;
    for (name, value) in &scenario.params {
        let value = backout_runbook::GivenParam::Value(value.clone());
        given.entry(name.clone()).or_insert(value);
    }
    Ok(Some(runbook_file::load(app, &app.host(), &file, &given)?.plan))
}
