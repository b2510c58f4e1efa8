//! `completions`: for shells, and manual pages.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::app::App;
use crate::args::Cli;
use crate::exit::{Exit, Failure};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum, required_unless_present = "man")]
    shell: Option<Shell>,
    /// Write manual pages to this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    man: Option<std::path::PathBuf>,
}

/// Prints completions, or writes manual pages.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    if let Some(folder) = &args.man {
        return man(app, folder);
    }
    let shell = args.shell.ok_or_else(|| Failure::Internal("no shell".to_owned()))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "backout", &mut script);
    app.ui.bytes(&script)?;
    Ok(Exit::Done)
}

fn man(app: &App, folder: &std::path::Path) -> Result<Exit, Failure> {
    let failed = |error| Failure::file(format!("manual pages in {}", folder.display()), error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    app.ui.say(&format!("manual pages are in {}", folder.display()));
    Ok(Exit::Done)
}
