//! What the actions take.

use std::collections::BTreeMap;

use backout_plugin_api::SecretRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which flag system holds the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum System {
    /// go-feature-flag, or its relay: a file.
    #[default]
    GoFeatureFlag,
    /// flagd: a file.
    Flagd,
    /// Unleash: its admin API.
    Unleash,
    /// LaunchDarkly: its REST API. Tested against exchanges written from its documentation, never
    /// against the service.
    #[serde(rename = "launchdarkly")]
    LaunchDarkly,
}

impl System {
    /// Whether its flags stand in a file that this machine can write.
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::GoFeatureFlag | Self::Flagd)
    }

    /// As it is written in a runbook.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::GoFeatureFlag => "go-feature-flag",
            Self::Flagd => "flagd",
            Self::Unleash => "unleash",
            Self::LaunchDarkly => "launchdarkly",
        }
    }
}

/// A server that holds the flags: Unleash or LaunchDarkly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Server {
    /// Its address, without `/api`: `https://unleash.example`.
    pub url: String,
    /// What it is to be asked with, as it stands in `Authorization`: Unleash's admin or personal
    /// token, LaunchDarkly's access token.
    pub token: SecretRef,
    /// The project.
    #[serde(default = "default_project")]
    pub project: String,
    /// The environment.
    pub environment: String,
}

fn default_project() -> String {
    "default".to_owned()
}

/// How an endpoint is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum EndpointKind {
    /// OpenFeature's remote evaluation protocol: go-feature-flag's relay, flagd, or a service's
    /// own endpoint.
    #[default]
    Ofrep,
    /// Unleash's playground: the server's own evaluation.
    Unleash,
}

/// One who is asked what users get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Endpoint {
    /// Its name in the evidence.
    pub name: String,
    /// Its address, without the path: `http://relay-1:1031`.
    pub url: String,
    /// How it is asked.
    #[serde(default)]
    pub kind: EndpointKind,
    /// Sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretRef>,
    /// Sent as `X-API-Key`; to Unleash as `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretRef>,
    /// Asks go-feature-flag's relay to read its file again first
    /// (`POST /admin/v1/retriever/refresh`).
    #[serde(default)]
    pub refresh: bool,
    /// The key for that, sent as `X-API-Key`; without it `api_key` and `bearer` are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<SecretRef>,
    /// Unleash's project.
    #[serde(default = "default_project")]
    pub project: String,
    /// Unleash's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// The proof by evaluation: who is asked, for whom, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Prove {
    /// Who is asked. Each instance is named by itself: one that is not named is not proven.
    pub endpoints: Vec<Endpoint>,
    /// For whom: evaluation contexts, each with its `targetingKey`.
    pub contexts: Vec<Map<String, Value>>,
    /// How many times in a row every answer must be the wanted one.
    #[serde(default = "default_polls")]
    pub polls: u32,
    /// Between two times.
    #[serde(default = "default_every")]
    pub every: String,
    /// How long all may take. It must fit into the step's `timeout`.
    #[serde(default = "default_converge")]
    pub converge: String,
    /// For `flags.restore`: by flag the variation that everybody of `contexts` gets afterwards. A
    /// flag that is not here is asked and recorded, and not judged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expect: BTreeMap<String, String>,
}

fn default_polls() -> u32 {
    3
}

fn default_every() -> String {
    "500ms".to_owned()
}

fn default_converge() -> String {
    "30s".to_owned()
}

/// What `flags.off` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OffInput {
    /// The flag system.
    #[serde(default)]
    pub(crate) system: System,
    /// For go-feature-flag and flagd the file that holds the flags: `.yaml`, `.yml`, `.json`, and
    /// for go-feature-flag `.toml`.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// For Unleash and LaunchDarkly the server.
    #[serde(default)]
    pub(crate) server: Option<Server>,
    /// The flags. Those of one file are changed together in one swap.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// One flag; instead of `flags`.
    #[serde(default)]
    pub(crate) flag: Option<String>,
    /// The variation that means off. By default the flag's variation named `off`, `disabled` or
    /// `false`; in Unleash a flag that is off in the environment; in LaunchDarkly the off
    /// variation.
    #[serde(default)]
    pub(crate) off_variation: Option<String>,
    /// The flags that the release knows that is rolled back to. A flag that is not here is the
    /// hazard `unknown-to-release`.
    #[serde(default)]
    pub(crate) known_flags: Option<Vec<String>>,
    /// The proof by evaluation, made after the change.
    #[serde(default)]
    pub(crate) prove: Option<Prove>,
}

/// What `flags.set` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetInput {
    /// The flag system.
    #[serde(default)]
    pub(crate) system: System,
    /// For go-feature-flag and flagd the file that holds the flags: `.yaml`, `.yml`, `.json`, and
    /// for go-feature-flag `.toml`.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// For Unleash and LaunchDarkly the server.
    #[serde(default)]
    pub(crate) server: Option<Server>,
    /// The flags. Those of one file are changed together in one swap.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// One flag; instead of `flags`.
    #[serde(default)]
    pub(crate) flag: Option<String>,
    /// The variation that everybody gets; in Unleash `on` or `off`.
    pub(crate) variation: String,
    /// The flags that the release knows that is rolled back to. A flag that is not here is the
    /// hazard `unknown-to-release`.
    #[serde(default)]
    pub(crate) known_flags: Option<Vec<String>>,
    /// The proof by evaluation, made after the change.
    #[serde(default)]
    pub(crate) prove: Option<Prove>,
}

