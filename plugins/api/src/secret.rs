//! Secrets are references; a value is held for one use and shown to nobody.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Where a secret is: `env:NAME`, `file:PATH`, or `cmd:["prog", "arg"]`. This text may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretRef(pub String);

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "secret-ref",
            "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|cmd:\\[.+\\])$|\\$\\{",
            "description": "a secret's reference: `env:NAME`, `file:PATH` or `cmd:[\"prog\", \"arg\"]`"
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A secret's value. It has no `Serialize`, and `Debug` shows nothing.
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a reference gave nothing; never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret `{reference}`: {reason}")]
pub struct SecretError {
    /// The reference.
    pub reference: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Where secrets come from.
pub trait SecretSource: Send + Sync {
    /// The value, at the moment of use. It may block.
    ///
    /// # Errors
    /// Why there is no value.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError>;
}
