//! What a flag of flagd means, and how to make it give one variation to everybody.
//!
//! flagd gives `defaultVariant` where `targeting` is empty or names none; the code's own default
//! where the state is `DISABLED`, or no default variant is there (flagd 0.11.2 does not load such a flag).

use backout_plugin_api::Hazard;

use crate::change::Planned;
use crate::document::{Document, check_editable, described};
use crate::tree::{Edit, Entry, Node, Plain, Scalar};
use crate::variation;

/// What a targeting rule reads to do something at a time of its own.
const CLOCK: &str = "$flagd.timestamp";

/// What to change so that everybody gets `variation`; absent is the flag's off variation.
pub(crate) fn force(
    document: &Document,
    flag: &Entry,
    wanted: Option<&str>,
) -> Result<Planned, String> {
    let name = flag.name();
    let refuse = |why: String| format!("flag `{name}`: {why}");
    check_editable(&flag.value).map_err(refuse)?;
    let chosen = variation::choose(&flag.value, "variants", wanted).map_err(refuse)?;
    let drop = crate::document::positions(&flag.value, is_targeting);
    let mut edits = document.removal(&flag.value, &drop).map_err(refuse)?;
    let mut difference = Vec::new();
    for (field, value) in settings(chosen.name()) {
        let now = flag.value.get(field).and_then(|entry| entry.value.text());
        if now != Some(value) {
            let literal = serde_json::Value::from(value).to_string();
            edits.push(document.set(&flag.value, field, &literal));
            difference.push(format!("{name}: {field}: {} -> {value}", now.unwrap_or("none")));
        }
    }
    edits = joined(edits);
    let removed = drop.iter().filter_map(|at| flag.value.entries().get(*at));
    difference.extend(removed.map(|entry| format!("{name}: {} removed", described(entry))));
    Ok(Planned {
        name: name.to_owned(),
        block: document.block(flag, document.flags()),
        variation: Some(chosen.name().to_owned()),
        value: Some(chosen.value.to_json()),
        hazards: hazards(document, flag),
        wanted: wanted_flag(&flag.value, chosen.name()),
        difference,
        edits,
    })
}

fn settings(variation: &str) -> [(&'static str, &str); 2] {
    [("state", "ENABLED"), ("defaultVariant", variation)]
}

/// Two insertions in one place become one edit, so that edits stay apart.
fn joined(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|edit| (edit.start, edit.end));
    let mut apart: Vec<Edit> = Vec::new();
    for edit in edits {
        match apart.last_mut() {
            Some(last) if last.start == edit.start && last.end == last.start => {
                last.text.push_str(&edit.text);
                last.end = edit.end;
            }
            _ => apart.push(edit),
        }
    }
    apart
}

/// An empty `targeting` is none.
fn is_targeting(entry: &Entry) -> bool {
    let empty = entry.value.is_map() && entry.value.entries().is_empty();
    entry.name() == "targeting" && !empty && !entry.value.is_plain_text("null")
}

fn hazards(document: &Document, flag: &Entry) -> Vec<Hazard> {
    let name = flag.name();
    let mut hazards = Vec::new();
    let mut say = |code: &str, text: &str| {
        hazards.push(Hazard { code: code.to_owned(), text: format!("flag `{name}` {text}") });
    };
    let targeting = flag.value.get("targeting").map(|entry| entry.value.span.clone());
    let targeting = targeting.and_then(|span| document.text.get(span)).unwrap_or_default();
    if targeting.contains(CLOCK) {
        say(
            "future-schedule",
            "has a rule that looks at the time; the rule is removed, else it could change the flag \
             again after the rollback",
        );
    }
    if flag.value.get("state").and_then(|entry| entry.value.text()) == Some("DISABLED") {
        say(
            "was-disabled",
            "is DISABLED: users get the code's own default now, and will get the variation instead",
        );
    }
    hazards
}

/// What the flag means afterwards, worked out from the tree and not from the text.
fn wanted_flag(flag: &Node, variation: &str) -> Plain {
    let text = |text: &str, plain| Plain::Scalar(Scalar { text: text.to_owned(), plain });
    let kept = flag.entries().iter().filter(|entry| !is_targeting(entry));
    let mut entries: Vec<_> = kept.map(|e| (e.key.plain(), e.value.plain())).collect();
    for (field, value) in settings(variation) {
        let now = flag.get(field).map(|entry| &entry.value);
        if now.and_then(Node::text) == Some(value) {
            continue;
        }
        let (key, value) = (text(field, true), text(value, false));
        match entries.iter_mut().find(|(name, _)| name.is_text(field)) {
            Some(entry) => entry.1 = value,
            None => entries.push((key, value)),
        }
    }
    Plain::Map(entries)
}
