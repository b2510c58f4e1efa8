//! The state of a run: the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::{Guarantee, Prepared, PreparedEffect, Reverted};
use crate::event::{Actor, RunEnd, Sending, SkipCause, StopCause, Wait};
use crate::id::{EffectKey, Epoch, LockToken, RunId, Seq, StepId, StepIx, TargetId, Timestamp};
use crate::plan::{Order, Plan, PlanStep};
use crate::watch::Watched;

/// Where a step is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum StepState {
    /// Not started: it waits for its needs, or for room.
    #[default]
    Pending,
    /// Its target is being read.
    Preparing,
    /// See [`Wait`].
    Waiting(Wait),
    /// Its effects are being made, settled or verified.
    Running,
    /// What became of an effect is not known, and only a person can say.
    InDoubt,
    /// It did what it should.
    Succeeded {
        /// False where all was there already.
        changed: bool,
    },
    /// Done, but never seen as wanted.
    Unverified,
    /// It failed.
    Failed {
        /// What went wrong.
        reason: String,
        /// Whether its need counts as met all the same.
        met: bool,
    },
    /// It was left out.
    Skipped(SkipCause),
    /// Its run stopped or is undone before it began.
    Cancelled,
    /// What it made was put back.
    Undone,
}

impl StepState {
    /// The word that views show and JSON carries.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Preparing => "preparing",
            Self::Waiting(_) => "waiting",
            Self::Running => "running",
            Self::InDoubt => "in-doubt",
            Self::Succeeded { changed: true } => "succeeded",
            Self::Succeeded { changed: false } => "already-satisfied",
            Self::Unverified => "unverified",
            Self::Failed { .. } => "failed",
            Self::Skipped(_) => "skipped",
            Self::Cancelled => "cancelled",
            Self::Undone => "undone",
        }
    }

    /// Whether a step that needs this one may go on. The rule of `docs/rules.md`.
    pub fn meets_need(&self) -> bool {
        match self {
            Self::Succeeded { .. } | Self::Skipped(_) | Self::Failed { met: true, .. } => true,
            Self::Failed { met: false, .. }
            | Self::Pending
            | Self::Preparing
            | Self::Waiting(_)
            | Self::Running
            | Self::InDoubt
            | Self::Unverified
            | Self::Cancelled
            | Self::Undone => false,
        }
    }

    /// Whether the engine has something to do for it, now or at a due time.
    pub fn is_active(&self) -> bool {
        match self {
            Self::Preparing | Self::Running => true,
            Self::Waiting(wait) => match wait {
                Wait::Retry { .. } | Wait::Soak { .. } | Wait::Lock { .. } | Wait::Timer { .. } => {
                    true
                }
                Wait::Approval { .. } | Wait::Person { .. } | Wait::Output { .. } => false,
            },
            Self::Pending
            | Self::InDoubt
            | Self::Succeeded { .. }
            | Self::Unverified
            | Self::Failed { .. }
            | Self::Skipped(_)
            | Self::Cancelled
            | Self::Undone => false,
        }
    }

    /// Whether it is prepared or its effects are made: what `max_parallel` bounds.
    pub fn is_working(&self) -> bool {
        matches!(self, Self::Preparing | Self::Running)
    }

    /// Whether nothing happens to it any more unless a person reopens it.
    pub fn is_rest(&self) -> bool {
        matches!(
            self,
            Self::Succeeded { .. }
                | Self::Failed { .. }
                | Self::Skipped(_)
                | Self::Cancelled
                | Self::Undone
        )
    }

    /// Whether only a person can move it on.
    pub fn wants_person(&self) -> bool {
        matches!(
            self,
            Self::InDoubt
                | Self::Unverified
                | Self::Waiting(Wait::Approval { .. } | Wait::Person { .. } | Wait::Output { .. })
        )
    }
}

/// Where one effect of a step's current attempt is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum EffectState {
    /// Not sent.
    #[default]
    Pending,
    /// There already when it was prepared.
    Satisfied,
    /// Its intent is recorded and an engine of this epoch sends it.
    InFlight,
    /// Sent, and nobody knows; it is settled, the next look at `due`.
    Unclear {
        /// Since when; the settle deadline counts from here.
        since: Timestamp,
        /// The next look.
        due: Timestamp,
        /// What is known so far.
        evidence: String,
        /// Whether it is unclear only since the engine died: such a sending does not count against
        /// the step's retries.
        orphaned: bool,
    },
    /// It is made.
    Done,
    /// It is sent again under the same key: it was proven not made, or its target remembers keys.
    Again {
        /// When.
        due: Timestamp,
        /// What was found.
        why: String,
    },
    /// Proven not made, and the target refused it: only a fresh look can go on.
    Refused,
    /// Ended and failed; part of it may be made.
    Failed,
    /// Only a person can say.
    InDoubt {
        /// What is known.
        evidence: String,
    },
}

