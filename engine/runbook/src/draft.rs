//! The file as written: typed, with places, not yet checked as a whole.

use std::collections::BTreeMap;

use backout_core::limits::{MAX_PARALLEL_MAX, RETRY_MAX};
use backout_core::plan::{
    ApprovalPolicy, Comms, Environment, Escalation, OnExhausted, RUNBOOK_FORMAT, Retry,
};

use crate::codes;
use crate::fields::{At, Record, name_fault};
use crate::labels::labels;
use crate::params::{Declared, declared};
use crate::problem::Problem;
use crate::tables;
use crate::tree::{Kind, Node, Span};

/// People of one approval: more is a meeting.
const APPROVERS_MAX: u32 = 20;
/// Characters of a runbook's name: one line of a list.
const NAME_CHARS_MAX: usize = 128;

/// The words of `on_exhausted`.
const EXHAUSTED: [(&str, OnExhausted); 4] = [
    ("wait", OnExhausted::Wait),
    ("halt", OnExhausted::Halt),
    ("continue", OnExhausted::Continue),
    ("undo", OnExhausted::Undo),
];

/// `retry` as far as it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DraftRetry {
    max: Option<u32>,
    backoff_ms: Option<u64>,
    factor: Option<f64>,
    jitter: Option<f64>,
    cap_ms: Option<u64>,
}

impl DraftRetry {
    /// What is written, over what holds else.
    pub(crate) fn over(&self, base: &Retry) -> Retry {
        Retry {
            max: self.max.unwrap_or(base.max),
            backoff_ms: self.backoff_ms.unwrap_or(base.backoff_ms),
            factor: self.factor.unwrap_or(base.factor),
            jitter: self.jitter.unwrap_or(base.jitter),
            cap_ms: self.cap_ms.unwrap_or(base.cap_ms),
        }
    }
}

/// A step as written.
#[derive(Debug)]
pub(crate) struct DraftStep<'n, 'a> {
    pub(crate) span: Span,
    /// Nothing where it is missing or not a text.
    pub(crate) id: Option<At<&'n str>>,
    pub(crate) title: String,
    pub(crate) needs: Option<Vec<At<&'n str>>>,
    pub(crate) when: Option<&'n Node<'a>>,
    pub(crate) for_each: Option<&'n Node<'a>>,
    pub(crate) action: Option<At<&'n str>>,
    pub(crate) with: Option<&'n Node<'a>>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retry: DraftRetry,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) approval: Option<ApprovalPolicy>,
    pub(crate) accept: Vec<String>,
    pub(crate) soak_ms: Option<u64>,
    pub(crate) expect_ms: Option<u64>,
    pub(crate) locks: Vec<String>,
    pub(crate) watch: bool,
    pub(crate) owner: Option<String>,
    pub(crate) runbook_url: Option<String>,
    pub(crate) note: Option<String>,
}

/// `success` as written.
#[derive(Debug)]
pub(crate) struct DraftSuccess<'n, 'a> {
    pub(crate) checks: Vec<DraftStep<'n, 'a>>,
    pub(crate) hold_ms: Option<u64>,
    pub(crate) validated_by: Option<At<&'n str>>,
}

/// The file as written.
#[derive(Debug)]
pub(crate) struct Draft<'n, 'a> {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) owner: Option<String>,
    pub(crate) environment: Option<Environment>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) reviewed: Option<String>,
    pub(crate) review_by: Option<String>,
    pub(crate) params: Vec<Declared<'n>>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retry: DraftRetry,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) stale_after_ms: Option<u64>,
    pub(crate) steps: Vec<DraftStep<'n, 'a>>,
    pub(crate) success: Option<DraftSuccess<'n, 'a>>,
    pub(crate) comms: Option<Comms>,
    pub(crate) escalation: Vec<Escalation>,
}

/// Reads the tree of a file. Nothing where it is no runbook of a known format.
pub(crate) fn draft<'n, 'a>(
    root: &'n Node<'a>,
    problems: &mut Vec<Problem>,
) -> Option<Draft<'n, 'a>> {
    let record = open_root(root, problems)?;
    record.require("name", problems);
    let (timeout_ms, retry) = defaults(&record, problems);
    let draft = Draft {
        name: name(&record, problems),
        title: record.line("title", problems),
        description: record.line("description", problems),
        owner: record.owned("owner", problems),
        environment: environment(&record, problems),
        labels: labels(&record, problems),
        reviewed: date(&record, "reviewed", problems),
        review_by: date(&record, "review_by", problems),
        params: declared(&record, problems),
        timeout_ms,
        retry,
        max_parallel: record.whole(
            "max_parallel",
            (1, MAX_PARALLEL_MAX, " (MAX_PARALLEL_MAX)"),
            problems,
        ),
        stale_after_ms: record.some_time("stale_after", problems),
        steps: steps(&record, problems),
        success: success(&record, problems),
        comms: comms(&record, problems),
        escalation: escalation(&record, problems),
    };
    Some(draft)
}

