//! TOML into a tree with byte spans. The parser is `toml_edit`, which keeps them.
//!
//! A table's bytes go from the first of its headers or keys to the end of the last, so a value of
//! several headers (`[f.variations]`, `[[f.targeting]]`) has one span over all of them.

use std::ops::Range;

use backout_plugin_api::limits;
use toml_edit::{Document, InlineTable, Item, Key, Table, Value};

use crate::tree::{Entry, Node, Scalar, Shape};

/// Reads a file.
pub(crate) fn parse(text: &str) -> Result<Node, String> {
    let document = Document::parse(text).map_err(|error| error.to_string().trim().to_owned())?;
    table(text, document.as_table(), None, 0)
}

fn check_depth(depth: usize) -> Result<(), String> {
    if depth > limits::NESTING_MAX {
        return Err(format!("deeper than NESTING_MAX ({})", limits::NESTING_MAX));
    }
    Ok(())
}

fn table(
    text: &str,
    table: &Table,
    header: Option<Range<usize>>,
    depth: usize,
) -> Result<Node, String> {
    check_depth(depth)?;
    let mut entries = Vec::new();
    for (name, _) in table {
        if let Some((key, item)) = table.get_key_value(name) {
            entries.push(entry(text, key, item, depth)?);
        }
    }
    Ok(around(entries, false, header))
}

fn inline(text: &str, table: &InlineTable, depth: usize) -> Result<Node, String> {
    check_depth(depth)?;
    let mut entries = Vec::new();
    for (name, _) in table {
        if let Some((key, item)) = table.get_key_value(name) {
            entries.push(entry(text, key, item, depth)?);
        }
    }
    if table.is_dotted() {
        return Ok(around(entries, true, None));
    }
    let shape = Shape::Map { entries, flow: true, header: None };
    Ok(Node { span: table.span().unwrap_or_default(), shape })
}

fn entry(text: &str, key: &Key, item: &Item, depth: usize) -> Result<Entry, String> {
    let span = key.span().unwrap_or_default();
    let name = Scalar { text: key.get().to_owned(), plain: false };
    let key = Node { span, shape: Shape::Scalar(name) };
    let value = match item {
        Item::Table(inner) => {
            let header = inner.span().filter(|_| !inner.is_implicit() && !inner.is_dotted());
            table(text, inner, header, depth + 1)?
        }
        Item::ArrayOfTables(tables) => {
            let items = tables.iter().map(|inner| table(text, inner, inner.span(), depth + 1));
            let items = items.collect::<Result<Vec<_>, String>>()?;
            let span = cover(items.iter().map(|item| &item.span));
            Node { span, shape: Shape::List(items) }
        }
        Item::Value(inner) => value(text, inner, depth + 1)?,
        Item::None => return Err(format!("`{}` has no value", key.text().unwrap_or_default())),
    };
    Ok(Entry { key, value })
}

fn value(text: &str, value: &Value, depth: usize) -> Result<Node, String> {
    check_depth(depth)?;
    let span = value.span().unwrap_or_default();
    let shape = match value {
        Value::InlineTable(table) => return inline(text, table, depth),
        Value::Array(array) => {
            let items = array.iter().map(|item| self::value(text, item, depth + 1));
            Shape::List(items.collect::<Result<_, String>>()?)
        }
        Value::String(string) => {
            Shape::Scalar(Scalar { text: string.value().clone(), plain: false })
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            let text = text.get(span.clone()).unwrap_or_default().to_owned();
            Shape::Scalar(Scalar { text, plain: true })
        }
    };
    Ok(Node { span, shape })
}

/// A map whose bytes are those of its header and entries.
fn around(entries: Vec<Entry>, flow: bool, header: Option<Range<usize>>) -> Node {
    let parts = entries.iter().flat_map(|entry| [&entry.key.span, &entry.value.span]);
    let span = cover(parts.chain(header.as_ref()));
    Node { span, shape: Shape::Map { entries, flow, header } }
}

fn cover<'a>(parts: impl Iterator<Item = &'a Range<usize>>) -> Range<usize> {
    parts
        .filter(|part| !part.is_empty())
        .cloned()
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or_default()
}

/// A text as a TOML string: JSON's is one.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::{parse, quoted};

    #[test]
    fn a_table_of_many_headers_has_one_span() {
        let text = "[f.variations]\non = true\n\n[[f.targeting]]\nquery = \"a\"\n[[f.targeting]]\n\
                    query = 'b'\n[g]\nx = {y = 1}\n";
        let root = parse(text).unwrap();
        let of = |name: &str| text.get(root.get(name).unwrap().value.span.clone()).unwrap();
        assert!(of("f").starts_with("[f.variations]") && of("f").ends_with("query = 'b'"));
        assert_eq!(of("g"), "[g]\nx = {y = 1}");
        let targeting = &root.get("f").unwrap().value.get("targeting").unwrap().value;
        assert_eq!(targeting.items().len(), 2);
        assert!(parse("a = 1\na = 2\n").is_err());
        assert_eq!(quoted("o\"ff"), r#""o\"ff""#);
    }
}
