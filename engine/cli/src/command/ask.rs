//! People's commands: `approve`, `reject`, `retry`, `skip`, `pause`, `abort`, `undo`, `note`, `close`.

use backout_core::command::Ask;
use backout_core::event::Wait;
use backout_core::id::{RunId, StepId, StepIx};
use backout_core::state::{RunState, RunStatus, StepRun, StepState};
use backout_server::view::counted;
use serde_json::Value;

use super::follow::GRACE_MS;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reach::Reach;
use crate::reading::Reading;
use crate::view::text::wrapped;

/// A run, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct OnRun {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    pub(crate) reason: Option<String>,
}

/// A run and a step, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct OnStep {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// The step; may be left out where only one fits
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    pub(crate) reason: Option<String>,
}

/// A reason that says something.
pub(crate) fn filled(text: &str) -> Result<String, String> {
    let text = text.trim();
    let limit = backout_core::limits::REASON_BYTES_MAX;
    match text.len() {
        0 => Err("it must say something".to_owned()),
        bytes if bytes > limit => {
            Err(format!("{bytes} bytes are more than REASON_BYTES_MAX ({limit})"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Arguments of `approve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    on: OnStep,
    /// Approve although the rules do not let you; marks every later view
    #[arg(long, requires = "reason")]
    break_glass: bool,
}

/// Arguments of `reject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Reject {
    #[command(flatten)]
    on: OnStep,
}

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    on: OnStep,
    /// Change a field of what its action takes; a value is JSON or plain text, `a.b` is inside `a`
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = crate::params::pair, requires = "reason")]
    set: Vec<(String, String)>,
}

/// Arguments of `skip`.
#[derive(Debug, clap::Args)]
pub(crate) struct Skip {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// The step
    #[arg(value_name = "STEP")]
    step: String,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", required = true, value_parser = filled)]
    reason: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Arguments of `pause`.
#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    on: OnRun,
    /// Hold back only the branch that begins here: this step and those that need it; may be repeated
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<String>,
}

/// Arguments of `abort`.
#[derive(Debug, clap::Args)]
pub(crate) struct Abort {
    #[command(flatten)]
    on: OnRun,
}

/// Arguments of `undo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Undo {
    #[command(flatten)]
    on: OnRun,
}

/// Arguments of `note`.
#[derive(Debug, clap::Args)]
pub(crate) struct Note {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// The step that it is about
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// What to write down
    #[arg(long, visible_alias = "text", value_name = "TEXT", required = true, value_parser = filled)]
    reason: String,
}

/// Arguments of `close`.
#[derive(Debug, clap::Args)]
pub(crate) struct Close {
    #[command(flatten)]
    on: OnRun,
    /// Keep what was kept for its undo; `backout tidy` removes it later
    #[arg(long)]
    keep: bool,
}

/// Says yes to what the step would do, as it stands in the record now.
pub(crate) fn approve(app: &App, args: Approve) -> Result<Exit, Failure> {
    let aim = Aim::at(app, &args.on, "waiting for approval", |step| {
        matches!(step.state, StepState::Waiting(Wait::Approval { .. }))
    })?;
    let consent = aim.consent();
    for line in aim.difference() {
        app.ui.say(wrapped(&line, 2, app.ui.width).trim_end());
    }
    let ask = Ask::Approve { step: aim.step.clone(), consent };
    give(app, &aim.run, ask, args.on.reason, args.break_glass)
}

/// Says no.
pub(crate) fn reject(app: &App, args: Reject) -> Result<Exit, Failure> {
    let aim = Aim::at(app, &args.on, "waiting for approval", |step| {
        matches!(step.state, StepState::Waiting(Wait::Approval { .. }))
    })?;
    give(app, &aim.run, Ask::Reject { step: aim.step }, args.on.reason, false)
}

/// Lets a step be tried again.
pub(crate) fn retry(app: &App, args: Retry) -> Result<Exit, Failure> {
    let aim = Aim::at(app, &args.on, "failed or waiting for a person", |step| {
        let open = matches!(
            step.state,
            StepState::Failed { met: false, .. }
                | StepState::Unverified
                | StepState::Waiting(Wait::Person { .. })
        );
        open || step.watched.alarm.is_some()
    })?;
    let with = if args.set.is_empty() { None } else { Some(changed(&aim, args.set)?) };
    give(app, &aim.run, Ask::Retry { step: aim.step, with }, args.on.reason, false)
}

/// What the step's action took last, with some fields changed.
fn changed(aim: &Aim, set: Vec<(String, String)>) -> Result<Value, Failure> {
    let step = aim.state.find(&aim.step).map(|(_, _, step)| step);
    let Some(mut input) = step.filter(|step| step.attempt > 0).map(|step| step.input.clone())
    else {
        let message = format!("`{}` has not begun: its input is not known yet", aim.step);
        let help = "let it begin, or correct the runbook and: backout run FILE --continue RUN";
        return Err(Failure::usage(message, help));
    };
    for (field, text) in set {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let path = format!("/{}", field.replace('.', "/"));
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let Some(Value::Object(fields)) = input.pointer_mut(parent) else {
            let message = format!("what `{}` takes has no `{field}`", aim.step);
            return Err(Failure::usage(message, "backout status RUN --json shows its input"));
        };
        fields.insert(name.to_owned(), value);
    }
    Ok(input)
}

/// Leaves a step out, having shown what goes on because of it.
pub(crate) fn skip(app: &App, args: Skip) -> Result<Exit, Failure> {
    let on = OnStep { run: args.run, step: Some(args.step), reason: None };
    let aim = Aim::at(app, &on, "", |_| true)?;
    let next = goes_on(&aim.state, &aim.step);
    app.ui.say(&match next.as_slice() {
        [] => format!("no other step goes on because {} is skipped", aim.step),
        names => format!("because of it go on: {}", names.join(", ")),
    });
    if app.ui.interactive && !args.yes && !agreed(app, &format!("skip {}? [y/N]", aim.step)) {
        app.ui.say("nothing was done");
        return Ok(Exit::Done);
    }
    give(app, &aim.run, Ask::Skip { step: aim.step }, Some(args.reason), false)
}

/// Starts nothing new.
pub(crate) fn pause(app: &App, args: Pause) -> Result<Exit, Failure> {
    if args.steps.is_empty() {
        return on_run(app, args.on, Ask::Pause);
    }
    let reading = Reading::open(app)?;
    let run = reading.find(&args.on.run)?;
    let steps = named(&reading.state(&run)?, &args.steps)?;
    give(app, &run, Ask::Hold { steps }, args.on.reason, false)
}

/// Finishes what is in flight and starts nothing more.
pub(crate) fn abort(app: &App, args: Abort) -> Result<Exit, Failure> {
    on_run(app, args.on, Ask::Abort)
}

/// Puts back what was made.
pub(crate) fn undo(app: &App, args: Undo) -> Result<Exit, Failure> {
    on_run(app, args.on, Ask::Undo)
}

/// Ends it for good.
pub(crate) fn close(app: &App, args: Close) -> Result<Exit, Failure> {
    let run = Reading::open(app)?.find(&args.on.run)?;
    let exit = give(app, &run, Ask::Close, args.on.reason, false)?;
    if !args.keep {
        super::tidy::after_close(app, &run)?;
    }
    Ok(exit)
}

/// Writes something down.
pub(crate) fn note(app: &App, args: Note) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let step = match &args.step {
        Some(text) => Some(existing(&reading.state(&run)?, text)?),
        None => None,
    };
    give(app, &run, Ask::Note { step, text: args.reason }, None, false)
}

