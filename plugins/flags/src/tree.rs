//! A configuration file as a tree whose nodes know their bytes, so that an edit touches only what
//! it must.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{json, yaml};

/// Nodes of one file, aliases written out: beyond, a file multiplies itself.
pub(crate) const NODES_MAX: usize = 500_000;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    Yaml,
    Json,
}

/// One value and the bytes that it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) shape: Shape,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Scalar(Scalar),
    List(Vec<Node>),
    /// `flow` is `{a: b}`; else one entry a line.
    Map {
        entries: Vec<Entry>,
        flow: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Not quoted: `true` is a truth value, `"true"` a text.
    pub(crate) plain: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Node,
    pub(crate) value: Node,
}

/// What a node means, without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Scalar(Scalar),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Node {
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar(scalar) => Some(&scalar.text),
            Shape::List(_) | Shape::Map { .. } => None,
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.shape {
            Shape::Map { entries, .. } => entries,
            Shape::Scalar(_) | Shape::List(_) => &[],
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.name() == name)
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.shape {
            Shape::List(items) => items,
            Shape::Scalar(_) | Shape::Map { .. } => &[],
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.shape, Shape::Map { .. })
    }

    pub(crate) fn is_plain_text(&self, wanted: &str) -> bool {
        matches!(&self.shape, Shape::Scalar(scalar) if scalar.plain && scalar.text == wanted)
    }

    pub(crate) fn plain(&self) -> Plain {
        match &self.shape {
            Shape::Scalar(scalar) => Plain::Scalar(scalar.clone()),
            Shape::List(items) => Plain::List(items.iter().map(Self::plain).collect()),
            Shape::Map { entries, .. } => Plain::Map(
                entries.iter().map(|entry| (entry.key.plain(), entry.value.plain())).collect(),
            ),
        }
    }

    /// Nodes in it, itself included.
    pub(crate) fn count(&self) -> usize {
        match &self.shape {
            Shape::Scalar(_) => 1,
            Shape::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Shape::Map { entries, .. } => {
                1 + entries.iter().map(|e| e.key.count() + e.value.count()).sum::<usize>()
            }
        }
    }
}

impl Plain {
    /// Whether two maps mean the same whatever the order of their entries; keys compare by text.
    pub(crate) fn same_meaning(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| {
                        b.iter().any(|(k, v)| k.same_text(key) && v.same_meaning(value))
                    })
            }
            _ => self == other,
        }
    }

    fn same_text(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a.text == b.text,
            _ => self == other,
        }
    }
}

impl Entry {
    /// The key's text; empty where the key is no scalar, which no flag's name is.
    pub(crate) fn name(&self) -> &str {
        self.key.text().unwrap_or_default()
    }
}

/// A file of flags: text and tree.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) format: Format,
    pub(crate) root: Node,
}

impl Document {
    /// Reads a text; the error says where.
    pub(crate) fn parse(text: String, format: Format) -> Result<Self, String> {
        let root = match format {
            Format::Yaml => yaml::parse(&text)?,
            Format::Json => json::parse(&text)?,
        };
        if !root.is_map() {
            return Err("the file is no map of flags".to_owned());
        }
        Ok(Self { text, format, root })
    }

    /// The one flag of this name.
    pub(crate) fn flag(&self, name: &str) -> Result<&Entry, String> {
        let mut found = self.root.entries().iter().filter(|entry| entry.name() == name);
        let entry = found.next().ok_or_else(|| self.no_such_flag(name))?;
        if found.next().is_some() {
            return Err(format!("flag `{name}` stands in the file twice"));
        }
        if !entry.value.is_map() {
            return Err(format!("flag `{name}` is no map"));
        }
        Ok(entry)
    }

    fn no_such_flag(&self, name: &str) -> String {
        /// Names in the message: more do not fit a screen.
        const NAMED_MAX: usize = 20;
        let names: Vec<_> = self.root.entries().iter().take(NAMED_MAX).map(Entry::name).collect();
        format!("there is no flag `{name}`; the file has: {}", names.join(", "))
    }

