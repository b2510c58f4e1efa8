//! `exec.run`: a command, run under a shim that survives the engine.
//!
//! A killed engine leaves its children running, and a child whose pipe breaks dies in the middle of
//! its effect. So each command runs under the [shim](shim_main): a process of the same binary, in a
//! session of its own, that owns the command's pipes and keeps its records. The engine follows the
//! shim; the next engine reads the records.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Claimed, Context, EffectKey, Guarantee, Image,
    MadeEffect, Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility,
    Reverted, Satisfied, Settled, Take, parse_input,
};
use schemars::schema_for;
use serde_json::{Value, json};

mod by_hand;
mod capture;
mod direct;
mod engine;
mod environment;
mod input;
mod probe;
mod process;
mod record;
mod shim;
mod watch;

pub use input::{Input, Keep};
pub use shim::shim_main;
pub use watch::GRACE;

use direct::Show;
use engine::Followed;
use environment::{Environment, environment};
use probe::Answer;
use record::{Exit, Folder, How, Look};
use shim::{Job, Report};

const NAME: &str = "exec.run";
/// Nothing of it is kept in the effect: the input says all.
const DATA_VERSION: u32 = 1;

/// The action `exec.run`.
#[derive(Clone, Debug)]
pub struct ExecRun {
    shim: Vec<OsString>,
    grace: Duration,
}

impl ExecRun {
    /// The action, told how its shim is started: the program that calls [`shim_main`], and the
    /// arguments that make it do so.
    pub fn new(shim: Vec<OsString>) -> Self {
        Self { shim, grace: GRACE }
    }

    /// The same, with another time between SIGTERM and SIGKILL than [`GRACE`].
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

#[async_trait]
impl Action for ExecRun {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(NAME),
            summary: "runs a command",
            docs: include_str!("../exec.run.md"),
            input: || schema_for!(Input),
            example: include_str!("../exec.run.ron"),
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        parse_input(input).map_or_else(
            |failure| ByHand { does: failure.reason().to_owned(), ..ByHand::default() },
            |input: Input| by_hand::by_hand(&input),
        )
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: Input = parse_input(input)?;
        input::check(&json!(input)).accepted()?;
        look_for_folder(&input)?;
        let satisfied = match &input.settle {
            Some(settle) => satisfied(ctx, &input, settle).await?,
            None => Satisfied::CannotTell,
        };
        Ok(prepared(&input, satisfied))
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let input: Input = match parse_input(&call.input) {
            Ok(input) => input,
            Err(failure) => return refused(failure.reason()),
        };
        let environment = match environment(ctx, &call.key, &input).await {
            Ok(environment) => environment,
            Err(error) => return refused(&error.to_string()),
        };
        if input.read_only {
            return look_only(ctx, &input, &environment).await;
        }
        match earlier(ctx, call, &input) {
            Ok(None) => self.send(ctx, call, &input, environment).await,
            Ok(Some(outcome)) => outcome,
            Err(error) => Outcome::Refused { reason: unreadable(&error) },
        }
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let input: Input = match parse_input(&call.input) {
            Ok(input) => input,
            Err(failure) => return Settled::Unknown { evidence: failure.reason().to_owned() },
        };
        if input.read_only {
            return Settled::NotDone;
        }
        let folder = Folder::of(ctx, &call.key, call.fence.dispatch);
        match settle_this(ctx, call, &input, &folder).await {
            Settled::NotDone => settle_earlier(ctx, call, &input),
            settled => settled,
        }
    }

    async fn revert(&self, _ctx: &Context, made: &MadeEffect) -> Reverted {
        let input: Input = match parse_input(&made.input) {
            Ok(input) => input,
            Err(failure) => return Reverted::NotPossible { why: failure.reason().to_owned() },
        };
        if input.read_only {
            return Reverted::Nothing;
        }
        match input.revert {
            Some(command) => {
                let (settle, revert) = (None, None);
                let input = Input { command, settle, revert, ..input };
                Reverted::By { action: ActionName::new(NAME), input: json!(input) }
            }
            None => Reverted::NotPossible {
                why: format!(
                    "no `revert` is given for `{}`: put back by hand what it did",
                    by_hand::all_quoted(&input.command)
                ),
            },
        }
    }
}

