//! `insert`: adds a step that a person does by hand.

use std::time::Duration;

use backout_core::command::Ask;
use backout_core::id::StepId;
use backout_core::plan::PlanStep;
use backout_server::hands::{by_hand_step, step_name};

use super::ask::{filled, give, named};
use super::follow::GRACE_MS;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reach::Reach;
use crate::reading::Reading;

/// How often the engine is asked whether the new step waits for its approval, and how long between.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `insert`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// What the new step is called
    #[arg(value_name = "NAME")]
    name: String,
    /// What the person does
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    text: String,
    /// It comes after this step; may be repeated
    #[arg(long, value_name = "STEP")]
    after: Vec<String>,
    /// This step, which has not begun, waits for it; may be repeated
    #[arg(long, value_name = "STEP")]
    before: Vec<String>,
    /// It is done by hand already
    #[arg(long)]
    done: bool,
    /// Why; it stands in the record
    #[arg(long, value_name = "TEXT", required = true, value_parser = filled)]
    reason: String,
}

/// Adds it; where it is done already, says so at once.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let reading = Reading::open(app)?;
    let run = reading.find(&args.run)?;
    let state = reading.state(&run)?;
    let step = step(args, named(&state, &args.after)?)?;
    let before = named(&state, &args.before)?;
    let (id, reason) = (step.id.clone(), Some(args.reason.clone()));
    let exit = give(app, &run, Ask::Insert { steps: vec![step], before }, reason.clone(), false)?;
    if !args.done {
        return Ok(exit);
    }
    app.block_on(async {
        let reach = Reach::open(&app.ui, reading.folder(), app.host()).await?;
        let approved = approve(&reach, &run, &id, reason).await;
        reach.close("the command ended", GRACE_MS).await;
        approved
    })?;
    app.ui.say(&format!("`{id}` is done"));
    Ok(Exit::Done)
}

/// The engine looks at the new step first.
async fn approve(
    reach: &Reach,
    run: &backout_core::id::RunId,
    step: &StepId,
    reason: Option<String>,
) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let ask = Ask::Approve { step: step.clone(), consent: None };
        match reach.ask(run, ask, people::by(reason.clone(), false)?).await {
            Ok(_) => return Ok(()),
            Err(_) if tries < TRIES => tries += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn step(args: &Args, needs: Vec<StepId>) -> Result<PlanStep, Failure> {
    step_name(&args.name)
        .map_err(|message| Failure::usage(message, "give the new step another name"))?;
    Ok(by_hand_step(&args.name, &args.text, needs))
}
