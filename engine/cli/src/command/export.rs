//! `export`: a run in one portable file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use backout_core::redact::{Rule, Taken};

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
    /// Make it fit to be shown to strangers: these rules take out names, hosts, texts and values,
    /// and `steps` the names of steps too; structure and times stay [default: all but `steps`]
    #[arg(
        long,
        value_name = "RULE,...",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = "names,hosts,texts,values"
    )]
    redact: Option<Vec<RuleArg>>,
}

/// A rule, as it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum RuleArg {
    /// People, groups, channels and the runbook's name: each becomes a number
    Names,
    /// Targets, environments, engines and addresses
    Hosts,
    /// Titles, reasons, notes, evidence, expressions, the runbook's text
    Texts,
    /// Parameters, inputs, outputs and images of targets
    Values,
    /// The names of steps: each becomes a number
    Steps,
}

impl From<RuleArg> for Rule {
    fn from(arg: RuleArg) -> Self {
        match arg {
            RuleArg::Names => Self::Names,
            RuleArg::Hosts => Self::Hosts,
            RuleArg::Texts => Self::Texts,
            RuleArg::Values => Self::Values,
            RuleArg::Steps => Self::Steps,
        }
    }
}

/// Writes the file; one that is there is never overwritten, and half a file is removed.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let rules: Option<Vec<Rule>> =
        args.redact.as_ref().map(|rules| rules.iter().copied().map(Rule::from).collect());
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{run}.backout")));
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let taken = reading.export(&run, rules.as_deref(), &mut bytes)?;
        app.ui.bytes(&bytes)?;
        say_taken(app, &taken);
        return Ok(Exit::Done);
    }
    let failed = |error| Failure::file(format!("writing {}", path.display()), error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    let written = reading.export(&run, rules.as_deref(), &mut file).and_then(|taken| {
        file.flush().and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(taken)
    });
    if written.is_err() {
        // The failure itself is what the person must see.
        let _ = fs::remove_file(&path).is_ok();
    }
    say_taken(app, &written?);
    app.ui.say(&format!("run {run} is in {}", path.display()));
    Ok(Exit::Done)
}

/// What was taken out, so that nobody believes that more was.
fn say_taken(app: &App, taken: &Taken) {
    for (rule, count) in taken {
        app.ui.say(&format!("removed {count}: {}", rule.words()));
    }
}
