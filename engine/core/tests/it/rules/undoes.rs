//! What an undo makes of a step.

use backout_core::command::{Ask, Command, Report, Verdict};
use backout_core::contract::{
    Gate, Guarantee, Outcome, PrepareFailure, Prepared, Reverted, Settled,
};
use backout_core::event::{Cause, SkipCause, Wait};
use backout_core::id::StepId;
use backout_core::plan::{BY_HAND_ACTION, PlanStep, Role};
use backout_core::state::StepState;
use backout_core::{Wanted, effects};
use serde_json::json;

use super::check_table;
use super::steps::{a, prepared};
use crate::plans::{plan, step};
use crate::words::{phase_word, step_word};
use crate::world::{Engine, World};

/// What becomes of the sending of `a` on its way forward.
#[derive(Clone, Copy)]
enum Way {
    Well,
    Fails,
    Doubtful,
    There,
    Skipped,
    NotReached,
}

struct Shell {
    engine: Engine,
    world: World,
    way: Way,
    reverted: Reverted,
    /// Whether what puts `a` back cannot begin, so that a person is asked.
    stuck: bool,
}

impl Shell {
    fn begun(way: Way, reverted: Reverted) -> Self {
        let needs: &[&str] = if matches!(way, Way::NotReached) { &["gate"] } else { &[] };
        let mut gate = step("gate", &[]);
        gate.action = BY_HAND_ACTION.into();
        let steps = vec![gate, step("a", needs)];
        let mut world = World::new();
        if matches!(way, Way::There) {
            world.targets.insert(("a".to_owned(), 0));
        }
        let mut shell =
            Self { engine: Engine::start(plan(steps)), world, way, reverted, stuck: false };
        if matches!(way, Way::Skipped) {
            shell.engine = Engine::start(plan(vec![step("gate", &[]), never()]));
        }
        shell.live();
        shell
    }

    fn live(&mut self) {
        while let Some(wanted) = effects(self.engine.state()).into_iter().next() {
            let report = self.answer(&wanted);
            self.engine.now = self.engine.now.plus_ms(10);
            self.engine.give(&Cause::engine(), &Command::Report(report)).unwrap();
        }
    }

