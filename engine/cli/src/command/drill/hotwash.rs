//! When a drill is over: the evaluator rates what is not rated yet, the team answers the questions of
//! the hotwash, and agrees on what to improve.

use std::collections::VecDeque;

use backout_tabletop::console::{self, Typed};
use backout_tabletop::drill::Broken;
use backout_tabletop::log::Logged;

use crate::exercise::Table;
use crate::view::style::{BOLD, HELP, paint};

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prompt {
    /// How an objective was met: its name, its sentence, what an evaluator looks at.
    Rate(String, String, Vec<String>),
    /// A question of the hotwash.
    Ask(String),
    /// What to improve.
    Improve,
}

/// What is still to be asked.
pub(super) struct Prompts(VecDeque<Prompt>);

impl Prompts {
    /// What is to be asked about an exercise.
    pub(super) fn of(table: &Table) -> Self {
        table.look(|drill, _| {
            let rated = |id: &str| {
                let is_it = |what: &Logged| matches!(what, Logged::Rated { objective, .. } if objective == id);
                drill.log().iter().any(|entry| is_it(&entry.what))
            };
            let open = drill.scenario().objectives.iter().filter(|one| !rated(&one.id));
            let rate = open.map(|one| {
                Prompt::Rate(one.id.clone(), one.text.clone(), one.guide.clone())
            });
            let questions = drill.scenario().hotwash().into_iter().map(Prompt::Ask);
            Self(rate.chain(questions).chain([Prompt::Improve]).collect())
        })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Option<Prompt> {
        self.0.pop_front()
    }

    /// Takes an answer. One that is not understood is asked for again; what to say to it.
    pub(super) fn answer(
        &mut self,
        table: &Table,
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
                let (question, answer) = (question.clone(), line.to_owned());
                // The team answers at this terminal.
                let by = String::new();
                table.note(Logged::Answered { question, answer, by, plan: None })?;
                return Ok(None);
            }
        };
        match typed {
            Ok(typed) => {
                // There may be more than one thing to improve.
                if matches!(typed, Typed::Improve(_)) {
                    self.0.push_front(prompt);
                }
                table.typed(&typed, who)
            }
            Err(why) => {
                self.0.push_front(prompt);
                Ok(Some(why))
            }
        }
    }
}

impl Prompt {
    /// It in words.
    pub(super) fn asks(&self) -> String {
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
