//! A drill that several people are at: what each is told, who acts, and how it ends for all.

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause, Event};
use backout_core::exercise::has_mark;
use backout_core::id::StepId;
use backout_tabletop::console::{Typed, typed};
use backout_tabletop::drill::Drill;
use backout_tabletop::judge::Verdict;
use backout_tabletop::log::Logged;
use backout_tabletop::replay::verify;

use crate::support::{RUNBOOK, reported, setup, shop, state, verdicts};

const NOBODY: &str = "Decisions(format: 1, decisions: [])";

fn cause(name: &str) -> Cause {
    let actor = Actor { verified: true, ..Actor::unverified(name) };
    Cause { command: None, actor, reason: Some("seen".to_owned()), break_glass: false }
}

fn begun(rest: &str) -> Drill {
    Drill::begin(setup(RUNBOOK, &shop(rest), NOBODY)).unwrap()
}

/// Until a step is in a state.
fn until(drill: &mut Drill, step: &str, word: &str) {
    while state(drill, step) != word {
        let due = drill.next_due().unwrap();
        drill.advance_to(due).unwrap();
        assert!(!drill.is_over(), "{step} never is {word}");
    }
}

/// What is told by the run's own record, with who says it.
fn told(drill: &Drill) -> Vec<String> {
    let notes = drill.journal().iter().filter_map(|recorded| match &recorded.event {
        Event::NoteTaken { text, .. } => Some(format!("{}: {text}", recorded.cause.actor.name)),
        _ => None,
    });
    notes.collect()
}

fn says(drill: &mut Drill, line: &str) -> Option<String> {
    drill.do_typed(&typed(line, "fay").unwrap(), "fay").unwrap()
}

#[test]
fn messages_and_the_clock_are_told_by_the_record_of_the_run() {
    let mut drill = begun(
        r#"injects: [
        (id: "customer", from: "support", to: "ana", by: "phone", text: "Nobody can pay"),
        (id: "quiet", what: (silent: (who: "bea", lasts: "1m"))),
    ],"#,
    );
    assert_eq!(says(&mut drill, "inject customer"), None);
    assert_eq!(says(&mut drill, "inject quiet"), None);
    assert_eq!(says(&mut drill, "say head of sales -> ana: when?"), None);
    assert_eq!(says(&mut drill, "stop"), None);
    assert_eq!(says(&mut drill, "jump 2m"), None);
    let expected = [
        "support: to ana by phone: Nobody can pay",
        "head of sales: to ana: when?",
        "facilitator: the clock stands still",
        "facilitator: the clock jumps to +02:00",
    ];
    assert_eq!(told(&drill), expected, "and nothing of what only the facilitator knows");
    assert!(says(&mut drill, "inject nothing").unwrap().contains("no inject"));
    assert_eq!(drill.clock(drill.now()), "+02:00");
}

#[test]
fn who_acts_from_elsewhere_stands_in_the_record_with_the_role_of_the_scenario() {
    let mut drill = begun("");
    until(&mut drill, "schema_down", "waiting");
    let step = StepId::new("schema_down");
    let approve = Ask::Approve { step: step.clone(), consent: None };
    let refused = drill.ask_by(cause("cid"), approve.clone()).unwrap();
    assert!(refused.is_err(), "the runbook wants bea");
    drill.ask_by(cause("bea"), approve).unwrap().unwrap();
    let by = drill.journal().iter().find_map(|recorded| {
        matches!(recorded.event, Event::StepApproved { .. }).then_some(&recorded.cause.actor)
    });
    let by = by.unwrap();
    assert_eq!((by.name.as_str(), by.verified), ("bea", true));
    assert_eq!(by.roles, ["approver", "drill"]);
    let report = reported(&drill);
    let whose: Vec<_> =
        report.decisions.iter().map(|one| (one.by.as_str(), one.refused.is_some())).collect();
    assert_eq!(whose, [("cid", true), ("bea", false)]);
}

#[test]
fn what_was_due_after_a_real_emergency_was_not_missed() {
    let expected =
        r#"expected: [(id: "well", end: "succeeded", within: "30m", objective: "decide")],"#;
    let mut drill = begun(expected);
    drill.emergency(&cause("eve"), "the warehouse burns").unwrap();
    assert_eq!(verdicts(&drill)["well"], Verdict::NotDue);
}

#[test]
fn a_real_emergency_ends_it_for_all_by_whatever_door() {
    let mut drill = begun("");
    let note = Ask::Note { step: None, text: "Real emergency: the shop burns".to_owned() };
    drill.ask_by(cause("bea"), note).unwrap().unwrap();
    assert_eq!(drill.over(), Some("REAL EMERGENCY, called by bea"));
    assert_eq!(told(&drill), ["bea: Real emergency: the shop burns"]);
    let last = &drill.journal().last().unwrap().event;
    assert!(
        matches!(last, Event::EngineDetached { why } if why.contains("REAL EMERGENCY")),
        "{last:?}"
    );
    let late = drill.ask_by(cause("ana"), Ask::Pause).unwrap().unwrap_err();
    assert!(late.message.contains("the exercise is over"), "{late:?}");
    assert!(says(&mut drill, "go").unwrap().contains("over"));
    assert_eq!(reported(&drill).ended, "REAL EMERGENCY, called by bea");
    assert!(verify(drill.journal(), false).is_sound());
    let mut drill = begun("");
    drill.emergency(&cause("eve"), "the warehouse burns").unwrap();
    assert_eq!(told(&drill), ["eve: REAL EMERGENCY: the warehouse burns"]);
    let note = drill.state().unwrap().notes.last().unwrap().clone();
    assert!(has_mark(&note.by), "every screen knows it by the mark: {note:?}");
}

#[test]
fn ratings_and_improvements_are_taken_when_it_is_over() {
    let mut drill = begun("");
    assert_eq!(says(&mut drill, "end"), None);
    assert_eq!(says(&mut drill, "rate tell S late, but right"), None);
    assert!(says(&mut drill, "rate nothing S").unwrap().contains("decide, tell"));
    assert_eq!(says(&mut drill, "improve updates | name somebody | ana | 2026-12-31"), None);
    let question = "What went well?".to_owned();
    let (answer, by) = ("the flag".to_owned(), String::new());
    drill.note(Logged::Answered { question, answer, by, plan: None });
    let report = reported(&drill);
    assert_eq!(report.ended, "the facilitator ended it");
    assert_eq!(report.objectives[1].rated_by, "evaluator");
    assert_eq!(report.improvements[0].owner, "ana");
    assert_eq!(report.answers[0].0, "What went well?");
    assert!(typed("improve a | b | c | soon", "fay").is_err(), "a date is a date");
    assert!(matches!(typed("help", "fay"), Ok(Typed::Help)));
}
