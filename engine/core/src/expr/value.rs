//! JSON to CEL's values and back.

use std::collections::HashMap;
use std::sync::Arc;

use cel::ExecutionError;
use serde_json::{Map, Number, Value};

use super::ExprError;

/// A JSON value as CEL sees it: whole numbers are `int` wherever they fit.
pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) => number_to_cel(number),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => {
            cel::Value::List(Arc::new(items.iter().map(to_cel).collect::<Vec<_>>()))
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), to_cel(value)))
            .collect::<HashMap<String, cel::Value>>()
            .into(),
    }
}

fn number_to_cel(number: &Number) -> cel::Value {
    if let Some(whole) = number.as_i64() {
        cel::Value::Int(whole)
    } else if let Some(whole) = number.as_u64() {
        cel::Value::UInt(whole)
    } else {
        cel::Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// A result as JSON. The fields of a map are sorted: CEL keeps them in no order, and one
/// expression must always give the same bytes.
pub(super) fn to_json(value: &cel::Value) -> Result<Value, ExprError> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(bool) => Value::Bool(*bool),
        cel::Value::Int(whole) => (*whole).into(),
        cel::Value::UInt(whole) => (*whole).into(),
        cel::Value::Float(float) => Number::from_f64(*float)
            .map(Value::Number)
            .ok_or_else(|| ExprError::eval(format!("the result is {float}, not a number")))?,
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::List(items) => {
            Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?)
        }
        cel::Value::Map(map) => {
            let mut fields = map
                .map
                .iter()
                .map(|(key, value)| Ok((key.to_string(), to_json(value)?)))
                .collect::<Result<Vec<_>, ExprError>>()?;
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect::<Map<_, _>>())
        }
        cel::Value::Opaque(opaque) if opaque.runtime_type_name() == "optional_type" => {
            return Err(ExprError::eval("the result is optional: end it with `.orValue(…)`"));
        }
        other => {
            let message = format!("the result is a {}, which is not data", other.type_of());
            return Err(ExprError::eval(message));
        }
    })
}

/// The keys of a map, sorted; anything else as it is.
pub(super) fn in_order(value: cel::Value) -> cel::Value {
    let cel::Value::Map(map) = value else { return value };
    let mut keys: Vec<_> = map.map.keys().cloned().collect();
    keys.sort();
    cel::Value::List(Arc::new(keys.into_iter().map(cel::Value::from).collect()))
}

/// What went wrong, without the values: they may be long.
pub(super) fn brief(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not known"),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(", ");
            format!("`{}` does not take ({types})", operator(overload.function()))
        }
        ExecutionError::ValuesNotComparable(a, b) => {
            format!("a {} cannot be compared to a {}", a.type_of(), b.type_of())
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "the number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "the list is not that long".to_owned(),
        ExecutionError::FunctionError { function, message } => format!("`{function}`: {message}"),
        other => {
            let text = other.to_string();
            text.chars().take(200).collect()
        }
    }
}

/// `_+_` is `+`.
fn operator(function: &str) -> &str {
    let bare = function.trim_matches('_');
    if bare.is_empty() { function } else { bare }
}
