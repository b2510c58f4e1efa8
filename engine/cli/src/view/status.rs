//! The state of runs for people: one screen that answers what is done, in doubt and next, who is
//! waited for, and what to type.

use std::fmt::Write;

use anstyle::Style;
use backout_server::view::{
    AlarmView, Listed, RunView, StepView, Want, alarm_words, counted, duration, time_words,
};
use chrono::DateTime;
use unicode_width::UnicodeWidthStr;

use super::style::{BOLD, DIM, DOUBT, HELP, TROUBLE, WARN, of_state, paint};
use super::text::{cut, cut_middle, padded, widest, wrapped};

/// Steps named in one line of the summary; the others are counted.
const NAMED_MAX: usize = 12;
/// Things waited for that are shown in full; the others are counted.
const WANTS_SHOWN_MAX: usize = 4;
/// Targets held that are shown; the others are counted.
const LOCKS_SHOWN_MAX: usize = 4;
/// Columns of a step's name in a table.
const ID_COLUMNS_MAX: usize = 32;

/// Columns of what a line is about.
const LABEL_COLUMNS: usize = 16;

/// One run on one screen.
pub(crate) fn run(view: &RunView, now_ms: i64, width: usize) -> String {
    let mut out = head(view, now_ms, width);
    out.push_str(&marks(view, width));
    out.push_str(&wants(view, width));
    out.push_str(&groups(view, width));
    out.push_str(&overdue(view));
    out.push_str(&time(view, width));
    out.push_str(&footing(view, width));
    if let Some(command) = &view.go_on {
        let _ = writeln!(out, "\n{} {}", paint(BOLD, "To go on:"), paint(HELP, command));
    }
    out
}

fn head(view: &RunView, now_ms: i64, width: usize) -> String {
    let state = paint(of_state(&view.state), &view.state.to_uppercase());
    let driven = match (&view.ended, view.driven) {
        (Some(_), _) => String::new(),
        (None, true) => format!("driven by {}", view.engine.trim()),
        (None, false) => "no engine drives it".to_owned(),
    };
    let used = 8 + view.run.width() + view.runbook.width() + view.state.width();
    let gap = if used + 2 + driven.width() > width { "\n" } else { "  " };
    let driven = if driven.is_empty() { driven } else { format!("{gap}{}", paint(DIM, &driven)) };
    let mut out = format!("run {}  {}  {state}{driven}\n", paint(BOLD, &view.run), view.runbook);
    if !view.title.is_empty() {
        let _ = writeln!(out, "{}", cut(&view.title, width));
    }
    let place = view.environment.as_ref().map(|environment| {
        let protected = if environment.protected { " (protected)" } else { "" };
        format!("{}{protected}, ", environment.name)
    });
    let began = ago(&view.created, now_ms);
    let line = format!(
        "{}started by {} {began}, last event {}",
        place.unwrap_or_default(),
        view.starter,
        ago(&view.last, now_ms)
    );
    let _ = writeln!(out, "{}", paint(DIM, &cut(&line, width)));
    out
}

fn marks(view: &RunView, width: usize) -> String {
    let mut out = String::new();
    if let Some(drill) = &view.drill {
        let style = if drill.emergency.is_some() { TROUBLE } else { WARN };
        out.push_str(&paint(style, &wrapped(&drill.line(), 0, width)));
    }
    if view.break_glass {
        let _ = writeln!(
            out,
            "{}",
            paint(WARN, "BREAK-GLASS: the ordinary rules were set aside in this run")
        );
    }
    if view.stale {
        let text = "STALE: it stood still for long; it goes on only when named, and shows what drifted first";
        out.push_str(&paint(WARN, &wrapped(text, 0, width)));
    }
    if view.undoing {
        let _ = writeln!(out, "{}", paint(WARN, "UNDOING: what it did is being put back"));
    }
    if let Some(by) = &view.superseded_by {
        let _ =
            writeln!(out, "{}", paint(WARN, &format!("SUPERSEDED: run {by} goes on in its place")));
    }
    if let Some(from) = &view.continues {
        let _ = writeln!(out, "goes on for run {from}, and adopted what that did");
    }
    if !view.commander.is_empty() && view.commander != view.starter {
        let _ = writeln!(out, "commanded by {}", view.commander);
    }
    if let Some(to) = &view.offered_to {
        let text = format!("the command is offered to {to}, and still {}'s", view.commander);
        let _ = writeln!(out, "{}", paint(WARN, &text));
    }
    // One that the run waits for stands among what is wanted, with its commands.
    if !view.wants.iter().any(|want| want.what == "alarm") {
        out.push_str(&alarms(&view.alarms, width));
    }
    match view.recovered {
        Some(true) => out.push_str("recovered: its success checks held\n"),
        Some(false) => out.push_str("not recovered: its success checks did not hold\n"),
        None => {}
    }
    out
}

