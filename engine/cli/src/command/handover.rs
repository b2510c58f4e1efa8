//! `handover`: the command of a run goes to somebody else, who has read what they take over.

use backout_core::command::Ask;
use backout_server::view::RunView;

use super::ask::{filled, give};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::Reading;
use crate::view;

/// Arguments of `handover`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// Who is to take the command; until they do, it stays where it is
    #[arg(long, value_name = "NAME", group = "what")]
    to: Option<String>,
    /// Take the command that was offered to you
    #[arg(long, group = "what")]
    accept: bool,
    /// Take it although it was not offered to you; marks every later view
    #[arg(long, requires_all = ["accept", "reason"])]
    break_glass: bool,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    reason: Option<String>,
}

/// Prints the brief, and offers or takes.
pub(crate) fn run(app: &App, args: Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let view = reading.view_with_times(&run, app.now_ms())?;
    app.ui.data(brief(&view, app.now_ms(), app.ui.width).trim_end())?;
    let ask = match args.to {
        Some(to) => Ask::HandOver { to },
        None => Ask::TakeCommand,
    };
    let offered = match &ask {
        Ask::HandOver { to } => {
            format!(
                "\n{to} takes it by: backout handover {run} --accept\nuntil then {} commands",
                view.commander
            )
        }
        _ => String::new(),
    };
    let exit = give(app, &run, ask, args.reason, args.break_glass)?;
    if !offered.is_empty() {
        app.ui.say(&offered);
    }
    Ok(exit)
}

/// What who takes over must know: what is done, in doubt and next, what is held, which timers run,
/// and what outsiders were promised.
fn brief(view: &RunView, now_ms: i64, width: usize) -> String {
    let mut out = view::status::run(view, now_ms, width);
    let mut add = |text: String| {
        out.push('\n');
        out.push_str(&text);
    };
    let timers = view.steps.iter().filter_map(|step| {
        let wait = step.wait.as_ref()?;
        Some(format!("  {}: {} at {}", step.id, wait.waits_for, wait.due.as_ref()?))
    });
    let timers: Vec<String> = timers.collect();
    if !timers.is_empty() {
        add(format!("timers due:\n{}", timers.join("\n")));
    }
    if !view.locks.is_empty() {
        add(format!("locks held:\n  {}", view.locks.join("\n  ")));
    }
    add(format!("promised to people outside:\n{}", promises(view)));
    if !view.notes.is_empty() {
        add(format!("notes:\n  {}", view.notes.join("\n  ")));
    }
    out
}

fn promises(view: &RunView) -> String {
    let mut lines = Vec::new();
    if let Some(comms) = &view.comms {
        let every = backout_server::view::duration(comms.cadence_ms);
        lines.push(format!("  an update to {} every {every}", comms.channel));
    }
    for escalation in &view.escalation {
        let after = backout_server::view::duration(escalation.after_ms);
        lines.push(format!("  {} is called after {after}", escalation.to));
    }
    if lines.is_empty() { "  nothing".to_owned() } else { lines.join("\n") }
}
