//! What people decide.

use backout_core::Rejection;
use backout_core::command::{Ask, Command};
use backout_core::drive::TurnError;
use backout_core::event::{Actor, Cause};
use backout_core::exercise::{OVER_WORDS, calls_emergency};
use serde_json::Value;

use super::{Broken, DRILL_LABEL, Drill, Happening, person};
use crate::decisions::Decision;
use crate::log::Logged;

/// Milliseconds after which somebody who was silent says what they had to say.
const LATER_MS: u64 = 1_000;

impl Drill {
    /// Somebody decides; the inner error is the core's no, in words for them.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn decide(&mut self, decision: &Decision) -> Result<Result<(), String>, Broken> {
        let cause = Cause {
            reason: decision.reason.clone(),
            break_glass: decision.break_glass,
            ..person(&decision.by, &decision.roles)
        };
        match decision.asked() {
            Ok(ask) => Ok(self.ask_by(cause, ask)?.map_err(told)),
            Err(error) => {
                self.note_decision(&cause, decision.ask.clone(), Some(error.clone()));
                Ok(Err(error))
            }
        }
    }

    /// Somebody asks something of the run, from wherever they sit; the inner error is the core's no.
    /// The words of a real emergency end the exercise.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn ask_by(&mut self, mut cause: Cause, ask: Ask) -> Result<Result<(), Rejection>, Broken> {
        if let Some(why) = self.over() {
            let message = format!("{OVER_WORDS}: {why}");
            return Ok(Err(Rejection { message, help: None }));
        }
        self.take_part(&mut cause);
        if let Ask::Note { text, .. } = &ask
            && calls_emergency(text)
        {
            return self.emergency(&cause, text).map(Ok);
        }
        let said = serde_json::to_value(&ask).unwrap_or_default();
        let answer = self.ask(&cause, ask)?;
        self.note_decision(&cause, said, answer.as_ref().err().cloned().map(told));
        self.look_at_planned();
        Ok(answer)
    }

    fn note_decision(&mut self, cause: &Cause, ask: Value, refused: Option<String>) {
        self.note(Logged::Decision {
            by: cause.actor.name.clone(),
            ask,
            reason: cause.reason.clone(),
            refused,
        });
    }

    /// Whoever acts bears the mark of the exercise, and the roles that the scenario gives them.
    pub(super) fn take_part(&self, cause: &mut Cause) {
        let Actor { name, roles, .. } = &mut cause.actor;
        let mut of = self.scenario().roles.iter().filter(|role| role.who.as_ref() == Some(name));
        let given = of.by_ref().map(|role| role.role.as_str()).chain([DRILL_LABEL]);
        for role in given {
            if !roles.iter().any(|known| known == role) {
                roles.push(role.to_owned());
            }
        }
    }

    pub(super) fn ask(&mut self, cause: &Cause, ask: Ask) -> Result<Result<(), Rejection>, Broken> {
        let command = Command::Ask(ask);
        if self.away.is_none() {
            return self.give(cause, &command);
        }
        // Nobody drives the run: the command is recorded, and the next engine finds it.
        match self.run.record(self.now, cause, &command) {
            Ok(recorded) => {
                self.push(recorded);
                Ok(Ok(()))
            }
            Err(TurnError::Rejected(rejection)) => Ok(Err(rejection)),
            Err(TurnError::Illegal(error)) => Err(Broken(error.to_string())),
        }
    }

    /// A planned decision comes, unless the one who decides does not answer now.
    pub(super) fn decide_planned(&mut self, at: usize, decision: &Decision) -> Result<(), Broken> {
        if let Some(until) = self.silent.get(&decision.by).copied()
            && self.now < until
        {
            self.note(Logged::Silence { who: decision.by.clone() });
            let ms = until.since_ms(self.now) + LATER_MS;
            self.after(ms, Happening::Planned { at });
            return Ok(());
        }
        // A refusal stands in the record; the exercise goes on.
        drop(self.decide(decision)?);
        Ok(())
    }
}

fn told(rejection: Rejection) -> String {
    match rejection.help {
        Some(help) => format!("{}; {help}", rejection.message),
        None => rejection.message,
    }
}

/// A decision in words: `approve schema_down`.
pub fn decision_words(ask: &Value) -> String {
    let (word, step) = crate::decisions::words(ask);
    let verdict = match ask.get("verdict") {
        Some(Value::String(text)) => format!(" as {text}"),
        Some(Value::Object(_)) => " as done".to_owned(),
        Some(_) | None => String::new(),
    };
    let text = ask.get("text").and_then(Value::as_str);
    let text = text.map(|text| format!(": {text}")).unwrap_or_default();
    let step = step.map(|step| format!(" {step}")).unwrap_or_default();
    format!("{word}{step}{verdict}{text}")
}
