//! A form that was sent: what is asked, by whom, and why.

use axum::http::StatusCode;
use backout_core::command::Ask;
use backout_core::id::CommandId;
use backout_server::problem::Problem;
use backout_server::view::{Field, OFFERS, Offered, Reason, ask_of};
use backout_server::wire::By;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Bytes of a form: a reason, evidence and outputs at their limits, and names.
pub(crate) const FORM_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The fields of every command's form; those that a command does not take are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sent {
    pub(crate) token: String,
    pub(crate) word: String,
    pub(crate) step: String,
    pub(crate) reason: String,
    pub(crate) consent: String,
    pub(crate) evidence: String,
    pub(crate) output: String,
    pub(crate) with: String,
    pub(crate) to: String,
    pub(crate) targets: String,
    pub(crate) name: String,
    pub(crate) does: String,
    pub(crate) after: String,
    pub(crate) before: String,
    /// Names the sending, so that one sent twice is followed once.
    pub(crate) command: String,
    /// The run's last event when the form was shown.
    pub(crate) seen: u64,
}

/// A text that says something.
fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl Sent {
    /// The command of the table that it names.
    pub(crate) fn offered(&self) -> Result<&'static Offered, Problem> {
        let found = OFFERS.iter().find(|offered| offered.word == self.word);
        found.ok_or_else(|| wrong(format!("there is no command `{}`", self.word)))
    }

    /// What it asks.
    pub(crate) fn ask(&self) -> Result<Ask, Problem> {
        let offered = self.offered()?;
        let mut more = Map::new();
        for field in offered.fields {
            more.extend(self.field(*field)?);
        }
        if offered.reason == Reason::Text {
            more.insert("text".to_owned(), Value::from(self.reason.trim()));
        }
        let step = filled(&self.step);
        if offered.on_step && step.is_none() {
            return Err(wrong(format!("`{}` wants a step", offered.word)));
        }
        ask_of(offered, step.as_deref(), more).map_err(|error| wrong(error.to_string()))
    }

    fn field(&self, field: Field) -> Result<Option<(String, Value)>, Problem> {
        Ok(match field {
            Field::Consent => filled(&self.consent).map(|text| ("consent".to_owned(), text.into())),
            Field::Evidence => {
                filled(&self.evidence).map(|text| ("evidence".to_owned(), text.into()))
            }
            Field::Output => {
                let output = outputs(&self.output)?;
                Some(("verdict".to_owned(), json!({ "done": { "output": output } })))
            }
            Field::With => {
                let with: Value = serde_json::from_str(&self.with)
                    .map_err(|error| wrong(format!("the input is not JSON: {error}")))?;
                Some(("with".to_owned(), with))
            }
            Field::To => Some(("to".to_owned(), self.to.trim().into())),
            Field::Targets => Some(("targets".to_owned(), words(&self.targets))),
            Field::Name => Some(("name".to_owned(), self.name.trim().into())),
            Field::Does => Some(("does".to_owned(), self.does.trim().into())),
            Field::After => Some(("after".to_owned(), words(&self.after))),
            Field::Before => Some(("before".to_owned(), words(&self.before))),
        })
    }

    /// Why, as the person says it.
    pub(crate) fn by(&self, person: &str) -> Result<By, Problem> {
        let offered = self.offered()?;
        let is_text = offered.reason == Reason::Text;
        Ok(By {
            actor: person.to_owned(),
            command: filled(&self.command).map(|name| CommandId::new(format!("page-{name}"))),
            reason: if is_text { None } else { filled(&self.reason) },
            break_glass: offered.break_glass,
        })
    }
}

/// Names with space or lines between them.
fn words(text: &str) -> Value {
    text.split_whitespace().map(Value::from).collect()
}

/// Lines of `name=value`; a value that is JSON is that, every other one is text.
fn outputs(text: &str) -> Result<Value, Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = lines.map(|line| {
        let (name, value) = line.split_once('=').ok_or_else(|| {
            wrong(format!("`{line}` is no output: write one `name=value` a line"))
        })?;
        let value = value.trim();
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok((name.trim().to_owned(), value))
    });
    read.collect::<Result<Map<_, _>, Problem>>().map(Value::Object)
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable form", detail)
}

#[cfg(test)]
mod tests {
    use backout_core::command::Verdict;

    use super::*;

    fn sent(word: &str, step: &str) -> Sent {
        Sent { word: word.to_owned(), step: step.to_owned(), ..Sent::default() }
    }

    #[test]
    fn a_form_becomes_what_every_face_asks() {
        assert_eq!(sent("abort", "").ask().unwrap(), Ask::Abort);
        let approve = Sent { consent: "c1".to_owned(), ..sent("approve", "a") };
        let expected = Ask::Approve { step: "a".into(), consent: Some("c1".to_owned()) };
        assert_eq!(approve.ask().unwrap(), expected);
        let note = Sent { reason: " seen ".to_owned(), ..sent("note", "") };
        assert_eq!(note.ask().unwrap(), Ask::Note { step: None, text: "seen".to_owned() });
    }

    #[test]
    fn what_was_done_is_settled_with_evidence_and_outputs() {
        let form = Sent {
            evidence: "row 7 is there".to_owned(),
            output: "id=7\nname=old one\n".to_owned(),
            ..sent("settle-done", "a")
        };
        let Ask::Settle { verdict, evidence, .. } = form.ask().unwrap() else { panic!() };
        assert_eq!(verdict, Verdict::Done { output: json!({ "id": 7, "name": "old one" }) });
        assert_eq!(evidence.as_deref(), Some("row 7 is there"));
    }

    #[test]
    fn a_step_by_hand_is_added_after_and_before_others() {
        let form = Sent {
            name: " call_bank ".to_owned(),
            does: "call the bank".to_owned(),
            after: "a b".to_owned(),
            ..sent("insert", "")
        };
        let Ask::Insert { steps, before } = form.ask().unwrap() else { panic!() };
        assert_eq!((steps[0].id.as_str(), steps[0].needs.len()), ("call_bank", 2));
        assert!(before.is_empty());
        let unnamed = Sent { name: "Call bank".to_owned(), ..form };
        assert!(unnamed.ask().unwrap_err().detail.contains("is no name for a step"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(sent("explode", "").ask().unwrap_err().detail.contains("explode"));
        assert!(sent("skip", " ").ask().unwrap_err().detail.contains("wants a step"));
        let form = Sent { output: "nothing".to_owned(), ..sent("settle-done", "a") };
        assert!(form.ask().unwrap_err().detail.contains("name=value"));
    }
}
