//! An exercise as one of those who are at it may see it, and what they may do there.

use axum::http::StatusCode;
use backout_access::parts::{self, DEEDS, Part};
use backout_core::event::{Actor, Cause};
use backout_server::desk::{
    DeedView, HotwashQuestion, LogLine, PlannedInject, RatedObjective, ScriptView, SeatView, Told,
};
use backout_server::problem::Problem;
use backout_tabletop::console::{self, Typed};
use backout_tabletop::drill::Broken;
use backout_tabletop::log::{Entry, Exercise, Kind, Logged};
use backout_tabletop::report::logged_words;
use backout_tabletop::scenario::{Inject, What, msel};

use super::led::Led;

/// What somebody is there for.
fn part(record: &Exercise, who: &Actor) -> Part {
    let named = record.scenario.roles.iter();
    parts::part_of(who, named.filter_map(|role| Some((role.role.as_str(), role.who.as_deref()?))))
}

/// The exercise as this one may see it.
pub(super) fn seat(led: &dyn Led, who: &Actor) -> SeatView {
    let record = led.record();
    let part = part(&record, who);
    let script = part.sees_the_script();
    let own = |entry: &&Entry| script || is_by(&entry.what, &who.name);
    SeatView {
        part: part.word().to_owned(),
        may: deeds(record.exercise).map(|deed| may(deed, part)).collect(),
        talk: led.talk(script),
        script: script.then(|| the_script(led, &record)),
        objectives: objectives(&record, script),
        hotwash: hotwash(&record),
        closed: record.is_closed(),
        log: record.log.iter().filter(own).filter_map(|entry| line(&record, entry)).collect(),
    }
}

/// Does what a line says, where this one's part lets it.
pub(super) fn say(led: &dyn Led, line: &str, who: &Actor) -> Result<Option<String>, Problem> {
    let typed = console::typed(line, &who.name).map_err(unfit)?;
    if !matches!(typed, Typed::Decide(_)) {
        parts::may(typed.word(), part(&led.record(), who))?;
    }
    match typed {
        Typed::Decide(_) if led.run().is_some() => {
            let help = "the run's own page and commands take it, under your own name";
            Err(unfit("this is a decision about the run".to_owned()).helped(help))
        }
        Typed::Decide(_) => Err(unfit("there is no run in a discussion".to_owned())
            .helped("say what you would do: reply NUMBER TEXT")),
        Typed::Status => Ok(Some("the page shows how it stands, and so does `status`".to_owned())),
        Typed::Emergency(text) => call(led, who, &text).map(|()| None),
        typed => led.typed(&typed, &who.name).map_err(internal),
    }
}

/// Ends it for something real: anybody may.
pub(super) fn call(led: &dyn Led, who: &Actor, text: &str) -> Result<(), Problem> {
    let cause = Cause { command: None, actor: who.clone(), reason: None, break_glass: false };
    led.emergency(&cause, text).map_err(internal)
}

fn unfit(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not understood", detail)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn internal(error: Broken) -> Problem {
    Problem::internal(error.to_string())
}

/// What can be done at a kind of exercise.
fn deeds(kind: Kind) -> impl Iterator<Item = &'static parts::Deed> {
    let elsewhere: &[&str] = match kind {
        Kind::Discussion => {
            &["world", "inject", "say", "stop", "go", "step", "jump", "speed", "status"]
        }
        Kind::Drill | Kind::WhatIf => &["reply", "show", "next"],
    };
    DEEDS.iter().filter(|deed| !elsewhere.contains(&deed.line))
}

fn may(deed: &parts::Deed, part: Part) -> DeedView {
    let refused = parts::may(deed.line, part).err().map(|refusal| refusal.detail);
    let takes = parts::takes(deed).into_iter().map(str::to_owned).collect();
    DeedView { line: deed.line.to_owned(), does: deed.does.to_owned(), takes, refused }
}

