//! What a person may ask, and when.

use backout_core::command::{Ask, Verdict};
use backout_core::event::{Actor, Cause};
use backout_core::{Command, decide};
use serde_json::json;

use super::runs::all_runs;
use super::steps::{a, all_states};
use super::{AT, Folded, check_table};
use crate::plans::step;
use crate::words::{phase_word, step_word};

fn person() -> Cause {
    Cause {
        command: None,
        actor: Actor::unverified("ann"),
        reason: Some("because".into()),
        break_glass: false,
    }
}

fn answer(run: &Folded, ask: Ask) -> String {
    match decide(run.0.as_ref(), AT, &person(), &Command::Ask(ask)) {
        Ok(_) => "yes".into(),
        Err(rejection) => {
            assert!(!rejection.message.is_empty());
            "no".into()
        }
    }
}

#[test]
fn what_a_person_may_ask_of_a_step_is_as_the_page_says() {
    let settle = |verdict| Ask::Settle { step: a(), effect: None, verdict, evidence: None };
    let done = || Verdict::Done { output: json!({ "k": 1 }) };
    let rows: Vec<Vec<String>> = all_states()
        .iter()
        .map(|run| {
            let asks = [
                Ask::Approve { step: a(), consent: None },
                Ask::Reject { step: a() },
                Ask::Retry { step: a(), with: None },
                Ask::Skip { step: a() },
                settle(done()),
                settle(Verdict::NotDone),
                Ask::Hold { steps: vec![a()] },
                Ask::Part { steps: vec![a()] },
                Ask::Insert { steps: vec![step("new", &[])], before: vec![a()] },
            ];
            let word = step_word(&run.state().steps[0]);
            std::iter::once(word).chain(asks.map(|ask| answer(run, ask))).collect()
        })
        .collect();
    let head = [
        "state",
        "approve",
        "reject",
        "retry",
        "skip",
        "settle --done",
        "settle --not-done",
        "hold",
        "part",
        "insert before",
    ];
    check_table("asks of a step", &head, &rows);
}

#[test]
fn what_a_person_may_ask_of_a_run_is_as_the_page_says() {
    let rows: Vec<Vec<String>> = all_runs()
        .iter()
        .map(|run| {
            let asks = [
                Ask::Pause,
                Ask::Resume,
                Ask::Abort,
                Ask::Undo,
                Ask::Close,
                Ask::Insert { steps: vec![step("new", &[])], before: Vec::new() },
                Ask::Note { step: None, text: "hm".into() },
                Ask::HandOver { to: "bob".into() },
                Ask::TakeCommand,
                Ask::Supersede { by: "r1".into() },
            ];
            let word = phase_word(run.state());
            std::iter::once(word).chain(asks.map(|ask| answer(run, ask))).collect()
        })
        .collect();
    let head = [
        "run",
        "pause",
        "resume",
        "abort",
        "undo",
        "close",
        "insert",
        "note",
        "hand over to bob",
        "take command",
        "supersede",
    ];
    check_table("asks of a run", &head, &rows);
}
