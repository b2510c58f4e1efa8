//! `demo`: a small real deployment, rolled back through a crash.

use crate::app::App;
use crate::exit::{Exit, Failure};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to make it in [default: a new one in the folder for temporary files]
    #[arg(value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
    /// Keep the folder afterwards
    #[arg(long)]
    keep: bool,
}

/// Not there yet.
pub(crate) fn run(_app: &App, args: &Args) -> Result<Exit, Failure> {
    let Args { folder: _, keep: _ } = args;
    Err(Failure::Usage { message: "the demo is not part of this build yet".to_owned(), help: None })
}