/// What somebody changed behind the run's back; it goes on all the same.
pub(crate) fn alarms(alarms: &[AlarmView], width: usize) -> String {
    let mut out = String::new();
    for alarm in alarms.iter().take(WANTS_SHOWN_MAX) {
        let words = alarm_words(&alarm.difference, alarm.by.as_deref(), alarm.unseen);
        let line = format!("ALARM {}: {words}", alarm.step);
        let line = wrapped(&line, 2, width);
        let _ = writeln!(out, "{}", paint(WARN, line.trim()));
    }
    if alarms.len() > WANTS_SHOWN_MAX {
        let _ = writeln!(out, "and {} more alarms", alarms.len() - WANTS_SHOWN_MAX);
    }
    out
}

fn wants(view: &RunView, width: usize) -> String {
    let mut out = String::new();
    for want in view.wants.iter().take(WANTS_SHOWN_MAX) {
        out.push_str(&self::want(want, width));
    }
    if view.wants.len() > WANTS_SHOWN_MAX {
        let more = view.wants.len() - WANTS_SHOWN_MAX;
        let _ = writeln!(out, "\n  and {more} more: backout status {} --steps", view.run);
    }
    out
}

/// One thing that only a person can move on, with the commands that do.
pub(crate) fn want(want: &Want, width: usize) -> String {
    let (style, label) = match want.what.as_str() {
        "in-doubt" => (DOUBT, "IN DOUBT"),
        "unverified" => (DOUBT, "UNVERIFIED"),
        "approval" => (WARN, "WAITS FOR APPROVAL"),
        "alarm" => (WARN, "ALARM"),
        "circle" => (TROUBLE, "WAITS IN A CIRCLE"),
        "failed" => (TROUBLE, "FAILED"),
        _ => (WARN, "WAITS FOR A PERSON"),
    };
    let who =
        if want.who.is_empty() { String::new() } else { format!("  by {}", want.who.join(", ")) };
    let mut out = format!("\n{}  {}{who}\n", paint(style, label), paint(BOLD, &want.step));
    if !want.why.is_empty() {
        out.push_str(&wrapped(&want.why, 4, width));
    }
    for command in &want.commands {
        let _ = writeln!(out, "    {}", paint(HELP, command));
    }
    out
}

/// What a step is called that an engine had begun when it stopped.
const IN_FLIGHT: &str = "in flight when the engine stopped";

/// Whether no engine drives an unfinished run.
fn is_stopped(view: &RunView) -> bool {
    view.ended.is_none() && !view.driven
}

fn groups(view: &RunView, width: usize) -> String {
    const GROUPS: [(&str, &[&str]); 8] = [
        ("done", &["succeeded", "already-satisfied"]),
        ("running", &["running", "preparing"]),
        ("in doubt", &["in-doubt"]),
        ("unverified", &["unverified"]),
        ("waiting", &["waiting"]),
        ("failed", &["failed"]),
        ("left out", &["skipped", "cancelled", "undone"]),
        ("to do", &["pending"]),
    ];
    let mut out = "\n".to_owned();
    for (label, words) in GROUPS {
        let steps: Vec<&StepView> =
            view.steps.iter().filter(|step| words.contains(&step.state.as_str())).collect();
        // Whoever had them is gone: what became of them is not known.
        let label = if label == "running" && is_stopped(view) { IN_FLIGHT } else { label };
        if !steps.is_empty() {
            out.push_str(&group(label, &steps, width));
        }
    }
    if !view.held.is_empty() {
        let names: Vec<&str> = view.held.iter().map(String::as_str).collect();
        out.push_str(&named("held back", names.len(), &names, width));
    }
    if view.ended.is_none() && !view.next.is_empty() {
        let names: Vec<&str> = view.next.iter().map(String::as_str).collect();
        out.push_str(&named("next", names.len(), &names, width));
    }
    out
}

