//! A file of flags: its text, its tree, and the edits that touch only what they must.

use std::ops::Range;

use crate::tree::{Edit, Entry, Format, Layout, Node, Shape, is_flow};
use crate::{json, toml, yaml};

/// A file of flags: text and tree.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) format: Format,
    pub(crate) layout: Layout,
    pub(crate) root: Node,
}

impl Document {
    /// Reads a text; the error says where.
    pub(crate) fn parse(text: String, format: Format, layout: Layout) -> Result<Self, String> {
        let root = match format {
            Format::Yaml => yaml::parse(&text)?,
            Format::Json => json::parse(&text)?,
            Format::Toml => toml::parse(&text)?,
        };
        match layout {
            Layout::Root if root.is_map() => Ok(Self { text, format, layout, root }),
            Layout::Root => Err("the file is no map of flags".to_owned()),
            Layout::Under(name) => {
                let found: Vec<_> = root.entries().iter().filter(|e| e.name() == name).collect();
                match found.as_slice() {
                    [one] if one.value.is_map() => Ok(Self { text, format, layout, root }),
                    [_] => Err(format!("`{name}` is no map of flags by their names")),
                    [] => Err(format!("the file has no map `{name}`")),
                    _ => Err(format!("`{name}` stands in the file twice")),
                }
            }
        }
    }

    /// The map of flags.
    pub(crate) fn flags(&self) -> &Node {
        match self.layout {
            Layout::Root => &self.root,
            Layout::Under(name) => self.root.get(name).map_or(&self.root, |entry| &entry.value),
        }
    }

    /// The one flag of this name.
    pub(crate) fn flag(&self, name: &str) -> Result<&Entry, String> {
        let mut found = self.flags().entries().iter().filter(|entry| entry.name() == name);
        let entry = found.next().ok_or_else(|| self.no_such_flag(name))?;
        if found.next().is_some() {
            return Err(format!("flag `{name}` stands in the file twice"));
        }
        if !entry.value.is_map() {
            return Err(format!("flag `{name}` is no map"));
        }
        self.check_in_one_piece(entry)?;
        Ok(entry)
    }

    fn no_such_flag(&self, name: &str) -> String {
        /// Names in the message: more do not fit a screen.
        const NAMED_MAX: usize = 20;
        let names: Vec<_> =
            self.flags().entries().iter().take(NAMED_MAX).map(Entry::name).collect();
        format!("there is no flag `{name}`; the file has: {}", names.join(", "))
    }

    /// In TOML the tables of one flag may stand anywhere; what is put back later is one piece.
    fn check_in_one_piece(&self, flag: &Entry) -> Result<(), String> {
        if self.format != Format::Toml {
            return Ok(());
        }
        let own = self.block(flag, self.flags());
        let between = self.flags().entries().iter().find(|other| {
            let theirs = self.block(other, self.flags());
            !std::ptr::eq(*other, flag) && theirs.start < own.end && own.start < theirs.end
        });
        between.map_or(Ok(()), |other| {
            Err(format!(
                "tables of `{}` stand between those of flag `{}`; write each flag in one piece",
                other.name(),
                flag.name()
            ))
        })
    }

    /// The bytes of an entry: in block style to the end of its last line, a comment there included.
    pub(crate) fn block(&self, entry: &Entry, in_map: &Node) -> Range<usize> {
        let end = entry.value.span.end.max(entry.key.span.end);
        if is_flow(in_map) {
            return entry.key.span.start..end;
        }
        let start = match self.format {
            // A dotted key or a header begins before the name itself does.
            Format::Toml => self.first_of_line(entry.key.span.start.min(entry.value.span.start)),
            Format::Yaml | Format::Json => entry.key.span.start,
        };
        start..self.line_end(end)
    }

    /// The edits that take entries out of a map, the separators with them.
    pub(crate) fn removal(&self, map: &Node, drop: &[usize]) -> Result<Vec<Edit>, String> {
        if is_flow(map) {
            return Ok(flow_removal(map.entries(), drop));
        }
        let entries = drop.iter().filter_map(|at| map.entries().get(*at));
        entries.map(|entry| self.line_removal(entry, map)).collect()
    }

    fn line_removal(&self, entry: &Entry, map: &Node) -> Result<Edit, String> {
        let block = self.block(entry, map);
        let start = self.line_start(block.start);
        let indent = self.text.get(start..block.start).unwrap_or("?");
        if !indent.bytes().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(format!(
                "`{}` does not begin its line; write it on a line of its own",
                entry.name()
            ));
        }
        let end = (block.end + self.newline_at(block.end)).min(self.text.len());
        Ok(Edit { start, end, text: String::new() })
    }

    /// The edit that gives a map's entry a value; `literal` is written as it is. Not for TOML.
    pub(crate) fn set(&self, map: &Node, name: &str, literal: &str) -> Edit {
        let key = match self.format {
            Format::Json => format!("\"{name}\""),
            Format::Yaml | Format::Toml => name.to_owned(),
        };
        let field = format!("{key}: {literal}");
        if let Some(now) = map.get(name) {
            let end = now.value.span.end.max(now.key.span.end);
            return Edit { start: now.key.span.start, end, text: field };
        }
        match map.entries().first() {
            Some(first) => self.insertion(first, map, &field),
            // An empty map is `{}`.
            None => Edit { start: map.span.start + 1, end: map.span.start + 1, text: field },
        }
    }

    /// A new entry before the first one, on a line of its own where that one has one.
    fn insertion(&self, first: &Entry, map: &Node, field: &str) -> Edit {
        let at = first.key.span.start;
        let indent = self.text.get(self.line_start(at)..at).unwrap_or_default();
        let alone = indent.bytes().all(|byte| matches!(byte, b' ' | b'\t'));
        let newline = self.newline();
        let comma = if is_flow(map) { "," } else { "" };
        let gap = if alone { format!("{newline}{indent}") } else { " ".to_owned() };
        Edit { start: at, end: at, text: format!("{field}{comma}{gap}") }
    }

    /// How the file ends its lines.
    pub(crate) fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    pub(crate) fn line_start(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|head| head.rfind('\n')).map_or(0, |newline| newline + 1)
    }

    fn first_of_line(&self, at: usize) -> usize {
        let start = self.line_start(at);
        let line = self.text.get(start..at).unwrap_or_default();
        start + (line.len() - line.trim_start().len())
    }

    pub(crate) fn line_end(&self, at: usize) -> usize {
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

/// Constructs whose meaning stands elsewhere in the file, in a flag or a map of it.
pub(crate) fn check_editable(map: &Node) -> Result<(), String> {
    let inside = |node: &Node| node.span.start >= map.span.start && node.span.end <= map.span.end;
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
    Ok(())
}

/// The entries that a rule picks out, by their places.
pub(crate) fn positions(map: &Node, wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
    let entries = map.entries().iter().enumerate();
    entries.filter(|(_, entry)| wanted(entry)).map(|(at, _)| at).collect()
}

/// An entry in a few words.
pub(crate) fn described(entry: &Entry) -> String {
    let count = match &entry.value.shape {
        Shape::Scalar(scalar) => return format!("{}: {}", entry.name(), scalar.text),
        Shape::List(items) => items.len(),
        Shape::Map { .. } => 0,
    };
    match count {
        0 => entry.name().to_owned(),
        1 => format!("{} (1 entry)", entry.name()),
        count => format!("{} ({count} entries)", entry.name()),
    }
}
