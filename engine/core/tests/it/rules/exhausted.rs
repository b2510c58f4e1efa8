//! What happens when the sendings of a step are used up.

use backout_core::command::{Command, Report};
use backout_core::contract::Outcome;
use backout_core::effects;
use backout_core::event::Cause;
use backout_core::plan::{OnExhausted, PlanStep};
use backout_core::{Dispatch, Wanted};

use super::check_table;
use crate::plans::{plan, step};
use crate::words::{phase_word, step_word};
use crate::world::{Engine, World};

/// Answers until nothing is wanted; every sending of `a` is refused.
fn live(engine: &mut Engine) {
    let mut world = World::new();
    while let Some(wanted) = effects(engine.state()).into_iter().next() {
        let report = match &wanted {
            Wanted::Apply(dispatch) if is_of_a(dispatch) => Report::Applied {
                sending: dispatch.sending.clone(),
                outcome: Outcome::Refused { reason: "no".into() },
            },
            wanted => world.answer(wanted),
        };
        engine.now = engine.now.plus_ms(10);
        engine.give(&Cause::engine(), &Command::Report(report)).unwrap();
    }
}

fn is_of_a(dispatch: &Dispatch) -> bool {
    dispatch.sending.step.as_str() == "a"
}

#[test]
fn what_is_exhausted_is_as_the_page_says() {
    let choices = [
        ("wait", OnExhausted::Wait),
        ("halt", OnExhausted::Halt),
        ("continue", OnExhausted::Continue),
        ("undo", OnExhausted::Undo),
    ];
    let rows: Vec<Vec<String>> = choices
        .iter()
        .map(|(word, on_exhausted)| {
            let a = PlanStep { on_exhausted: *on_exhausted, ..step("a", &["before"]) };
            let steps = vec![step("before", &[]), a, step("needs_a", &["a"])];
            let other = [step("other", &["before"]), step("later", &["other"])];
            let mut engine = Engine::start(plan(steps.into_iter().chain(other).collect()));
            live(&mut engine);
            let state = engine.state();
            let of = |id: &str| step_word(state.find(&id.into()).unwrap().2);
            let words = ["a", "before", "needs_a", "later"].map(of);
            std::iter::once((*word).to_owned()).chain(words).chain([phase_word(state)]).collect()
        })
        .collect();
    let head = [
        "`on_exhausted`",
        "the step",
        "one done before",
        "one that needs it",
        "another branch",
        "the run",
    ];
    check_table("exhausted", &head, &rows);
}
