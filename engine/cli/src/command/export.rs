//! `export`: a run in one portable file.

use std::path::PathBuf;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::Reading;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// Where to write it [default: RUN.backout]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Not there yet.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let Args { run, file: _ } = args;
    let reading = Reading::open(app)?;
    reading.find(run)?;
    Err(Failure::Usage { message: "export is not part of this build yet".to_owned(), help: None })
}
