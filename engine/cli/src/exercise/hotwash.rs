//! When a drill is over: the evaluator rates what is not rated yet, the team answers the questions of
//! the hotwash, and agrees on what to improve.

use std::collections::VecDeque;

use backout_tabletop::console::{self, Typed};
use backout_tabletop::drill::Broken;
use backout_tabletop::log::{Exercise, Logged};

use super::led::Led;
use crate::view::style::{BOLD, HELP, paint};

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    /// How an objective was met: its name, its sentence, what an evaluator looks at.
    Rate(String, String, Vec<String>),
    /// A question of the hotwash.
    Ask(String),
    /// What to improve.
    Improve,
}

/// What is still to be asked.
pub(crate) struct Prompts(VecDeque<Prompt>);

impl Prompts {
    /// What is to be asked about an exercise.
    pub(crate) fn of(record: &Exercise) -> Self {
        let rate = record
            .scenario
            .objectives
            .iter()
            .map(|one| Prompt::Rate(one.id.clone(), one.text.clone(), one.guide.clone()));
        let questions = record.scenario.hotwash().into_iter().map(Prompt::Ask);
        Self(rate.chain(questions).chain([Prompt::Improve]).collect())
    }

    /// The next one. What was rated meanwhile is not asked for.
    pub(crate) fn next(&mut self, record: &Exercise) -> Option<Prompt> {
        while let Some(prompt) = self.0.pop_front() {
            if !matches!(&prompt, Prompt::Rate(id, ..) if is_rated(record, id)) {
                return Some(prompt);
            }
        }
        None
    }

    /// Takes an answer. One that is not understood is asked for again; what to say to it.
    pub(crate) fn answer(
        &mut self,
        led: &dyn Led,
        prompt: Prompt,
        line: &str,
        who: &str,
    ) -> Result<Option<String>, Broken> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        let typed = match &prompt {
            Prompt::Rate(id, ..) => console::typed(&format!("rate {id} {line}"), who),
            Prompt::Improve => console::typed(&format!("improve {line}"), who),
            Prompt::Ask(question) => {
                let questions = led.record().scenario.hotwash();
                let at = questions.iter().position(|one| one == question).unwrap_or_default();
                // The team answers at this terminal.
                return led.typed(&Typed::Answer(at + 1, line.to_owned()), "");
            }
        };
        match typed {
            Ok(typed) => {
                // There may be more than one thing to improve.
                if matches!(typed, Typed::Improve(_)) {
                    self.0.push_front(prompt);
                }
                led.typed(&typed, who)
            }
            Err(why) => {
                self.0.push_front(prompt);
                Ok(Some(why))
            }
        }
    }
}

fn is_rated(record: &Exercise, id: &str) -> bool {
    let is_it = |what: &Logged| matches!(what, Logged::Rated { objective, .. } if objective == id);
    record.log.iter().any(|entry| is_it(&entry.what))
}

impl Prompt {
    /// It in words.
    pub(crate) fn asks(&self) -> String {
        match self {
            Self::Rate(id, text, guide) => {
                let head = format!("{} {text}", paint(BOLD, id));
                let guide = guide.iter().map(|line| format!("    - {line}"));
                let how = paint(HELP, "P, S, M or U, and why; enter leaves it open:");
                let lines = [head].into_iter().chain(guide).chain([format!("  {how}")]);
                lines.collect::<Vec<_>>().join("\n")
            }
            Self::Ask(question) => {
                format!("{} {}", paint(BOLD, question), paint(HELP, "(enter leaves it open)"))
            }
            Self::Improve => format!(
                "{} {}",
                paint(BOLD, "What is to be improved?"),
                paint(HELP, "CAPABILITY | ACTION | OWNER | YYYY-MM-DD; enter ends it")
            ),
        }
    }
}