impl ExecRun {
    /// Runs the command under a shim.
    async fn send(
        &self,
        ctx: &Context,
        call: &Call,
        input: &Input,
        environment: Environment,
    ) -> Outcome {
        let folder = Folder::of(ctx, &call.key, call.fence.dispatch);
        let Environment { variables, secrets } = environment;
        let job = Job {
            folder: folder.path().to_owned(),
            shim: self.shim.clone(),
            command: input.command.clone(),
            env: variables,
            cwd: input.cwd.clone(),
            secrets,
            timeout_ms: as_ms(ctx.timeout),
            grace_ms: as_ms(self.grace),
        };
        match engine::run(ctx, &self.shim, &job, folder.output()).await {
            Followed::NotStarted(reason) | Followed::Told(Report::Refused(reason)) => {
                Outcome::Refused { reason }
            }
            Followed::Told(Report::Sealed) => {
                refused("this sending was settled as not done before it began")
            }
            Followed::Told(Report::Ended) => match folder.exit() {
                Ok(Some(exit)) => outcome(input, &exit),
                Ok(None) => unclear("the command ended, and its record is missing"),
                Err(error) => unclear(&unreadable(&error)),
            },
            Followed::Told(Report::Claimed) => unclear("this sending was made before"),
            Followed::Told(Report::Unrecorded(reason)) | Followed::Lost(reason) => unclear(&reason),
        }
    }
}

/// A command that changes nothing needs no record.
async fn look_only(ctx: &Context, input: &Input, environment: &Environment) -> Outcome {
    let cwd = input.cwd.as_deref();
    match direct::run(ctx, &input.command, cwd, environment, Show::Yes).await {
        Ok(exit) if exit.how == How::Status(0) => {
            Outcome::Done { output: exit.output(input.output) }
        }
        Ok(exit) => Outcome::Failed { reason: exit.says(), output: exit.output(input.output) },
        Err(reason) => Outcome::Refused { reason },
    }
}

/// What earlier sendings of this key, or this very one, forbid.
fn earlier(ctx: &Context, call: &Call, input: &Input) -> io::Result<Option<Outcome>> {
    for dispatch in 1..=call.fence.dispatch {
        let is_this = dispatch == call.fence.dispatch;
        match Folder::of(ctx, &call.key, dispatch).look()? {
            Look::Exited(exit) if is_this || exit.how == How::Status(0) => {
                return Ok(Some(outcome(input, &exit)));
            }
            Look::Running(evidence) => {
                let reason = format!("sending {dispatch} still runs: {evidence}");
                return Ok(Some(Outcome::Unclear { reason }));
            }
            Look::Never if is_this => {
                return Ok(Some(refused("this sending was settled as not done before it began")));
            }
            Look::Lost { evidence, .. } if is_this => {
                return Ok(Some(Outcome::Unclear { reason: evidence }));
            }
            Look::Unclaimed | Look::Never | Look::Exited(_) | Look::Lost { .. } => {}
        }
    }
    Ok(None)
}

/// How a command that ended is told to the engine.
fn outcome(input: &Input, exit: &Exit) -> Outcome {
    match &exit.how {
        How::Status(0) => Outcome::Done { output: exit.output(input.output) },
        How::NeverBegan(reason) => Outcome::Refused { reason: reason.clone() },
        How::Status(_) if input.settle.is_none() => {
            Outcome::Failed { reason: exit.says(), output: exit.output(input.output) }
        }
        How::Status(_) | How::Signal(_) | How::Ended(_) => Outcome::Unclear { reason: exit.says() },
    }
}

/// What became of one sending, by its records and then by the author's probe. A sending that
/// nobody began is sealed.
async fn settle_this(ctx: &Context, call: &Call, input: &Input, folder: &Folder) -> Settled {
    match look_or_seal(folder.clone(), ctx.now_ms).await {
        Err(error) => Settled::Unreachable { reason: unreadable(&error) },
        Ok(Look::Never) => Settled::NotDone,
        Ok(Look::Unclaimed) => Settled::Unreachable { reason: "its claim comes and goes".into() },
        Ok(Look::Running(evidence)) => Settled::Running { evidence },
        Ok(Look::Exited(exit)) => settle_exit(ctx, call, input, folder, &exit).await,
        Ok(Look::Lost { evidence, over }) => match &input.settle {
            None => Settled::Unknown { evidence },
            Some(settle) => {
                let answer = probe::ask(ctx, &call.key, input, settle).await;
                settled_by(answer, &evidence, over, json!({ "exit_status": null }))
            }
        },
    }
}

