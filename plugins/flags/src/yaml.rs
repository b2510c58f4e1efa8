//! YAML into a tree with byte spans.

use std::collections::BTreeMap;
use std::ops::Range;

use backout_plugin_api::limits;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::tree::{Entry, NODES_MAX, Node, Scalar, Shape};

/// A collection that is still open.
struct Open {
    start: usize,
    anchor: usize,
    is_map: bool,
    nodes: Vec<Node>,
}

struct Builder<'a> {
    text: &'a str,
    /// The byte of each character; absent where each character is one byte.
    bytes: Option<Vec<usize>>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Node, String> {
    let bytes = (!text.is_ascii()).then(|| {
        text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len())).collect()
    });
    let mut builder =
        Builder { text, bytes, open: Vec::new(), anchors: BTreeMap::new(), root: None, nodes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            format!("line {}, column {}: {}", at.line(), at.col() + 1, error.info())
        })?;
        builder
            .take(event, span)
            .map_err(|error| format!("line {}: {error}", span.start.line()))?;
    }
    builder.root.ok_or_else(|| "the file is empty".to_owned())
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let mut node =
                    self.anchors.get(&anchor).cloned().ok_or("an alias of an open collection")?;
                node.span = self.span(span);
                self.put(node)
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let shape = Shape::Scalar(Scalar { text: text.into_owned(), plain });
                self.put_anchored(Node { span: self.span(span), shape }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(span, anchor, false),
            Event::MappingStart(anchor, _) => self.open(span, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, is_map: bool) -> Result<(), String> {
        if self.open.len() >= limits::NESTING_MAX {
            return Err(format!("deeper than NESTING_MAX ({})", limits::NESTING_MAX));
        }
        let start = self.span(span).start;
        self.open.push(Open { start, anchor, is_map, nodes: Vec::new() });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), String> {
        let open = self.open.pop().ok_or("a collection ends that never began")?;
        let end = self.span(span);
        let bracket = self.text.get(end.clone()).unwrap_or_default();
        let flow = matches!(bracket, "}" | "]");
        let last = open.nodes.iter().map(|node| node.span.end).max().unwrap_or(open.start);
        let span = open.start..if flow { end.end } else { last };
        let shape = if open.is_map {
            Shape::Map { entries: pairs(open.nodes), flow, header: None }
        } else {
            Shape::List(open.nodes)
        };
        self.put_anchored(Node { span, shape }, open.anchor)
    }

    fn put_anchored(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node)
    }

    fn put(&mut self, node: Node) -> Result<(), String> {
        self.nodes += node.count();
        if self.nodes > NODES_MAX.saturating_mul(limits::NESTING_MAX) || node.count() > NODES_MAX {
            return Err(format!("more than NODES_MAX ({NODES_MAX}) values"));
        }
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None if self.root.is_none() => self.root = Some(node),
            None => return Err("a second document; keep one document in a file".to_owned()),
        }
        Ok(())
    }

    /// The bytes of a span, without the white space that the parser counts in after a text block.
    fn span(&self, span: Span) -> Range<usize> {
        let byte = |index: usize| match &self.bytes {
            None => index.min(self.text.len()),
            Some(bytes) => bytes.get(index).copied().unwrap_or(self.text.len()),
        };
        let (start, end) = (byte(span.start.index()), byte(span.end.index()));
        let trimmed = self.text.get(start..end).unwrap_or_default().trim_end().len();
        start..start + trimmed
    }
}

/// Keys and values in turn; the parser gives an empty value where one is missing. Its place may
/// be anywhere up to the next token, so it takes the end of its key.
fn pairs(nodes: Vec<Node>) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(nodes.len() / 2);
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(mut value)) = (nodes.next(), nodes.next()) {
        if value.span.is_empty() {
            value.span = key.span.end..key.span.end;
        }
        entries.push(Entry { key, value });
    }
    entries
}
