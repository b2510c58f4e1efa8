//! `import`: a run from an exported file.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::{self, Reading};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The exported file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Reads the file into the store; works beside its owner.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let failed = |error| Failure::file(format!("reading {}", args.file.display()), error);
    let mut input = BufReader::new(File::open(&args.file).map_err(failed)?);
    let folder = app.store()?;
    if Reading::open(app)?.reader().is_none() {
        // There is no store yet: to own it once makes it.
        drop(reading::own(&folder)?);
    }
    let run = backout_store::import(&folder, &mut input)?;
    app.ui.data(&format!("run {run}"))?;
    let view = Reading::open(app)?.view(&run, app.now_ms())?;
    if view.ended.is_none() {
        app.ui.say(&format!(
            "it is unfinished and read-only here; to go on with it here: \
             backout resume {run} --take-over --reason TEXT"
        ));
    }
    Ok(Exit::Done)
}
