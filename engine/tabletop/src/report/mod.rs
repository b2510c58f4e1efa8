//! The report of an exercise. Objectives and the runbook are rated, never persons.

mod names;
mod shown;
mod telling;

pub use names::without_names;
pub use shown::{blocks, handout};
pub use telling::Telling;

use std::collections::BTreeMap;

use backout_core::contract::Settled;
use backout_core::event::{Event, Recorded, Wait};
use backout_core::id::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decisions::words;
use crate::drill::decision_words;
use crate::judge::{Judged, Verdict, end_word, judge, missed_updates};
use crate::log::{Exercise, Kind, Logged, Rating};
use crate::scenario::{Row, Scenario, msel};

/// The version of the report's format.
pub const REPORT_FORMAT: u32 = 1;
/// Milliseconds that a step may wait for a person before that is a finding.
const SLOW_DECISION_MS: u64 = 10 * 60 * 1_000;

/// An objective and how it was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectiveReport {
    /// Its name.
    pub id: String,
    /// One sentence.
    pub text: String,
    /// The capability that it belongs to.
    pub capability: String,
    /// The evaluator's rating; without one, what the expected actions say.
    pub rating: Option<Rating>,
    /// Who or what the rating is from: `evaluator`, `expected actions`, or nobody.
    pub rated_by: String,
    /// What the evaluators wrote.
    pub notes: Vec<String>,
    /// The evaluation guide.
    pub guide: Vec<String>,
}

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineLine {
    /// When.
    pub at: Timestamp,
    /// The same since the start, in words.
    pub clock: String,
    /// Who or what.
    pub who: String,
    /// What.
    pub text: String,
    /// `inject`, `decision`, `engine`, `run`, `note`, `question`, `answer`, `improvement`, `rating`,
    /// `clock`, `end`.
    pub kind: String,
}

/// A decision and how long it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionReport {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What was decided.
    pub what: String,
    /// Why.
    pub reason: Option<String>,
    /// What asked for it.
    pub asked_by: Option<String>,
    /// How long that had asked, milliseconds.
    pub took_ms: Option<u64>,
    /// Why the engine did not take it.
    pub refused: Option<String>,
}

/// Something to be improved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Improvement {
    /// The capability.
    pub capability: String,
    /// What is to be done.
    pub action: String,
    /// By whom; empty until it is agreed.
    pub owner: String,
    /// Until when, `YYYY-MM-DD`; empty until it is agreed.
    pub due: String,
    /// `proposed`, `open` or `done`.
    pub state: String,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// What kind of exercise it was.
    pub exercise: Kind,
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// What those who took part were told.
    pub situation: String,
    /// The runbook.
    pub runbook: String,
    /// The run.
    pub run: Option<String>,
    /// What decided every chance.
    pub seed: u64,
    /// When it began, by its own clock.
    pub begin: Timestamp,
    /// How long it took by its own clock, milliseconds.
    pub took_ms: u64,
    /// Why it ended.
    pub ended: String,
    /// How the run ended, or how it stood.
    pub outcome: String,
    /// The objectives and their ratings.
    pub objectives: Vec<ObjectiveReport>,
    /// Expected against actual.
    pub expected: Vec<Judged>,
    /// The decisions.
    pub decisions: Vec<DecisionReport>,
    /// Moments at which an update was due and none had come.
    pub missed_updates: Vec<Timestamp>,
    /// What was found.
    pub findings: Vec<String>,
    /// The improvement plan.
    pub improvements: Vec<Improvement>,
    /// Questions and answers of a discussion.
    pub answers: Vec<(String, String, Option<String>)>,
    /// What is asked at the end.
    pub hotwash: Vec<String>,
    /// Notes of those who observed.
    pub notes: Vec<TimelineLine>,
    /// All that happened.
    pub timeline: Vec<TimelineLine>,
    /// The events list, with what was seen.
    pub msel: Vec<Row>,
}

/// An event in words, with the step that it is about.
pub type Sentence<'a> = &'a dyn Fn(&Event) -> (Option<String>, String);