fn on_run(app: &App, on: OnRun, ask: Ask) -> Result<Exit, Failure> {
    let run = Reading::open(app)?.find(&on.run)?;
    give(app, &run, ask, on.reason, false)
}

/// The run and the step that a command is about.
pub(crate) struct Aim {
    pub(crate) run: RunId,
    pub(crate) step: StepId,
    pub(crate) state: RunState,
}

impl Aim {
    /// The step named, or the only one that fits.
    pub(crate) fn at(
        app: &App,
        on: &OnStep,
        what: &str,
        fits: impl Fn(&StepRun) -> bool,
    ) -> Result<Self, Failure> {
        let reading = Reading::open(app)?;
        let run = reading.find(&on.run)?;
        let state = reading.state(&run)?;
        let step = match &on.step {
            Some(text) => existing(&state, text)?,
            None => only(&state, what, fits)?,
        };
        Ok(Self { run, step, state })
    }

    /// What was prepared, as it stands in the record.
    fn consent(&self) -> Option<String> {
        let (_, _, step) = self.state.find(&self.step)?;
        match &step.state {
            StepState::Waiting(Wait::Approval { consent, .. }) => Some(consent.clone()),
            _ => None,
        }
    }

    fn difference(&self) -> Vec<String> {
        let Some(prepared) = self.state.find(&self.step).and_then(|found| found.2.prepared.clone())
        else {
            return Vec::new();
        };
        let hazards = prepared.all_hazards().map(|h| format!("hazard {}: {}", h.code, h.text));
        prepared.difference().into_iter().chain(hazards).collect()
    }
}

