//! A command about to be given: its fields, edited in one line each.

use backout_core::command::Ask;
use backout_server::view::{Field, Offered, Reason, ask_of};
use serde_json::{Map, Value, json};

/// Characters of one field: a reason at its limit.
const FIELD_CHARS_MAX: usize = 8_000;

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reason,
    Of(Field),
}

/// One line of text that a person edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    kind: Kind,
    /// What to write.
    pub(crate) label: &'static str,
    /// What is written.
    pub(crate) text: String,
    /// Where the next character goes, counted in characters.
    pub(crate) cursor: usize,
}

impl Line {
    fn new(kind: Kind, label: &'static str, text: String) -> Self {
        let cursor = text.chars().count();
        Self { kind, label, text, cursor }
    }

    fn byte(&self, at: usize) -> usize {
        self.text.char_indices().nth(at).map_or(self.text.len(), |(byte, _)| byte)
    }

    /// Takes text as if it were typed. A line is one line.
    pub(crate) fn insert(&mut self, text: &str) {
        let room = FIELD_CHARS_MAX.saturating_sub(self.text.chars().count());
        let clean: String =
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(room).collect();
        let at = self.byte(self.cursor);
        self.text.insert_str(at, &clean);
        self.cursor += clean.chars().count();
    }

    /// Takes away the character before the cursor.
    pub(crate) fn backspace(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            let at = self.byte(self.cursor);
            self.text.remove(at);
        }
    }

    /// Takes everything away.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
    }

    /// Moves the cursor.
    pub(crate) fn go(&mut self, to: isize) {
        let end = self.text.chars().count();
        self.cursor = self.cursor.saturating_add_signed(to).min(end);
    }
}

/// A command with its fields.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// The command.
    pub(crate) offered: &'static Offered,
    /// The step that it is about.
    pub(crate) step: Option<String>,
    /// The digest of what is shown, fixed when the form was opened: what changes meanwhile is
    /// refused by the core.
    consent: Option<String>,
    /// What it does to the targets, as shown.
    pub(crate) shown: Vec<String>,
    /// Its fields.
    pub(crate) lines: Vec<Line>,
    /// The field that is edited.
    pub(crate) focus: usize,
    /// Why it was not sent.
    pub(crate) wrong: Option<String>,
}

/// What is known of a step when a form is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) step: Option<String>,
    pub(crate) consent: Option<String>,
    pub(crate) shown: Vec<String>,
    pub(crate) with: Value,
    pub(crate) locks: Vec<String>,
}

impl Form {
    pub(crate) fn new(offered: &'static Offered, about: About) -> Self {
        let mut lines: Vec<Line> =
            offered.fields.iter().filter_map(|field| line(*field, &about)).collect();
        let label = match offered.reason {
            Reason::Must => "Reason (needed)",
            Reason::May => "Reason",
            Reason::Text => "Note",
        };
        lines.push(Line::new(Kind::Reason, label, String::new()));
        let takes_consent = offered.fields.contains(&Field::Consent);
        Self {
            offered,
            step: about.step,
            consent: about.consent.filter(|_| takes_consent),
            shown: about.shown,
            lines,
            focus: 0,
            wrong: None,
        }
    }

    /// The person's reason; nothing where none was written.
    pub(crate) fn reason(&self) -> Option<String> {
        let line = self.lines.iter().find(|line| line.kind == Kind::Reason)?;
        let text = line.text.trim();
        (!text.is_empty() && self.offered.reason != Reason::Text).then(|| text.to_owned())
    }

    /// What it asks, or what is missing.
    pub(crate) fn ask(&self) -> Result<Ask, String> {
        let mut more = Map::new();
        if let Some(consent) = &self.consent {
            more.insert("consent".to_owned(), Value::from(consent.clone()));
        }
        for line in &self.lines {
            more.extend(self.field(line)?);
        }
        let is_empty = |line: &Line| line.kind == Kind::Reason && line.text.trim().is_empty();
        if self.offered.reason != Reason::May && self.lines.iter().any(is_empty) {
            return Err("write why: it stands in the record".to_owned());
        }
        ask_of(self.offered, self.step.as_deref(), more).map_err(|error| error.to_string())
    }