/// How long it has taken and will take.
fn time(view: &RunView, width: usize) -> String {
    let Some(time) = view.time.as_ref().filter(|_| view.ended.is_none()) else {
        return String::new();
    };
    let lines = wrapped(&time_words(time), LABEL_COLUMNS, width);
    format!("{}{}", padded("time", LABEL_COLUMNS), lines.get(LABEL_COLUMNS..).unwrap_or("\n"))
}

fn group(label: &str, steps: &[&StepView], width: usize) -> String {
    let names: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    named(label, steps.len(), &names, width)
}

fn named(label: &str, count: usize, names: &[&str], width: usize) -> String {
    let mut list = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        let _ = write!(list, " and {} more", names.len() - NAMED_MAX);
    }
    let lines = wrapped(&list, LABEL_COLUMNS, width);
    let label = format!("{label} ({count})");
    if label.width() >= LABEL_COLUMNS {
        return format!("{label}\n{lines}");
    }
    format!("{}{}", padded(&label, LABEL_COLUMNS), lines.get(LABEL_COLUMNS..).unwrap_or("\n"))
}

fn overdue(view: &RunView) -> String {
    let late = view.steps.iter().filter_map(|step| Some((step, step.overdue_ms?)));
    let line = |(step, ms): (&StepView, u64)| {
        format!(
            "{} {} is {} over what was expected\n",
            paint(WARN, "overdue"),
            step.id,
            duration(ms)
        )
    };
    late.map(line).collect()
}

fn footing(view: &RunView, width: usize) -> String {
    let mut out = String::new();
    if let Some(point) = &view.point_of_no_return {
        let passed = if point.passed { "passed" } else { "not passed yet" };
        let line =
            format!("point of no return: {} ({}), {passed}", point.step, point.reversibility);
        let style = if point.passed { WARN } else { Style::new() };
        let _ = writeln!(out, "{}", paint(style, wrapped(&line, 0, width).trim_end()));
    }
    out.push_str(&locks(view, width));
    for escalation in view.escalation.iter().filter(|_| view.ended.is_none()) {
        let line = format!("escalation: {} after {}", escalation.to, duration(escalation.after_ms));
        out.push_str(&wrapped(&line, 0, width));
    }
    for note in view.notes.iter().rev().take(3).rev() {
        let _ = writeln!(out, "note by {}", cut(note, width.saturating_sub(8)));
    }
    if let Some(head) = &view.head {
        let at = format!("at event {}", view.seq);
        // The head stands whole in one line: it is there to be copied.
        let gap = if 6 + head.width() + at.width() > width { "\n     " } else { " " };
        let _ = writeln!(out, "{}", paint(DIM, &format!("head {head}{gap}{at}")));
    }
    out
}

/// The targets that it holds, one a line; a long path is known by its end.
fn locks(view: &RunView, width: usize) -> String {
    const LABEL: &str = "holds ";
    let room = width.saturating_sub(LABEL.len());
    let line = |(at, lock): (usize, &String)| {
        let label = if at == 0 { LABEL } else { "" };
        format!("{label:6}{}\n", cut_middle(lock, room))
    };
    let mut out: String = view.locks.iter().take(LOCKS_SHOWN_MAX).enumerate().map(line).collect();
    if view.locks.len() > LOCKS_SHOWN_MAX {
        let _ = writeln!(out, "      and {} more", view.locks.len() - LOCKS_SHOWN_MAX);
    }
    out
}