/// The report of an exercise and the journal of its run.
pub fn report(exercise: &Exercise, journal: &[Recorded], sentence: Sentence<'_>) -> Report {
    // In a discussion nobody acts: what would be expected of them in a drill is neither met nor missed.
    let acts = exercise.exercise != Kind::Discussion;
    let expected = if acts { judge(exercise, journal) } else { Vec::new() };
    let decisions = decisions(exercise, journal);
    let missed_updates = missed_updates(exercise);
    let findings = findings(exercise, journal, &expected, &decisions, &missed_updates);
    let scenario = &exercise.scenario;
    let end = exercise.end.unwrap_or(exercise.begin);
    Report {
        format: REPORT_FORMAT,
        exercise: exercise.exercise,
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        situation: scenario.situation.clone(),
        runbook: exercise.runbook.clone(),
        run: exercise.run.as_ref().map(ToString::to_string),
        seed: exercise.seed,
        begin: exercise.begin,
        took_ms: end.since_ms(exercise.begin),
        ended: ended(exercise),
        outcome: outcome(journal),
        objectives: objectives(exercise, &expected),
        improvements: improvements(exercise, &expected, &missed_updates),
        answers: answers(exercise),
        hotwash: scenario.hotwash(),
        notes: notes(exercise),
        timeline: timeline(exercise, journal, sentence),
        msel: if acts { seen(exercise, &expected) } else { Vec::new() },
        expected,
        decisions,
        missed_updates,
        findings,
    }
}

/// Minutes and seconds since the start.
pub(crate) fn clock(exercise: &Exercise, at: Timestamp) -> String {
    crate::scenario::clock(at.since_ms(exercise.begin))
}

fn ended(exercise: &Exercise) -> String {
    let emergency = exercise.log.iter().find_map(|entry| match &entry.what {
        Logged::Emergency { by, text } if text.is_empty() => {
            Some(format!("REAL EMERGENCY, called by {by}"))
        }
        Logged::Emergency { by, text } => Some(format!("REAL EMERGENCY, called by {by}: {text}")),
        _ => None,
    });
    let last = exercise.log.iter().rev().find_map(|entry| match &entry.what {
        Logged::Ended { why } => Some(why.clone()),
        _ => None,
    });
    emergency.or(last).unwrap_or_else(|| "it is not over".to_owned())
}

fn outcome(journal: &[Recorded]) -> String {
    let last = journal.iter().rev().find_map(|recorded| match &recorded.event {
        Event::RunEnded { end, recovered } => Some((*end, *recovered)),
        _ => None,
    });
    match last {
        Some((end, Some(true))) => format!("{}, recovered", end_word(end)),
        Some((end, Some(false))) => format!("{}, not recovered", end_word(end)),
        Some((end, None)) => end_word(end).to_owned(),
        None if journal.is_empty() => "no run".to_owned(),
        None => "not over".to_owned(),
    }
}

fn objectives(exercise: &Exercise, expected: &[Judged]) -> Vec<ObjectiveReport> {
    let of = |objective: &crate::scenario::Objective| {
        let rated = exercise.log.iter().filter_map(|entry| match &entry.what {
            Logged::Rated { objective: of, rating, text, .. } if *of == objective.id => {
                Some((*rating, text.clone()))
            }
            _ => None,
        });
        let rated: Vec<(Rating, String)> = rated.collect();
        let own: Vec<Verdict> = expected
            .iter()
            .filter(|one| one.objective.as_deref() == Some(objective.id.as_str()))
            .map(|one| one.verdict)
            .filter(|verdict| *verdict != Verdict::NotDue)
            .collect();
        let by_evaluator = rated.last().map(|(rating, _)| *rating);
        let (rating, rated_by) = match (by_evaluator, derived(&own)) {
            (Some(rating), _) => (Some(rating), "evaluator"),
            (None, Some(rating)) => (Some(rating), "expected actions"),
            (None, None) => (None, "nobody"),
        };
        ObjectiveReport {
            id: objective.id.clone(),
            text: objective.text.clone(),
            capability: objective.capability.clone(),
            rating,
            rated_by: rated_by.to_owned(),
            notes: rated.into_iter().map(|(_, text)| text).filter(|t| !t.is_empty()).collect(),
            guide: objective.guide.clone(),
        }
    };
    exercise.scenario.objectives.iter().map(of).collect()
}

