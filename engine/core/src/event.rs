//! What happened: the persisted vocabulary. Variant and field names are stored; they never change
//! their meaning, and a new field has a default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adopt::Adopted;
use crate::contract::{Prepared, Reverted, Settled};
use crate::id::{CommandId, Epoch, LockToken, RunId, Seq, StepId, TargetId, Timestamp};
use crate::plan::{Plan, PlanStep};

/// The version of the rules by which [`crate::decide`] chooses. It rises when the same journal and
/// command would give other events.
pub const CORE_VERSION: u32 = 2;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The name; `engine` for the engine itself.
    pub name: String,
    /// Whether an authenticating server vouches for the name.
    #[serde(default)]
    pub verified: bool,
    /// Roles that the server vouches for; where `verified` is false, the groups that the operating
    /// system gives the person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// Behind a name that somebody gave where nobody was asked who they are.
pub const CLAIMED: &str = " (claimed)";

impl Actor {
    /// The person, however their name came to be known: who claims a name where nobody asks is the
    /// same one as who has it elsewhere, so that nobody approves twice by two doors.
    pub fn person(&self) -> &str {
        self.name.strip_suffix(CLAIMED).unwrap_or(&self.name)
    }

    /// The engine itself.
    pub fn engine() -> Self {
        Self { name: "engine".into(), verified: true, roles: Vec::new() }
    }

    /// A person known by the operating system only.
    pub fn unverified(name: impl Into<String>) -> Self {
        Self { name: name.into(), verified: false, roles: Vec::new() }
    }
}

/// Why an event came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// The command it answers, where a person gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// Who.
    pub actor: Actor,
    /// In the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the ordinary rules were set aside; marks every later view.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

impl Cause {
    /// The engine's own doing.
    pub fn engine() -> Self {
        Self { command: None, actor: Actor::engine(), reason: None, break_glass: false }
    }
}

/// A lock that the store granted together with an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// What is locked.
    pub target: TargetId,
    /// The counter's number for it.
    pub token: LockToken,
}

/// Who holds a lock that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// What is locked.
    pub target: TargetId,
    /// The run that holds it.
    pub run: RunId,
    /// Since when.
    pub since: Timestamp,
}

/// An event with its place in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    /// The position.
    pub seq: Seq,
    /// Which engine wrote it.
    pub epoch: Epoch,
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Locks granted with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// What happened.
    pub event: Event,
}

impl Recorded {
    /// Whether a person decided this, after the run was made.
    pub fn is_decision(&self) -> bool {
        // An engine in an exercise bears its mark.
        let person = self.cause.actor.name != Actor::engine().name;
        person && !matches!(self.event, Event::RunCreated { .. })
    }
}

/// One sending of one effect.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Sending {
    /// The step.
    pub step: StepId,
    /// The step's attempt, from 1 on.
    pub attempt: u32,
    /// The effect's index in what was prepared.
    pub effect: usize,
    /// Which sending of this key it is, from 1 on.
    pub dispatch: u32,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "for")]
pub enum Wait {
    /// People must say yes to what was prepared.
    Approval {
        /// [`Prepared::consent`] of it.
        consent: String,
        /// What they are asked, and why.
        why: String,
    },
    /// It is tried again.
    Retry {
        /// When.
        due: Timestamp,
        /// What went wrong.
        why: String,
    },
    /// It must stay as it is for a time.
    Soak {
        /// How much of the time is covered by samples so far, milliseconds.
        covered_ms: u64,
        /// The last sample that was good; absent where the last one was not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sampled: Option<Timestamp>,
        /// The next look.
        due: Timestamp,
        /// What the last look saw, as evidence; where it saw nothing, `{"unknown": why}`.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        seen: Value,
    },
    /// Another run holds a target.
    Lock {
        /// Which, and who.
        holders: Vec<Holder>,
    },
    /// A durable timer runs.
    Timer {
        /// When it ends.
        due: Timestamp,
    },
    /// A person must decide.
    Person {
        /// What about.
        why: String,
    },
    /// An output that its input names is not there; a person supplies it.
    Output {
        /// The step that should have given it.
        from: StepId,
        /// `steps.id.output.y`.
        name: String,
    },
}

