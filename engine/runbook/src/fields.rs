//! Fields by name and type, with a problem at the place of each that is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use backout_core::expr::RESERVED;
use backout_core::limits::{DURATION_MS_MAX, ID_CHARS_MAX};

use crate::codes;
use crate::problem::{Problem, advice};
use crate::tables::StructDoc;
use crate::tree::{Kind, Node, Span};

/// A value and its place.
#[derive(Clone, Copy, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

/// The fields of one struct, each known and written once.
#[derive(Debug)]
pub struct Record<'n, 'a> {
    doc: &'static StructDoc,
    /// The place of the whole struct.
    pub span: Span,
    fields: Vec<(&'a str, &'n Node<'a>)>,
}

impl<'n, 'a> Record<'n, 'a> {
    /// Opens a struct; nothing where the node is something else.
    pub fn open(
        node: &'n Node<'a>,
        doc: &'static StructDoc,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let (name, written) = match &node.bare().kind {
            Kind::Struct(name, fields) => (name.as_ref(), fields.as_slice()),
            Kind::Tuple(name, items) if items.is_empty() => (name.as_ref(), [].as_slice()),
            Kind::Unit => (None, [].as_slice()),
            Kind::Bad => return None,
            _ => {
                problems.push(
                    wrong(node, &format!("`{}(…)`", doc.name))
                        .help(format!("write `{}(field: value)`", doc.name)),
                );
                return None;
            }
        };
        if let Some(name) = name
            && name.text != doc.name
        {
            let message = format!("`{}(…)` instead of `{}(…)`", name.text, doc.name);
            problems.push(
                Problem::new(codes::WRONG_TYPE, message)
                    .at(name.span, format!("`{}` is expected here", doc.name))
                    .advise("the name may be left out"),
            );
        }
        let mut record = Self { doc, span: node.span, fields: Vec::with_capacity(written.len()) };
        for field in written {
            let name = field.name.text;
            if !doc.fields.iter().any(|known| known.name == name) {
                let message = format!("`{}` has no field `{name}`", doc.name);
                problems.push(
                    Problem::new(codes::UNKNOWN_FIELD, message)
                        .at(field.name.span, "no such field")
                        .help(advice(name, "its fields are", &doc.names())),
                );
            } else if let Some(first) = written.iter().find(|first| first.name.text == name)
                && first.name.span != field.name.span
            {
                problems.push(twice(&format!("field `{name}`"), first.name.span, field.name.span));
            } else {
                record.fields.push((name, &field.value));
            }
        }
        Some(record)
    }

    /// The value of a field; nothing where it is left out or `None`.
    pub fn get(&self, name: &str) -> Option<&'n Node<'a>> {
        debug_assert!(self.doc.fields.iter().any(|field| field.name == name), "{name}");
        let (_, node) = self.fields.iter().find(|(written, _)| *written == name)?;
        let node = node.bare();
        (!matches!(node.kind, Kind::None)).then_some(node)
    }

    /// Whether the field is written, readable or not.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Reports a field that must be there.
    pub fn require(&self, name: &str, problems: &mut Vec<Problem>) {
        if !self.has(name) {
            let message = format!("`{}` is missing in `{}`", name, self.doc.name);
            let end = self.span.end.saturating_sub(1).max(self.span.start);
            let takes = self.doc.fields.iter().find(|field| field.name == name);
            problems.push(
                Problem::new(codes::MISSING_FIELD, message)
                    .at(self.span.start..self.span.start + 1, "in what begins here")
                    .at(end..self.span.end, "before this")
                    .help(takes.map(|field| format!("add `{name}: …`: {}", field.takes))),
            );
        }
    }

