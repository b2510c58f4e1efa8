//! What an expression may see, and how it is shown to CEL.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde_json::Value;

use super::reference::{OUTPUT, Reference};
use super::value::to_cel;
use crate::plan::ParamValue;

/// Where the outputs of a run are looked up. A run's state is one, and so is a map by step id.
pub trait Outputs {
    /// The output of the step with this whole id, `id` or `id[key]`; nothing where it has none.
    fn output(&self, id: &str) -> Option<&Value>;

    /// The keys of the sub-steps `id[key]`; empty where `id` is not a `for_each`.
    fn keys(&self, id: &str) -> Vec<String>;
}

/// What an expression may see.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The parameters; a secret's value is its reference.
    pub params: &'a BTreeMap<String, ParamValue>,
    /// The item of the `for_each`; absent outside of one.
    pub item: Option<&'a Value>,
    /// The outputs so far.
    pub outputs: &'a dyn Outputs,
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("item", &self.item).finish_non_exhaustive()
    }
}

/// The key of `id[key]`.
pub(super) fn key_of(id: &str) -> Option<&str> {
    let open = id.find('[')?;
    id.get(open + 1..)?.strip_suffix(']')
}

impl<'a> Scope<'a> {
    /// The value of a plain reference.
    pub(super) fn plain(&self, reference: &Reference) -> Option<&'a Value> {
        match reference {
            Reference::Param { name, path } => walk(&self.params.get(name)?.value, path),
            Reference::Item { path } => walk(self.item?, path),
            Reference::Output { step, key, field, path } => {
                if key.is_none() && !self.outputs.keys(step).is_empty() {
                    return None;
                }
                let output = self.outputs.output(&whole_id(step, key.as_deref()))?;
                match field {
                    Some(field) => walk(output.as_object()?.get(field)?, path),
                    None => Some(output),
                }
            }
        }
    }

    /// The first part of a reference that is not there; nothing where all of it is.
    pub(super) fn missing(&self, reference: &Reference) -> Option<String> {
        match reference {
            Reference::Param { name, path } => match self.params.get(name) {
                Some(param) => missed(&param.value, path),
                None => Some(name.clone()),
            },
            Reference::Item { path } => match self.item {
                Some(item) => missed(item, path),
                None => Some("item".to_owned()),
            },
            Reference::Output { field: None, key: None, .. } => None,
            Reference::Output { step, key, field, path } => {
                match self.outputs.output(&whole_id(step, key.as_deref())) {
                    None => Some(OUTPUT.to_owned()),
                    Some(output) => missed(output, field.iter().chain(path)),
                }
            }
        }
    }

    /// Shows CEL what the expression names, and nothing else.
    pub(super) fn bind(&self, references: &[Reference], context: &mut cel::Context<'_, '_>) {
        let mut params = HashMap::new();
        let mut steps = BTreeSet::new();
        for reference in references {
            match reference {
                Reference::Param { name, .. } => {
                    if let Some(param) = self.params.get(name) {
                        params.insert(name.clone(), to_cel(&param.value));
                    }
                }
                Reference::Output { step, .. } => {
                    steps.insert(step.as_str());
                }
                Reference::Item { .. } => {
                    if let Some(item) = self.item {
                        context.add_variable_from_value("item", to_cel(item));
                    }
                }
            }
        }
        let steps: HashMap<String, cel::Value> =
            steps.into_iter().map(|step| (step.to_owned(), self.step(step))).collect();
        context.add_variable_from_value("params", params);
        context.add_variable_from_value("steps", steps);
    }

    /// A step as CEL sees it: `{output: …}`, or for a `for_each` a map of these by key.
    fn step(&self, step: &str) -> cel::Value {
        let keys = self.outputs.keys(step);
        if keys.is_empty() {
            return self.one(step);
        }
        let items: HashMap<String, cel::Value> = keys
            .into_iter()
            .map(|key| {
                let item = self.one(&whole_id(step, Some(&key)));
                (key, item)
            })
            .collect();
        items.into()
    }

    fn one(&self, id: &str) -> cel::Value {
        let output = self.outputs.output(id).map(|output| (OUTPUT.to_owned(), to_cel(output)));
        output.into_iter().collect::<HashMap<String, cel::Value>>().into()
    }
}

/// The id of a step, or of a sub-step.
fn whole_id(step: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("{step}[{key}]"),
        None => step.to_owned(),
    }
}

fn walk<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, part| value.as_object()?.get(part))
}

fn missed<'p>(value: &Value, path: impl IntoIterator<Item = &'p String>) -> Option<String> {
    let mut value = value;
    for part in path {
        match value.as_object().and_then(|object| object.get(part)) {
            Some(inner) => value = inner,
            None => return Some(part.clone()),
        }
    }
    None
}
