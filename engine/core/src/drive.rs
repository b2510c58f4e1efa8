//! The engine's turn: a command is decided, its events are folded, and what follows by itself is
//! decided until nothing does. It stops where locks are needed, since only the store grants them.

use crate::command::{Command, Report};
use crate::decide::{Rejection, claims, decide};
use crate::event::{Cause, Event, Grant, Holder, Recorded};
use crate::evolve::{IllegalEvent, evolve};
use crate::id::{Epoch, Seq, StepId, Timestamp};
use crate::limits::STEPS_MAX;
use crate::state::RunState;

/// Rounds of decisions in one turn: each round moves at least one step, and a step makes few moves
/// before it must wait for an answer.
const ROUNDS_MAX: usize = 16 * STEPS_MAX;

/// Why a turn came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The command cannot be followed; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The events do not fit the state: a damaged journal, or a bug. The run must not go on.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
}

/// What a turn gave, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// Events that are folded in and must be appended.
    pub recorded: Vec<Recorded>,
    /// An event that needs locks: not folded in. It is appended with its claims after `recorded`,
    /// and then comes [`Run::granted`] or [`Run::held`].
    pub claiming: Option<(Cause, Event)>,
}

/// A run as its engine holds it: the state and the epoch it writes under.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The state; absent before the run exists.
    pub state: Option<RunState>,
    /// The epoch of new events.
    pub epoch: Epoch,
}

impl Run {
    /// A run that does not exist yet, or is about to be read.
    pub fn new(epoch: Epoch) -> Self {
        Self { state: None, epoch }
    }

    /// Folds in what was read from the journal.
    pub fn load<'a>(
        &mut self,
        recorded: impl IntoIterator<Item = &'a Recorded>,
    ) -> Result<(), IllegalEvent> {
        recorded.into_iter().try_for_each(|recorded| evolve(&mut self.state, recorded))
    }

    /// The last position.
    pub fn seq(&self) -> Seq {
        self.state.as_ref().map_or(Seq(0), |state| state.seq)
    }

    /// One turn.
    pub fn turn(
        &mut self,
        now: Timestamp,
        cause: &Cause,
        command: &Command,
    ) -> Result<Turn, TurnError> {
        let mut turn = Turn::default();
        let mut cause = cause.clone();
        let mut events = decide(self.state.as_ref(), now, &cause, command)?;
        for _ in 0..ROUNDS_MAX {
            if events.is_empty() {
                return Ok(turn);
            }
            for event in events {
                if !claims(self.state.as_ref(), std::slice::from_ref(&event)).is_empty() {
                    turn.claiming = Some((cause, event));
                    return Ok(turn);
                }
                turn.recorded.push(self.fold(now, &cause, event, Vec::new())?);
            }
            cause = Cause::engine();
            events = decide(self.state.as_ref(), now, &cause, &Command::Advance)?;
        }
        Err(IllegalEvent { seq: self.seq(), why: "a turn does not come to an end".into() }.into())
    }

    /// A command without what follows by itself: where no engine drives the run, or it is letting
    /// go, so that nothing new begins. An event that needs locks is left to the next engine.
    pub fn record(
        &mut self,
        now: Timestamp,
        cause: &Cause,
        command: &Command,
    ) -> Result<Vec<Recorded>, TurnError> {
        let events = decide(self.state.as_ref(), now, cause, command)?;
        let mut recorded = Vec::new();
        for event in events {
            if !claims(self.state.as_ref(), std::slice::from_ref(&event)).is_empty() {
                break;
            }
            recorded.push(self.fold(now, cause, event, Vec::new())?);
        }
        Ok(recorded)
    }

    /// The store granted the locks of [`Turn::claiming`], and appended it. What follows comes with
    /// the next turn.
    pub fn granted(
        &mut self,
        now: Timestamp,
        cause: &Cause,
        event: Event,
        grants: Vec<Grant>,
    ) -> Result<Recorded, IllegalEvent> {
        self.fold(now, cause, event, grants)
    }

    /// The store refused the locks of [`Turn::claiming`]: the step waits.
    pub fn held(
        &mut self,
        now: Timestamp,
        step: &StepId,
        holders: Vec<Holder>,
    ) -> Result<Turn, TurnError> {
        let report = Report::LocksHeld { step: step.clone(), holders };
        self.turn(now, &Cause::engine(), &Command::Report(report))
    }

    fn fold(
        &mut self,
        now: Timestamp,
        cause: &Cause,
        event: Event,
        grants: Vec<Grant>,
    ) -> Result<Recorded, IllegalEvent> {
        let seq = self.seq().next();
        let recorded =
            Recorded { seq, epoch: self.epoch, at: now, cause: cause.clone(), grants, event };
        evolve(&mut self.state, &recorded)?;
        Ok(recorded)
    }
}
