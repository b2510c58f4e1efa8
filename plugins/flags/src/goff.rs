//! What a flag of go-feature-flag means, and how to make it give one variation to everybody.

use backout_plugin_api::Hazard;
use chrono::DateTime;

use crate::change::Planned;
use crate::document::{Document, check_editable, described, positions};
use crate::tree::{Edit, Entry, Format, Node, Plain, Scalar, Shape, is_flow};
use crate::{toml, variation};

/// Keys of a flag that may give somebody another variation than the default rule, or the code's
/// own default, now or later. A `bucketingKey` is one of them: an evaluation whose context lacks
/// that attribute gets the code's default, whatever the rules say.
const STEERING: [&str; 5] =
    ["targeting", "scheduledRollout", "experimentation", "disable", "bucketingKey"];

/// Keys of a rule that come before its `variation`, or set it aside.
const RULE_STEERING: [&str; 3] = ["percentage", "progressiveRollout", "disable"];

/// What to change so that everybody gets `variation`; absent is the flag's off variation.
pub(crate) fn force(
    document: &Document,
    flag: &Entry,
    wanted: Option<&str>,
    now_ms: i64,
) -> Result<Planned, String> {
    let name = flag.name();
    let refuse = |why: String| format!("flag `{name}`: {why}");
    let rule = flag.value.get("defaultRule").filter(|rule| rule.value.is_map());
    for map in [Some(&flag.value), rule.map(|rule| &rule.value)].into_iter().flatten() {
        check_editable(map).map_err(refuse)?;
    }
    let chosen = variation::choose(&flag.value, "variations", wanted).map_err(refuse)?;
    let key = &chosen.key;
    let rule = rule.ok_or_else(|| {
        refuse("it has no `defaultRule` map, which go-feature-flag refuses to load".to_owned())
    })?;
    let drop = steering(&flag.value);
    let mut edits = document.removal(&flag.value, &drop).map_err(refuse)?;
    edits.extend(rule_edits(document, &rule.value, key).map_err(refuse)?);
    edits.sort_by_key(|edit| edit.start);
    Ok(Planned {
        name: name.to_owned(),
        block: document.block(flag, document.flags()),
        variation: Some(chosen.name().to_owned()),
        value: Some(chosen.value.to_json()),
        difference: difference(flag, &rule.value, key, &drop),
        hazards: hazards(flag, &rule.value, now_ms),
        wanted: wanted_flag(&flag.value, key),
        edits,
    })
}

/// The entries of a flag that have to go.
fn steering(flag: &Node) -> Vec<usize> {
    let steers = |entry: &Entry| {
        STEERING.contains(&entry.name())
            && !(entry.name() == "disable" && entry.value.is_plain_text("false"))
    };
    positions(flag, steers)
}

fn rule_steering(rule: &Node) -> Vec<usize> {
    positions(rule, |entry| RULE_STEERING.contains(&entry.name()))
}

/// The edits that make a default rule give one variation.
fn rule_edits(document: &Document, rule: &Node, key: &Node) -> Result<Vec<Edit>, String> {
    let mut drop = rule_steering(rule);
    let field = field(document, key);
    let set = match rule.get("variation") {
        Some(now) if now.value.text() == key.text() => None,
        Some(now) => Some(Edit {
            start: now.key.span.start,
            end: now.value.span.end.max(now.key.span.end),
            text: field,
        }),
        None if drop.is_empty() => {
            return Err("its `defaultRule` has neither variation nor percentage".to_owned());
        }
        None if document.format == Format::Toml && !is_flow(rule) => {
            Some(toml_field(document, rule, &mut drop, &field)?)
        }
        None => {
            let entry = rule.entries().get(drop.remove(0)).ok_or("no such entry")?;
            let block = document.block(entry, rule);
            Some(Edit { start: block.start, end: block.end, text: field })
        }
    };
    let mut edits = document.removal(rule, &drop)?;
    edits.extend(set);
    Ok(edits)
}

/// The default rule's `variation` as the file writes it.
fn field(document: &Document, key: &Node) -> String {
    let written = document.text.get(key.span.clone()).unwrap_or_default();
    match document.format {
        Format::Yaml => format!("variation: {written}"),
        Format::Json => format!("\"variation\": {written}"),
        Format::Toml => format!("variation = {}", toml::quoted(key.text().unwrap_or_default())),
    }
}