/// Steps by their names.
pub(crate) fn named(state: &RunState, texts: &[String]) -> Result<Vec<StepId>, Failure> {
    texts.iter().map(|text| existing(state, text)).collect()
}

/// A step by its name; a wrong name is answered with the right ones.
fn existing(state: &RunState, text: &str) -> Result<StepId, Failure> {
    let id = StepId::from(text);
    if state.find(&id).is_some() {
        return Ok(id);
    }
    Err(Failure::usage(
        format!("run {} has no step `{text}`", state.run),
        format!("`backout status {} --steps` lists them", state.run),
    ))
}

fn only(state: &RunState, what: &str, fits: impl Fn(&StepRun) -> bool) -> Result<StepId, Failure> {
    let found: Vec<&StepId> = state
        .steps
        .iter()
        .zip(&state.plan.steps)
        .filter(|(step, _)| fits(step))
        .map(|(_, planned)| &planned.id)
        .collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::usage(
            format!("no step of run {} is {what}", state.run),
            format!("`backout status {}` shows what it waits for", state.run),
        )),
        several => {
            let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            let message =
                format!("{} are {what}: {}", counted(several.len(), "step"), names.join(", "));
            Err(Failure::usage(message, "name one"))
        }
    }
}

/// The steps that can start as soon as this one counts as met, and what follows on them.
fn goes_on(state: &RunState, step: &StepId) -> Vec<String> {
    let Some(ix) = state.order.find(step) else { return Vec::new() };
    let dependents = state.order.dependents.get(ix.0).into_iter().flatten();
    let waiting = |ix: &&StepIx| {
        state.step(**ix).is_some_and(|s| s.state == StepState::Pending && s.unmet <= 1)
    };
    let name = |ix: &StepIx| state.plan_step(*ix).map(|planned| planned.id.to_string());
    dependents.filter(waiting).filter_map(name).collect()
}

/// Asks a question that is answered by yes or no.
pub(crate) fn agreed(app: &App, question: &str) -> bool {
    let answer = app.ui.ask(question).unwrap_or_default().to_ascii_lowercase();
    answer == "y" || answer == "yes"
}

/// Whether nothing is left to resume: what was asked may have been the last thing.
fn is_done(app: &App, run: &RunId) -> bool {
    let state = Reading::open(app).and_then(|reading| reading.state(run));
    state.is_ok_and(|state| matches!(state.status(), RunStatus::Succeeded | RunStatus::Undone))
}

/// Gives a command and says whether an engine drives the run.
pub(crate) fn give(
    app: &App,
    run: &RunId,
    ask: Ask,
    reason: Option<String>,
    break_glass: bool,
) -> Result<Exit, Failure> {
    let folder = app.store()?;
    let by = people::by(reason, break_glass)?;
    let (reply, other) = app.block_on(async {
        let reach = Reach::open(&app.ui, &folder, app.host()).await?;
        let (reply, other) = (reach.ask(run, ask, by).await, reach.other());
        reach.close("the command ended", GRACE_MS).await;
        Ok((reply?, other))
    })?;
    let recorded = format!("recorded as event {} of run {run}", reply.seq);
    match (reply.driven, other) {
        (true, Some(pid)) => app.ui.say(&format!("{recorded}; process {pid} drives it")),
        (true, None) => app.ui.say(&recorded),
        (false, _) if is_done(app, run) => app.ui.say(&format!("{recorded}; the run is done")),
        (false, _) => app.ui.say(&format!(
            "{recorded}; no engine drives the run now\nto go on: backout resume {run}"
        )),
    }
    Ok(Exit::Done)
}
