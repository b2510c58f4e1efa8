//! What stands in the events, sorted by what a reader asks.

use std::fmt::Write;

use backout_core::event::{Event, Recorded};
use backout_core::id::Timestamp;
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, StepState};
use backout_server::graph::{NodeLook, mermaid, svg};
use backout_server::view::{alarm_words, rfc3339, sentence};
use serde_json::Value;

use crate::{Decision, Evidence, Line};

/// Bytes of one output in the record; the whole stands in the journal.
const OUTPUT_BYTES_MAX: usize = 2_000;

/// Whether a person caused it.
pub(crate) fn is_persons(recorded: &Recorded) -> bool {
    recorded.cause.actor.name != "engine"
}

/// What people decided. One command is one decision, whatever followed from it.
pub(crate) fn decisions(events: &[Recorded], begun: Timestamp) -> Vec<Decision> {
    let mut all: Vec<Decision> = Vec::new();
    let mut last = None;
    for recorded in events.iter().filter(|recorded| is_persons(recorded)) {
        let same = last == Some(&recorded.cause) && recorded.cause.command.is_some();
        last = Some(&recorded.cause);
        match all.last_mut().filter(|_| same) {
            Some(before) => add(before, &recorded.event),
            None => all.push(decision(recorded, begun)),
        }
    }
    all
}

fn decision(recorded: &Recorded, begun: Timestamp) -> Decision {
    let (step, what) = match &recorded.event {
        Event::RunCreated { .. } => (None, "started the run".to_owned()),
        Event::EngineAttached { .. } => (None, "had it taken up again".to_owned()),
        event => sentence(event),
    };
    let cause = &recorded.cause;
    Decision {
        seq: recorded.seq.0,
        at: rfc3339(recorded.at),
        after_ms: recorded.at.since_ms(begun),
        who: cause.actor.name.clone(),
        verified: cause.actor.verified,
        step,
        what,
        reason: cause.reason.clone(),
        break_glass: cause.break_glass,
    }
}

/// What else a command became, unless the engine would have said it too.
fn add(decision: &mut Decision, event: &Event) {
    if let Event::NoteTaken { .. } | Event::EffectSettled { .. } | Event::RunResumed = event {
        decision.what.push_str("; ");
        decision.what.push_str(&sentence(event).1);
    }
}

/// How often an engine took the run up again.
pub(crate) fn restarts(events: &[Recorded]) -> usize {
    let taken = events.iter().filter(|r| matches!(r.event, Event::EngineAttached { .. }));
    taken.count().saturating_sub(1)
}

/// Everything in order.
pub(crate) fn timeline(events: &[Recorded], begun: Timestamp) -> Vec<Line> {
    let line = |recorded: &Recorded| {
        let (step, what) = sentence(&recorded.event);
        Line {
            seq: recorded.seq.0,
            at: rfc3339(recorded.at),
            after_ms: recorded.at.since_ms(begun),
            step,
            what,
            who: is_persons(recorded).then(|| recorded.cause.actor.name.clone()),
        }
    };
    events.iter().map(line).collect()
}

/// What was seen: outputs, what people brought, alarms, and notes.
pub(crate) fn evidence(events: &[Recorded]) -> Vec<Evidence> {
    events.iter().filter_map(seen).collect()
}

fn seen(recorded: &Recorded) -> Option<Evidence> {
    let (step, kind, text) = match &recorded.event {
        Event::EffectDone { sending, output } if says_something(output) => {
            (sending.step.to_string(), "output", cut(&output.to_string()))
        }
        Event::NoteTaken { step, text } => {
            let step = step.as_ref().map(ToString::to_string).unwrap_or_default();
            match text.strip_prefix("evidence: ") {
                Some(text) => (step, "evidence", text.to_owned()),
                None => (step, "note", text.clone()),
            }
        }
        Event::WatchAlarm { step, difference, by, unseen } => {
            (step.to_string(), "alarm", alarm_words(difference, by.as_deref(), *unseen))
        }
        _ => return None,
    };
    Some(Evidence { step, at: rfc3339(recorded.at), kind: kind.to_owned(), text })
}

fn says_something(output: &Value) -> bool {
    match output {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => true,
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(OUTPUT_BYTES_MAX);
    if end < text.len() { format!("{} (cut)", &text[..end]) } else { text.to_owned() }
}

/// The plan as it went, as an SVG of its own.
pub(crate) fn svg_of(state: &RunState) -> String {
    let look = |step: &PlanStep| {
        let run = state.find(&step.id).map(|(_, _, run)| run);
        run.map_or_else(NodeLook::default, |run| NodeLook {
            state: run.state.word().to_owned(),
            note: run.trouble.clone().unwrap_or_default(),
        })
    };
    svg(&state.plan, &state.order, look)
}

/// Colours that are read on white and on black; the word stands in the table of durations.
const CLASSES: [(&str, &str); 4] = [
    ("good", "fill:#e6f6ec,stroke:#2f855a,color:#16202c"),
    ("bad", "fill:#fdeaea,stroke:#c53030,color:#16202c"),
    ("doubt", "fill:#fdeaf3,stroke:#b83280,color:#16202c"),
    ("out", "fill:#edf0f3,stroke:#8795a1,color:#16202c,stroke-dasharray:4 3"),
];

fn class(state: &StepState) -> Option<&'static str> {
    match state {
        StepState::Succeeded { .. } => Some("good"),
        StepState::Failed { .. } => Some("bad"),
        StepState::InDoubt | StepState::Unverified => Some("doubt"),
        StepState::Skipped(_) | StepState::Cancelled | StepState::Undone => Some("out"),
        StepState::Pending | StepState::Preparing | StepState::Waiting(_) | StepState::Running => {
            None
        }
    }
}

/// The plan as it went, as mermaid: nodes are `s` and their place in the plan.
pub(crate) fn mermaid_of(state: &RunState) -> String {
    let mut text = mermaid(&state.plan);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, look) in CLASSES {
        let nodes: Vec<String> = state
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| class(&step.state) == Some(name))
            .map(|(at, _)| format!("s{at}"))
            .collect();
        if !nodes.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  classDef {name} {look}\n  class {} {name}", nodes.join(","));
        }
    }
    text
}
