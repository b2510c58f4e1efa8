//! A configuration file as a tree whose nodes know their bytes, so that an edit touches only what
//! it must.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Nodes of one file, aliases written out: beyond, a file multiplies itself.
pub(crate) const NODES_MAX: usize = 500_000;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    Yaml,
    Json,
    Toml,
}

/// Where in a file the flags stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The file is a map of flags.
    Root,
    /// The map of flags is this field of the file.
    Under(&'static str),
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
    /// `flow` is `{a: b}`; else one entry a line. `header` is TOML's `[a.b]`, where it is written.
    Map {
        entries: Vec<Entry>,
        flow: bool,
        header: Option<Range<usize>>,
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

    /// What it means as data.
    pub(crate) fn to_json(&self) -> Value {
        match &self.shape {
            Shape::Scalar(Scalar { text, plain: true }) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Shape::Scalar(Scalar { text, plain: false }) => Value::String(text.clone()),
            Shape::List(items) => items.iter().map(Self::to_json).collect(),
            Shape::Map { entries, .. } => {
                let entries = entries.iter().map(|e| (e.name().to_owned(), e.value.to_json()));
                Value::Object(entries.collect())
            }
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

    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.text == text)
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
