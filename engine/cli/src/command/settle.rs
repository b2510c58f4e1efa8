//! `settle`: a person says what became of a step in doubt.

use std::path::{Path, PathBuf};

use backout_core::command::{Ask, Verdict};
use backout_core::limits::EVIDENCE_BYTES_MAX;
use backout_core::state::StepState;
use serde_json::{Map, Value};

use super::ask::{Aim, OnStep, filled, give};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::pair;

/// Arguments of `settle`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("verdict").required(true))]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// The step; may be left out where only one is in doubt
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// It was made
    #[arg(long, group = "verdict")]
    done: bool,
    /// It was not made, and nothing can still make it
    #[arg(long, group = "verdict")]
    not_done: bool,
    /// How you know; it stands in the record
    #[arg(long, value_name = "TEXT", required = true, value_parser = filled)]
    reason: String,
    /// A file that shows it; its text goes into the record
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// What later steps may use, as the step would have given it; a value is JSON or plain text
    #[arg(long = "output", value_name = "NAME=VALUE", value_parser = pair, requires = "done")]
    output: Vec<(String, String)>,
    /// Only this effect of the step, counted from 0
    #[arg(long, value_name = "NUMBER")]
    effect: Option<usize>,
}

/// Records the verdict.
pub(crate) fn run(app: &App, args: Args) -> Result<Exit, Failure> {
    let on = OnStep { run: args.run, step: args.step, reason: None };
    let aim = Aim::at(app, &on, "in doubt", |step| {
        step.state == StepState::InDoubt || step.watched.alarm.is_some()
    })?;
    let verdict = if args.not_done {
        Verdict::NotDone
    } else {
        Verdict::Done { output: output(args.output) }
    };
    let evidence = args.evidence.as_deref().map(evidence).transpose()?;
    let ask = Ask::Settle { step: aim.step, effect: args.effect, verdict, evidence };
    give(app, &aim.run, ask, Some(args.reason), false)
}

fn output(pairs: Vec<(String, String)>) -> Value {
    if pairs.is_empty() {
        return Value::Null;
    }
    let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    Value::Object(pairs.into_iter().map(|(name, text)| (name, value(text))).collect::<Map<_, _>>())
}

fn evidence(path: &Path) -> Result<String, Failure> {
    let what = format!("evidence {}", path.display());
    let bytes = std::fs::metadata(path).map_err(|error| Failure::file(&*what, error))?.len();
    if bytes > EVIDENCE_BYTES_MAX as u64 {
        let why = format!("{bytes} bytes are more than EVIDENCE_BYTES_MAX ({EVIDENCE_BYTES_MAX})");
        return Err(Failure::file(what, why));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::file(what, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
