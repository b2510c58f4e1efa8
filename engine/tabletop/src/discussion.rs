//! A discussion: questions, what each who is at it would do, and what the runbook's plan would do.

use backout_core::id::{Seq, Timestamp};
use backout_core::plan::{OnExhausted, Plan, PlanStep};

use crate::console::{Typed, written};
use crate::log::{EXERCISE_FORMAT, Entry, Exercise, Kind, Logged};
use crate::scenario::{Question, Scenario};

/// A discussion under way. Its time is that of those who talk.
#[derive(Clone, Debug)]
pub struct Discussion {
    record: Exercise,
    /// By question, what the plan would do.
    plans: Vec<Option<String>>,
}

/// A question as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its number, from 1 on.
    pub number: usize,
    /// The question.
    pub question: &'a Question,
    /// What the plan would do, where it has a say.
    pub plan: Option<&'a str>,
    /// Whether that was shown.
    pub shown: bool,
}

impl Discussion {
    /// Begins it, and asks the first question.
    pub fn begin(scenario: Scenario, plan: Option<&Plan>, now: Timestamp) -> Self {
        let by_plan = |question: &Question| plan.and_then(|plan| of_plan(plan, question));
        let plans = scenario.questions.iter().map(by_plan).collect();
        let record = Exercise {
            format: EXERCISE_FORMAT,
            exercise: Kind::Discussion,
            seed: scenario.seed,
            scenario,
            runbook: plan.map(|plan| plan.name.clone()).unwrap_or_default(),
            run: None,
            begin: now,
            end: None,
            updates_ms: 0,
            log: Vec::new(),
        };
        let mut discussion = Self { record, plans };
        discussion.next(now);
        discussion
    }

    /// Its record so far.
    pub fn record(&self) -> &Exercise {
        &self.record
    }

    /// The questions that were asked so far, in order.
    pub fn asked(&self) -> impl Iterator<Item = Standing<'_>> {
        let all = self.record.scenario.questions.iter().zip(&self.plans).zip(1..);
        all.take(self.count()).map(|((question, plan), number)| Standing {
            number,
            question,
            plan: plan.as_deref(),
            shown: self.is_shown(&question.id),
        })
    }

    /// The questions that are still to come.
    pub fn to_come(&self) -> &[Question] {
        self.record.scenario.questions.get(self.count()..).unwrap_or_default()
    }

    /// Does what a line says; what to answer, if anything.
    pub fn do_typed(&mut self, typed: &Typed, who: &str, now: Timestamp) -> Option<String> {
        let over = self.record.end.is_some();
        if let Some(said) = written(typed, who, &self.record.scenario, over) {
            return said.map(|what| self.note(now, what)).err();
        }
        match typed {
            Typed::Emergency(text) => self.emergency(who, text, now),
            Typed::Status | Typed::Plan | Typed::World | Typed::Help => {}
            _ if over => return Some("the exercise is over".to_owned()),
            Typed::Reply(number, said) => return self.reply(*number, said, who, now),
            Typed::Show => self.show(now),
            Typed::Next(after) if after.is_some_and(|after| after != self.count()) => {
                return Some("somebody went on already".to_owned());
            }
            Typed::Next(_) => self.next(now),
            Typed::End => self.end("the facilitator ended it", now),
            _ => return Some("this is a discussion: there is no run, and no clock to turn".into()),
        }
        None
    }

    /// Writes down what somebody would do, or with no name what the team would: a number names a
    /// choice. What others say to the same question stands beside it. What is wrong with it, if
    /// anything.
    pub fn reply(
        &mut self,
        number: Option<usize>,
        said: &str,
        by: &str,
        now: Timestamp,
    ) -> Option<String> {
        let number = number.unwrap_or(self.count());
        let Some(Standing { question, plan, .. }) = self.asked().find(|one| one.number == number)
        else {
            return Some(format!("question {number} is not asked yet"));
        };
        let choice = said.trim().parse::<usize>().ok().and_then(|at| at.checked_sub(1));
        let chosen = choice.and_then(|at| question.choices.get(at)).cloned();
        let answer = chosen.unwrap_or_else(|| match said.trim() {
            "" => "no answer".to_owned(),
            said => said.to_owned(),
        });
        let (question, plan) = (question.id.clone(), plan.map(str::to_owned));
        self.note(now, Logged::Answered { question, answer, by: by.to_owned(), plan });
        None
    }

    /// A real emergency ends it.
    pub fn emergency(&mut self, by: &str, text: &str, now: Timestamp) {
        if self.record.end.is_some() {
            return;
        }
        let text = if backout_core::exercise::calls_emergency(text) { "" } else { text.trim() };
        self.note(now, Logged::Emergency { by: by.to_owned(), text: text.to_owned() });
        self.end(&format!("REAL EMERGENCY, called by {by}"), now);
    }

    /// Ends it.
    pub fn end(&mut self, why: &str, now: Timestamp) {
        if self.record.end.is_none() {
            self.note(now, Logged::Ended { why: why.to_owned() });
            self.record.end = Some(now);
        }
    }

    /// Asks the next question; after the last one it is over.
    fn next(&mut self, now: Timestamp) {
        match self.to_come().first().map(|question| question.id.clone()) {
            Some(question) => self.note(now, Logged::Asked { question }),
            None => self.end("all was asked", now),
        }
    }

    fn show(&mut self, now: Timestamp) {
        let last = self.asked().last().filter(|one| !one.shown);
        let shown = last.map(|one| (one.question.id.clone(), one.plan.map(str::to_owned)));
        if let Some((question, plan)) = shown {
            self.note(now, Logged::Shown { question, plan });
        }
    }

    fn count(&self) -> usize {
        let is_it = |entry: &&Entry| matches!(entry.what, Logged::Asked { .. });
        self.record.log.iter().filter(is_it).count()
    }

    fn is_shown(&self, id: &str) -> bool {
        let is_it =
            |what: &Logged| matches!(what, Logged::Shown { question, .. } if question == id);
        self.record.log.iter().any(|entry| is_it(&entry.what))
    }

    fn note(&mut self, at: Timestamp, what: Logged) {
        self.record.log.push(Entry { at, seq: Seq(0), what });
    }
}

