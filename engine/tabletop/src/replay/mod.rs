//! The replay of a record: the bytes of the journal are the only input, and nothing is executed.

mod compare;
mod verify;

pub use compare::{Comparison, Line, compare};
pub use verify::{Differs, Verified, verify};

use backout_core::event::Recorded;
use backout_core::evolve;
use backout_core::id::Seq;
use backout_core::state::RunState;

use crate::drill::Broken;

/// A record and the place in it where one stands.
#[derive(Clone, Debug)]
pub struct Tape {
    journal: Vec<Recorded>,
    state: Option<RunState>,
    at: usize,
}

impl Tape {
    /// A record, before its first event.
    pub fn new(journal: Vec<Recorded>) -> Self {
        Self { journal, state: None, at: 0 }
    }

    /// The whole record.
    pub fn journal(&self) -> &[Recorded] {
        &self.journal
    }

    /// What was known at this place.
    pub fn state(&self) -> Option<&RunState> {
        self.state.as_ref()
    }

    /// How many events have happened.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The event that happened last.
    pub fn last(&self) -> Option<&Recorded> {
        self.journal.get(self.at.checked_sub(1)?)
    }

    /// The event that comes next.
    pub fn next_event(&self) -> Option<&Recorded> {
        self.journal.get(self.at)
    }

    /// One event further; false at the end.
    ///
    /// # Errors
    /// The record does not fold.
    pub fn step(&mut self) -> Result<bool, Broken> {
        let Some(recorded) = self.journal.get(self.at) else { return Ok(false) };
        evolve(&mut self.state, recorded).map_err(|error| Broken(error.to_string()))?;
        self.at += 1;
        Ok(true)
    }

    /// To the place after so many events. What was known later is not known there.
    ///
    /// # Errors
    /// The record does not fold.
    pub fn jump(&mut self, to: usize) -> Result<(), Broken> {
        if to < self.at {
            self.state = None;
            self.at = 0;
        }
        while self.at < to && self.step()? {}
        Ok(())
    }

    /// To the event of this position.
    ///
    /// # Errors
    /// The record does not fold.
    pub fn jump_to(&mut self, seq: Seq) -> Result<(), Broken> {
        let to = self.journal.iter().take_while(|recorded| recorded.seq <= seq).count();
        self.jump(to)
    }

    /// To just after the next thing that a person decided; false where there is none.
    ///
    /// # Errors
    /// The record does not fold.
    pub fn next_decision(&mut self) -> Result<bool, Broken> {
        while let Some(next) = self.next_event() {
            let decision = is_decision(next);
            self.step()?;
            if decision {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a person decided this, after the run was made.
pub fn is_decision(recorded: &Recorded) -> bool {
    recorded.is_decision()
}