    /// The bytes of an entry: in block style to the end of its last line, a comment there included.
    pub(crate) fn block(&self, entry: &Entry, in_map: &Node) -> Range<usize> {
        let end = entry.value.span.end.max(entry.key.span.end);
        let end = if is_flow(in_map) { end } else { self.line_end(end) };
        entry.key.span.start..end
    }

    /// The text of a flag's block.
    pub(crate) fn flag_block(&self, flag: &Entry) -> &str {
        self.text.get(self.block(flag, &self.root)).unwrap_or_default()
    }

    /// The edits that take entries out of a map, the separators with them.
    pub(crate) fn removal(&self, map: &Node, drop: &[usize]) -> Result<Vec<Edit>, String> {
        if is_flow(map) {
            return Ok(flow_removal(map.entries(), drop));
        }
        let mut edits = Vec::new();
        for entry in drop.iter().filter_map(|at| map.entries().get(*at)) {
            let block = self.block(entry, map);
            let start = self.line_start(block.start);
            let indent = self.text.get(start..block.start).unwrap_or("?");
            if !indent.bytes().all(|byte| byte == b' ') {
                return Err(format!(
                    "`{}` does not begin its line; write it on a line of its own",
                    entry.name()
                ));
            }
            let end = (block.end + self.newline_at(block.end)).min(self.text.len());
            edits.push(Edit { start, end, text: String::new() });
        }
        Ok(edits)
    }

    fn line_start(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|head| head.rfind('\n')).map_or(0, |newline| newline + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        let tail = self.text.get(at..).unwrap_or_default();
        let end = at + tail.find('\n').unwrap_or(tail.len());
        if self.text.get(at..end).is_some_and(|line| line.ends_with('\r')) { end - 1 } else { end }
    }

    fn newline_at(&self, at: usize) -> usize {
        let tail = self.text.get(at..).unwrap_or_default();
        if tail.starts_with("\r\n") { 2 } else { usize::from(tail.starts_with('\n')) }
    }
}

fn flow_removal(entries: &[Entry], drop: &[usize]) -> Vec<Edit> {
    let end_of = |at: usize| entries.get(at).map_or(0, |e| e.value.span.end.max(e.key.span.end));
    let kept_before = |at: usize| (0..at).any(|other| !drop.contains(&other));
    let edit = |at: usize| {
        let entry = entries.get(at)?;
        let (start, end) = if kept_before(at) {
            (end_of(at.checked_sub(1)?), end_of(at))
        } else {
            let next = entries.get(at + 1).map(|next| next.key.span.start);
            (entry.key.span.start, next.unwrap_or_else(|| end_of(at)))
        };
        Some(Edit { start, end, text: String::new() })
    };
    drop.iter().filter_map(|at| edit(*at)).collect()
}

pub(crate) fn is_flow(map: &Node) -> bool {
    matches!(map.shape, Shape::Map { flow: true, .. })
}

/// Some bytes replaced by others; positions are of the text before any edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) text: String,
}

/// The text after the edits, which must be in order and apart.
pub(crate) fn edited(text: &str, edits: &[Edit]) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        let kept = text.get(at..edit.start).filter(|_| edit.end >= edit.start);
        result.push_str(kept.ok_or("the edits do not fit the file")?);
        result.push_str(&edit.text);
        at = edit.end;
    }
    result.push_str(text.get(at..).ok_or("the edits do not fit the file")?);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::{Edit, edited};

    fn edit(start: usize, end: usize, text: &str) -> Edit {
        Edit { start, end, text: text.to_owned() }
    }

    #[test]
    fn edits_apply_in_order_or_not_at_all() {
        let done = edited("abcdef", &[edit(1, 2, "X"), edit(2, 4, ""), edit(6, 6, "!")]);
        assert_eq!(done.as_deref(), Ok("aXef!"));
        for wrong in
            [vec![edit(3, 5, ""), edit(4, 6, "")], vec![edit(0, 9, "")], vec![edit(4, 2, "")]]
        {
            assert!(edited("abcdef", &wrong).is_err(), "{wrong:?}");
        }
        assert!(edited("\u{e9}", &[edit(1, 2, "")]).is_err(), "inside a character");
    }
}
