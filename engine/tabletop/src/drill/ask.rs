//! What people decide.

use backout_core::command::{Ask, Command};
use backout_core::drive::TurnError;
use backout_core::event::Cause;
use serde_json::Value;

use super::{Broken, Drill, Happening, person};
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
        let answer = match decision.asked() {
            Ok(ask) => self.ask(&cause, ask)?,
            Err(error) => Err(error),
        };
        self.note(Logged::Decision {
            by: decision.by.clone(),
            ask: decision.ask.clone(),
            reason: decision.reason.clone(),
            refused: answer.as_ref().err().cloned(),
        });
        self.look_at_planned();
        Ok(answer)
    }

    fn ask(&mut self, cause: &Cause, ask: Ask) -> Result<Result<(), String>, Broken> {
        let command = Command::Ask(ask);
        if self.away.is_none() {
            return Ok(self.give(cause, &command)?.map_err(told));
        }
        // Nobody drives the run: the command is recorded, and the next engine finds it.
        match self.run.record(self.now, cause, &command) {
            Ok(recorded) => {
                self.push(recorded);
                Ok(Ok(()))
            }
            Err(TurnError::Rejected(rejection)) => Ok(Err(told(rejection))),
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

fn told(rejection: backout_core::Rejection) -> String {
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
