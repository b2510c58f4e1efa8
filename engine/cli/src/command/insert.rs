//! `insert`: adds a step that a person does by hand.

use std::time::Duration;

use backout_core::command::Ask;
use backout_core::id::{ActionName, StepId};
use backout_core::limits::{ID_CHARS_MAX, TIMEOUT_MS_DEFAULT};
use backout_core::plan::{BY_HAND_ACTION, OnExhausted, PlanStep, Retry, Role};
use serde_json::json;

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
    let mut letters = args.name.bytes();
    let begins = letters.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let plain = letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !begins || !plain || args.name.len() > ID_CHARS_MAX {
        let message = format!("`{}` is no name for a step", args.name);
        return Err(Failure::usage(message, "letters, digits and `_`, a small letter first"));
    }
    Ok(by_hand(&args.name, &args.text, needs))
}

/// A step that a person does and then approves.
pub(crate) fn by_hand(name: &str, text: &str, needs: Vec<StepId>) -> PlanStep {
    PlanStep {
        id: name.into(),
        title: text.to_owned(),
        role: Role::Step,
        needs,
        when: None,
        item: None,
        action: ActionName::from(BY_HAND_ACTION),
        with: json!({ "text": text.replace("${", "$${") }),
        pure: false,
        timeout_ms: TIMEOUT_MS_DEFAULT,
        retry: Retry::default(),
        on_exhausted: OnExhausted::Wait,
        approval: None,
        accept: Vec::new(),
        soak_ms: None,
        expect_ms: None,
        locks: Vec::new(),
        watch: false,
        owner: None,
        runbook_url: None,
        note: None,
    }
}