fn open_root<'n, 'a>(root: &'n Node<'a>, problems: &mut Vec<Problem>) -> Option<Record<'n, 'a>> {
    let named = match &root.bare().kind {
        Kind::Bad => return None,
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => name.text == "Runbook",
        Kind::Struct(None, _) => true,
        _ => false,
    };
    if !named {
        let end = root.span.end.min(root.span.start + 1);
        problems.push(
            Problem::new(codes::NOT_A_RUNBOOK, format!("{} instead of a runbook", root.describe()))
                .at(root.span.start..end, "`Runbook(…)` is expected here")
                .advise("a runbook is `Runbook(format: 1, name: \"…\", steps: […])`"),
        );
        return None;
    }
    let Kind::Struct(_, fields) = &root.bare().kind else {
        return Record::open(root, &tables::RUNBOOK, problems).inspect(|record| {
            record.require("format", problems);
        });
    };
    let format = fields.iter().find(|field| field.name.text == "format").map(|field| &field.value);
    match format.map(|node| (&node.bare().kind, node)) {
        Some((Kind::Integer(format), node)) if *format != i128::from(RUNBOOK_FORMAT) => {
            let message = format!("format {format} is not supported");
            let help = format!("this release reads format {RUNBOOK_FORMAT}");
            problems.push(
                Problem::new(codes::FORMAT, message).at(node.span, "not supported").help(help),
            );
            // Nothing else can be said about a file of another format.
            return None;
        }
        _ => {}
    }
    let record = Record::open(root, &tables::RUNBOOK, problems)?;
    record.require("format", problems);
    record.whole("format", (RUNBOOK_FORMAT, RUNBOOK_FORMAT, ""), problems);
    Some(record)
}

