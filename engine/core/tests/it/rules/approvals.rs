//! Who is asked, and whose yes is enough.

use backout_core::command::{Ask, Command, Report};
use backout_core::contract::{Gate, Guarantee, Hazard, Prepared, Satisfied};
use backout_core::event::{Actor, Cause, Wait};
use backout_core::plan::{ApprovalPolicy, OnExhausted, PlanStep};
use backout_core::state::StepState;

use super::check_table;
use super::steps::{a, prepared};
use crate::plans::{plan, step};
use crate::words::step_word;
use crate::world::Engine;

/// A person who says yes: a name, a group, and whether they set the rules aside.
type Yes = (&'static str, &'static str, bool);

/// What asks, the step's `approval`, what is found, whether its hazard is accepted, and who says yes.
type Case = (&'static str, Option<ApprovalPolicy>, Prepared, bool, &'static [Yes]);

const ANN: Yes = ("ann", "", false);
/// The same person by a door where nobody is asked who they are.
const CLAIMS_ANN: Yes = ("ann (claimed)", "", false);
const BEN: Yes = ("ben", "dba", false);

fn policy(count: u32, by: &[&str], starter_may: bool) -> ApprovalPolicy {
    let by = by.iter().map(|name| (*name).to_owned()).collect();
    ApprovalPolicy { count, by, starter_may }
}

fn look(hazard: bool) -> Prepared {
    let mut found = prepared(Guarantee::Conditional);
    if hazard {
        found.hazards.push(Hazard { code: "drops-table".into(), text: "orders".into() });
    }
    found
}

fn gate() -> Prepared {
    let gate = Some(Gate::Approval { text: "all well?".into() });
    Prepared { gate, effects: Vec::new(), ..prepared(Guarantee::ReadOnly) }
}

fn satisfied() -> Prepared {
    let mut found = look(false);
    found.effects[0].satisfied = Satisfied::Yes;
    found
}

fn begun(approval: Option<ApprovalPolicy>, accept: bool) -> Engine {
    let accept = if accept { vec!["drops-table".to_owned()] } else { Vec::new() };
    let on_exhausted = OnExhausted::Continue;
    Engine::start(plan(vec![PlanStep { approval, accept, on_exhausted, ..step("a", &[]) }]))
}

fn looked(engine: &mut Engine, found: Prepared) {
    let step = &engine.state().steps[0];
    let (attempt, look) = (step.attempt, step.look);
    let result = Ok(Box::new(found));
    let report = Report::Prepared { step: a(), attempt, look, result };
    engine.give(&Cause::engine(), &Command::Report(report)).unwrap();
}

fn is_asking(engine: &Engine) -> bool {
    matches!(engine.state().steps[0].state, StepState::Waiting(Wait::Approval { .. }))
}

fn says(engine: &mut Engine, (name, role, break_glass): Yes, ask: Ask) -> bool {
    let roles = if role.is_empty() { Vec::new() } else { vec![role.to_owned()] };
    let actor = Actor { roles, ..Actor::unverified(name) };
    let cause = Cause { command: None, actor, reason: Some("because".into()), break_glass };
    engine.give(&cause, &Command::Ask(ask)).is_ok()
}

/// What becomes of each yes, and whether the step goes on after the last one.
fn answers(engine: &mut Engine, people: &[Yes]) -> String {
    if !is_asking(engine) {
        return "nobody is asked".into();
    }
    let yes = || Ask::Approve { step: a(), consent: None };
    let taken: Vec<bool> = people.iter().map(|person| says(engine, *person, yes())).collect();
    match (is_asking(engine), taken.last()) {
        (false, _) => "goes on".into(),
        (true, Some(false)) => "refused".into(),
        (true, _) => "one more is asked".into(),
    }
}

fn who(people: &[Yes]) -> String {
    let word = |(name, role, break_glass): &Yes| {
        let role = if role.is_empty() { String::new() } else { format!(" of {role}") };
        let glass = if *break_glass { ", break-glass" } else { "" };
        format!("{name}{role}{glass}")
    };
    people.iter().map(word).collect::<Vec<_>>().join("; ")
}

