//! `tidy`: what a closed run that ended well kept for its undo goes. `close` does the same at once.

use std::path::PathBuf;

use backout_core::command::Ask;
use backout_core::id::{RunId, StepId};
use backout_core::limits::REASON_BYTES_MAX;
use backout_plugin_api::Tidied;
use backout_runtime::SystemClock;
use backout_runtime::tidy::{Sent, ended_well, sent, tidy};
use backout_server::view::counted;

use super::ask::give;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::Reading;
use crate::view::text::cut;

/// Arguments of `tidy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
}

/// Removes what is left of one run.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let state = reading.state(&run)?;
    if !state.closed {
        let message = format!("run {run} is not closed: what it kept may be needed for its undo");
        return Err(Failure::usage(message, format!("`backout close {run}` closes it for good")));
    }
    if !ended_well(&state) {
        let word = state.status().word();
        let message = format!("run {run} {word}: what it kept is the way back by hand");
        return Err(Failure::usage(message, format!("`backout by-hand {run}` names it")));
    }
    tidied(app, &reading, &run)
}

/// What `close` does after it is recorded; nothing where the run did not end well.
pub(crate) fn after_close(app: &App, run: &RunId) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let state = reading.state(run)?;
    if state.closed && ended_well(&state) {
        return tidied(app, &reading, run);
    }
    Ok(Exit::Done)
}

fn tidied(app: &App, reading: &Reading, run: &RunId) -> Result<Exit, Failure> {
    let remains = Remains::of(reading, run);
    let all = remains.map_or(Ok(Vec::new()), |remains| remains.remove(app))?;
    let Some(text) = note(&all) else {
        app.ui.say("nothing was kept for an undo");
        return Ok(Exit::Done);
    };
    give(app, run, Ask::Note { step: None, text }, None, false)
}

/// What a run may have left at its targets, as its record says.
pub(crate) struct Remains {
    run: RunId,
    scratch: PathBuf,
    sent: Vec<Sent>,
}

impl Remains {
    /// Nothing where the run cannot be read, or did not end well.
    pub(crate) fn of(reading: &Reading, run: &RunId) -> Option<Self> {
        let scratch = reading.reader()?.scratch(run);
        let state = reading.state(run).ok().filter(ended_well)?;
        let (events, damage) = reading.readable(run).ok()?;
        let whole = damage.is_none() && events.last().is_some_and(|last| last.seq == state.seq);
        whole.then(|| Self { run: run.clone(), scratch, sent: sent(&events) })
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// Removes it, and says what went and what did not.
    pub(crate) fn remove(self, app: &App) -> Result<Vec<(StepId, Tidied)>, Failure> {
        let Self { run, scratch, sent } = self;
        let host = app.host();
        let all = app.block_on(async {
            Ok::<_, Failure>(tidy(&host, &SystemClock, &run, scratch, sent).await)
        })?;
        for (step, tidied) in &all {
            for line in &tidied.removed {
                app.ui.say(&format!("{step}: removed {line}"));
            }
            for line in &tidied.left {
                app.ui.warn(&format!("{step}: still there: {line}"));
            }
        }
        Ok(all)
    }
}

/// What stands in the record about it.
fn note(all: &[(StepId, Tidied)]) -> Option<String> {
    let lines = |of: fn(&Tidied) -> &[String]| -> Vec<String> {
        let of = all.iter().flat_map(|(step, tidied)| of(tidied).iter().map(move |l| (step, l)));
        of.map(|(step, line)| format!("{step}: {line}")).collect()
    };
    let (removed, left) = (lines(|t| &t.removed), lines(|t| &t.left));
    if removed.is_empty() && left.is_empty() {
        return None;
    }
    let mut text = format!("tidied: {} removed", counted(removed.len(), "thing"));
    for (label, lines) in [("removed", removed), ("still there", left)] {
        for line in lines {
            text.push_str("; ");
            text.push_str(label);
            text.push(' ');
            text.push_str(&line);
        }
    }
    // A note is a paragraph; what stands behind was said when it was done.
    Some(cut(&text, REASON_BYTES_MAX / 4))
}
