//! A run as commands a person can type: done, in doubt, left.

use std::fmt::Write;

use backout_core::expr::{self, Scope};
use backout_core::id::StepIx;
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, StepRun, StepState};
use backout_runtime::Host;
use backout_server::view::alarm_words;
use serde::Serialize;
use serde_json::Value;

use super::style::{BOLD, DIM, DOUBT, GOOD, WARN, paint};
use super::text::{clean, wrapped};

/// One step in words and commands.
#[derive(Debug, Serialize)]
pub(crate) struct StepByHand {
    /// The step.
    pub(crate) id: String,
    /// One line for people.
    pub(crate) title: String,
    /// The word of its state.
    pub(crate) state: String,
    /// What it does, one sentence.
    pub(crate) does: String,
    /// Commands that do it.
    pub(crate) commands: Vec<String>,
    /// Commands or looks that show that it worked.
    pub(crate) verify: Vec<String>,
    /// What is known, for one in doubt or failed; what is missing, for one that cannot be told.
    pub(crate) known: Option<String>,
}

/// A run in words and commands.
#[derive(Debug, Serialize)]
pub(crate) struct ByHandView {
    /// The run.
    pub(crate) run: String,
    /// Its runbook.
    pub(crate) runbook: String,
    /// What could not be read, where something could not.
    pub(crate) unreadable: Option<String>,
    /// The last event that could be read.
    pub(crate) seq: u64,
    /// Steps that are done.
    pub(crate) done: Vec<StepByHand>,
    /// Steps whose effect may or may not be there: look first.
    pub(crate) in_doubt: Vec<StepByHand>,
    /// Steps that are left, in order.
    pub(crate) left: Vec<StepByHand>,
}

/// Where a step belongs.
enum Pile {
    Done,
    InDoubt,
    Left,
    Out,
}

impl ByHandView {
    /// Sorts the steps of a run, in the order of their waves.
    pub(crate) fn of(state: &RunState, host: &Host, unreadable: Option<String>) -> Self {
        let mut view = Self {
            run: state.run.to_string(),
            runbook: state.plan.name.clone(),
            unreadable,
            seq: state.seq.0,
            done: Vec::new(),
            in_doubt: Vec::new(),
            left: Vec::new(),
        };
        let mut by_wave: Vec<usize> = (0..state.steps.len()).collect();
        by_wave.sort_by_key(|at| (state.order.wave.get(*at).copied(), *at));
        for at in by_wave {
            let (Some(planned), Some(step)) = (state.plan_step(StepIx(at)), state.step(StepIx(at)))
            else {
                continue;
            };
            let pile = match pile(step) {
                Pile::Done => &mut view.done,
                Pile::InDoubt => &mut view.in_doubt,
                Pile::Left => &mut view.left,
                Pile::Out => continue,
            };
            pile.push(by_hand(state, host, planned, step));
        }
        view
    }
}

/// A step that was under way when the record ends is in doubt for a person, too.
fn pile(step: &StepRun) -> Pile {
    let sent = step.effects.iter().any(|effect| effect.dispatch > 0);
    match &step.state {
        StepState::Succeeded { .. } if step.watched.alarm.is_some() => Pile::InDoubt,
        StepState::Succeeded { .. } => Pile::Done,
        StepState::InDoubt | StepState::Unverified => Pile::InDoubt,
        StepState::Running if sent => Pile::InDoubt,
        StepState::Failed { .. } if !step.made.is_empty() => Pile::InDoubt,
        StepState::Skipped(_) | StepState::Undone => Pile::Out,
        StepState::Pending
        | StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Running
        | StepState::Failed { .. }
        | StepState::Cancelled => Pile::Left,
    }
}