/// What `flags.assert` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssertInput {
    /// The flag system; without `file` and `server` it does not matter.
    #[serde(default)]
    pub(crate) system: System,
    /// For go-feature-flag and flagd the file that holds the flags; without it the file is not
    /// looked at.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// For Unleash and LaunchDarkly the server; without it the server's settings are not looked
    /// at.
    #[serde(default)]
    pub(crate) server: Option<Server>,
    /// The flags.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// One flag; instead of `flags`.
    #[serde(default)]
    pub(crate) flag: Option<String>,
    /// The variation that everybody gets.
    pub(crate) variation: String,
    /// The proof by evaluation.
    #[serde(default)]
    pub(crate) prove: Option<Prove>,
}

/// What `flags.restore` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreInput {
    /// The flag system.
    #[serde(default)]
    pub(crate) system: System,
    /// For go-feature-flag and flagd the file that holds the flags.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// For Unleash and LaunchDarkly the server.
    #[serde(default)]
    pub(crate) server: Option<Server>,
    /// In a file, for each flag the text that it shall have, its name included, as the file itself
    /// writes it.
    #[serde(default)]
    pub(crate) blocks: BTreeMap<String, String>,
    /// On a server, for each flag the state that it shall have, as an earlier step saw it.
    #[serde(default)]
    pub(crate) states: BTreeMap<String, Map<String, Value>>,
    /// For each flag what we left behind (a text, or a state): where there is something else now,
    /// somebody changed the flag since, and that is a hazard.
    #[serde(default)]
    pub(crate) left: BTreeMap<String, Value>,
    /// The flags that the release knows that is rolled back to. A flag that is not here is the
    /// hazard `unknown-to-release`.
    #[serde(default)]
    pub(crate) known_flags: Option<Vec<String>>,
    /// The proof by evaluation, made after the change; see its `expect`.
    #[serde(default)]
    pub(crate) prove: Option<Prove>,
}

/// Where the flags are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    File(String),
    Server(Server),
    /// Only evaluation is looked at.
    Nowhere,
}

/// What `flags.off`, `flags.set` and `flags.assert` want.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) system: System,
    pub(crate) place: Place,
    pub(crate) flags: Vec<String>,
    /// Absent is each flag's off variation.
    pub(crate) variation: Option<String>,
    pub(crate) known: Option<Vec<String>>,
    pub(crate) prove: Option<Prove>,
}

pub(crate) fn place(system: System, file: Option<String>, server: Option<Server>) -> Place {
    match (system.is_file(), file, server) {
        (true, Some(file), _) => Place::File(file),
        (false, _, Some(server)) => Place::Server(server),
        _ => Place::Nowhere,
    }
}

impl From<OffInput> for Wish {
    fn from(input: OffInput) -> Self {
        Self {
            system: input.system,
            place: place(input.system, input.file, input.server),
            flags: all_flags(input.flags, input.flag),
            variation: input.off_variation,
            known: input.known_flags,
            prove: input.prove,
        }
    }
}

impl From<SetInput> for Wish {
    fn from(input: SetInput) -> Self {
        Self {
            system: input.system,
            place: place(input.system, input.file, input.server),
            flags: all_flags(input.flags, input.flag),
            variation: Some(input.variation),
            known: input.known_flags,
            prove: input.prove,
        }
    }
}

impl From<AssertInput> for Wish {
    fn from(input: AssertInput) -> Self {
        Self {
            system: input.system,
            place: place(input.system, input.file, input.server),
            flags: all_flags(input.flags, input.flag),
            variation: Some(input.variation),
            known: None,
            prove: input.prove,
        }
    }
}

pub(crate) fn all_flags(flags: Vec<String>, flag: Option<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in flags.into_iter().chain(flag) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

impl Wish {
    /// The wish as far as an unchecked input tells, for words to a person.
    pub(crate) fn guess(input: &Value) -> Self {
        let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = input.get("flags").and_then(Value::as_array);
        let names = list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let read = |name: &str| input.get(name).cloned().unwrap_or_default();
        let system = serde_json::from_value(read("system")).unwrap_or_default();
        let server = serde_json::from_value(read("server")).ok();
        Self {
            system,
            place: place(system, text("file"), server),
            flags: all_flags(names.collect(), text("flag")),
            variation: text("variation").or_else(|| text("off_variation")),
            known: None,
            prove: serde_json::from_value(read("prove")).ok(),
        }
    }

    /// The file, as far as the input tells.
    pub(crate) fn file(&self) -> &str {
        match &self.place {
            Place::File(file) => file,
            Place::Server(_) | Place::Nowhere => "",
        }
    }
}