#[test]
fn who_may_approve_is_as_the_page_says() {
    let cases: [Case; 19] = [
        ("nothing", None, look(false), false, &[]),
        ("`approval`, all there already", Some(policy(1, &[], true)), satisfied(), false, &[]),
        ("a hazard in `accept`", None, look(true), true, &[]),
        ("a hazard not in `accept`", None, look(true), false, &[ANN]),
        ("a gate", None, gate(), false, &[ANN]),
        ("`approval: true`", Some(policy(1, &[], true)), look(false), false, &[ANN]),
        ("`starter_may: false`", Some(policy(1, &[], false)), look(false), false, &[ANN]),
        ("`starter_may: false`", Some(policy(1, &[], false)), look(false), false, &[BEN]),
        ("`starter_may: false`", Some(policy(1, &[], false)), look(false), false, &[CLAIMS_ANN]),
        ("`by: [\"ben\"]`", Some(policy(1, &["ben"], true)), look(false), false, &[ANN]),
        ("`by: [\"ben\"]`", Some(policy(1, &["ben"], true)), look(false), false, &[BEN]),
        ("`by: [\"dba\"]`", Some(policy(1, &["dba"], true)), look(false), false, &[BEN]),
        (
            "`by: [\"dba\"]`",
            Some(policy(1, &["dba"], true)),
            look(false),
            false,
            &[("ann", "", true)],
        ),
        ("`count: 2`", Some(policy(2, &[], true)), look(false), false, &[ANN]),
        ("`count: 2`", Some(policy(2, &[], true)), look(false), false, &[ANN, ANN]),
        ("`count: 2`", Some(policy(2, &[], true)), look(false), false, &[ANN, CLAIMS_ANN]),
        ("`count: 2`", Some(policy(2, &[], true)), look(false), false, &[ANN, BEN]),
        ("`count: 2`", Some(policy(2, &[], true)), look(false), false, &[("ann", "", true)]),
        ("`count: 2`, and a hazard", Some(policy(2, &[], true)), look(true), false, &[ANN, BEN]),
    ];
    let rows: Vec<Vec<String>> = cases
        .into_iter()
        .map(|(what, approval, found, accept, people)| {
            let mut engine = begun(approval, accept);
            looked(&mut engine, found);
            let answer = answers(&mut engine, people);
            vec![what.to_owned(), who(people), answer]
        })
        .collect();
    check_table("approvals", &["asked by", "ann started it; yes says", "then"], &rows);
}

#[test]
fn a_second_look_asks_again_only_where_what_was_consented_to_changed() {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let same = look(true);
    let mut seen = look(true);
    seen.seen = serde_json::json!({ "rows": 3 });
    let mut difference = look(true);
    difference.effects[0].difference.push("one more".into());
    let mut hazard = look(true);
    hazard.hazards[0].text = "customers".into();
    let mut weaker = look(true);
    weaker.guarantee = Guarantee::Manual;
    for (what, second) in [
        ("nothing", same),
        ("what was only seen", seen),
        ("the difference", difference),
        ("a hazard", hazard),
        ("the guarantee", weaker),
        ("all is there already", satisfied()),
    ] {
        let mut engine = begun(None, false);
        looked(&mut engine, look(true));
        assert!(says(&mut engine, ANN, Ask::Approve { step: a(), consent: None }));
        looked(&mut engine, second);
        let next = if is_asking(&engine) {
            "asked again".to_owned()
        } else {
            step_word(&engine.state().steps[0])
        };
        rows.push(vec![what.to_owned(), next]);
    }
    check_table("second looks", &["changed since the approval", "then"], &rows);
}

#[test]
fn a_rejected_step_is_failed_and_meets_no_need_whatever_it_says_of_exhaustion() {
    let mut engine = begun(None, false);
    looked(&mut engine, look(true));
    assert!(says(&mut engine, ANN, Ask::Reject { step: a() }));
    assert!(matches!(engine.state().steps[0].state, StepState::Failed { met: false, .. }));
}
