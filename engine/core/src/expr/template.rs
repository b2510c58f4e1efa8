//! Texts that hold `${…}`, and JSON trees of such texts.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::reference::Reference;
use super::{ExprError, Expression, Scope};

/// One piece of a template.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// `${…}`.
    Expression {
        /// The byte offset of the expression in the text, after `${`.
        at: usize,
        /// The bytes of the expression.
        bytes: usize,
        /// The expression.
        expression: Expression,
    },
}

/// A text that may hold `${…}`; `$${` stands for a literal `${`.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Whether the text needs more than copying: it holds `${`.
    pub fn is_needed(text: &str) -> bool {
        text.contains("${")
    }

    /// Splits a text.
    ///
    /// # Errors
    /// [`ExprError::Syntax`] with the byte offset in `text`.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with("$${") {
                literal.push_str("${");
                at += 3;
            } else if let Some(inner) = rest.strip_prefix("${") {
                let bytes = end_of(inner)
                    .ok_or_else(|| ExprError::syntax(at, "`${` without the `}` that ends it"))?;
                let start = at + 2;
                let expression = Expression::parse(inner.get(..bytes).unwrap_or(""))
                    .map_err(|error| error.shifted(start))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Expression { at: start, bytes, expression });
                at = start + bytes + 1;
            } else {
                let next = rest.char_indices().skip(1).find(|(_, char)| *char == '$');
                let length = next.map_or(rest.len(), |(length, _)| length);
                literal.push_str(rest.get(..length).unwrap_or(""));
                at += length;
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether it is only one `${…}`, so that the result keeps the expression's type.
    pub fn is_whole(&self) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Expression { .. }])
    }

    /// The expressions, each with its byte offset in the text.
    pub fn expressions(&self) -> impl Iterator<Item = (usize, &Expression)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Expression { at, expression, .. } => Some((*at, expression)),
        })
    }

    /// The text filled in.
    ///
    /// # Errors
    /// As [`Expression::eval`]; also where a value is inserted into text that is null.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        if let [Piece::Expression { expression, .. }] = self.pieces.as_slice() {
            return expression.eval(scope);
        }
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Expression { expression, .. } => {
                    insert(&mut text, &expression.eval(scope)?)?;
                }
            }
        }
        Ok(Value::String(text))
    }
}

fn insert(text: &mut String, value: &Value) -> Result<(), ExprError> {
    match value {
        Value::String(inserted) => text.push_str(inserted),
        Value::Null => return Err(ExprError::eval("null cannot be inserted into text")),
        // Writing to a String cannot fail.
        other => drop(write!(text, "{other}")),
    }
    Ok(())
}

/// Bytes before the `}` that ends an expression; braces and texts inside are stepped over.
fn end_of(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => depth += 1,
            b'}' => match depth.checked_sub(1) {
                None => return Some(at),
                Some(less) => depth = less,
            },
            b'"' | b'\'' => {
                let raw = at.checked_sub(1).and_then(|before| bytes.get(before));
                at = end_of_text(bytes, at, matches!(raw, Some(b'r' | b'R')))?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The place after a text that begins at `start`.
fn end_of_text(bytes: &[u8], start: usize, raw: bool) -> Option<usize> {
    let quote = *bytes.get(start)?;
    let triple = bytes.get(start..start + 3).is_some_and(|three| three == [quote; 3]);
    let length = if triple { 3 } else { 1 };
    let mut at = start + length;
    loop {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        if rest.first() == Some(&b'\\') && !raw {
            at += 2;
        } else if rest.len() >= length && rest.iter().take(length).all(|byte| *byte == quote) {
            return Some(at + length);
        } else {
            at += 1;
        }
    }
}

/// Fills in every text of a JSON tree; the names of fields stay as they are.
///
/// # Errors
/// As [`Template::parse`] and [`Template::resolve`].
pub fn resolve(with: &Value, scope: &Scope<'_>) -> Result<Value, ExprError> {
    match with {
        Value::String(text) if Template::is_needed(text) => Template::parse(text)?.resolve(scope),
        Value::Array(items) => items
            .iter()
            .map(|item| resolve(item, scope))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| Ok((name.clone(), resolve(value, scope)?)))
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
        plain => Ok(plain.clone()),
    }
}

/// All that the texts of a JSON tree name.
///
/// # Errors
/// As [`Template::parse`].
pub fn references_of(with: &Value) -> Result<Vec<Reference>, ExprError> {
    let mut found = Vec::new();
    gather(with, &mut found)?;
    Ok(found)
}

fn gather(with: &Value, found: &mut Vec<Reference>) -> Result<(), ExprError> {
    match with {
        Value::String(text) if Template::is_needed(text) => {
            let template = Template::parse(text)?;
            for (_, expression) in template.expressions() {
                found.extend_from_slice(expression.references());
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| gather(item, found)),
        Value::Object(fields) => fields.values().try_for_each(|value| gather(value, found)),
        _ => Ok(()),
    }
}

/// Computes a condition, the text of a step's `when`.
///
/// # Errors
/// As [`Expression::parse`] and [`Expression::eval`]; also where the result is neither true nor
/// false.
pub fn truth(text: &str, scope: &Scope<'_>) -> Result<bool, ExprError> {
    match Expression::parse(text)?.eval(scope)? {
        Value::Bool(answer) => Ok(answer),
        other => Err(ExprError::eval(format!("the condition gives {other}, not true or false"))),
    }
}

/// The JSON tree whose texts [`resolve`] gives back as they stand here.
pub fn literal(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => Value::Array(items.iter().map(literal).collect()),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, value)| (name.clone(), literal(value))).collect(),
        ),
        plain => plain.clone(),
    }
}