/// What the expected actions alone say.
fn derived(verdicts: &[Verdict]) -> Option<Rating> {
    let met = verdicts.iter().filter(|verdict| verdict.is_well()).count();
    let lost = verdicts
        .iter()
        .filter(|verdict| matches!(verdict, Verdict::Missed | Verdict::Violated))
        .count();
    Some(match verdicts.len() {
        0 => return None,
        all if met == all => Rating::P,
        _ if lost == 0 => Rating::S,
        all if lost == all => Rating::U,
        _ => Rating::M,
    })
}

fn decisions(exercise: &Exercise, journal: &[Recorded]) -> Vec<DecisionReport> {
    let of = |entry: &crate::log::Entry| {
        let Logged::Decision { by, ask, reason, refused } = &entry.what else { return None };
        let (_, step) = words(ask);
        let asked = match step {
            Some(step) => asked_for(step, entry.at, journal),
            None => last_inject(exercise, entry.at),
        };
        Some(DecisionReport {
            at: entry.at,
            by: by.clone(),
            what: decision_words(ask),
            reason: reason.clone(),
            took_ms: asked.as_ref().map(|(at, _)| entry.at.since_ms(*at)),
            asked_by: asked.map(|(_, what)| what),
            refused: refused.clone(),
        })
    };
    exercise.log.iter().filter_map(of).collect()
}

/// What asked for a decision about a step, and since when.
fn asked_for(step: &str, until: Timestamp, journal: &[Recorded]) -> Option<(Timestamp, String)> {
    let before = journal.iter().rev().filter(|recorded| recorded.at <= until);
    before
        .filter_map(|r| Some((r.at, asking(&r.event)?)))
        .find_map(|(at, (of, what))| (of == step).then(|| (at, format!("{step} {what}"))))
}

/// Events by which a step begins to ask for a person.
fn asking(event: &Event) -> Option<(&str, &'static str)> {
    Some(match event {
        Event::StepWaits { step, wait: Wait::Approval { .. } } => {
            (step.as_str(), "asked for approval")
        }
        Event::StepWaits { step, wait: Wait::Person { .. } } => {
            (step.as_str(), "waited for a person")
        }
        Event::StepWaits { step, wait: Wait::Output { .. } } => {
            (step.as_str(), "waited for an output")
        }
        Event::EffectInDoubt { sending, .. } => (sending.step.as_str(), "was in doubt"),
        Event::StepUnverified { step, .. } => (step.as_str(), "was done and not seen"),
        Event::WatchAlarm { step, .. } => (step.as_str(), "had an alarm"),
        Event::StepFailed { step, .. } => (step.as_str(), "had failed"),
        _ => return None,
    })
}

fn last_inject(exercise: &Exercise, until: Timestamp) -> Option<(Timestamp, String)> {
    let mut before = exercise.log.iter().rev().filter(|entry| entry.at <= until);
    before.find_map(|entry| match &entry.what {
        Logged::Inject { id, .. } => Some((entry.at, format!("inject {id}"))),
        _ => None,
    })
}

fn findings(
    exercise: &Exercise,
    journal: &[Recorded],
    expected: &[Judged],
    decisions: &[DecisionReport],
    missed: &[Timestamp],
) -> Vec<String> {
    let mut found: Vec<String> = expected
        .iter()
        .filter(|one| !one.verdict.is_well())
        .map(|one| format!("{}: {}", one.verdict.word(), one.expected))
        .collect();
    found.extend(decisions.iter().filter_map(|one| {
        let refused = one.refused.as_ref()?;
        Some(format!("{} was asked and not possible: {refused}", one.what))
    }));
    found.extend(decisions.iter().filter(|one| one.took_ms > Some(SLOW_DECISION_MS)).map(|one| {
        let minutes = one.took_ms.unwrap_or(0) / 60_000;
        format!(
            "{} came {minutes} minutes after {}",
            one.what,
            one.asked_by.as_deref().unwrap_or("it was due")
        )
    }));
    if !missed.is_empty() {
        let at: Vec<String> = missed.iter().map(|at| clock(exercise, *at)).collect();
        found.push(format!("updates were due and did not come at {}", at.join(", ")));
    }
    found.extend(doubts(exercise, journal));
    found
}

