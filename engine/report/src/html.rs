//! The record as one HTML file that needs nothing else, for reading and printing.

use backout_core::id::Timestamp;
use backout_server::view::{counted, duration};
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use crate::markdown::after;
use crate::{Decision, Doubt, Report};

const STYLE: &str = include_str!("report.css");

impl Decision {
    pub(crate) fn who_words(&self) -> String {
        let vouched = if self.verified { "" } else { " (not verified)" };
        let glass = if self.break_glass { ", BREAKING THE GLASS" } else { "" };
        format!("{}{vouched}{glass}", self.who)
    }
}

impl Doubt {
    pub(crate) fn settled_words(&self) -> String {
        let Some(settled) = &self.settled else { return "in doubt still".to_owned() };
        let by = self.by.as_deref().unwrap_or("nobody");
        match &self.reason {
            Some(reason) => format!("{settled}, says {by}: {reason}"),
            None => format!("{settled}, says {by}"),
        }
    }
}

/// What to know at once, in sentences.
pub(crate) fn gist(report: &Report) -> Vec<String> {
    let view = &report.run;
    let done = view.listed().done;
    let recovered = match view.recovered {
        Some(true) => ", recovered",
        Some(false) => ", not recovered",
        None => "",
    };
    let lasted = duration(view.took_ms);
    let mut lines: Vec<String> =
        view.drill.iter().map(|drill| format!("{}.", drill.line())).collect();
    lines.push(format!(
        "The run {}{recovered} after {lasted}: {done} of {} done.",
        ended(&view.state),
        counted(view.steps.len(), "step")
    ));
    if !report.doubts.is_empty() {
        lines.push(doubtful(report));
    }
    let people: u64 = report.took.iter().map(|took| took.people_ms).sum();
    if people > 0 {
        lines.push(format!("Steps waited {} for people, summed up.", duration(people)));
    }
    if report.restarts > 0 {
        lines.push(format!("An engine took it up again {}.", counted(report.restarts, "time")));
    }
    if view.break_glass {
        lines.push("The glass was broken: a person set the ordinary rules aside.".to_owned());
    }
    lines
}

fn doubtful(report: &Report) -> String {
    let asked = report.doubts.iter().filter(|doubt| doubt.asked).count();
    let open = report.doubts.iter().filter(|doubt| doubt.settled.is_none()).count();
    let mut line = format!(
        "Of {} nobody knew at first whether it was made; {asked} of them a person had to settle",
        counted(report.doubts.len(), "effect")
    );
    if open > 0 {
        line.extend([", and ", &open.to_string(), " are in doubt still"]);
    }
    line + "."
}

fn ended(state: &str) -> &str {
    match state {
        "succeeded" | "failed" => state,
        "aborted" => "was aborted",
        "undone" => "was undone",
        "superseded" => "was superseded",
        _ => "is not over",
    }
}

/// The facts of the run.
pub(crate) fn summary(report: &Report) -> Vec<(&'static str, String)> {
    let view = &report.run;
    let place = view.environment.as_ref().map(|place| {
        let protected = if place.protected { " (protected)" } else { "" };
        format!("{}{protected}", place.name)
    });
    let params = report.params.iter().map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name} = {text}"),
        None => format!("{name} = {value}"),
    });
    let params: Vec<String> = params.collect();
    let facts = [
        ("Run", Some(format!("{} of {}", view.run, view.runbook))),
        ("State", Some(view.state.clone())),
        ("Environment", place),
        ("Began", Some(format!("{}, by {}", view.created, view.starter))),
        ("Ended", view.ended.clone()),
        ("Commander", Some(report.commander.clone())),
        ("Parameters", Some(params.join("; ")).filter(|text| !text.is_empty())),
        ("Runbook kept by", view.owner.clone()),
        ("Head of the record", view.head.clone()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The record as HTML. `made` is when.
pub fn html(report: &Report, made: Timestamp) -> String {
    let view = &report.run;
    let title = if view.title.is_empty() { &view.runbook } else { &view.title };
    markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "After-action record: " (title) }
                // The style is ours and holds nothing of the record.
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "After-action record: " (title) }
                @for line in gist(report) { p.gist { (line) } }
                dl { @for (name, value) in summary(report) { dt { (name) } dd { (value) } } }
                (decisions(report)) (doubts(report)) (approvals(report)) (durations(report))
                h2 { "The plan as it went" }
                // The drawing escapes every text that it holds.
                div.dag { (PreEscaped(&report.svg)) }
                (evidence(report)) (timeline(report))
                footer { "Made " (backout_server::view::rfc3339(made)) " from the journal of run " (view.run)
                    @if let Some(head) = &view.head { "; " code { "backout verify --head " (head) } " checks that nobody changed it" } "." }
            }
        }
    }
    .into_string()
}

