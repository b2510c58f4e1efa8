//! `demo`: a small real deployment, rolled back through a crash.

use std::path::PathBuf;

use crate::app::App;
use crate::demo;
use crate::exit::{Exit, Failure};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to make it in [default: a new one in the folder for temporary files]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Keep the folder and leave the service running afterwards
    #[arg(long)]
    keep: bool,
}

/// Makes the deployment, rolls it back through a crash, shows the proof and cleans up.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    demo::run(app, args.folder.as_deref(), args.keep)
}