/// Steps of the runbook that came into doubt: a finding about the runbook.
fn doubts(exercise: &Exercise, journal: &[Recorded]) -> Vec<String> {
    let mut of: BTreeMap<String, Timestamp> = BTreeMap::new();
    for recorded in journal {
        if let Event::EffectInDoubt { sending, .. } = &recorded.event {
            of.entry(sending.step.to_string()).or_insert(recorded.at);
        }
    }
    let told = |(step, at): (String, Timestamp)| {
        let settled = journal.iter().find(|r| r.at >= at && is_settled(&r.event, &step));
        let until = settled.map_or("it was never settled".to_owned(), |r| {
            format!("a person settled it {}s later", r.at.since_ms(at) / 1_000)
        });
        format!("{step} came into doubt at {}; {until}", clock(exercise, at))
    };
    of.into_iter().map(told).collect()
}

fn is_settled(event: &Event, step: &str) -> bool {
    match event {
        Event::EffectSettled {
            sending, settled: Settled::Done { .. } | Settled::NotDone, ..
        } => sending.step.as_str() == step,
        _ => false,
    }
}

fn improvements(
    exercise: &Exercise,
    expected: &[Judged],
    missed: &[Timestamp],
) -> Vec<Improvement> {
    let agreed = exercise.log.iter().filter_map(|entry| match &entry.what {
        Logged::Improvement { capability, action, owner, due } => Some(Improvement {
            capability: capability.clone(),
            action: action.clone(),
            owner: owner.clone(),
            due: due.clone(),
            state: "open".to_owned(),
        }),
        _ => None,
    });
    let proposed = |capability: String, action: String| Improvement {
        capability,
        action,
        owner: String::new(),
        due: String::new(),
        state: "proposed".to_owned(),
    };
    let of_expected = expected.iter().filter(|one| !one.verdict.is_well()).map(|one| {
        let objective =
            exercise.scenario.objectives.iter().find(|o| Some(&o.id) == one.objective.as_ref());
        let capability =
            objective.map(|objective| objective.capability.clone()).unwrap_or_default();
        proposed(capability, format!("see to it that next time: {}", one.expected))
    });
    let updates = (!missed.is_empty()).then(|| {
        let minutes = exercise.updates_ms / 60_000;
        let action = format!("name somebody who sends an update every {minutes} minutes");
        proposed("operational communication".to_owned(), action)
    });
    agreed.chain(of_expected).chain(updates).collect()
}

fn answers(exercise: &Exercise) -> Vec<(String, String, Option<String>)> {
    let ask = |question: &str| exercise.scenario.asks(question).to_owned();
    let is_answered = |id: &str| {
        let is_it =
            |what: &Logged| matches!(what, Logged::Answered { question, .. } if question == id);
        exercise.log.iter().any(|entry| is_it(&entry.what))
    };
    let of = |entry: &crate::log::Entry| match &entry.what {
        Logged::Answered { question, answer, by, plan } => {
            let by = if by.is_empty() { String::new() } else { format!("{by}: ") };
            Some((ask(question), format!("{by}{answer}"), plan.clone()))
        }
        Logged::Asked { question } if !is_answered(question) => {
            Some((ask(question), "no answer".to_owned(), None))
        }
        _ => None,
    };
    exercise.log.iter().filter_map(of).collect()
}

fn timeline(
    exercise: &Exercise,
    journal: &[Recorded],
    sentence: Sentence<'_>,
) -> Vec<TimelineLine> {
    let mut telling = Telling::default();
    let told = journal.iter().filter(|r| telling.tells(&r.event) && is_told(&r.event));
    let run = told.filter(|r| r.at >= exercise.begin).map(|recorded| {
        let (step, text) = sentence(&recorded.event);
        let text = step.map_or(text.clone(), |step| format!("{step}: {text}"));
        let line = TimelineLine {
            at: recorded.at,
            clock: clock(exercise, recorded.at),
            who: recorded.cause.actor.name.clone(),
            text,
            kind: "run".to_owned(),
        };
        // What was said at an event was said after it.
        ((recorded.at, recorded.seq, false), line)
    });
    let said = exercise
        .log
        .iter()
        .filter_map(|entry| Some(((entry.at, entry.seq, true), line(exercise, entry)?)));
    let mut all: Vec<_> = run.chain(said).collect();
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, line)| line).collect()
}

/// Events that a timeline for people shows: what came of an effect is in what came of its step.
fn is_told(event: &Event) -> bool {
    !matches!(
        event,
        Event::StepPrepared { .. } | Event::EffectIntended { .. } | Event::EffectDone { .. }
    )
}