/// Why a step was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkipCause {
    /// Its `when` is false.
    When,
    /// A person said so.
    Person,
}

/// Why a run stops short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// A step failed whose author chose to halt the run.
    Halted {
        /// The step.
        step: StepId,
    },
    /// A person aborted it.
    Aborted,
}

/// How a run came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnd {
    /// All is done.
    Succeeded,
    /// Something failed and nothing is left to do; `retry` and `resume` reopen it.
    Failed,
    /// A person aborted it; `resume` reopens it.
    Aborted,
    /// What it did was put back.
    Undone,
    /// Another run goes on in its place; [`Event::RunSuperseded`] says which.
    Superseded,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Event {
    // The run.
    /// The run exists, with its plan; always the first.
    RunCreated {
        /// The run.
        run: RunId,
        /// What it will do.
        plan: Box<Plan>,
        /// The file it was made from, for people.
        #[serde(default)]
        text: String,
        /// [`CORE_VERSION`] that made it.
        core: u32,
    },
    /// An engine took the run up. What was in flight is unclear from here on.
    EngineAttached {
        /// Where the engine runs, for people: host and process.
        engine: String,
    },
    /// The engine let go of the run in order; nothing was left in flight that it knows of.
    EngineDetached {
        /// A signal, or the end of the command.
        why: String,
    },
    /// Nothing new is started until it is resumed.
    RunPaused,
    /// It goes on. Also reopens a run that failed or was aborted.
    RunResumed,
    /// Nothing new is started for good; what is in flight is finished.
    RunStopping {
        /// Why.
        why: StopCause,
    },
    /// Everything is at rest.
    RunEnded {
        /// How.
        end: RunEnd,
        /// Whether its `success` held and was said; absent where it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// A person closed it: nothing reopens it.
    RunClosed,
    /// An undo began: nothing new is started, and then what was made is put back.
    UndoBegun {
        /// Which undo, from 1 on.
        undo: u32,
    },
    /// How one effect is put back.
    RevertPlanned {
        /// The step that made it.
        step: StepId,
        /// The index into what that step made.
        made: usize,
        /// How.
        reverted: Reverted,
    },
    /// The plan grew: the steps of an undo, or a person's.
    StepsInserted {
        /// The new steps, with needs among themselves and on steps that exist.
        steps: Vec<PlanStep>,
        /// Steps that need the new ones from here on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        before: Vec<StepId>,
    },
    /// Nothing new begins of these steps until they are freed.
    StepsHeld {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// These are not held back any more.
    StepsFreed {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// An earlier run has done these steps: they count as done, and an undo puts them back.
    StepsAdopted {
        /// The earlier run.
        from: RunId,
        /// What it did.
        steps: Vec<Adopted>,
    },
    /// Another run goes on in its place: it is over, and its locks are free.
    RunSuperseded {
        /// The other run.
        by: RunId,
    },
    /// Locks were let go for another run.
    LocksYielded {
        /// The targets.
        targets: Vec<TargetId>,
    },
    /// The command was offered to somebody; until they accept, it stays where it was.
    CommandOffered {
        /// Who.
        to: String,
    },
    /// Who was offered the command took it.
    CommandTaken,
    /// A person wrote something down.
    NoteTaken {
        /// About which step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// What.
        text: String,
    },

    // A step.
    /// A new attempt began: its input is fixed, and it is prepared.
    StepStarted {
        /// The step.
        step: StepId,
        /// From 1 on.
        attempt: u32,
        /// The input with every expression filled in; a secret stands as its reference.
        input: Value,
    },
    /// What it would do was read from its target.
    StepPrepared {
        /// The step.
        step: StepId,
        /// What was read, and is wanted.
        prepared: Box<Prepared>,
    },
    /// It holds all its targets; it is prepared once more.
    StepLocked {
        /// The step.
        step: StepId,
        /// The targets that were not held before.
        targets: Vec<TargetId>,
    },
    /// It cannot go on by itself now.
    StepWaits {
        /// The step.
        step: StepId,
        /// What for.
        wait: Wait,
    },
    /// A person said yes.
    StepApproved {
        /// The step.
        step: StepId,
        /// What was consented to.
        consent: String,
    },
    /// It did what it should.
    StepSucceeded {
        /// The step.
        step: StepId,
        /// False where all was there already.
        changed: bool,
        /// What later steps may use.
        #[serde(default)]
        output: Value,
    },
    /// Looked at again after its effects: not as wanted yet.
    StepLooked {
        /// The step.
        step: StepId,
        /// The next look.
        due: Timestamp,
        /// What differs.
        difference: Vec<String>,
    },
    /// Done, but never seen as wanted: a person decides, it is not applied again by itself.
    StepUnverified {
        /// The step.
        step: StepId,
        /// What differs.
        difference: Vec<String>,
    },
    /// It failed.
    StepFailed {
        /// The step.
        step: StepId,
        /// What went wrong.
        reason: String,
        /// Whether its need counts as met all the same.
        #[serde(default)]
        met: bool,
    },
    /// It is left out.
    StepSkipped {
        /// The step.
        step: StepId,
        /// Why.
        by: SkipCause,
    },
    /// It will not be started, since its run stops or is undone.
    StepCancelled {
        /// The step.
        step: StepId,
    },
    /// What it made was put back.
    StepUndone {
        /// The step.
        step: StepId,
    },
    /// A person lets a step that waits for one be tried again.
    StepReopened {
        /// The step.
        step: StepId,
        /// What its action takes from here on, where a person changed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<Value>,
    },

    // A step that is watched.
    /// What it made is not as it was left.
    WatchAlarm {
        /// The step.
        step: StepId,
        /// What differs; where it was not seen, why.
        difference: Vec<String>,
        /// Who changed it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Whether the target does not answer, so that nobody knows how it is.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unseen: bool,
    },
    /// It is as it was left again.
    WatchCalm {
        /// The step.
        step: StepId,
    },
    /// Looked at last, when all else was done: it is as it was left.
    WatchHeld {
        /// The step.
        step: StepId,
    },
    /// A person takes it as it is: it is watched no more.
    WatchAccepted {
        /// The step.
        step: StepId,
    },

    // An effect.
    /// The intent: from here on it may happen.
    EffectIntended {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
    },
    /// It is made.
    EffectDone {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
        /// What it gave.
        #[serde(default)]
        output: Value,
    },
    /// Proven not to be made.
    EffectRefused {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
        /// Why.
        reason: String,
    },
    /// It ended and says that it failed.
    EffectFailed {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
        /// What it said.
        reason: String,
        /// What it left behind.
        #[serde(default)]
        output: Value,
    },
    /// Nobody knows whether it is made; it will be settled.
    EffectUnclear {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
        /// What happened.
        reason: String,
    },
    /// The target, or a person, told what became of it.
    EffectSettled {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
        /// What was found.
        settled: Settled,
        /// When to look again, where that is what follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
    },
    /// A person must settle it.
    EffectInDoubt {
        /// Which.
        #[serde(flatten)]
        sending: Sending,
        /// All that is known.
        evidence: String,
    },
}

impl Event {
    /// The step that it is about; nothing where it is the run's.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::StepStarted { step, .. }
            | Self::StepPrepared { step, .. }
            | Self::StepLocked { step, .. }
            | Self::StepWaits { step, .. }
            | Self::StepApproved { step, .. }
            | Self::StepSucceeded { step, .. }
            | Self::StepLooked { step, .. }
            | Self::StepUnverified { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepSkipped { step, .. }
            | Self::StepCancelled { step }
            | Self::StepUndone { step }
            | Self::StepReopened { step, .. }
            | Self::WatchAlarm { step, .. }
            | Self::WatchCalm { step }
            | Self::WatchHeld { step }
            | Self::WatchAccepted { step } => Some(step),
            Self::EffectIntended { sending }
            | Self::EffectDone { sending, .. }
            | Self::EffectRefused { sending, .. }
            | Self::EffectFailed { sending, .. }
            | Self::EffectUnclear { sending, .. }
            | Self::EffectSettled { sending, .. }
            | Self::EffectInDoubt { sending, .. } => Some(&sending.step),
            _ => None,
        }
    }
}