    /// A text and its place.
    pub fn text(&self, name: &str, problems: &mut Vec<Problem>) -> Option<At<&'n str>> {
        text(self.get(name)?, problems)
    }

    /// A text as an owned value; empty where there is none.
    pub(crate) fn line(&self, name: &str, problems: &mut Vec<Problem>) -> String {
        self.text(name, problems).map(|text| text.value.to_owned()).unwrap_or_default()
    }

    /// A text as an owned value.
    pub fn owned(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        self.text(name, problems).map(|text| text.value.to_owned())
    }

    /// `true` or `false`.
    pub fn boolean(&self, name: &str, problems: &mut Vec<Problem>) -> Option<bool> {
        let node = self.get(name)?;
        match node.kind {
            Kind::Bool(bool) => Some(bool),
            _ => refuse(node, "`true` or `false`", problems),
        }
    }

    /// A whole number between two others.
    pub fn whole(
        &self,
        name: &str,
        (least, most, limit): (u32, u32, &str),
        problems: &mut Vec<Problem>,
    ) -> Option<u32> {
        let node = self.get(name)?;
        let Kind::Integer(whole) = node.kind else {
            return refuse(node, "a whole number", problems);
        };
        let fits = u32::try_from(whole).ok().filter(|whole| (least..=most).contains(whole));
        if fits.is_none() {
            let message = format!("`{name}` is {whole}, not between {least} and {most}{limit}");
            problems.push(Problem::new(codes::OUT_OF_RANGE, message).at(node.span, "out of range"));
        }
        fits
    }

    /// A number between two others.
    pub(crate) fn number(
        &self,
        name: &str,
        (least, most): (f64, f64),
        problems: &mut Vec<Problem>,
    ) -> Option<f64> {
        let node = self.get(name)?;
        let number = match node.kind {
            Kind::Float(float) => float,
            Kind::Integer(whole) => f64::from(i32::try_from(whole).unwrap_or(i32::MAX)),
            _ => return refuse(node, "a number", problems),
        };
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let message = format!("`{name}` is {number}, not between {least} and {most}");
        problems.push(Problem::new(codes::OUT_OF_RANGE, message).at(node.span, "out of range"));
        None
    }

    /// A duration in milliseconds.
    pub(crate) fn duration(&self, name: &str, problems: &mut Vec<Problem>) -> Option<u64> {
        let text = self.text(name, problems)?;
        match parse_duration(text.value) {
            Ok(ms) => Some(ms),
            Err(problem) => {
                problems.push(problem.at(text.span, "not a duration that can be used"));
                None
            }
        }
    }

    /// A duration that is not zero, in milliseconds.
    pub(crate) fn some_time(&self, name: &str, problems: &mut Vec<Problem>) -> Option<u64> {
        let ms = self.duration(name, problems)?;
        if ms > 0 {
            return Some(ms);
        }
        let message = format!("`{name}` is no time at all");
        let span = self.get(name)?.span;
        problems.push(Problem::new(codes::OUT_OF_RANGE, message).at(span, "must be longer"));
        None
    }

    /// A list.
    pub fn list(&self, name: &str, problems: &mut Vec<Problem>) -> Option<&'n [Node<'a>]> {
        let node = self.get(name)?;
        match &node.kind {
            Kind::List(items) => Some(items),
            _ => refuse(node, "a list `[…]`", problems),
        }
    }

    /// The texts of a list, with their places.
    pub fn texts(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Vec<At<&'n str>>> {
        texts(self.get(name)?, problems)
    }

    /// A list of texts, owned; empty where there is none.
    pub(crate) fn lines(&self, name: &str, problems: &mut Vec<Problem>) -> Vec<String> {
        let texts = self.texts(name, problems).unwrap_or_default();
        texts.into_iter().map(|text| text.value.to_owned()).collect()
    }

    /// One of some words, bare or as a text.
    pub fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let node = self.get(name)?;
        let written = match &node.kind {
            Kind::Name(written) => written,
            Kind::Text(written) => &**written,
            _ => return refuse(node, "a bare word", problems),
        };
        let found = words.iter().find(|(word, _)| *word == written).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{written}` is not a word for `{name}`");
            problems.push(
                Problem::new(codes::BAD_WORD, message)
                    .at(node.span, "not known")
                    .help(format!("write one of {}", listed(&names))),
            );
        }
        found
    }

    /// The entries of a map with texts as keys, or of a struct, each key once.
    pub fn entries(
        &self,
        name: &str,
        problems: &mut Vec<Problem>,
    ) -> Vec<(At<&'n str>, &'n Node<'a>)> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let pairs: Vec<(At<&'n str>, &'n Node<'a>)> = match &node.kind {
            Kind::Map(entries) => entries
                .iter()
                .filter_map(|(key, value)| Some((text(key.bare(), problems)?, value.bare())))
                .collect(),
            Kind::Struct(None, fields) => fields
                .iter()
                .map(|field| {
                    let key = At { value: field.name.text, span: field.name.span };
                    (key, field.value.bare())
                })
                .collect(),
            Kind::Unit => Vec::new(),
            _ => return refuse(node, "a map `{\"name\": …}`", problems).unwrap_or_default(),
        };
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        let mut once = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if let Some(first) = seen.get(key.value) {
                problems.push(twice(&format!("key `{}`", key.value), *first, key.span));
            } else {
                seen.insert(key.value, key.span);
                once.push((key, value));
            }
        }
        once
    }
}

