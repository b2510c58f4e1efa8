//! The after-action record: what happened in a run, who decided what and why, what was in doubt and
//! how it was settled, and how long it took against what was expected. Made from the journal alone,
//! so that it can be made anywhere, also from an exported run, and says nothing that is not recorded.

mod doubt;
mod gather;
mod html;
mod markdown;
mod waits;

use backout_core::event::Recorded;
use backout_core::evolve;
use backout_core::id::Timestamp;
use backout_core::state::RunState;
use backout_server::view::{Leading, RunFacts, RunView, run_view};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use html::html;
pub use markdown::markdown;

/// The version of [`Report`] as JSON.
pub const REPORT_FORMAT: u32 = 1;

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to report on.
    #[error("the record is empty")]
    Empty,
    /// An event does not follow from those before it.
    #[error("event {seq} cannot be followed: {why}")]
    Illegal {
        /// Its position.
        seq: u64,
        /// What is wrong.
        why: String,
    },
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The first event of it.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// After the run began, milliseconds.
    pub after_ms: u64,
    /// Who.
    pub who: String,
    /// Whether a server vouched for that.
    pub verified: bool,
    /// About which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What.
    pub what: String,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the ordinary rules were set aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

/// An effect of which nobody knew for a time whether it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The step.
    pub step: String,
    /// The effect's key at its target.
    pub key: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why it was not known.
    pub why: String,
    /// Whether a person had to say.
    pub asked: bool,
    /// What became of it; absent where it is in doubt still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    /// Who or what told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it was not known, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// An approval that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The step.
    pub step: String,
    /// When, RFC 3339.
    pub at: String,
    /// What was asked.
    pub why: String,
    /// Who answered, and what.
    pub answers: Vec<String>,
    /// How long it waited, milliseconds; absent where it waits still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// The step.
    pub step: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// How it ended.
    pub state: String,
    /// What the author expected, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_ms: Option<u64>,
    /// From its first attempt to its end, milliseconds; absent where it never began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// How much of that it waited for people, milliseconds.
    pub people_ms: u64,
    /// Its attempts.
    pub attempts: u32,
}

/// What was seen or said about a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The step.
    pub step: String,
    /// When, RFC 3339.
    pub at: String,
    /// `output`, `evidence`, `alarm` or `note`.
    pub kind: String,
    /// What.
    pub text: String,
}

/// One event in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The position.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// After the run began, milliseconds.
    pub after_ms: u64,
    /// About which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What.
    pub what: String,
    /// Who, where it was a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// The run as it ended, or as it is.
    pub run: RunView,
    /// Who commanded it last.
    pub commander: String,
    /// How often an engine took it up after the first time.
    pub restarts: usize,
    /// The parameters as given; a secret stands as its reference.
    pub params: Vec<(String, Value)>,
    /// What people decided.
    pub decisions: Vec<Decision>,
    /// What was not known for a time.
    pub doubts: Vec<Doubt>,
    /// The approvals asked for.
    pub approvals: Vec<Asked>,
    /// How long each step took.
    pub took: Vec<Took>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// Everything, in order.
    pub timeline: Vec<Line>,
    /// The plan as it went, as mermaid.
    pub mermaid: String,
    /// The same as SVG.
    pub svg: String,
}

/// What a record says that does not stand in the run's events.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it is looked at: a run that is not over is shown as it was then.
    pub now: Timestamp,
    /// The head of its hash chain.
    pub head: Option<String>,
    /// Whether anybody leads the exercise that it is of, where it is of one.
    pub leading: Leading,
}

/// Makes the record of a run from its events.
pub fn report(events: &[Recorded], seen: Seen) -> Result<Report, ReportError> {
    let Seen { now, head, leading } = seen;
    let state = fold(events)?;
    let best = |_: &backout_core::plan::PlanStep| None;
    let facts = RunFacts { now, driven: state.attached, leading, head, best_guarantee: &best };
    let begun = state.created;
    let params = state.plan.params.iter();
    Ok(Report {
        format: REPORT_FORMAT,
        run: run_view(&state, &facts),
        commander: state.commander.name.clone(),
        restarts: gather::restarts(events),
        params: params.map(|(name, given)| (name.clone(), given.value.clone())).collect(),
        decisions: gather::decisions(events, begun),
        doubts: doubt::doubts(events, &state),
        approvals: waits::approvals(events),
        took: waits::took(events, &state, now),
        evidence: gather::evidence(events),
        timeline: gather::timeline(events, begun),
        mermaid: gather::mermaid_of(&state),
        svg: gather::svg_of(&state),
    })
}

fn fold(events: &[Recorded]) -> Result<RunState, ReportError> {
    let mut state = None;
    for recorded in events {
        evolve(&mut state, recorded).map_err(|error| ReportError::Illegal {
            seq: recorded.seq.0,
            why: error.to_string(),
        })?;
    }
    state.ok_or(ReportError::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The journal of a rollback in which an engine died, two effects were in doubt, an approval was
    /// given by breaking the glass, and a step was skipped.
    fn incident() -> Vec<Recorded> {
        serde_json::from_str(include_str!("../tests/fixtures/incident.json")).unwrap()
    }

    fn made(events: &[Recorded]) -> Report {
        report(events, seen(Some("c0ffee".to_owned()))).unwrap()
    }

    fn seen(head: Option<String>) -> Seen {
        Seen { now: Timestamp(1_795_403_900_000), head, leading: Leading::Nobody }
    }

    #[test]
    fn the_record_as_markdown() {
        insta::assert_snapshot!(markdown(&made(&incident())));
    }

    #[test]
    fn the_record_as_html() {
        let text = html(&made(&incident()), Timestamp(1_795_403_900_000));
        if let Ok(path) = std::env::var("BACKOUT_REPORT") {
            std::fs::write(path, &text).unwrap();
        }
        insta::assert_snapshot!(text.replace("><", ">\n<"));
    }

    #[test]
    fn what_a_target_or_a_person_says_is_no_markup() {
        let report = made(&incident());
        let said = "<b>no leader</b>";
        assert!(report.timeline.iter().any(|line| line.what.contains(said)));
        let (html, markdown) = (html(&report, Timestamp(0)), markdown(&report));
        assert!(!html.contains(said) && html.contains("&lt;b&gt;no leader"));
        assert!(!markdown.contains(said) && markdown.contains("&lt;b&gt;no leader"));
        assert!(markdown.contains(r"2025.11.3 \| all"), "a bar ends no cell");
    }

    #[test]
    fn every_beginning_of_a_journal_has_a_record() {
        let events = incident();
        for end in 1..=events.len() {
            let report = made(&events[..end]);
            assert_eq!(report.timeline.len(), end);
            assert!(markdown(&report).starts_with("# After-action record"));
        }
        assert_eq!(report(&[], seen(None)), Err(ReportError::Empty));
        let gap = report(&events[1..], seen(None));
        assert!(matches!(gap, Err(ReportError::Illegal { .. })), "{gap:?}");
    }

    #[test]
    fn it_is_read_again_as_it_was_written() {
        let report = made(&incident());
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