fn section(title: &str, none: &str, heads: &[&str], rows: &[Markup]) -> Markup {
    markup! {
        h2 { (title) }
        @if rows.is_empty() { p { (none) } } @else {
            div.wide { table {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody { @for row in rows { (row) } }
            } }
        }
    }
}

fn decisions(report: &Report) -> Markup {
    let row = |d: &Decision| {
        markup! { tr.loud[d.break_glass] {
            td.time title=(d.at) { (after(d.after_ms)) } td { (d.who_words()) }
            td { (d.step.as_deref().unwrap_or_default()) } td { (d.what) }
            td { (d.reason.as_deref().unwrap_or_default()) }
        } }
    };
    let rows: Vec<Markup> = report.decisions.iter().map(row).collect();
    section(
        "Decisions",
        "Nobody decided anything.",
        &["After", "Who", "Step", "What", "Why"],
        &rows,
    )
}

fn doubts(report: &Report) -> Markup {
    let row = |d: &Doubt| {
        markup! { tr {
            td { (d.step) div.small { (d.key) } } td { (d.why) } td { (d.settled_words()) }
            td.time { (d.took_ms.map(duration).unwrap_or_default()) }
        } }
    };
    let rows: Vec<Markup> = report.doubts.iter().map(row).collect();
    let heads = ["Step", "What was not known", "How it was settled", "After"];
    section("What was in doubt", "Nothing was.", &heads, &rows)
}

fn approvals(report: &Report) -> Markup {
    let row = |a: &crate::Asked| {
        markup! { tr {
            td { (a.step) } td { (a.why) }
            td { @for answer in &a.answers { div { (answer) } } @if a.answers.is_empty() { "none" } }
            td.time { (a.waited_ms.map(duration).unwrap_or_default()) }
        } }
    };
    let rows: Vec<Markup> = report.approvals.iter().map(row).collect();
    section("Approvals", "None were asked for.", &["Step", "Asked", "Answer", "Waited"], &rows)
}

fn durations(report: &Report) -> Markup {
    let row = |took: &crate::Took| {
        markup! { tr {
            td { (took.step) div.small { (took.title) } } td { (took.state.replace('-', " ")) }
            td.time { (took.took_ms.map(duration).unwrap_or_default()) }
            td.time { @if took.people_ms > 0 { (duration(took.people_ms)) } }
            td.time { (took.expect_ms.map(duration).unwrap_or_default()) }
            td { (took.against()) }
        } }
    };
    let rows: Vec<Markup> = report.took.iter().map(row).collect();
    let heads = ["Step", "State", "Took", "Waited for people", "Expected", "Against the plan"];
    section("Durations", "The plan has no steps.", &heads, &rows)
}

fn evidence(report: &Report) -> Markup {
    let row = |e: &crate::Evidence| {
        markup! { tr { td { (e.step) } td { (e.kind) } td { code { (e.text) } } } }
    };
    let rows: Vec<Markup> = report.evidence.iter().map(row).collect();
    section("Evidence", "None was recorded.", &["Step", "Kind", "What"], &rows)
}

fn timeline(report: &Report) -> Markup {
    let row = |line: &crate::Line| {
        markup! { tr.person[line.who.is_some()] {
            td.time { (line.seq) } td.time title=(line.at) { (clock(&line.at)) }
            td { (line.step.as_deref().unwrap_or_default()) } td { (line.what) }
            td { (line.who.as_deref().unwrap_or_default()) }
        } }
    };
    let rows: Vec<Markup> = report.timeline.iter().map(row).collect();
    let title = format!("Timeline: {}", counted(rows.len(), "event"));
    section(&title, "", &["", "At (UTC)", "Step", "What", "Who"], &rows)
}

fn clock(at: &str) -> &str {
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    time.split(['.', 'Z']).next().unwrap_or(time)
}