    fn answer(&mut self, wanted: &Wanted) -> Report {
        match wanted {
            Wanted::Prepare { step, attempt, look, action, .. }
                if action.as_str() == BY_HAND_ACTION =>
            {
                let gate = Some(Gate::Approval { text: "by hand".into() });
                let found = Prepared { gate, effects: Vec::new(), ..prepared(Guarantee::ReadOnly) };
                let result = Ok(Box::new(found));
                Report::Prepared { step: step.clone(), attempt: *attempt, look: *look, result }
            }
            Wanted::Prepare { step, attempt, look, .. }
                if self.stuck && step.as_str().contains("undo") =>
            {
                let result = Err(PrepareFailure::Refused { reason: "not like this".into() });
                Report::Prepared { step: step.clone(), attempt: *attempt, look: *look, result }
            }
            Wanted::Apply(dispatch) if dispatch.sending.step == a() => {
                let outcome = match self.way {
                    Way::Fails => Outcome::Failed { reason: "half".into(), output: json!(1) },
                    Way::Doubtful => Outcome::Unclear { reason: "lost".into() },
                    _ => return self.world.answer(wanted),
                };
                Report::Applied { sending: dispatch.sending.clone(), outcome }
            }
            Wanted::Settle(dispatch) => Report::Settled {
                sending: dispatch.sending.clone(),
                settled: Settled::Unknown { evidence: "it does not tell".into() },
            },
            Wanted::Revert { step, made, .. } => Report::Reverted {
                step: step.clone(),
                made: *made,
                reverted: self.reverted.clone(),
            },
            wanted => self.world.answer(wanted),
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.engine.ask(ask).unwrap();
        self.live();
    }

    /// The step that puts `a` back.
    fn back(&self) -> Option<&PlanStep> {
        let steps = &self.engine.state().plan.steps;
        steps.iter().find(|step| matches!(&step.role, Role::Undo { of, .. } if *of == a()))
    }

    fn person(&mut self, word: &str) {
        let back = self.back().map(|step| step.id.clone());
        let settle = |verdict| Ask::Settle { step: a(), effect: None, verdict, evidence: None };
        match (word, back) {
            ("settles as done", _) => self.ask(settle(Verdict::Done { output: json!(null) })),
            ("settles as not done", _) => self.ask(settle(Verdict::NotDone)),
            ("approves", Some(step)) => self.ask(Ask::Approve { step, consent: None }),
            ("skips", Some(step)) => self.ask(Ask::Skip { step }),
            _ => {}
        }
    }

    fn row(&self, was: &str, says: &str, person: &str) -> Vec<String> {
        let state = self.engine.state();
        let back = self.back().map_or("-", |step| match step.action.as_str() {
            BY_HAND_ACTION => "asks a person",
            _ => "its action",
        });
        let now = step_word(state.find(&a()).unwrap().2);
        let cells = [was, says, person, back, &now, &phase_word(state)];
        cells.map(str::to_owned).to_vec()
    }
}

fn never() -> PlanStep {
    PlanStep { when: Some("false".into()), ..step("a", &[]) }
}

fn by() -> Reverted {
    Reverted::By { action: "fake.do".into(), input: json!({ "target": "a-back" }) }
}

#[test]
fn what_an_undo_makes_of_a_step_is_as_the_page_says() {
    let nothing = || Reverted::Nothing;
    let gone = || Reverted::NotPossible { why: "it is gone".into() };
    let cases: [(Way, &str, Reverted, &str); 13] = [
        (Way::Well, "an action", by(), ""),
        (Way::Well, "an action", by(), "skips"),
        (Way::Well, "nothing", nothing(), ""),
        (Way::Well, "not possible", gone(), ""),
        (Way::Well, "not possible", gone(), "approves"),
        (Way::Well, "not possible", gone(), "skips"),
        (Way::Fails, "an action", by(), ""),
        (Way::Doubtful, "an action", by(), ""),
        (Way::Doubtful, "an action", by(), "settles as done"),
        (Way::Doubtful, "an action", by(), "settles as not done"),
        (Way::There, "", by(), ""),
        (Way::Skipped, "", by(), ""),
        (Way::NotReached, "", by(), ""),
    ];
    let mut rows = Vec::new();
    for (way, says, reverted, person) in cases {
        let mut shell = Shell::begun(way, reverted);
        let step = shell.engine.state().find(&a()).unwrap().2;
        let was = match &step.state {
            StepState::Succeeded { changed: false } => "already satisfied".to_owned(),
            StepState::Skipped(SkipCause::When) => "skipped".to_owned(),
            StepState::Waiting(Wait::Person { .. }) => "failed, perhaps half made".to_owned(),
            _ => step_word(step),
        };
        shell.stuck = person == "skips";
        shell.ask(Ask::Undo);
        shell.person(person);
        rows.push(shell.row(&was, says, person));
    }
    let head =
        ["the step was", "`revert` says", "a person", "put back by", "then it is", "the run"];
    check_table("undo", &head, &rows);
}

#[test]
fn the_effect_made_last_is_put_back_first_and_one_at_a_time() {
    let mut engine = Engine::start(plan(vec![step("a", &[]), step("b", &["a"])]));
    let mut world = World { effects_per_step: 2, ..World::new() };
    engine.live(&mut world, 1_000);
    engine.ask(Ask::Undo).unwrap();
    engine.live(&mut world, 1_000);
    let backs: Vec<(&str, Vec<&str>)> = engine.state().plan.steps[2..]
        .iter()
        .map(|step| (step.id.as_str(), step.needs.iter().map(StepId::as_str).collect()))
        .collect();
    let wanted = [
        ("b/undo-1.1", vec![]),
        ("b/undo-1.0", vec!["b/undo-1.1"]),
        ("a/undo-1.1", vec!["b/undo-1.0"]),
        ("a/undo-1.0", vec!["a/undo-1.1"]),
    ];
    assert_eq!(backs, wanted);
}