/// What the plan would do at the step that a question is about.
pub fn of_plan(plan: &Plan, question: &Question) -> Option<String> {
    let wanted = question.step.as_deref()?;
    let step = plan.steps.iter().find(|step| step.id.as_str() == wanted)?;
    Some(in_words(step))
}

/// A step in words: what it does, who approves, and what happens when it fails.
pub fn in_words(step: &PlanStep) -> String {
    let title = if step.title.is_empty() { step.id.as_str() } else { &step.title };
    let mut parts = vec![format!("{} runs {}: {title}", step.id, step.action)];
    if !step.needs.is_empty() {
        let needs: Vec<&str> = step.needs.iter().map(backout_core::id::StepId::as_str).collect();
        parts.push(format!("after {}", needs.join(", ")));
    }
    parts.extend(step.when.as_ref().map(|when| format!("only when {when}")));
    if let Some(approval) = &step.approval {
        let by =
            if approval.by.is_empty() { "anybody".to_owned() } else { approval.by.join(" or ") };
        parts.push(format!("once {} of {by} approved", approval.count));
    }
    parts.push(failing(step));
    parts.join("; ")
}

/// What happens when a step fails, in words.
pub fn failing(step: &PlanStep) -> String {
    let tries = match step.retry.max {
        0 => String::new(),
        1 => "it is tried once more, then ".to_owned(),
        more => format!("it is tried {more} more times, then "),
    };
    let then = match step.on_exhausted {
        OnExhausted::Wait => "it waits for a person",
        OnExhausted::Halt => "the run stops",
        OnExhausted::Continue => "the run goes on without it",
        OnExhausted::Undo => "the run is undone",
    };
    format!("when it fails, {tries}{then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Discussion {
        let question = |id: &str| Question {
            id: id.to_owned(),
            choices: vec!["wait".to_owned(), "go back".to_owned()],
            ..Question::default()
        };
        let questions = vec![question("one"), question("two")];
        Discussion::begin(Scenario { questions, ..Scenario::default() }, None, Timestamp(0))
    }

    fn said(talk: &mut Discussion, line: &str, who: &str) -> Option<String> {
        let typed = crate::console::typed(line, who).unwrap();
        talk.do_typed(&typed, who, Timestamp(1_000))
    }

    fn answers(talk: &Discussion) -> Vec<(String, String, String)> {
        let entries = talk.record().log.iter().filter_map(|entry| match &entry.what {
            Logged::Answered { question, answer, by, .. } => {
                Some((question.clone(), by.clone(), answer.clone()))
            }
            _ => None,
        });
        entries.collect()
    }

    #[test]
    fn everybody_answers_under_their_own_name_also_after_the_next_question() {
        let mut talk = two();
        assert_eq!(said(&mut talk, "reply 1 2", "bea"), None);
        assert_eq!(said(&mut talk, "next", "fay"), None);
        assert_eq!(said(&mut talk, "reply 1 ask the shop first", "tom"), None);
        assert_eq!(said(&mut talk, "reply 1", "tom"), None);
        let all = answers(&talk);
        let all: Vec<_> =
            all.iter().map(|(q, by, a)| (q.as_str(), by.as_str(), a.as_str())).collect();
        assert_eq!(
            all,
            [
                ("one", "bea", "go back"),
                ("one", "tom", "ask the shop first"),
                ("two", "tom", "wait")
            ]
        );
    }

    #[test]
    fn what_was_not_asked_is_not_answered_and_what_is_over_is_over() {
        let mut talk = two();
        assert!(said(&mut talk, "reply 2 wait", "bea").unwrap().contains("not asked yet"));
        assert!(said(&mut talk, "answer 1 well", "bea").unwrap().contains("when the exercise"));
        said(&mut talk, "show", "fay");
        said(&mut talk, "show", "fay");
        assert_eq!(talk.asked().filter(|one| one.shown).count(), 1);
        said(&mut talk, "next 1", "fay");
        assert!(
            said(&mut talk, "next 1", "ann").unwrap().contains("already"),
            "of two one is late"
        );
        assert_eq!(talk.asked().count(), 2);
        said(&mut talk, "next", "fay");
        assert_eq!(talk.record().over(), Some("all was asked"));
        assert!(said(&mut talk, "reply 2 wait", "bea").unwrap().contains("over"));
        assert_eq!(said(&mut talk, "answer 1 we were quick", "bea"), None);
        assert_eq!(said(&mut talk, "finish", "fay"), None);
        assert!(talk.record().is_closed());
    }
}
