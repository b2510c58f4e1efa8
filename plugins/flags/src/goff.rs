//! What a flag of go-feature-flag means, and how to make it give one variation to everybody.

use backout_plugin_api::Hazard;
use chrono::DateTime;

use crate::tree::{Document, Edit, Entry, Node, Plain, Scalar};

/// Keys of a flag that may give somebody another variation than the default rule, or the code's
/// own default, now or later. A `bucketingKey` is one of them: an evaluation whose context lacks
/// that attribute gets the code's default, whatever the rules say.
const STEERING: [&str; 5] =
    ["targeting", "scheduledRollout", "experimentation", "disable", "bucketingKey"];

/// Keys of a rule that come before its `variation`, or set it aside.
const RULE_STEERING: [&str; 3] = ["percentage", "progressiveRollout", "disable"];

/// Variations that mean off by their name, the most telling first.
const OFF_NAMES: [&str; 3] = ["off", "disabled", "false"];

/// What has to change in one flag.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) variation: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) difference: Vec<String>,
    pub(crate) hazards: Vec<Hazard>,
    /// What the flag means afterwards.
    pub(crate) wanted: Plain,
}

/// What to change so that everybody gets `variation`; absent is the flag's off variation.
pub(crate) fn force(
    document: &Document,
    flag: &Entry,
    variation: Option<&str>,
    now_ms: i64,
) -> Result<Change, String> {
    let name = flag.name();
    let refuse = |why: String| format!("flag `{name}`: {why}");
    check_editable(&flag.value).map_err(refuse)?;
    let key = variation_key(&flag.value, variation).map_err(refuse)?;
    let rule = flag.value.get("defaultRule").filter(|rule| rule.value.is_map());
    let rule = rule.ok_or_else(|| {
        refuse("it has no `defaultRule` map, which go-feature-flag refuses to load".to_owned())
    })?;
    let drop = steering(&flag.value);
    let mut edits = document.removal(&flag.value, &drop).map_err(refuse)?;
    edits.extend(rule_edits(document, &rule.value, key).map_err(refuse)?);
    edits.sort_by_key(|edit| edit.start);
    Ok(Change {
        variation: key.text().unwrap_or_default().to_owned(),
        difference: difference(flag, &rule.value, key, &drop),
        hazards: schedule_hazards(flag, now_ms),
        wanted: wanted(&flag.value, key),
        edits,
    })
}

/// Constructs whose meaning stands elsewhere in the file.
fn check_editable(flag: &Node) -> Result<(), String> {
    let rule = flag.get("defaultRule").map(|rule| &rule.value);
    for map in [Some(flag), rule].into_iter().flatten() {
        let inside =
            |node: &Node| node.span.start >= map.span.start && node.span.end <= map.span.end;
        if !map.entries().iter().all(|entry| inside(&entry.key) && inside(&entry.value)) {
            return Err("it is an alias of another part of the file; write it out first".to_owned());
        }
        if map.get("<<").is_some() {
            return Err("it uses a merge key (`<<`); write its fields out first".to_owned());
        }
        for (at, entry) in map.entries().iter().enumerate() {
            if map.entries().iter().skip(at + 1).any(|other| other.name() == entry.name()) {
                return Err(format!("`{}` stands in it twice", entry.name()));
            }
        }
    }
    Ok(())
}

/// The key of the wanted variation, as the flag writes it.
fn variation_key<'a>(flag: &'a Node, wanted: Option<&str>) -> Result<&'a Node, String> {
    let variations = flag.get("variations").map_or(&[][..], |entry| entry.value.entries());
    let by_name = |name: &str| {
        variations.iter().find(|entry| entry.name().eq_ignore_ascii_case(name)).map(|e| &e.key)
    };
    let exact = |name: &str| variations.iter().find(|e| e.name() == name).map(|e| &e.key);
    let found = match wanted {
        Some(name) => exact(name),
        None => OFF_NAMES.into_iter().find_map(by_name),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = variations.iter().map(Entry::name).collect();
        let names = names.join(", ");
        let off: Vec<_> = variations
            .iter()
            .filter(|entry| entry.value.is_plain_text("false"))
            .map(Entry::name)
            .collect();
        match wanted {
            Some(name) => format!("it has no variation `{name}`; it has: {names}"),
            None if off.is_empty() => {
                format!("none of its variations is named off; say `off_variation`: one of {names}")
            }
            None => format!(
                "none of its variations is named off; say `off_variation`: of {names}, `{}` is false",
                off.join("`, `")
            ),
        }
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

fn positions(map: &Node, wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
    let entries = map.entries().iter().enumerate();
    entries.filter(|(_, entry)| wanted(entry)).map(|(at, _)| at).collect()
}

fn rule_steering(rule: &Node) -> Vec<usize> {
    positions(rule, |entry| RULE_STEERING.contains(&entry.name()))
}

/// The edits that make a default rule give one variation.
fn rule_edits(document: &Document, rule: &Node, key: &Node) -> Result<Vec<Edit>, String> {
    let mut drop = rule_steering(rule);
    let written = document.text.get(key.span.clone()).unwrap_or_default();
    let field = match document.format {
        crate::tree::Format::Yaml => format!("variation: {written}"),
        crate::tree::Format::Json => format!("\"variation\": {written}"),
    };
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

fn described(entry: &Entry) -> String {
    match (entry.value.text(), entry.value.items().len()) {
        (Some(text), _) => format!("{}: {text}", entry.name()),
        (None, 0) => entry.name().to_owned(),
        (None, 1) => format!("{} (1 entry)", entry.name()),
        (None, count) => format!("{} ({count} entries)", entry.name()),
    }
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
fn wanted(flag: &Node, key: &Node) -> Plain {
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
