//! `graph`: a runbook as a picture.

use std::path::PathBuf;

use backout_core::plan::Order;
use backout_server::graph::{NodeLook, dot, mermaid, svg};
use clap::ValueEnum;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::runbook_file;

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamArgs,
    /// What to draw it as
    #[arg(long, short, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

/// A picture's format.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// A drawing, ready to be seen
    Svg,
}

/// Draws to stdout.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let given = params::read(&args.params)?;
    let plan = runbook_file::load(app, &app.host(), &args.file, &given)?.plan;
    let text = match args.format {
        Format::Mermaid => mermaid(&plan),
        Format::Dot => dot(&plan),
        Format::Svg => {
            let order =
                Order::of(&plan.steps).map_err(|error| Failure::Internal(error.to_string()))?;
            svg(&plan, &order, |_| NodeLook::default())
        }
    };
    app.ui.data(&text)?;
    Ok(Exit::Done)
}
