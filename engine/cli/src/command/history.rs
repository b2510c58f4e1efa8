//! `history`: every event of a run.

use backout_server::view::history_line;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::Reading;
use crate::view;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// Only events about this step
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
}

/// Prints the events that can be read, then what stands in the way of the rest.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let (events, damage) = reading.readable(&run)?;
    let wanted = |about: Option<String>| args.step.is_none() || args.step == about;
    let mut text = String::new();
    let mut before = None;
    for recorded in &events {
        if !wanted(backout_server::view::sentence(&recorded.event).0) {
            continue;
        }
        if args.json {
            app.ui.json_line(&history_line(recorded))?;
        } else {
            text.push_str(&view::history::day(recorded, before));
            text.push_str(&view::history::line(recorded, app.ui.width));
            before = Some(recorded);
        }
    }
    if !args.json {
        app.ui.data(&text)?;
    }
    match damage {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}