fn line(exercise: &Exercise, entry: &crate::log::Entry) -> Option<TimelineLine> {
    let (kind, who, text) = logged_words(&exercise.scenario, &entry.what)?;
    let (at, clock, kind) = (entry.at, clock(exercise, entry.at), kind.to_owned());
    Some(TimelineLine { at, clock, who, text, kind })
}

/// What observers and others noted.
fn notes(exercise: &Exercise) -> Vec<TimelineLine> {
    let lines = exercise.log.iter().filter_map(|entry| line(exercise, entry));
    lines.filter(|line| line.kind == "note").collect()
}

/// A kind, who, and what, of what was logged.
pub fn logged_words(scenario: &Scenario, what: &Logged) -> Option<(&'static str, String, String)> {
    let facilitator = || "facilitator".to_owned();
    let ask = |question: &str| scenario.asks(question).to_owned();
    Some(match what {
        Logged::Inject { id, from, to, by, text, what } => {
            let to = if to.is_empty() { String::new() } else { format!(" to {to}") };
            let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
            let what = if what.is_empty() { String::new() } else { format!(" [{what}]") };
            let who = if from.is_empty() { facilitator() } else { from.clone() };
            let name =
                if id.is_empty() { "live inject".to_owned() } else { format!("inject {id}") };
            ("inject", who, format!("{name}{to}{by}: {text}{what}"))
        }
        Logged::Decision { by, ask, reason, refused } => {
            let reason = reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            let refused =
                refused.as_ref().map(|r| format!(": NOT POSSIBLE: {r}")).unwrap_or_default();
            ("decision", by.clone(), format!("{}{reason}{refused}", decision_words(ask)))
        }
        Logged::Silence { who } => ("decision", who.clone(), "does not answer".to_owned()),
        Logged::Engine { what } => ("engine", "engine".to_owned(), what.clone()),
        Logged::Awaited { .. } => return None,
        Logged::Answered { question, answer, by, .. } => {
            let who = if by.is_empty() { "the team".to_owned() } else { by.clone() };
            ("answer", who, format!("to `{}`: {answer}", ask(question)))
        }
        Logged::Improvement { capability, action, owner, due } => {
            let what = format!("to be improved ({capability}): {action}, by {owner} until {due}");
            ("improvement", "agreed".to_owned(), what)
        }
        Logged::Asked { question } => {
            ("question", facilitator(), format!("asked `{}`", ask(question)))
        }
        Logged::Shown { question, .. } => {
            let what = format!("showed what the plan would do at `{}`", ask(question));
            ("question", facilitator(), what)
        }
        Logged::Note { by, role, text } => ("note", format!("{by} ({role})"), text.clone()),
        Logged::Rated { by, objective, rating, text } => {
            ("rating", by.clone(), format!("{objective}: {rating:?}. {text}"))
        }
        Logged::ClockStopped => ("clock", facilitator(), "stopped the clock".to_owned()),
        Logged::ClockWentOn => ("clock", facilitator(), "let the clock go on".to_owned()),
        Logged::Jumped { ms } => {
            let by = crate::scenario::clock(*ms);
            ("clock", facilitator(), format!("turned the clock by {by}"))
        }
        Logged::Emergency { by, text } if text.is_empty() => {
            ("end", by.clone(), "REAL EMERGENCY".to_owned())
        }
        Logged::Emergency { by, text } => ("end", by.clone(), format!("REAL EMERGENCY: {text}")),
        Logged::Closed { by } => ("end", by.clone(), "closed the hotwash".to_owned()),
        Logged::Ended { why } => ("end", "exercise".to_owned(), format!("over: {why}")),
    })
}

/// The events list with when each was seen.
fn seen(exercise: &Exercise, expected: &[Judged]) -> Vec<Row> {
    let mut rows = msel(&exercise.scenario);
    for row in &mut rows {
        let fired = exercise
            .log
            .iter()
            .find(|entry| matches!(&entry.what, Logged::Inject { id, .. } if *id == row.id));
        let done = expected.iter().find(|one| one.id == row.id);
        row.seen = match (fired, done) {
            (Some(entry), _) => clock(exercise, entry.at),
            (None, Some(one)) => match one.done {
                Some(at) => format!("{} {}", one.verdict.word(), clock(exercise, at)),
                None => one.verdict.word().to_owned(),
            },
            (None, None) => "not fired".to_owned(),
        };
    }
    rows
}