/// This sending was not made. An earlier one was settled before this one was begun, but by a person
/// perhaps: what its records prove stands.
fn settle_earlier(ctx: &Context, call: &Call, input: &Input) -> Settled {
    for dispatch in 1..call.fence.dispatch {
        match Folder::of(ctx, &call.key, dispatch).look() {
            Err(error) => return Settled::Unreachable { reason: unreadable(&error) },
            Ok(Look::Running(evidence)) => return Settled::Running { evidence },
            Ok(Look::Exited(exit)) if exit.how == How::Status(0) => {
                return Settled::Done { output: exit.output(input.output) };
            }
            Ok(Look::Unclaimed | Look::Never | Look::Exited(_) | Look::Lost { .. }) => {}
        }
    }
    Settled::NotDone
}

/// What the records say once nobody can begin it any more. On a thread that may wait for the disk.
async fn look_or_seal(folder: Folder, now_ms: i64) -> io::Result<Look> {
    let looking = tokio::task::spawn_blocking(move || match folder.look()? {
        Look::Unclaimed => match folder.claim().take(&Claimed::seal(now_ms))? {
            Take::Ours => Ok(Look::Never),
            Take::Theirs(_) => folder.look(),
        },
        look => Ok(look),
    });
    looking.await.map_err(io::Error::other)?
}

async fn settle_exit(
    ctx: &Context,
    call: &Call,
    input: &Input,
    folder: &Folder,
    exit: &Exit,
) -> Settled {
    let output = exit.output(input.output);
    match (&exit.how, &input.settle) {
        (How::Status(0), _) => Settled::Done { output },
        (How::NeverBegan(_), _) => Settled::NotDone,
        (How::Status(_), None) => Settled::Failed { reason: exit.says(), output },
        (How::Signal(_) | How::Ended(_), None) => Settled::Unknown { evidence: exit.says() },
        (How::Status(_) | How::Signal(_) | How::Ended(_), Some(settle)) => {
            let over = probe::wait_until_over(folder).await;
            let answer = probe::ask(ctx, &call.key, input, settle).await;
            settled_by(answer, &exit.says(), over, output)
        }
    }
}

/// The probe's answer in the light of what is known. Its *not done* is final only when nothing is
/// left that could still do it.
fn settled_by(answer: Answer, evidence: &str, over: bool, output: Value) -> Settled {
    match answer {
        Answer::Done => Settled::Done { output },
        Answer::NotDone if over => Settled::NotDone,
        Answer::NotDone => Settled::Running {
            evidence: format!(
                "{evidence}; not done yet, and something that it started may still run"
            ),
        },
        Answer::Unknown(said) => Settled::Unknown { evidence: format!("{evidence}; {said}") },
        Answer::NotAsked(reason) => Settled::Unreachable { reason },
    }
}

async fn satisfied(
    ctx: &Context,
    input: &Input,
    settle: &[String],
) -> Result<Satisfied, PrepareFailure> {
    let key = EffectKey::new(&ctx.run, &ctx.step, ctx.attempt, 0);
    match probe::ask(ctx, &key, input, settle).await {
        Answer::Done => Ok(Satisfied::Yes),
        Answer::NotDone => Ok(Satisfied::No),
        Answer::Unknown(_) => Ok(Satisfied::CannotTell),
        Answer::NotAsked(reason) => Err(PrepareFailure::Unreachable { reason }),
    }
}

fn prepared(input: &Input, satisfied: Satisfied) -> Prepared {
    let command = by_hand::all_quoted(&input.command);
    let reversibility = match (input.read_only, &input.revert) {
        (false, None) => Reversibility::None,
        (true, _) | (false, Some(_)) => Reversibility::Exact,
    };
    let effect = PreparedEffect {
        title: format!("run {command}"),
        wave: 0,
        satisfied,
        before: Image::Absent,
        wanted: Image::Plain(json!(input)),
        difference: match satisfied {
            Satisfied::Yes => Vec::new(),
            Satisfied::No | Satisfied::CannotTell => vec![by_hand::line(input, &input.command)],
        },
        reversibility,
        hazards: Vec::new(),
        data: Value::Null,
    };
    Prepared {
        data_version: DATA_VERSION,
        guarantee: input.guarantee(),
        remembered_ms: None,
        locks: Vec::new(),
        effects: vec![effect],
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen: Value::Null,
    }
}

fn look_for_folder(input: &Input) -> Result<(), PrepareFailure> {
    match &input.cwd {
        Some(cwd) if !Path::new(cwd).is_dir() => {
            Err(PrepareFailure::Refused { reason: format!("there is no folder `{cwd}` to run in") })
        }
        Some(_) | None => Ok(()),
    }
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

fn unclear(reason: &str) -> Outcome {
    Outcome::Unclear { reason: reason.to_owned() }
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot read the records of the command: {error}")
}
