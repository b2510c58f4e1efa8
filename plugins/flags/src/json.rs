//! JSON into a tree with byte spans.

use backout_plugin_api::limits;
use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde::de::IgnoredAny;

use crate::tree::{Entry, Node, Scalar, Shape};

/// Reads one document. The readers of these files take strict JSON only, so `serde_json` decides
/// whether it is valid; the other parser knows the places.
pub(crate) fn parse(text: &str) -> Result<Node, String> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default())
        .map_err(|error| error.to_string())?;
    node(text, &parsed.value.ok_or("the file is empty")?, 0)
}

fn node(text: &str, value: &Value<'_>, depth: usize) -> Result<Node, String> {
    if depth > limits::NESTING_MAX {
        return Err(format!("deeper than NESTING_MAX ({})", limits::NESTING_MAX));
    }
    let range = value.range();
    let span = range.start..range.end;
    let shape = match value {
        Value::StringLit(string) => {
            Shape::Scalar(Scalar { text: string.value.clone().into_owned(), plain: false })
        }
        Value::Object(object) => {
            let entry = |prop: &jsonc_parser::ast::ObjectProp<'_>| {
                let at = prop.name.range();
                let key = Scalar { text: prop.name.as_str().to_owned(), plain: false };
                let key = Node { span: at.start..at.end, shape: Shape::Scalar(key) };
                Ok(Entry { key, value: node(text, &prop.value, depth + 1)? })
            };
            let entries = object.properties.iter().map(entry).collect::<Result<_, String>>()?;
            Shape::Map { entries, flow: true, header: None }
        }
        Value::Array(array) => {
            let items = array.elements.iter().map(|item| node(text, item, depth + 1));
            Shape::List(items.collect::<Result<_, String>>()?)
        }
        Value::NumberLit(_) | Value::BooleanLit(_) | Value::NullKeyword(_) => {
            let text = text.get(span.clone()).unwrap_or_default().to_owned();
            Shape::Scalar(Scalar { text, plain: true })
        }
    };
    Ok(Node { span, shape })
}
