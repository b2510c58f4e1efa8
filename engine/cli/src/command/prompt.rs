//! Asking in place: a question on the terminal, and what the answer means. Pure.

use backout_core::command::{Ask, Verdict};
use backout_core::id::StepId;
use backout_server::view::Want;
use serde_json::Value;

/// One question to the person at the terminal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prompt {
    step: StepId,
    consent: Option<String>,
    choices: &'static [Choice],
    chosen: Option<Choice>,
}

/// One way to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Approve,
    Reject,
    Done,
    NotDone,
    Retry,
    Skip,
}

/// What follows from a line that the person typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Ask further.
    Again(Prompt),
    /// Do it.
    Do {
        /// What.
        ask: Ask,
        /// Why.
        reason: Option<String>,
    },
    /// Not now.
    Later,
}

impl Prompt {
    /// The question for something that only a person can move on.
    pub(crate) fn of(want: &Want, consent: Option<String>) -> Self {
        let choices: &[Choice] = match want.what.as_str() {
            "approval" => &[Choice::Approve, Choice::Reject],
            "in-doubt" => &[Choice::Done, Choice::NotDone],
            "alarm" => &[Choice::Retry, Choice::Done],
            "unverified" => &[Choice::Done, Choice::Retry],
            _ => &[Choice::Retry, Choice::Skip],
        };
        Self { step: StepId::from(want.step.as_str()), consent, choices, chosen: None }
    }

    /// The step that it is about.
    pub(crate) fn step(&self) -> &str {
        self.step.as_str()
    }

    /// What to show before the person types.
    pub(crate) fn question(&self) -> String {
        match self.chosen {
            Some(choice) if choice.needs_reason() => "why (required, empty is back):".to_owned(),
            Some(_) => "why (may be empty):".to_owned(),
            None => {
                let words: Vec<&str> = self.choices.iter().map(|choice| choice.word()).collect();
                format!("{}: {}, or later?", self.step, words.join(", "))
            }
        }
    }

    /// What a line means.
    pub(crate) fn answer(self, line: &str) -> Answer {
        let line = line.trim();
        match self.chosen {
            None => self.choose(line),
            Some(choice) if choice.needs_reason() && line.is_empty() => {
                Answer::Again(Self { chosen: None, ..self })
            }
            Some(choice) => {
                let reason = (!line.is_empty()).then(|| line.to_owned());
                Answer::Do { ask: self.ask(choice), reason }
            }
        }
    }

    fn choose(self, line: &str) -> Answer {
        let typed = line.to_ascii_lowercase();
        if typed.is_empty() {
            return Answer::Again(self);
        }
        if "later".starts_with(&typed) {
            return Answer::Later;
        }
        let chosen = self.choices.iter().copied().find(|choice| choice.word().starts_with(&typed));
        Answer::Again(Self { chosen, ..self })
    }

    fn ask(&self, choice: Choice) -> Ask {
        let step = self.step.clone();
        let settle =
            |verdict| Ask::Settle { step: step.clone(), effect: None, verdict, evidence: None };
        match choice {
            Choice::Approve => Ask::Approve { step, consent: self.consent.clone() },
            Choice::Reject => Ask::Reject { step },
            Choice::Done => settle(Verdict::Done { output: Value::Null }),
            Choice::NotDone => settle(Verdict::NotDone),
            Choice::Retry => Ask::Retry { step, with: None },
            Choice::Skip => Ask::Skip { step },
        }
    }
}

impl Choice {
    fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Done => "done",
            Self::NotDone => "not-done",
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }

    fn needs_reason(self) -> bool {
        match self {
            Self::Done | Self::NotDone | Self::Skip => true,
            Self::Approve | Self::Reject | Self::Retry => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(what: &str) -> Prompt {
        let want = Want {
            step: "flag".to_owned(),
            what: what.to_owned(),
            why: String::new(),
            who: Vec::new(),
            commands: Vec::new(),
        };
        Prompt::of(&want, Some("c0ffee".to_owned()))
    }

    fn again(answer: Answer) -> Prompt {
        match answer {
            Answer::Again(prompt) => prompt,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_approval_is_for_what_was_shown() {
        let asked = again(prompt("approval").answer("a"));
        assert_eq!(asked.question(), "why (may be empty):");
        let ask = Ask::Approve { step: "flag".into(), consent: Some("c0ffee".to_owned()) };
        assert_eq!(asked.answer(""), Answer::Do { ask, reason: None });
    }

    #[test]
    fn settling_needs_a_reason() {
        assert_eq!(prompt("in-doubt").question(), "flag: done, not-done, or later?");
        let asked = again(prompt("in-doubt").answer("not-done"));
        let back = again(asked.clone().answer("  "));
        assert_eq!(back, prompt("in-doubt"));
        let Answer::Do { ask, reason } = asked.answer("looked at the ledger") else { panic!() };
        assert_eq!(reason.as_deref(), Some("looked at the ledger"));
        assert!(matches!(ask, Ask::Settle { verdict: Verdict::NotDone, .. }));
    }

    #[test]
    fn anything_else_asks_again() {
        assert_eq!(again(prompt("person").answer("what?")), prompt("person"));
        assert_eq!(prompt("person").answer("l"), Answer::Later);
    }
}
