//! `history`: every event of a run.

use backout_core::event::{Event, Wait};
use backout_server::view::{counted, history_line};

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

/// Whether an event is one more look of a soak that goes well: there are hundreds of them.
fn is_sample(event: &Event) -> bool {
    matches!(event, Event::StepWaits { wait: Wait::Soak { covered_ms: 1.., .. }, .. })
}

/// Prints the events that can be read, then what stands in the way of the rest.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let (events, damage) = reading.readable(&run)?;
    let wanted = |about: Option<String>| args.step.is_none() || args.step == about;
    let mut text = String::new();
    let mut before = None;
    let mut left_out = 0;
    for recorded in &events {
        if !wanted(backout_server::view::sentence(&recorded.event).0) {
            continue;
        }
        if !args.json && args.step.is_none() && is_sample(&recorded.event) {
            left_out += 1;
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
    if left_out > 0 {
        let samples = counted(left_out, "sample");
        app.ui.say(&format!("{samples} of soaks left out; `--step STEP` and `--json` show them"));
    }
    match damage {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}