/// All steps in a table.
pub(crate) fn steps(view: &RunView, width: usize) -> String {
    let ids = widest(view.steps.iter().map(|step| step.id.as_str()), ID_COLUMNS_MAX);
    let mut out = "\n".to_owned();
    for step in &view.steps {
        let word = match step.state.as_str() {
            "running" | "preparing" if is_stopped(view) => "in flight",
            word => word,
        };
        out.push_str(&step_line(step, word, ids, width));
    }
    out
}

fn step_line(step: &StepView, word: &str, ids: usize, width: usize) -> String {
    let word = paint(of_state(&step.state), &padded(word, 17));
    let guarantee = padded(step.guarantee.as_deref().unwrap_or("-"), 13);
    let tries =
        if step.attempts > 1 { format!(" attempt {}", step.attempts) } else { String::new() };
    let took = step.took_ms.map(|ms| format!(" {}", duration(ms))).unwrap_or_default();
    let id = padded(&cut(&step.id, ids), ids);
    let mut line =
        format!("{:>3}  {id}  {word}  {guarantee}  {}{tries}{took}\n", step.wave, step.action);
    let why = step.wait.as_ref().map(|wait| format!("{}: {}", wait.waits_for, wait.why));
    for text in why.iter().chain(&step.trouble) {
        line.push_str(&wrapped(text, 5 + ids.min(6), width));
    }
    line
}

/// All runs in a table, newest first.
pub(crate) fn list(runs: &[Listed], now_ms: i64) -> String {
    let names = widest(runs.iter().map(|run| run.runbook.as_str()), ID_COLUMNS_MAX);
    let line = |run: &Listed| {
        let state = paint(of_state(&run.state), &padded(&run.state, 11));
        let name = padded(&cut(&run.runbook, names), names);
        let drill = if run.drill { paint(WARN, "  DRILL") } else { String::new() };
        let old = if run.stale { paint(WARN, "  stale") } else { String::new() };
        let mark = if run.break_glass { paint(WARN, "  BREAK-GLASS") } else { String::new() };
        let done = format!("{}/{}", run.done, run.steps);
        format!(
            "{}  {name}  {state}  {done:>9} steps  {}{drill}{old}{mark}\n",
            paint(BOLD, &run.run),
            ago(&run.last, now_ms)
        )
    };
    runs.iter().map(line).collect()
}

/// `3m ago`, `now`.
pub(crate) fn ago(rfc3339: &str, now_ms: i64) -> String {
    let Ok(at) = DateTime::parse_from_rfc3339(rfc3339) else { return rfc3339.to_owned() };
    match u64::try_from(now_ms - at.timestamp_millis()) {
        Ok(ms) if ms >= 1_000 => format!("{} ago", duration(ms)),
        Ok(_) | Err(_) => "now".to_owned(),
    }
}

