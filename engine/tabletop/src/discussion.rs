//! A discussion: questions, what the team says, and what the runbook's plan would do.

use backout_core::id::{Seq, Timestamp};
use backout_core::plan::{OnExhausted, Plan, PlanStep};

use crate::log::{EXERCISE_FORMAT, Entry, Exercise, Kind, Logged};
use crate::scenario::{Question, Scenario};

/// A discussion under way.
#[derive(Debug)]
pub struct Discussion(Exercise);

impl Discussion {
    /// Begins it.
    pub fn begin(scenario: Scenario, runbook: String, now: Timestamp) -> Self {
        Self(Exercise {
            format: EXERCISE_FORMAT,
            exercise: Kind::Discussion,
            seed: scenario.seed,
            scenario,
            runbook,
            run: None,
            begin: now,
            end: None,
            updates_ms: 0,
            log: Vec::new(),
        })
    }

    /// Its record so far.
    pub fn exercise(&self) -> &Exercise {
        &self.0
    }

    /// Writes down what the team says to a question: a number names a choice.
    pub fn answer(
        &mut self,
        question: &Question,
        said: &str,
        plan: Option<String>,
        now: Timestamp,
    ) {
        let said = said.trim();
        let choice = said.parse::<usize>().ok().and_then(|at| at.checked_sub(1));
        let chosen = choice.and_then(|at| question.choices.get(at)).cloned();
        let answer = chosen.unwrap_or_else(|| {
            if said.is_empty() { "no answer".to_owned() } else { said.to_owned() }
        });
        self.note(
            now,
            Logged::Answered { question: question.id.clone(), answer, by: String::new(), plan },
        );
    }

    /// A real emergency ends it.
    pub fn emergency(&mut self, by: &str, now: Timestamp) {
        self.note(now, Logged::Emergency { by: by.to_owned() });
    }

    /// Ends it.
    pub fn end(mut self, now: Timestamp) -> Exercise {
        if self.0.log.iter().all(|entry| !matches!(entry.what, Logged::Emergency { .. })) {
            self.note(now, Logged::Ended { why: "all was asked".to_owned() });
        }
        self.0.end = Some(now);
        self.0
    }

    fn note(&mut self, at: Timestamp, what: Logged) {
        self.0.log.push(Entry { at, seq: Seq(0), what });
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