fn by_hand(state: &RunState, host: &Host, planned: &PlanStep, step: &StepRun) -> StepByHand {
    let input = input(state, planned, step);
    let words = match (host.find(&planned.action), &input) {
        (Some(action), Ok(input)) => action.by_hand(input),
        (Some(action), Err(_)) => action.by_hand(&planned.with),
        (None, _) => backout_plugin_api::ByHand {
            does: format!("this release has no action {}: {}", planned.action, planned.with),
            ..Default::default()
        },
    };
    StepByHand {
        id: planned.id.to_string(),
        title: planned.title.clone(),
        state: step.state.word().to_owned(),
        does: words.does,
        commands: words.commands,
        verify: words.verify,
        known: known(step).or_else(|| input.err()),
    }
}

/// The input as it was filled in, or as it can be now.
fn input(state: &RunState, planned: &PlanStep, step: &StepRun) -> Result<Value, String> {
    if step.attempt > 0 {
        return Ok(step.input.clone());
    }
    let scope = Scope { params: &state.plan.params, item: planned.item.as_ref(), outputs: state };
    expr::resolve(&planned.with, &scope).map_err(|error| format!("not all is known yet: {error}"))
}

fn known(step: &StepRun) -> Option<String> {
    use backout_core::state::EffectState;
    let evidence = step.effects.iter().find_map(|effect| match &effect.state {
        EffectState::InDoubt { evidence } | EffectState::Unclear { evidence, .. } => {
            Some(evidence.clone())
        }
        EffectState::InFlight => Some("it was sent, and no answer is recorded".to_owned()),
        EffectState::Pending
        | EffectState::Satisfied
        | EffectState::Again { .. }
        | EffectState::Done
        | EffectState::Refused
        | EffectState::Failed => None,
    });
    match &step.state {
        StepState::Failed { reason, .. } => Some(reason.clone()),
        StepState::Succeeded { .. } => step.watched.alarm.as_deref().map(|alarm| {
            let words = alarm_words(&alarm.difference, alarm.by.as_deref(), alarm.unseen);
            format!("it was done; {words}")
        }),
        _ => evidence.or_else(|| step.trouble.clone()),
    }
}

/// The whole for a person, ready to be printed on paper.
pub(crate) fn text(view: &ByHandView, width: usize) -> String {
    let mut out = format!("{} of {}, by hand\n", paint(BOLD, &view.run), view.runbook);
    if let Some(why) = &view.unreadable {
        let text = format!(
            "The record is readable up to event {} only: {why}. What happened after it is not shown here: look at each target before you act.",
            view.seq
        );
        out.push_str(&paint(WARN, &wrapped(&text, 0, width)));
    }
    pile_text(&mut out, &paint(GOOD, "DONE"), &view.done, width);
    pile_text(
        &mut out,
        &paint(DOUBT, "IN DOUBT: look first, act only if it is not done"),
        &view.in_doubt,
        width,
    );
    pile_text(&mut out, &paint(BOLD, "LEFT, in this order"), &view.left, width);
    if view.in_doubt.is_empty() && view.left.is_empty() {
        out.push_str("\nnothing is left to do\n");
    }
    out
}

fn pile_text(out: &mut String, label: &str, steps: &[StepByHand], width: usize) {
    if steps.is_empty() {
        return;
    }
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "\n{label}");
    for step in steps {
        let title = if step.title.is_empty() { String::new() } else { format!("  {}", step.title) };
        let _ = writeln!(
            out,
            "\n  {}{title}  {}",
            paint(BOLD, &step.id),
            paint(DIM, &format!("({})", step.state))
        );
        out.push_str(&wrapped(&step.does, 4, width));
        if let Some(known) = &step.known {
            out.push_str(&wrapped(&format!("known: {known}"), 4, width));
        }
        let done = matches!(step.state.as_str(), "succeeded" | "already-satisfied");
        if !done || step.known.is_some() {
            commands(out, "do", &step.commands);
        }
        commands(out, "see", &step.verify);
    }
}

/// Commands stand whole on lines of their own, so that they can be copied.
fn commands(out: &mut String, label: &str, commands: &[String]) {
    for command in commands {
        let _ = writeln!(
            out,
            "    {}  {}",
            paint(DIM, &format!("{label:>3}")),
            clean(command).replace('\n', "\n         ")
        );
    }
}