/// The progress line of a foreground run: how much is done.
pub(crate) fn summary(view: &RunView) -> String {
    let listed = view.listed();
    format!("{} of {} done", listed.done, counted(listed.steps, "step"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use serde_json::json;

    fn step(id: &str, state: &str) -> serde_json::Value {
        json!({ "id": id, "action": "noop.run", "wave": 1, "needs": [], "state": state,
            "attempts": 1, "guarantee": "conditional", "role": "step" })
    }

    fn view() -> RunView {
        serde_json::from_value(json!({
            "run": "3fk9000000", "runbook": "checkout", "title": "Checkout back to 1.4.1",
            "state": "interrupted", "driven": false, "engine": "process 7 on ops1 ",
            "undoing": false, "stale": false, "closed": false, "break_glass": true,
            "environment": { "name": "production", "protected": true },
            "starter": "ana", "created": "2026-11-22T03:00:00.000Z",
            "last": "2026-11-22T03:12:00.000Z", "took_ms": 720_000, "seq": 41,
            "head": "c0ffee",
            "point_of_no_return": { "step": "schema_down", "reversibility": "shape-only", "passed": false },
            "locks": ["file:/etc/shop/flags.yaml"],
            "wants": [{
                "step": "cache", "what": "in-doubt", "why": "the connection was reset", "who": ["sre"],
                "commands": ["backout settle 3fk9000000 cache --done --reason TEXT"],
            }],
            "next": ["schema_down"], "go_on": "backout resume 3fk9000000",
            "steps": [step("announce", "succeeded"), step("flag_off", "already-satisfied"),
                step("cache", "in-doubt"), step("schema_down", "pending")],
        }))
        .unwrap()
    }

    #[test]
    fn an_interrupted_run_fits_one_screen() {
        let now_ms =
            DateTime::parse_from_rfc3339("2026-11-22T03:15:00Z").unwrap().timestamp_millis();
        let text = strip_str(&run(&view(), now_ms, 80)).to_string();
        let expected = "\
run 3fk9000000  checkout  INTERRUPTED  no engine drives it
Checkout back to 1.4.1
production (protected), started by ana 15m ago, last event 3m ago
BREAK-GLASS: the ordinary rules were set aside in this run

IN DOUBT  cache  by sre
    the connection was reset
    backout settle 3fk9000000 cache --done --reason TEXT

done (2)        announce, flag_off
in doubt (1)    cache
to do (1)       schema_down
next (1)        schema_down
point of no return: schema_down (shape-only), not passed yet
holds file:/etc/shop/flags.yaml
head c0ffee at event 41

To go on: backout resume 3fk9000000
";
        assert_eq!(text, expected);
        assert!(text.lines().count() <= 24);
        assert!(text.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn an_alarm_stands_above_and_a_circle_names_the_commands_that_end_it() {
        let mut view = view();
        view.alarms = serde_json::from_value(json!([{
            "step": "flag_off", "since": "2026-11-22T03:10:00.000Z",
            "difference": ["flag new_checkout: on -> off"], "by": "bob", "commands": [],
        }]))
        .unwrap();
        let text = strip_str(&run(&view, 0, 120)).to_string();
        let line =
            "ALARM flag_off: what it made was changed by bob: flag new_checkout: on -> off\n";
        assert!(text.contains(line), "{text}");
        let circle = ["3fk9000000", "7aa0000000"].map(backout_core::id::RunId::from);
        let text = strip_str(&run(&view.in_circle(&circle), 0, 120)).to_string();
        assert!(text.contains("WAITS IN A CIRCLE"), "{text}");
        assert!(text.contains("    backout abort 7aa0000000\n"), "{text}");
    }

    #[test]
    fn what_an_engine_left_behind_is_not_called_running() {
        let mut left = view();
        left.steps[2].state = "running".to_owned();
        left.steps[1].state = "unverified".to_owned();
        let text = strip_str(&run(&left, 0, 80)).to_string();
        let expected = "in flight when the engine stopped (1)\n                cache\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("unverified (1)  flag_off\n"), "{text}");
        let table = strip_str(&steps(&left, 80)).to_string();
        assert!(table.contains("in flight") && !table.contains("running"), "{table}");
        left.driven = true;
        assert!(strip_str(&run(&left, 0, 80)).to_string().contains("running (1)     cache"));
    }

    #[test]
    fn long_lines_fit_and_the_head_stands_whole() {
        let mut long = view();
        let head = "0123456789abcdef".repeat(4);
        long.head = Some(head.clone());
        long.runbook = "the-rollback-of-the-whole-of-the-checkout".to_owned();
        long.locks =
            (0..9).map(|n| format!("file:/srv/{}/flags-{n}.yaml", "x".repeat(80))).collect();
        let text = strip_str(&run(&long, 0, 80)).to_string();
        assert!(text.lines().all(|line| line.width() <= 80), "{text}");
        assert!(text.contains(&head) && text.contains("flags-3.yaml"), "{text}");
        assert!(text.contains("and 5 more"), "{text}");
    }

    #[test]
    fn a_large_run_still_fits_one_screen() {
        let mut large = view();
        let pending = large.steps[3].clone();
        large.steps.extend((0..5_000).map(|n| StepView { id: format!("s{n}"), ..pending.clone() }));
        let want = large.wants[0].clone();
        large.wants.extend((0..50).map(|_| want.clone()));
        let text = strip_str(&run(&large, 0, 80)).to_string();
        assert!(text.contains("and 47 more"), "{text}");
        assert!(text.contains("to do (5001)"), "{text}");
        assert!(text.lines().count() <= 45, "{text}");
    }
}
