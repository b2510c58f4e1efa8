//! `tabletop`: the discussion. The facilitator shows a situation and its questions, the team says what
//! it would do, and what the runbook's plan would do is shown beside it.

use std::path::PathBuf;

use backout_core::plan::Plan;
use backout_server::view::sentence;
use backout_tabletop::discussion::{Discussion, of_plan};
use backout_tabletop::report::{report, without_names};
use backout_tabletop::scenario::Question;

use crate::app::App;
use crate::exercise;
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::view::style::{BOLD, HELP, WARN, paint};
use crate::{people, runbook_file};

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
    /// Keep the exercise in this new folder
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Leave names out of the report
    #[arg(long)]
    no_names: bool,
}

/// Asks, and writes down what is answered.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let scenario = exercise::scenario_alone(app, &args.scenario)?;
    if scenario.questions.is_empty() {
        let message = format!("{} has no questions", args.scenario.display());
        return Err(Failure::usage(message, "add `questions`, or run it with `backout drill`"));
    }
    let plan = plan(app, args, &scenario)?;
    let runbook = plan.as_ref().map_or_else(String::new, |plan| plan.name.clone());
    let mut discussion = Discussion::begin(scenario, runbook, now(app));
    app.ui.say(&format!(
        "{} {}\n{}\nAnswer in your own words or by number; an empty line is no answer; REAL EMERGENCY ends it.",
        paint(WARN, "DISCUSSION: nothing is run"),
        paint(BOLD, &discussion.exercise().scenario.title),
        discussion.exercise().scenario.situation
    ));
    let questions = discussion.exercise().scenario.questions.clone();
    for (number, question) in questions.iter().enumerate() {
        let by_plan = plan.as_ref().and_then(|plan| of_plan(plan, question));
        app.ui.say(&format!("\n{}", asked(number + 1, question)));
        let Some(line) = app.ui.ask(">") else { break };
        if line.to_ascii_uppercase().starts_with("REAL EMERGENCY") {
            discussion.emergency(&people::user(), now(app));
            break;
        }
        discussion.answer(question, &line, by_plan.clone(), now(app));
        if let Some(by_plan) = by_plan {
            app.ui.say(&format!("{} {by_plan}", paint(HELP, "the plan:")));
        }
        if !question.look_for.is_empty() {
            app.ui.say(&format!("{} {}", paint(HELP, "look for:"), question.look_for.join("; ")));
        }
    }
    let exercise = discussion.end(now(app));
    let whole = report(&exercise, &[], &sentence);
    let shown = if args.no_names { without_names(&whole, &exercise) } else { whole };
    let kept = exercise::keep(app, args.record.as_deref(), &exercise.scenario.name)?;
    kept.write(&exercise, &shown)?;
    app.ui.say(&exercise.scenario.hotwash().join("\n"));
    app.ui.data(&format!("kept in {}", kept.folder.display()))?;
    Ok(Exit::Done)
}

fn now(app: &App) -> backout_core::id::Timestamp {
    backout_core::id::Timestamp(app.now_ms())
}

/// The plan of the runbook, where there is one.
fn plan(
    app: &App,
    args: &Args,
    scenario: &backout_tabletop::scenario::Scenario,
) -> Result<Option<Plan>, Failure> {
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

fn asked(number: usize, question: &Question) -> String {
    let mut lines = vec![format!("{number}. {}", paint(BOLD, &question.ask))];
    if !question.situation.is_empty() {
        lines.insert(0, question.situation.clone());
    }
    let choices = question.choices.iter().enumerate();
    lines.extend(choices.map(|(at, choice)| format!("   {}) {choice}", at + 1)));
    lines.join("\n")
}
