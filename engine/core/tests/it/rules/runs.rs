//! Every state of a run with every event of a run.

use backout_core::event::{Event, RunEnd, StopCause};
use backout_core::plan::{PlanStep, Role};

use super::{Folded, check_table};
use crate::plans::{plan, step};
use crate::words::{event_word, phase_word};

fn stop(halted: bool) -> Event {
    let why = if halted { StopCause::Halted { step: "a".into() } } else { StopCause::Aborted };
    Event::RunStopping { why }
}

fn end(end: RunEnd) -> Event {
    Event::RunEnded { end, recovered: None }
}

fn undo() -> Event {
    Event::UndoBegun { undo: 1 }
}

/// A run without steps in each of its states.
pub(super) fn all_runs() -> Vec<Folded> {
    let ways: Vec<Vec<Event>> = vec![
        vec![],
        vec![Event::RunPaused],
        vec![stop(true)],
        vec![stop(false)],
        vec![undo()],
        vec![undo(), Event::RunPaused],
        vec![end(RunEnd::Succeeded)],
        vec![end(RunEnd::Failed)],
        vec![stop(false), end(RunEnd::Aborted)],
        vec![undo(), end(RunEnd::Undone)],
        vec![end(RunEnd::Failed), Event::RunClosed],
        vec![Event::CommandOffered { to: "bob".into() }],
        vec![Event::RunSuperseded { by: "r1".into() }],
    ];
    ways.into_iter().map(|way| Folded::new(plan(vec![])).with(way)).collect()
}

fn all_events(undos: u32) -> Vec<Event> {
    let put_back =
        PlanStep { role: Role::Undo { undo: 1, of: "a".into(), made: 0 }, ..step("back", &[]) };
    let mut events = vec![
        Event::RunPaused,
        Event::RunResumed,
        stop(true),
        stop(false),
        Event::RunClosed,
        Event::UndoBegun { undo: undos + 1 },
        Event::StepsInserted { steps: vec![step("new", &[])], before: Vec::new() },
        Event::StepsInserted { steps: vec![put_back], before: Vec::new() },
        Event::EngineAttached { engine: String::new() },
        Event::EngineDetached { why: String::new() },
        Event::NoteTaken { step: None, text: "hm".into() },
        Event::StepsHeld { steps: Vec::new() },
        Event::StepsFreed { steps: Vec::new() },
        Event::StepsAdopted { from: "r1".into(), steps: Vec::new() },
        Event::RunSuperseded { by: "r1".into() },
        Event::LocksYielded { targets: Vec::new() },
        Event::CommandOffered { to: "bob".into() },
        Event::CommandTaken,
    ];
    let ends = [RunEnd::Succeeded, RunEnd::Failed, RunEnd::Aborted, RunEnd::Undone];
    events.extend(ends.map(end));
    events
}

#[test]
fn every_event_of_a_run_is_as_the_page_says() {
    let mut rows = Vec::new();
    for run in all_runs() {
        for event in all_events(run.state().undos) {
            let mut after = run.clone();
            if after.add(event.clone()).is_ok() {
                let next = phase_word(after.state());
                rows.push(vec![phase_word(run.state()), event_word(&event), next]);
            }
        }
    }
    rows.dedup();
    check_table("runs", &["run", "event", "next"], &rows);
}

#[test]
fn the_first_event_makes_the_run_and_no_other_does() {
    for event in all_events(0) {
        assert!(Folded(None).add(event).is_err());
    }
    let again = Folded::new(plan(vec![])).state().plan.clone();
    let created = Event::RunCreated {
        run: "r0".into(),
        plan: Box::new(again.clone()),
        text: String::new(),
        core: 1,
    };
    assert!(Folded::new(again).add(created).is_err());
}
