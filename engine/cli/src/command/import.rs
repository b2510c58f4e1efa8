//! `import`: a run from an exported file.

use std::path::PathBuf;

use crate::app::App;
use crate::exit::{Exit, Failure};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The exported file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Not there yet.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let Args { file: _ } = args;
    app.store()?;
    Err(Failure::Usage { message: "import is not part of this build yet".to_owned(), help: None })
}