/// What everybody was told.
pub(super) fn told(record: &Exercise) -> Vec<Told> {
    let told = |entry: &Entry| {
        let Logged::Inject { from, to, by, text, .. } = &entry.what else { return None };
        (!text.is_empty()).then(|| message(&record.clock(entry.at), [from, to, by, text]))
    };
    record.log.iter().filter_map(told).collect()
}

fn message(clock: &str, [from, to, by, text]: [&String; 4]) -> Told {
    let from = if from.is_empty() { "facilitator".to_owned() } else { from.clone() };
    let (to, by, text) = (to.clone(), by.clone(), text.clone());
    Told { clock: clock.to_owned(), from, to, by, text }
}

fn the_script(led: &dyn Led, record: &Exercise) -> ScriptView {
    if record.exercise == Kind::Discussion {
        return ScriptView { questions: to_come(record), ..ScriptView::default() };
    }
    let scenario = &record.scenario;
    let rows = msel(scenario);
    let when = |id: &str| rows.iter().find(|row| row.id == id).map(|row| row.time.clone());
    let inject = |inject: &Inject| PlannedInject {
        id: inject.id.clone(),
        when: when(&inject.id).unwrap_or_default(),
        message: message("", [&inject.from, &inject.to, &inject.by, &inject.text]),
        what: inject.what.as_ref().map(What::sentence).unwrap_or_default(),
        fired: fired(record, &inject.id),
    };
    let expected = rows.iter().filter(|row| !row.expected.is_empty());
    ScriptView {
        injects: scenario.injects.iter().map(inject).collect(),
        expected: expected.map(|row| format!("{}: {}", row.id, row.expected)).collect(),
        world: led.world(),
        questions: Vec::new(),
    }
}

/// The questions of a discussion that are still to come.
fn to_come(record: &Exercise) -> Vec<String> {
    let asked = record.log.iter().filter(|entry| matches!(entry.what, Logged::Asked { .. }));
    let all = record.scenario.questions.iter().zip(1..).skip(asked.count());
    all.map(|(question, number)| format!("{number}. {}", question.ask)).collect()
}

fn fired(record: &Exercise, wanted: &str) -> Option<String> {
    let is_it = |entry: &&Entry| matches!(&entry.what, Logged::Inject { id, .. } if id == wanted);
    record.log.iter().rev().find(is_it).map(|entry| record.clock(entry.at))
}

fn hotwash(record: &Exercise) -> Vec<HotwashQuestion> {
    let answers = |wanted: &str| {
        let entries = record.log.iter().filter_map(|entry| match &entry.what {
            Logged::Answered { question, answer, by, .. } if question == wanted => {
                Some((by.clone(), answer.clone()))
            }
            _ => None,
        });
        entries.collect()
    };
    let questions = record.scenario.hotwash().into_iter();
    questions.map(|question| HotwashQuestion { answers: answers(&question), question }).collect()
}

/// How an objective is looked at and rated is for those who see the script.
fn objectives(record: &Exercise, script: bool) -> Vec<RatedObjective> {
    let rated = |wanted: &str| {
        record.log.iter().rev().find_map(|entry| match &entry.what {
            Logged::Rated { objective, rating, text, .. } if objective == wanted => {
                Some(format!("{rating:?} {text}").trim_end().to_owned())
            }
            _ => None,
        })
    };
    let all = record.scenario.objectives.iter();
    let one = |objective: &backout_tabletop::scenario::Objective| RatedObjective {
        id: objective.id.clone(),
        text: objective.text.clone(),
        guide: if script { objective.guide.clone() } else { Vec::new() },
        rating: rated(&objective.id).filter(|_| script),
    };
    all.map(one).collect()
}

fn line(record: &Exercise, entry: &Entry) -> Option<LogLine> {
    let (_, who, what) = logged_words(&record.scenario, &entry.what)?;
    Some(LogLine { clock: record.clock(entry.at), who, what })
}

/// Whether it is something that this person said or decided.
fn is_by(what: &Logged, name: &str) -> bool {
    match what {
        Logged::Decision { by, .. }
        | Logged::Note { by, .. }
        | Logged::Answered { by, .. }
        | Logged::Emergency { by, .. } => by == name,
        _ => false,
    }
}
