//! The contract between the engine and its plugins: an action is four verbs over plain data.
//!
//! ```text
//! prepare(input)                 -> Prepared            reads only; the dry run
//! apply(effect, key, fence)      -> Outcome             makes one effect
//! settle(effect, key, dispatch)  -> Settled             what became of it
//! revert(effect, output)         -> Reverted            the action that puts it back
//! tidy(effect)                   -> Tidied              removes what was kept for an undo
//! ```
//!
//! `tidy` is a courtesy and no verb: it comes after all is over, and may be left out.
//!
//! A plugin knows only this crate.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::Schema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use tokio_util::sync::CancellationToken;

pub use backout_core::contract::{
    ByHand, Gate, Guarantee, Hazard, Image, Outcome, PrepareFailure, Prepared, PreparedEffect,
    Reversibility, Reverted, Satisfied, Settled, hex,
};
pub use backout_core::id::{ActionName, EffectKey, Fence, LockToken, RunId, StepId, TargetId};
pub use backout_core::limits;

#[cfg(feature = "conformance")]
pub mod conformance;

mod claim;
pub mod files;
mod kept;
pub mod look;
mod mask;
pub mod postgres;
mod secret;
mod system_secret;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "web")]
pub mod web;
pub mod words;
pub use claim::{
    Claim, Claimant, Claimed, Take, create_dir_durably, folder_name, sync_dir, write_durably,
};
pub use kept::{Kept, Look};
pub use mask::Masker;
pub use secret::{Secret, SecretError, SecretRef, SecretSource};
pub use system_secret::{SECRET_BYTES_MAX, SECRET_COMMAND_TIMEOUT, SystemSecrets, check_reference};

/// The version of this contract.
pub const CONTRACT_VERSION: u32 = 1;

/// What an action tells about itself.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `plugin.verb`.
    pub name: ActionName,
    /// One sentence.
    pub summary: &'static str,
    /// A few paragraphs of Markdown: what it does, how each guarantee is kept, its limits.
    pub docs: &'static str,
    /// The input as a JSON schema, with a description and a default for each field. A field that
    /// takes a [`SecretRef`] has `"format": "secret-ref"`. Made when it is asked for: most commands
    /// start with all actions and look at the input of none.
    pub input: fn() -> Schema,
    /// A `with` block in RON that works.
    pub example: &'static str,
    /// The best guarantee that any input allows.
    pub guarantee: Guarantee,
    /// Whether `prepare` computes only and never awaits.
    pub pure: bool,
    /// Every version of [`PreparedEffect::data`] that this release reads.
    pub data_versions: &'static [u32],
}

/// A thing wrong with an input that its schema cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputProblem {
    /// Where, as a JSON pointer: `/command/0`.
    pub at: String,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What can be said of an input without looking at any target.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub problems: Vec<InputProblem>,
    /// What is doubtful, an expression inside `sh -c` text for instance.
    pub warnings: Vec<InputProblem>,
    /// The best guarantee that this input allows; absent where that depends on an expression.
    pub guarantee: Option<Guarantee>,
    /// The targets that it will lock, as far as the input tells; for warnings at `check`.
    pub targets: Vec<TargetId>,
}

/// A piece of what an effect says while it works.
#[derive(Clone, Debug)]
pub enum Emit {
    /// Where it is, one line.
    Progress(String),
    /// Captured output, as it comes.
    Output(Vec<u8>),
}

/// What every verb gets besides its arguments. All of it could be a message to another process.
#[derive(Clone)]
pub struct Context {
    /// The run; `-` in a plan without a run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The attempt, from 1 on.
    pub attempt: u32,
    /// The epoch of the engine.
    pub epoch: u64,
    /// How long this verb may take from now.
    pub timeout: Duration,
    /// Fired when the verb should end early, politely.
    pub cancel: CancellationToken,
    /// Where progress and output go.
    pub emit: Arc<dyn Fn(Emit) + Send + Sync>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// A folder of this run in which an action may keep records of its own, on the store's disk.
    /// It may not exist yet; in a plan without a run nothing may be written to it.
    pub scratch: PathBuf,
    /// W3C `traceparent`, where there is one.
    pub traceparent: Option<String>,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
}

