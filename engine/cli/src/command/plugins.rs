//! `plugins`: the actions, with guarantee and inputs.

use backout_core::id::ActionName;
use backout_plugin_api::Manifest;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::view::plugins::{self, ActionView};

/// Arguments of `plugins`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The action to show, as in `exec.run`
    #[arg(value_name = "ACTION")]
    action: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Lists all actions, or shows one.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let host = app.host();
    let Some(name) = &args.action else {
        let all: Vec<Manifest> = host.all().map(|(_, action)| action.manifest()).collect();
        if args.json {
            app.ui.json(&all.iter().map(ActionView::of).collect::<Vec<_>>())?;
        } else {
            app.ui.data(&plugins::list(&all))?;
        }
        return Ok(Exit::Done);
    };
    let found = host.find(&ActionName::from(name.as_str())).ok_or_else(|| {
        Failure::usage(format!("there is no action `{name}`"), "`backout plugins` lists them")
    })?;
    if args.json {
        app.ui.json(&ActionView::of(&found.manifest()))?;
    } else {
        app.ui.data(&plugins::one(&found.manifest(), app.ui.width))?;
    }
    Ok(Exit::Done)
}
