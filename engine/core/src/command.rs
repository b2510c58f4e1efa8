//! What somebody or something asks of a run: people's commands, and what the world reports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adopt::Adoption;
use crate::contract::{Outcome, PrepareFailure, Prepared, Reverted, Settled};
use crate::event::{Holder, Sending};
use crate::id::{RunId, StepId, TargetId};
use crate::plan::{Plan, PlanStep};
use crate::watch::Found;

/// What a person says about an effect in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was made.
    Done {
        /// What later steps may use.
        #[serde(default)]
        output: Value,
    },
    /// It was not made, and nothing can still make it.
    NotDone,
}

/// What a person asks. The reason stands in the cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Ask {
    /// Start nothing new until resumed.
    Pause,
    /// Go on; reopens a run that failed or was aborted, and frees all that is held back.
    Resume,
    /// Hold a branch back: nothing new begins of these steps and of those that need them.
    Hold {
        /// Where the branches begin.
        steps: Vec<StepId>,
    },
    /// Free a branch that is held back.
    Free {
        /// Where the branches begin.
        steps: Vec<StepId>,
    },
    /// Only this part for now: these steps and what they need. The rest is held back.
    Part {
        /// Where the part ends.
        steps: Vec<StepId>,
    },
    /// Say yes to what a step would do.
    Approve {
        /// The step.
        step: StepId,
        /// What was shown; absent is whatever is prepared now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<String>,
    },
    /// Say no: the step fails.
    Reject {
        /// The step.
        step: StepId,
    },
    /// Try a step again that failed or waits for a person, or whose alarm stands.
    Retry {
        /// The step.
        step: StepId,
        /// What its action takes from now on, in place of what the runbook says; absent is as before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<Value>,
    },
    /// Leave a step out; what needs it goes on.
    Skip {
        /// The step.
        step: StepId,
    },
    /// Say what became of what is in doubt, that an unverified or failed step is done, or that what
    /// an alarm shows is taken as it is.
    Settle {
        /// The step.
        step: StepId,
        /// Which effect; absent is all that are in doubt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effect: Option<usize>,
        /// What became of it.
        verdict: Verdict,
        /// What shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },
    /// Stop: finish what is in flight, start nothing more.
    Abort,
    /// Put back what was made.
    Undo,
    /// Write something down.
    Note {
        /// About which step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// What.
        text: String,
    },
    /// Nothing reopens it any more.
    Close,
    /// Add steps to the plan.
    Insert {
        /// The steps.
        steps: Vec<PlanStep>,
        /// Steps that have not begun, and wait for the new ones from now on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        before: Vec<StepId>,
    },
    /// Let go of locks, so that another run may take them.
    Yield {
        /// The targets.
        targets: Vec<TargetId>,
    },
    /// Offer the command of the run to somebody.
    HandOver {
        /// Who.
        to: String,
    },
    /// Accept the command that was offered.
    TakeCommand,
    /// End the run in favour of another one that goes on in its place.
    Supersede {
        /// The other run.
        by: RunId,
    },
}

/// What the world answered to something that [`crate::effects`] wanted. A report that no longer
/// fits (another attempt, another dispatch) is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// `prepare` answered.
    Prepared {
        /// The step.
        step: StepId,
        /// The attempt that asked.
        attempt: u32,
        /// Which look of that attempt asked.
        look: u32,
        /// The answer.
        result: Result<Box<Prepared>, PrepareFailure>,
    },
    /// A watch has something to tell.
    Watched {
        /// The step.
        step: StepId,
        /// Which watch of it.
        look: u32,
        /// What was found.
        found: Found,
    },
    /// `apply` answered.
    Applied {
        /// Which.
        sending: Sending,
        /// The answer.
        outcome: Outcome,
    },
    /// `settle` answered.
    Settled {
        /// Which.
        sending: Sending,
        /// The answer.
        settled: Settled,
    },
    /// `revert` answered.
    Reverted {
        /// The step that made it.
        step: StepId,
        /// The index into what that step made.
        made: usize,
        /// The answer.
        reverted: Reverted,
    },
    /// The store refused the locks of [`crate::event::Event::StepLocked`].
    LocksHeld {
        /// The step.
        step: StepId,
        /// Who holds them.
        holders: Vec<Holder>,
    },
    /// Some lock was released somewhere: a step that waits for one may try again.
    TryLocks {
        /// The step.
        step: StepId,
    },
}

impl Command {
    /// Makes a run of which all is to be done, and nothing is done yet.
    pub fn create(run: RunId, plan: Plan, text: String) -> Self {
        Self::Create { run, plan: Box::new(plan), text, part: Vec::new(), adopt: None }
    }
}

/// Everything that [`crate::decide`] answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Make the run; only on an empty journal.
    Create {
        /// Its name.
        run: RunId,
        /// What it will do.
        plan: Box<Plan>,
        /// The file it was made from.
        text: String,
        /// What only is to be done for now, as in [`Ask::Part`]; empty is all.
        part: Vec<StepId>,
        /// What an earlier run did already.
        adopt: Option<Box<Adoption>>,
    },
    /// An engine takes the run up.
    Attach {
        /// Where it runs.
        engine: String,
    },
    /// The engine lets go.
    Detach {
        /// Why.
        why: String,
    },
    /// A person.
    Ask(Ask),
    /// The world.
    Report(Report),
    /// Time passed, or the state changed: whatever follows by itself.
    Advance,
}
