//! What everybody at an exercise is told. It stands in the run's own journal as notes, so that every
//! screen that shows the run shows it, and so does a replay.

use backout_core::command::{Ask, Command};
use backout_core::event::Cause;
use backout_core::exercise::{EMERGENCY_WORDS, OVER_WORDS, calls_emergency, is_over};
use backout_core::limits::REASON_BYTES_MAX;
use backout_core::state::{Phase, RunState};

use super::{Broken, Drill, person};
use crate::log::Logged;
use crate::scenario::Inject;

/// Who speaks where nobody is named.
const FACILITATOR: &str = "facilitator";

impl Drill {
    /// Something that the facilitator tells everybody.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn tell_all(&mut self, text: &str) -> Result<(), Broken> {
        self.say(&person(FACILITATOR, &[]), text)
    }

    pub(super) fn tell_message(&mut self, inject: &Inject) -> Result<(), Broken> {
        if inject.text.is_empty() {
            return Ok(());
        }
        let from = if inject.from.is_empty() { FACILITATOR } else { &inject.from };
        let to = if inject.to.is_empty() { String::new() } else { format!("to {}", inject.to) };
        let by = if inject.by.is_empty() { String::new() } else { format!("by {}", inject.by) };
        let head = [to, by].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        let head = if head.is_empty() { String::new() } else { format!("{}: ", head.join(" ")) };
        self.say(&person(from, &[]), &format!("{head}{}", inject.text))
    }

    /// Ends the exercise for something real. Who calls it stands in the record.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn emergency(&mut self, who: &Cause, text: &str) -> Result<(), Broken> {
        if self.is_over() {
            return Ok(());
        }
        // Every screen knows it by the words.
        let said = match text.trim() {
            "" => EMERGENCY_WORDS.to_owned(),
            heard if calls_emergency(heard) => heard.to_owned(),
            what => format!("{EMERGENCY_WORDS}: {what}"),
        };
        let mut who = who.clone();
        self.take_part(&mut who);
        self.say(&who, &said)?;
        let text = text.trim();
        let text = if calls_emergency(text) { "" } else { text }.to_owned();
        self.note(Logged::Emergency { by: who.actor.name.clone(), text });
        self.end(&format!("REAL EMERGENCY, called by {}", who.actor.name));
        Ok(())
    }

    fn say(&mut self, who: &Cause, text: &str) -> Result<(), Broken> {
        let mut text = text.to_owned();
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        // What the core does not take stands in the log of the exercise all the same.
        self.ask(who, Ask::Note { step: None, text }).map(drop)
    }

    /// The record itself says that it is over, so that no face offers what nobody would follow.
    pub(super) fn tell_over(&mut self, why: &str) {
        // A real emergency says it already, and louder.
        if self.state().is_none_or(is_over) {
            return;
        }
        let note = Command::Ask(Ask::Note { step: None, text: format!("{OVER_WORDS}: {why}") });
        // It goes on by nothing any more: what it was about to do is not done.
        if let Ok(recorded) = self.run.record(self.now, &Cause::engine(), &note) {
            self.push(recorded);
        }
    }

    /// The engine lets go of a run that is not over.
    pub(super) fn let_go(&mut self, why: &str) {
        let goes_on = |run: &RunState| run.attached && !matches!(run.phase, Phase::Ended(_));
        if !self.state().is_some_and(goes_on) {
            return;
        }
        let detach = Command::Detach { why: format!("{OVER_WORDS}: {why}") };
        // Nothing else stands in its way.
        if let Ok(recorded) = self.run.record(self.now, &Cause::engine(), &detach) {
            self.push(recorded);
        }
    }
}
