//! What a runbook asks for, for those who list runbooks without running them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::draft::{Draft, draft};
use crate::params::ParamType;
use crate::problem::Source;
use crate::read::read;

/// One parameter.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ParamOutline {
    /// Its name.
    pub name: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub kind: ParamType,
    /// What holds where nothing is given; a secret's is its reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What a choice may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// What to give.
    pub help: String,
    /// Whether it is a secret.
    pub secret: bool,
}

/// One step as written.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StepOutline {
    /// Its id.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What it does.
    pub action: String,
}

/// A runbook as written.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Outline {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Who keeps it.
    pub owner: Option<String>,
    /// For searching.
    pub labels: BTreeMap<String, String>,
    /// When somebody must read it again.
    pub review_by: Option<String>,
    /// What it asks for.
    pub params: Vec<ParamOutline>,
    /// What it does.
    pub steps: Vec<StepOutline>,
}

/// Reads a runbook as far as it can be read; nothing where it is none. Problems are left to
/// [`crate::compile`].
pub fn describe(source: &Source<'_>) -> Option<Outline> {
    let (root, _) = read(source.text);
    draft(&root, &mut Vec::new()).map(outline)
}

fn outline(draft: Draft<'_, '_>) -> Outline {
    let params = draft.params.into_iter().map(|param| ParamOutline {
        name: param.name.value.to_owned(),
        kind: param.kind,
        default: param.default,
        pattern: param.pattern.map(|(pattern, _)| pattern),
        options: param.options,
        help: param.help,
        secret: param.secret,
    });
    let steps = draft.steps.into_iter().map(|step| StepOutline {
        id: step.id.map(|id| id.value.to_owned()).unwrap_or_default(),
        title: step.title,
        action: step.action.map(|action| action.value.to_owned()).unwrap_or_default(),
    });
    Outline {
        name: draft.name,
        title: draft.title,
        description: draft.description,
        owner: draft.owner,
        labels: draft.labels,
        review_by: draft.review_by,
        params: params.collect(),
        steps: steps.collect(),
    }
}