fn name(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> String {
    let Some(name) = record.text("name", problems) else { return String::new() };
    let chars = name.value.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.value.contains(char::is_control) {
        let message = format!("a runbook's name is one line of 1 to {NAME_CHARS_MAX} characters");
        problems.push(Problem::new(codes::BAD_NAME, message).at(name.span, "not a name"));
    }
    name.value.to_owned()
}

fn environment(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Option<Environment> {
    let inner = Record::open(record.get("environment")?, &tables::ENVIRONMENT, problems)?;
    inner.require("name", problems);
    let protected = inner.boolean("protected", problems).unwrap_or_default();
    Some(Environment { name: inner.line("name", problems), protected })
}

fn date(record: &Record<'_, '_>, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let text = record.text(name, problems)?;
    if is_date(text.value) {
        return Some(text.value.to_owned());
    }
    problems.push(
        Problem::new(codes::BAD_DATE, format!("`{}` is not a date", text.value))
            .at(text.span, "not a date")
            .advise("write year, month and day: \"2026-01-31\""),
    );
    None
}

/// Whether the text is `YYYY-MM-DD` and such a day exists.
fn is_date(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok())?
    };
    let (Some(year), Some(month), Some(day)) = (digits(0..4), digits(5..7), digits(8..10)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    let dashes = text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
    text.len() == 10 && dashes && (1..=days).contains(&day)
}

fn defaults(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> (Option<u64>, DraftRetry) {
    let inner = record.get("defaults").and_then(|n| Record::open(n, &tables::DEFAULTS, problems));
    let Some(inner) = inner else { return (None, DraftRetry::default()) };
    (inner.some_time("timeout", problems), retry(&inner, problems))
}

fn retry(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> DraftRetry {
    let inner = record.get("retry").and_then(|node| Record::open(node, &tables::RETRY, problems));
    let Some(inner) = inner else { return DraftRetry::default() };
    DraftRetry {
        max: inner.whole("max", (0, RETRY_MAX, " (RETRY_MAX)"), problems),
        backoff_ms: inner.duration("backoff", problems),
        factor: inner.number("factor", (1.0, 100.0), problems),
        jitter: inner.number("jitter", (0.0, 1.0), problems),
        cap_ms: inner.duration("cap", problems),
    }
}

fn steps<'n, 'a>(record: &Record<'n, 'a>, problems: &mut Vec<Problem>) -> Vec<DraftStep<'n, 'a>> {
    let Some(items) = record.list("steps", problems) else {
        record.require("steps", problems);
        return Vec::new();
    };
    if items.is_empty()
        && let Some(node) = record.get("steps")
    {
        problems.push(
            Problem::new(codes::EMPTY, "the runbook has no steps")
                .at(node.span, "nothing is done here")
                .advise("add a step: `(id: \"first\", action: \"noop.run\")`"),
        );
    }
    items.iter().filter_map(|item| step(item, problems)).collect()
}

fn step<'n, 'a>(node: &'n Node<'a>, problems: &mut Vec<Problem>) -> Option<DraftStep<'n, 'a>> {
    let record = Record::open(node, &tables::STEP, problems)?;
    record.require("id", problems);
    record.require("action", problems);
    let id = record.text("id", problems);
    problems.extend(id.and_then(|id| name_fault("a step's id", id)));
    Some(DraftStep {
        span: node.span,
        id,
        title: record.line("title", problems),
        needs: record.texts("needs", problems),
        when: record.get("when").filter(|node| crate::fields::text(node, problems).is_some()),
        for_each: record.get("for_each"),
        action: record.text("action", problems),
        with: record.get("with"),
        timeout_ms: record.some_time("timeout", problems),
        retry: retry(&record, problems),
        on_exhausted: record.word("on_exhausted", &EXHAUSTED, problems).unwrap_or_default(),
        approval: approval(&record, problems),
        accept: record.lines("accept", problems),
        soak_ms: record.duration("soak", problems),
        expect_ms: record.duration("expect", problems),
        locks: record.lines("locks", problems),
        watch: record.boolean("watch", problems).unwrap_or_default(),
        owner: record.owned("owner", problems),
        runbook_url: record.owned("runbook_url", problems),
        note: record.owned("note", problems),
    })
}

fn approval(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Option<ApprovalPolicy> {
    let node = record.get("approval")?;
    if let Kind::Bool(wanted) = node.kind {
        return wanted.then(ApprovalPolicy::default);
    }
    let inner = Record::open(node, &tables::APPROVAL, problems)?;
    let default = ApprovalPolicy::default();
    Some(ApprovalPolicy {
        count: inner.whole("count", (1, APPROVERS_MAX, ""), problems).unwrap_or(default.count),
        by: inner.lines("by", problems),
        starter_may: inner.boolean("starter_may", problems).unwrap_or(default.starter_may),
    })
}

fn success<'n, 'a>(
    record: &Record<'n, 'a>,
    problems: &mut Vec<Problem>,
) -> Option<DraftSuccess<'n, 'a>> {
    let inner = Record::open(record.get("success")?, &tables::SUCCESS, problems)?;
    let checks = inner.list("checks", problems).unwrap_or_default();
    let hold_ms = inner.duration("hold", problems);
    if checks.is_empty() && hold_ms.is_some() {
        problems.push(
            Problem::new(codes::CONFLICT, "`hold` without `checks` holds nothing")
                .at(inner.get("hold").map_or(inner.span, |node| node.span), "nothing to hold")
                .advise("add `checks`, or remove `hold`"),
        );
    }
    Some(DraftSuccess {
        checks: checks.iter().filter_map(|item| check(item, hold_ms, problems)).collect(),
        hold_ms,
        validated_by: inner.text("validated_by", problems),
    })
}

fn check<'n, 'a>(
    node: &'n Node<'a>,
    hold_ms: Option<u64>,
    problems: &mut Vec<Problem>,
) -> Option<DraftStep<'n, 'a>> {
    let record = Record::open(node, &tables::CHECK, problems)?;
    record.require("action", problems);
    let id = record.text("id", problems);
    problems.extend(id.and_then(|id| name_fault("a check's id", id)));
    Some(DraftStep {
        title: record.line("title", problems),
        action: record.text("action", problems),
        with: record.get("with"),
        timeout_ms: record.some_time("timeout", problems),
        retry: retry(&record, problems),
        soak_ms: hold_ms,
        ..DraftStep::bare(node.span, id)
    })
}

impl<'n> DraftStep<'n, '_> {
    /// A step of which only the id is written.
    pub(crate) fn bare(span: Span, id: Option<At<&'n str>>) -> Self {
        Self {
            span,
            id,
            title: String::new(),
            needs: None,
            when: None,
            for_each: None,
            action: None,
            with: None,
            timeout_ms: None,
            retry: DraftRetry::default(),
            on_exhausted: OnExhausted::default(),
            approval: None,
            accept: Vec::new(),
            soak_ms: None,
            expect_ms: None,
            locks: Vec::new(),
            watch: false,
            owner: None,
            runbook_url: None,
            note: None,
        }
    }
}

fn comms(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Option<Comms> {
    let inner = Record::open(record.get("comms")?, &tables::COMMS, problems)?;
    inner.require("cadence", problems);
    inner.require("channel", problems);
    let cadence_ms = inner.some_time("cadence", problems).unwrap_or_default();
    Some(Comms { cadence_ms, channel: inner.line("channel", problems) })
}

fn escalation(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Vec<Escalation> {
    let items = record.list("escalation", problems).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| {
            let inner = Record::open(item, &tables::ESCALATION, problems)?;
            inner.require("after", problems);
            inner.require("to", problems);
            let after_ms = inner.duration("after", problems).unwrap_or_default();
            Some(Escalation { after_ms, to: inner.line("to", problems) })
        })
        .collect()
}

impl<'n> DraftStep<'n, '_> {
    /// A check of `success` as a step with another id.
    pub(crate) fn named(&self, id: At<&'n str>) -> Self {
        Self {
            title: self.title.clone(),
            action: self.action,
            with: self.with,
            timeout_ms: self.timeout_ms,
            retry: self.retry,
            soak_ms: self.soak_ms,
            ..Self::bare(self.span, Some(id))
        }
    }
}