    fn field(&self, line: &Line) -> Result<Option<(String, Value)>, String> {
        let text = line.text.trim();
        Ok(match line.kind {
            Kind::Reason if self.offered.reason == Reason::Text => {
                Some(("text".to_owned(), Value::from(text)))
            }
            Kind::Reason | Kind::Of(Field::Consent) => None,
            Kind::Of(Field::Evidence) => {
                (!text.is_empty()).then(|| ("evidence".to_owned(), Value::from(text)))
            }
            Kind::Of(Field::Output) => {
                Some(("verdict".to_owned(), json!({ "done": { "output": outputs(text)? } })))
            }
            Kind::Of(Field::With) => {
                let with: Value = serde_json::from_str(text)
                    .map_err(|error| format!("the input is not JSON: {error}"))?;
                Some(("with".to_owned(), with))
            }
            Kind::Of(Field::To) if text.is_empty() => return Err("write to whom".to_owned()),
            Kind::Of(Field::To) => Some(("to".to_owned(), Value::from(text))),
            Kind::Of(Field::Targets) => {
                let targets: Vec<&str> = text.split_whitespace().collect();
                Some(("targets".to_owned(), Value::from(targets)))
            }
            Kind::Of(Field::Name) if text.is_empty() => return Err("write a name".to_owned()),
            Kind::Of(Field::Name) => Some(("name".to_owned(), Value::from(text))),
            Kind::Of(Field::Does) if text.is_empty() => {
                return Err("write what the person does".to_owned());
            }
            Kind::Of(Field::Does) => Some(("does".to_owned(), Value::from(text))),
            Kind::Of(Field::After) => Some(("after".to_owned(), names(text))),
            Kind::Of(Field::Before) => Some(("before".to_owned(), names(text))),
        })
    }
}

fn names(text: &str) -> Value {
    text.split_whitespace().map(Value::from).collect()
}

fn line(field: Field, about: &About) -> Option<Line> {
    let (label, text) = match field {
        Field::Consent => return None,
        Field::Evidence => ("What shows it", String::new()),
        Field::Output => ("Outputs, name=value; name=value", String::new()),
        Field::With => ("Its input, as JSON", about.with.to_string()),
        Field::To => ("To whom", String::new()),
        Field::Targets => ("Which", about.locks.join(" ")),
        Field::Name => ("What it is called", String::new()),
        Field::Does => ("What the person does", String::new()),
        Field::After => ("After these steps", about.step.clone().unwrap_or_default()),
        Field::Before => ("Before these steps", String::new()),
    };
    Some(Line::new(Kind::Of(field), label, text))
}

/// `name=value; name=value`; a value that is JSON is that, every other one is text.
fn outputs(text: &str) -> Result<Value, String> {
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("`{pair}` is no output: name=value"))?;
        let value = value.trim();
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok((name.trim().to_owned(), value))
    });
    read.collect::<Result<Map<_, _>, String>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use backout_core::command::Verdict;
    use backout_server::view::OFFERS;

    use super::*;

    fn form(word: &str) -> Form {
        let offered = OFFERS.iter().find(|offered| offered.word == word).unwrap();
        let step = offered.on_step.then(|| "a".to_owned());
        Form::new(offered, About { step, consent: Some("c".into()), ..About::default() })
    }

    #[test]
    fn every_command_has_a_form_that_asks_it() {
        for offered in OFFERS {
            let mut form = form(offered.word);
            for line in &mut form.lines {
                line.insert(if line.kind == Kind::Of(Field::Output) {
                    "id=7; name=x"
                } else {
                    "{}"
                });
                match line.kind {
                    Kind::Of(Field::With) => {
                        line.clear();
                        line.insert("{}");
                    }
                    Kind::Of(Field::Name) => {
                        line.clear();
                        line.insert("call_bank");
                    }
                    _ => {}
                }
            }
            assert!(form.ask().is_ok(), "{}: {:?}", offered.word, form.ask());
        }
    }

    #[test]
    fn what_needs_a_reason_is_not_sent_without_one() {
        assert!(form("skip").ask().unwrap_err().contains("write why"));
        assert_eq!(form("pause").ask(), Ok(Ask::Pause));
        let consent = Some("c".to_owned());
        assert_eq!(form("approve").ask(), Ok(Ask::Approve { step: "a".into(), consent }));
    }

    #[test]
    fn outputs_are_typed() {
        let mut form = form("settle-done");
        form.lines[1].insert("id=7; name=old one");
        form.lines[2].insert("I looked");
        let Ok(Ask::Settle { verdict: Verdict::Done { output }, .. }) = form.ask() else {
            panic!()
        };
        assert_eq!(output, json!({ "id": 7, "name": "old one" }));
    }

    #[test]
    fn a_line_is_edited_by_characters_and_stays_one_line() {
        let mut line = Line::new(Kind::Reason, "", String::new());
        line.insert("gr\u{fc}n\nblau");
        line.go(-4);
        line.backspace();
        assert_eq!((line.text.as_str(), line.cursor), ("gr\u{fc}nblau", 4));
        line.go(-99);
        line.backspace();
        line.go(99);
        assert_eq!(line.cursor, 8);
    }
}