/// In TOML a field must stand in its own table: right after the table's header, else where the
/// first entry that goes had its line, or its header.
fn toml_field(
    document: &Document,
    rule: &Node,
    drop: &mut Vec<usize>,
    field: &str,
) -> Result<Edit, String> {
    if let Shape::Map { header: Some(header), .. } = &rule.shape {
        let at = document.line_end(header.end);
        return Ok(Edit { start: at, end: at, text: format!("{}{field}", document.newline()) });
    }
    let entry = rule.entries().get(drop.remove(0)).ok_or("no such entry")?;
    let block = document.block(entry, rule);
    // The path to the rule: `f.defaultRule.` of a dotted key, `[f.defaultRule.` of a header.
    let path = document.text.get(block.start..entry.key.span.start).unwrap_or_default();
    let text = match path.strip_prefix('[') {
        Some(path) => {
            let path = path.trim_end().trim_end_matches('.').trim_end();
            format!("[{path}]{}{field}", document.newline())
        }
        None => format!("{path}{field}"),
    };
    Ok(Edit { start: block.start, end: block.end, text })
}

fn difference(flag: &Entry, rule: &Node, key: &Node, drop: &[usize]) -> Vec<String> {
    let name = flag.name();
    let wanted = key.text().unwrap_or_default();
    let mut lines = Vec::new();
    let now = rule.get("variation").and_then(|now| now.value.text());
    if now != Some(wanted) {
        let now = now.unwrap_or("none");
        lines.push(format!("{name}: defaultRule.variation: {now} -> {wanted}"));
    }
    let removed = drop.iter().filter_map(|at| flag.value.entries().get(*at));
    lines.extend(removed.map(|entry| format!("{name}: {} removed", described(entry))));
    let rule_drop = rule_steering(rule);
    let removed = rule_drop.iter().filter_map(|at| rule.entries().get(*at));
    lines.extend(removed.map(|entry| format!("{name}: defaultRule.{} removed", entry.name())));
    lines
}

/// What somebody had planned for the flag, or relied on, and what is taken out of it.
fn hazards(flag: &Entry, rule: &Node, now_ms: i64) -> Vec<Hazard> {
    let mut hazards = schedule_hazards(flag, now_ms);
    let name = flag.name();
    let mut say = |code: &str, text: String| {
        hazards.push(Hazard { code: code.to_owned(), text: format!("flag `{name}` {text}") });
    };
    let targeting = flag.value.get("targeting").map_or(&[][..], |entry| entry.value.items());
    let progressive = |rule: &Node| rule.get("progressiveRollout").is_some();
    if progressive(rule) || targeting.iter().any(progressive) {
        let text = "has a progressive rollout, which would go on giving it to more people; it is \
                    removed";
        say("progressive-rollout", text.to_owned());
    }
    if flag.value.get("experimentation").is_some() {
        let text = "has an experiment, outside of which users get the code's own default; it is \
                    removed, and the experiment's figures end here";
        say("experimentation", text.to_owned());
    }
    if flag.value.get("disable").is_some_and(|entry| entry.value.is_plain_text("true")) {
        let text = "is disabled: users get the code's own default now, and will get the variation \
                    instead";
        say("was-disabled", text.to_owned());
    }
    hazards
}

/// A schedule that would change the flag again later. It is removed; a person should know that
/// somebody had planned it.
fn schedule_hazards(flag: &Entry, now_ms: i64) -> Vec<Hazard> {
    let steps = flag.value.get("scheduledRollout").map_or(&[][..], |entry| entry.value.items());
    let dates = steps.iter().filter_map(|step| step.get("date")?.value.text());
    let later: Vec<_> = dates
        .filter(|date| {
            DateTime::parse_from_rfc3339(date).map_or(true, |at| at.timestamp_millis() > now_ms)
        })
        .collect();
    if later.is_empty() {
        return Vec::new();
    }
    vec![Hazard {
        code: "future-schedule".to_owned(),
        text: format!(
            "flag `{}` has a scheduled change at {}; the schedule is removed, else it would \
             change the flag again after the rollback",
            flag.name(),
            later.join(", ")
        ),
    }]
}

/// What the flag means afterwards, worked out from the tree and not from the text, so that the
/// edited text can be checked against it.
fn wanted_flag(flag: &Node, key: &Node) -> Plain {
    let drop = steering(flag);
    let entries = flag.entries().iter().enumerate().filter(|(at, _)| !drop.contains(at));
    let entries = entries.map(|(_, entry)| {
        let value = if entry.name() == "defaultRule" {
            wanted_rule(&entry.value, key)
        } else {
            entry.value.plain()
        };
        (entry.key.plain(), value)
    });
    Plain::Map(entries.collect())
}

fn wanted_rule(rule: &Node, key: &Node) -> Plain {
    let same = |now: &Node| now.text() == key.text();
    let kept = rule
        .entries()
        .iter()
        .filter(|entry| !RULE_STEERING.contains(&entry.name()) && entry.name() != "variation");
    let mut entries: Vec<_> = kept.map(|e| (e.key.plain(), e.value.plain())).collect();
    let value = match rule.get("variation") {
        Some(now) if same(&now.value) => now.value.plain(),
        _ => key.plain(),
    };
    entries.push((Plain::Scalar(Scalar { text: "variation".to_owned(), plain: true }), value));
    Plain::Map(entries)
}