/// One effect of the current attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EffectRun {
    /// Where it is.
    pub state: EffectState,
    /// How often it was sent; 0 is never.
    pub dispatch: u32,
    /// When it was first sent.
    pub first_sent: Option<Timestamp>,
    /// Whether an earlier sending of this key may have made it: it is sent again only under the
    /// same key, and a refusal proves nothing.
    pub doubtful: bool,
    /// How often this sending was settled, for the backoff of settling.
    pub looks: u32,
    /// What it gave, once made.
    pub output: Value,
}

/// An effect that was made, or partly: what an undo puts back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// Where the journal says so; an undo goes backwards by it.
    pub seq: Seq,
    /// Its key.
    pub key: EffectKey,
    /// What was prepared when it was made, all of it: `effect` is the index.
    pub prepared: Arc<Prepared>,
    /// The index into `prepared.effects`.
    pub effect: usize,
    /// The input of its action.
    pub input: Value,
    /// What it gave.
    pub output: Value,
    /// Whether it is known to be made whole.
    pub whole: bool,
    /// How it is put back, once asked.
    pub reverted: Option<Reverted>,
    /// Whether an earlier run made it, which this one goes on for; `seq` is then its place among all
    /// that was adopted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

impl Made {
    /// The effect as it was prepared.
    pub fn effect(&self) -> Option<&PreparedEffect> {
        self.prepared.effects.get(self.effect)
    }
}

/// A person's yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Actor,
    /// What was consented to.
    pub consent: String,
    /// When.
    pub at: Timestamp,
    /// Whether the ordinary rules were set aside.
    pub break_glass: bool,
}

/// One step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    /// Where it is.
    pub state: StepState,
    /// Needs that are not met yet.
    pub unmet: usize,
    /// The attempt; 0 before the first.
    pub attempt: u32,
    /// Failed sendings and prepares so far since a person last let it be tried; a sending that an
    /// engine's death cut off does not count.
    pub tries: u32,
    /// How often this attempt was looked at: distinguishes one `prepare` from the next.
    pub look: u32,
    /// The input of this attempt.
    pub input: Value,
    /// What was prepared in this attempt.
    pub prepared: Option<Arc<Prepared>>,
    /// Whether it holds all its targets and any approval, and is prepared once more.
    pub locked: bool,
    /// The effects of this attempt.
    pub effects: Vec<EffectRun>,
    /// What it made, over all attempts, in order.
    pub made: Vec<Made>,
    /// Who said yes.
    pub approvals: Vec<Approval>,
    /// Since when all its effects are made and it is verified.
    pub verifying_since: Option<Timestamp>,
    /// Looks of this verification so far, for its backoff.
    pub verify_looks: u32,
    /// When it is looked at again.
    pub due: Option<Timestamp>,
    /// When [`crate::Command::Advance`] next finds something to do for it; absent where it waits
    /// for an answer. Kept with [`RunState::timed`].
    pub next: Option<Timestamp>,
    /// What later steps may use.
    pub output: Value,
    /// When its first attempt began.
    pub started: Option<Timestamp>,
    /// When it came to rest.
    pub ended: Option<Timestamp>,
    /// What went wrong last, or what differs.
    pub trouble: Option<String>,
    /// How it is watched.
    pub watched: Watched,
    /// Since when it is where it is.
    pub since: Timestamp,
    /// Who changed what its action takes, where somebody did.
    pub edited: Option<Actor>,
    /// Whether an earlier run did it.
    pub adopted: bool,
}

impl StepRun {
    /// What holds for its effects; absent before it is prepared.
    pub fn guarantee(&self) -> Option<Guarantee> {
        self.prepared.as_ref().map(|prepared| prepared.guarantee)
    }
}

/// What a run is about to do as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// Going forward.
    Forward,
    /// Finishing what is in flight, then it ends.
    Stopping(StopCause),
    /// Putting back; the number of the undo.
    Undoing(u32),
    /// At rest.
    Ended(RunEnd),
}

/// The word for a run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// Something is being done, or will be by itself.
    Running,
    /// Nothing goes on without a person.
    Waiting,
    /// A person paused it.
    Paused,
    /// See [`RunEnd::Succeeded`].
    Succeeded,
    /// See [`RunEnd::Failed`].
    Failed,
    /// See [`RunEnd::Aborted`].
    Aborted,
    /// See [`RunEnd::Undone`].
    Undone,
    /// See [`RunEnd::Superseded`].
    Superseded,
}

impl RunStatus {
    /// The word that views show and JSON carries.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Undone => "undone",
            Self::Superseded => "superseded",
        }
    }

    /// Whether the run is over, though it may be reopened.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Aborted | Self::Undone | Self::Superseded
        )
    }
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// About which step.
    pub step: Option<StepId>,
    /// What.
    pub text: String,
}

