//! The command line. Each command's arguments stand in its own file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::command;

/// Durable rollback runbooks: what was begun is finished, each effect once.
///
/// A runbook is a RON file of steps that undo a change. `check` reads it, `plan` shows what it
/// would do, `run` does it, and whatever crashes in between, `resume` goes on.
#[derive(Debug, Parser)]
#[command(
    name = "backout",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND",
    after_help = "At 03:00: `backout status latest` says what is done, in doubt and next, and the \
                  one command to type.\nWithout an engine: `backout by-hand latest`."
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What holds for every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The store's folder [default: backout in the XDG state folder]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BACKOUT_STORE",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) store: Option<PathBuf>,
    /// When to use colours; `NO_COLOR` is heeded
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto, help_heading = "Everywhere")]
    pub(crate) color: Color,
    /// Show every line that a run's commands print; a terminal shows the last one now and then
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) verbose: bool,
    /// What is logged to stderr, as in `info` or `backout_runtime=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "BACKOUT_LOG",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) log: Option<String>,
    /// How a line of the log looks
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "BACKOUT_LOG_FORMAT",
        hide_env_values = true,
        value_enum,
        default_value_t = LogFormat::Text,
        help_heading = "Everywhere"
    )]
    pub(crate) log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, for programs
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands, in the order of an incident.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a new runbook from a template
    New(command::new::Args),
    /// Check runbooks and show every problem at its line
    Check(command::check::Args),
    /// Show what a runbook would do, by looking at every target; changes nothing
    Plan(command::plan::Args),
    /// Tell a pipeline whether the way back is open: exit 0, 7 (refused) or 8 (not seen)
    Ready(command::ready::Args),
    /// Draw a runbook as mermaid, dot or SVG
    Graph(command::graph::Args),
    /// Run a runbook
    Run(command::run::Args),
    /// Own the store as a long-lived process, with an HTTP API
    Serve(command::serve::Args),
    /// Take up a run that was interrupted, or all of them
    Resume(command::resume::Args),
    /// Show what is done, in doubt and next
    Status(command::status::Args),
    /// Show the events of a run
    History(command::history::Args),
    /// Watch runs on this terminal, and act on them
    Watch(command::watch::Args),
    /// Write the after-action record of a run: timeline, decisions, doubts, durations
    Report(command::report::Args),
    /// Print a run as commands a person can type
    ByHand(command::by_hand::Args),
    /// Say yes to what a step would do
    Approve(command::ask::Approve),
    /// Say no: the step fails
    Reject(command::ask::Reject),
    /// Try a step again that failed or waits for a person
    Retry(command::ask::Retry),
    /// Leave a step out; shows first what goes on because of it
    Skip(command::ask::Skip),
    /// Say what became of a step in doubt
    Settle(command::settle::Args),
    /// Start nothing new until resumed
    Pause(command::ask::Pause),
    /// Finish what is in flight and start nothing more
    Abort(command::ask::Abort),
    /// Put back what a run did, in reverse order
    Undo(command::ask::Undo),
    /// Add a step that a person does by hand
    Insert(command::insert::Args),
    /// Show who holds which target; take one over, or hold one
    Lock(command::lock::Args),
    /// Offer the command of a run to somebody, with all they need to know; or take it
    Handover(command::handover::Args),
    /// Write something down in a run's record
    Note(command::ask::Note),
    /// End a run for good: nothing reopens it
    Close(command::ask::Close),
    /// Write a run to one portable file
    Export(command::export::Args),
    /// Read a run from an exported file
    Import(command::import::Args),
    /// Remove finished runs that ended long ago; nothing else ever removes one
    Retain(command::retain::Args),
    /// Remove what a closed run kept for its undo
    Tidy(command::tidy::Args),
    /// Check every checksum and chain of the store, and name the first bad byte
    Verify(command::verify::Args),
    /// Make, list and take back the tokens by which people come in over the network
    Token(command::token::Args),
    /// Check the file that says who may run what and approve what
    Policy(command::policy::Args),
    /// Say whether this machine is fit to drive a rollback: disk, room, clock, store, engine
    Doctor(command::doctor::Args),
    /// Rehearse a runbook in a simulated world, by a scenario; nothing real can be reached
    Drill(command::drill::Args),
    /// Discuss a scenario: what the team would do, beside what the runbook would
    Tabletop(command::tabletop::Args),
    /// Show what exercises left to be improved
    Improvements(command::improvements::Args),
    /// Walk through a run's record as the people saw it, check it, or try another way
    Replay(command::replay::Args),
    /// Make a page of a runbook, to read and to print
    Render(command::render::Args),
    /// List the actions, or show one with its fields, guarantee and an example
    Plugins(command::plugins::Args),
    /// Roll back a small real deployment, with a crash half way, and show the proof
    Demo(command::demo::Args),
    /// An engine that ends with its runs
    #[command(hide = true)]
    Background,
    /// Print completions for a shell, or manual pages
    Completions(command::completions::Args),
}
