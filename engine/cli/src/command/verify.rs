//! `verify`: every checksum and every chain of the store.

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reading::Reading;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`; without it, the whole store
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// The head of the run's chain as it was kept elsewhere: proves that nothing was changed since
    #[arg(long, value_name = "HEX", requires = "run")]
    head: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Not there yet.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let Args { run, head: _, json: _ } = args;
    let reading = Reading::open(app)?;
    if let Some(name) = run {
        reading.find(name)?;
    }
    Err(Failure::Usage { message: "verify is not part of this build yet".to_owned(), help: None })
}