/// The command of a run, offered to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who is to take it.
    pub to: String,
    /// Who offered it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// The state of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, set by its own event"
)]
pub struct RunState {
    /// The run.
    pub run: RunId,
    /// The plan, with what was inserted.
    pub plan: Plan,
    /// Its order.
    #[serde(skip)]
    pub order: Order,
    /// The last event folded in.
    pub seq: Seq,
    /// The engine that drives it, or last did.
    pub epoch: Epoch,
    /// Whether an engine took it up and has not let go in order.
    pub attached: bool,
    /// Where the engine runs that drives it, or last did.
    pub engine: String,
    /// Who started it.
    pub starter: Actor,
    /// When it was created.
    pub created: Timestamp,
    /// When the last event happened.
    pub last: Timestamp,
    /// When it came to rest.
    pub ended: Option<Timestamp>,
    /// What it is about.
    pub phase: Phase,
    /// Whether a person paused it.
    pub paused: bool,
    /// Steps that are held back: nothing new of them begins.
    pub held: BTreeSet<StepIx>,
    /// Who commands it: at first the one who started it.
    pub commander: Actor,
    /// To whom the command is offered.
    pub offer: Option<Offer>,
    /// The run that goes on in its place.
    pub superseded_by: Option<RunId>,
    /// The run in whose place it goes on.
    pub continues: Option<RunId>,
    /// Whether a person closed it.
    pub closed: bool,
    /// Whether its `success` held.
    pub recovered: Option<bool>,
    /// How many undos began.
    pub undos: u32,
    /// Whether the ordinary rules were ever set aside.
    pub break_glass: bool,
    /// The steps, in plan order.
    pub steps: Vec<StepRun>,
    /// The locks it holds.
    pub locks: BTreeMap<TargetId, LockToken>,
    /// The last notes, at most [`Self::NOTES_MAX`].
    pub notes: Vec<Note>,
    /// Pending steps whose needs are met.
    pub ready: BTreeSet<StepIx>,
    /// Steps for which the engine has something to do, now or at a due time.
    pub active: BTreeSet<StepIx>,
    /// Those of the active steps that go on without an answer, by the moment when they do.
    pub timed: BTreeSet<(Timestamp, StepIx)>,
    /// Steps that only a person can move on.
    pub asking: BTreeSet<StepIx>,
    /// Steps that are done and looked at until the run ends.
    pub watched: BTreeSet<StepIx>,
    /// The last event that moved a step or took the run up: a look before it does not tell how
    /// things are at the run's end.
    pub moved: Seq,
    /// How many steps prepare or run: what `max_parallel` bounds.
    pub working: usize,
    /// How many steps meet the needs of others.
    pub met: usize,
    /// Whether the steps of the undo under way stand in the plan.
    pub undo_planned: bool,
}

impl RunState {
    /// Notes held in the state; all of them stand in the journal.
    pub const NOTES_MAX: usize = 100;

    /// The step of an id.
    pub fn find(&self, id: &StepId) -> Option<(StepIx, &PlanStep, &StepRun)> {
        let ix = self.order.find(id)?;
        Some((ix, self.plan_step(ix)?, self.step(ix)?))
    }

    /// The step as planned.
    pub fn plan_step(&self, ix: StepIx) -> Option<&PlanStep> {
        self.plan.steps.get(ix.0)
    }

    /// The step as it is.
    pub fn step(&self, ix: StepIx) -> Option<&StepRun> {
        self.steps.get(ix.0)
    }

    /// The key of a sending.
    pub fn key(&self, sending: &Sending) -> EffectKey {
        EffectKey::new(&self.run, &sending.step, sending.attempt, sending.effect)
    }

    /// The word for the run as a whole.
    pub fn status(&self) -> RunStatus {
        match &self.phase {
            Phase::Ended(RunEnd::Succeeded) => RunStatus::Succeeded,
            Phase::Ended(RunEnd::Failed) => RunStatus::Failed,
            Phase::Ended(RunEnd::Aborted) => RunStatus::Aborted,
            Phase::Ended(RunEnd::Undone) => RunStatus::Undone,
            Phase::Ended(RunEnd::Superseded) => RunStatus::Superseded,
            Phase::Forward | Phase::Stopping(_) | Phase::Undoing(_) if self.paused => {
                RunStatus::Paused
            }
            Phase::Forward | Phase::Stopping(_) | Phase::Undoing(_) => {
                let asks = !self.asking.is_empty() || self.waits_for_alarm();
                let rests = self.active.is_empty() && self.ready.is_subset(&self.held);
                match rests {
                    true if asks => RunStatus::Waiting,
                    true if self.holds_back() => RunStatus::Paused,
                    true | false => RunStatus::Running,
                }
            }
        }
    }

    /// Whether a step that has still something to do is held back.
    pub fn holds_back(&self) -> bool {
        let open = |ix: &StepIx| self.step(*ix).is_some_and(|step| !step.state.is_rest());
        self.held.iter().any(open)
    }
}
