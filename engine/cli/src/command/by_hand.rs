//! `by-hand`: a run as commands a person can type, when no engine can be had.

use backout_core::exercise::is_drill;
use backout_server::view::ByHandView;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::{Reading, fold};
use crate::view::by_hand;

/// Arguments of `by-hand`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Shows what is readable, and says what is not.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let (events, damage) = reading.readable(&run)?;
    let state = fold(&run, &events)?;
    let host = app.host();
    let view = ByHandView::of(&state, &host, damage.as_ref().map(ToString::to_string));
    if is_drill(&state.plan) {
        app.ui
            .warn("this is a drill, and these are the real commands: read them, do not type them");
    }
    if args.json {
        app.ui.json(&view)?;
    } else {
        app.ui.data(&by_hand::text(&view, app.ui.width))?;
    }
    Ok(Exit::Done)
}