impl Context {
    /// A secret's value, at the moment of use. A source may block, so it is asked on a thread that
    /// may.
    ///
    /// # Errors
    /// Why there is no value.
    pub async fn secret(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let (source, asked) = (Arc::clone(&self.secrets), reference.clone());
        tokio::task::spawn_blocking(move || source.resolve(&asked)).await.unwrap_or_else(|_| {
            Err(SecretError {
                reference: reference.0.clone(),
                reason: "asking for it was interrupted".into(),
            })
        })
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("run", &self.run)
            .field("step", &self.step)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// One effect to make or to settle.
#[derive(Clone, Debug)]
pub struct Call {
    /// The input of the step, resolved.
    pub input: Value,
    /// The step as prepared.
    pub prepared: Arc<Prepared>,
    /// Which of its effects.
    pub effect: usize,
    /// What to mark it with.
    pub key: EffectKey,
    /// What tells us from an older holder.
    pub fence: Fence,
}

impl Call {
    /// The effect; a call is only made for one that exists.
    pub fn effect(&self) -> Option<&PreparedEffect> {
        self.prepared.effects.get(self.effect)
    }

    /// The effect's own data in the action's type.
    ///
    /// # Errors
    /// What does not fit.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, String> {
        let effect = self.effect().ok_or("the effect is not in what was prepared")?;
        T::deserialize(&effect.data).map_err(|error| format!("unreadable effect data: {error}"))
    }
}

/// The effect to put back.
#[derive(Clone, Debug)]
pub struct MadeEffect {
    /// The input of the step that made it.
    pub input: Value,
    /// The step as prepared.
    pub prepared: Arc<Prepared>,
    /// Which of its effects.
    pub effect: usize,
    /// Its key.
    pub key: EffectKey,
    /// What it gave.
    pub output: Value,
    /// Whether it is known to be made whole.
    pub whole: bool,
}

/// What `tidy` did, in lines for people. Nothing of it is needed later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tidied {
    /// What went, each with its place: `container checkout-1.old-3f2a on unix:///run/docker.sock`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What should have gone and stands there still, each with why, and the command that removes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// One action. It holds no state between calls that it could not lose.
#[async_trait]
pub trait Action: Send + Sync {
    /// What it tells about itself.
    fn manifest(&self) -> Manifest;

    /// What can be said of an input without looking: `input` fits the schema, but texts may still
    /// hold `${…}`.
    fn check(&self, input: &Value) -> Checked;

    /// The action in the words and commands of a person. Reads nothing.
    fn by_hand(&self, input: &Value) -> ByHand;

    /// Reads the target: what is there, what is wanted, what stands in the way.
    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure>;

    /// Makes one effect under its precondition, marked with its key where the target allows.
    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome;

    /// What became of a sending. May write our own marker, never the target's state. `NotDone` is
    /// final.
    async fn settle(&self, ctx: &Context, call: &Call) -> Settled;

    /// The action that puts the before image back.
    async fn revert(&self, ctx: &Context, made: &MadeEffect) -> Reverted;

    /// Removes what was kept for the undo of one key, and our own marks of it: a stopped container,
    /// a displaced file. By default nothing is kept and nothing goes.
    ///
    /// Called only once nothing can ask for an undo any more: the run ended well (succeeded, or
    /// undone) and was closed, or its record is about to be removed. It is called for every key that
    /// was ever sent, those of an undo's steps included, whatever became of it: `made.whole` is
    /// false where the effect is not known to be made.
    ///
    /// - It takes only what is marked with this key, and never what is in use now, by whomever.
    /// - It changes nothing of what the effect made: a `prepare` after it says what one before it
    ///   did.
    /// - It may be called again, also after a crash in its middle, and then finds less or nothing.
    /// - A mark that still keeps a late sending out stays.
    /// - It is best effort: what it cannot do it says in [`Tidied::left`]. It holds no lock.
    async fn tidy(&self, ctx: &Context, made: &MadeEffect) -> Tidied {
        let (_, _) = (ctx, made);
        Tidied::default()
    }
}

impl Checked {
    /// What `prepare` makes of it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn accepted(&self) -> Result<(), PrepareFailure> {
        self.problems.first().map_or(Ok(()), |problem| {
            let reason = format!("{}: {}", problem.at, problem.message);
            Err(PrepareFailure::Refused { reason })
        })
    }
}

/// What `settle` makes of a second look, for an action that only looks.
pub fn settled_by_look(looked: Outcome) -> Settled {
    match looked {
        Outcome::Done { output } => Settled::Done { output },
        Outcome::Failed { reason, output } => Settled::Failed { reason, output },
        Outcome::Refused { reason } | Outcome::Unclear { reason } => {
            Settled::Unreachable { reason }
        }
    }
}

/// Reads an input in the action's type, with an error for people.
///
/// # Errors
/// What does not fit.
pub fn parse_input<T: DeserializeOwned>(input: &Value) -> Result<T, PrepareFailure> {
    T::deserialize(input).map_err(|error| PrepareFailure::Refused {
        reason: format!("the input does not fit: {error}"),
    })
}