/// The texts of a node that is a list, with their places.
pub fn texts<'n>(node: &'n Node<'_>, problems: &mut Vec<Problem>) -> Option<Vec<At<&'n str>>> {
    match &node.kind {
        Kind::List(items) => {
            Some(items.iter().filter_map(|item| text(item.bare(), problems)).collect())
        }
        _ => refuse(node, "a list `[…]`", problems),
    }
}

/// The text of a node, with its place.
pub fn text<'n>(node: &'n Node<'_>, problems: &mut Vec<Problem>) -> Option<At<&'n str>> {
    match &node.kind {
        Kind::Text(text) => Some(At { value: text, span: node.span }),
        _ => refuse(node, "a text", problems),
    }
}

/// Reports a node of the wrong type, unless it was reported before.
fn refuse<T>(node: &Node<'_>, wanted: &str, problems: &mut Vec<Problem>) -> Option<T> {
    if !matches!(node.kind, Kind::Bad) {
        problems.push(wrong(node, wanted));
    }
    None
}

fn wrong(node: &Node<'_>, wanted: &str) -> Problem {
    Problem::new(codes::WRONG_TYPE, format!("{} instead of {wanted}", node.describe()))
        .at(node.span, format!("{wanted} is expected here"))
        .help(hint(node, wanted))
}

fn hint(node: &Node<'_>, wanted: &str) -> Option<String> {
    match (&node.kind, wanted) {
        (Kind::Name(name), "a text") => Some(format!("write it in quotes: \"{name}\"")),
        (Kind::Text(text), "a list `[…]`") => Some(format!("write [{text:?}]")),
        (Kind::Integer(_) | Kind::Float(_), "a text") => Some("write it in quotes".to_owned()),
        _ => None,
    }
}

pub(crate) fn twice(what: &str, first: Span, second: Span) -> Problem {
    Problem::new(codes::DUPLICATE_KEY, format!("{what} is written twice"))
        .at(second, "written again here")
        .at(first, "written first here")
        .advise("remove one of them; RON alone would silently keep the last")
}

pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A duration in milliseconds, or a problem without a place.
pub(crate) fn parse_duration(text: &str) -> Result<u64, Problem> {
    let parsed = humantime::parse_duration(text).map_err(|error| {
        Problem::new(codes::BAD_DURATION, format!("`{text}` is not a duration: {error}"))
            .advise("write such as \"90s\", \"15m\", \"1h30m\" or \"250ms\"")
    })?;
    let most = Duration::from_millis(DURATION_MS_MAX);
    u64::try_from(parsed.as_millis()).ok().filter(|_| parsed <= most).ok_or_else(|| {
        Problem::new(
            codes::BAD_DURATION,
            format!("`{text}` is longer than DURATION_MS_MAX (366 days)"),
        )
        .advise("a rollback that waits longer is forgotten")
    })
}

/// What is wrong with an id or a parameter's name; nothing where it is right.
pub(crate) fn name_fault(what: &str, name: At<&str>) -> Option<Problem> {
    let shape = name.value.starts_with(|c: char| c.is_ascii_lowercase())
        && name.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let (message, help) = if !shape {
        let lower: String = name
            .value
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let better = lower.trim_start_matches(|c: char| !c.is_ascii_lowercase());
        let help = if better.is_empty() {
            "a lower-case letter first, then lower-case letters, digits and `_`".to_owned()
        } else {
            format!("a lower-case letter first, then letters, digits and `_`: \"{better}\"")
        };
        (format!("`{}` cannot be {what}", name.value), help)
    } else if name.value.len() > ID_CHARS_MAX {
        let message = format!("{what} is longer than ID_CHARS_MAX ({ID_CHARS_MAX})");
        (message, "write more of it in `title`".to_owned())
    } else if RESERVED.contains(&name.value) {
        let message = format!("`{}` is a reserved word of CEL and cannot be {what}", name.value);
        (message, format!("add a word: \"{}_step\"", name.value))
    } else {
        return None;
    };
    Some(Problem::new(codes::BAD_NAME, message).at(name.span, "not allowed").help(help))
}
