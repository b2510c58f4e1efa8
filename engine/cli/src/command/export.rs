//! `export`: a run in one portable file.

use std::fs::{self, OpenOptions};
use std::io::Write;
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
    /// Where to write it; `-` is stdout [default: RUN.backout]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Leave out what the run says: heads and digests alone, which still verify
    #[arg(long)]
    redact: bool,
}

/// Writes the file; one that is there is never overwritten, and half a file is removed.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{run}.backout")));
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        reading.export(&run, args.redact, &mut bytes)?;
        app.ui.bytes(&bytes)?;
        return Ok(Exit::Done);
    }
    let failed = |error| Failure::file(format!("writing {}", path.display()), error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    let written = reading
        .export(&run, args.redact, &mut file)
        .and_then(|()| file.flush().and_then(|()| file.sync_all()).map_err(failed));
    if written.is_err() {
        // The failure itself is what the person must see.
        let _ = fs::remove_file(&path).is_ok();
    }
    written?;
    app.ui.say(&format!("run {run} is in {}", path.display()));
    Ok(Exit::Done)
}
