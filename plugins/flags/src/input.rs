//! What the actions take, and what can be said of it without looking.

use std::path::Path;

use backout_plugin_api::{Checked, Guarantee, InputProblem, TargetId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tree::Format;

/// Which flag system reads the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// go-feature-flag, or its relay, with a `file` retriever.
    #[default]
    GoFeatureFlag,
}

/// What `flags.off` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OffInput {
    /// The flag system.
    #[serde(default)]
    pub(crate) system: System,
    /// The file that holds the flags: `.yaml`, `.yml` or `.json`.
    pub(crate) file: String,
    /// The flags, changed together in one swap of the file.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// One flag; instead of `flags`.
    #[serde(default)]
    pub(crate) flag: Option<String>,
    /// The variation that means off. By default the flag's variation named `off`, `disabled` or
    /// `false`.
    #[serde(default)]
    pub(crate) off_variation: Option<String>,
}

/// What `flags.set` and `flags.assert` take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetInput {
    /// The flag system.
    #[serde(default)]
    pub(crate) system: System,
    /// The file that holds the flags: `.yaml`, `.yml` or `.json`.
    pub(crate) file: String,
    /// The flags.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// One flag; instead of `flags`.
    #[serde(default)]
    pub(crate) flag: Option<String>,
    /// The variation that everybody gets.
    pub(crate) variation: String,
}

/// The flags and the variation, whichever action asks.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) file: String,
    pub(crate) flags: Vec<String>,
    /// Absent is each flag's off variation.
    pub(crate) variation: Option<String>,
}

impl From<OffInput> for Wish {
    fn from(input: OffInput) -> Self {
        let flags = all_flags(input.flags, input.flag);
        Self { file: input.file, flags, variation: input.off_variation }
    }
}

impl From<SetInput> for Wish {
    fn from(input: SetInput) -> Self {
        let flags = all_flags(input.flags, input.flag);
        Self { file: input.file, flags, variation: Some(input.variation) }
    }
}

fn all_flags(flags: Vec<String>, flag: Option<String>) -> Vec<String> {
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
        Self {
            file: text("file").unwrap_or_default(),
            flags: all_flags(names.collect(), text("flag")),
            variation: text("variation").or_else(|| text("off_variation")),
        }
    }
}

/// How a file is written, by its name.
pub(crate) fn format_of(file: &str) -> Result<Format, String> {
    let extension = Path::new(file).extension().and_then(|text| text.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("yaml" | "yml") => Ok(Format::Yaml),
        Some("json") => Ok(Format::Json),
        Some("toml") => {
            Err(format!("`{file}` is TOML, which this release cannot edit; convert it to YAML"))
        }
        _ => Err(format!("`{file}` ends in neither .yaml, .yml nor .json")),
    }
}

/// Checks file and flags.
pub(crate) fn check(input: &Value, guarantee: Guarantee) -> Checked {
    let wish = Wish::guess(input);
    let open = |text: &str| text.contains("${");
    let mut problems = Vec::new();
    if !open(&wish.file)
        && let Err(message) = format_of(&wish.file)
    {
        let help = Some("name the file that go-feature-flag's `file` retriever reads".to_owned());
        problems.push(InputProblem { at: "/file".to_owned(), message, help });
    }
    let open_or_full = |name: &str| match input.get(name) {
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(_)) => true,
        _ => false,
    };
    if wish.flags.is_empty() && !open_or_full("blocks") && !open_or_full("flags") {
        problems.push(InputProblem {
            at: "/flags".to_owned(),
            message: "no flag is named".to_owned(),
            help: Some("name them: `flags: [\"a\", \"b\"]`".to_owned()),
        });
    }
    if wish.flags.iter().any(|name| name.trim().is_empty()) {
        problems.push(InputProblem {
            at: "/flags".to_owned(),
            message: "a flag's name is empty".to_owned(),
            help: None,
        });
    }
    let target = Some(wish.file).filter(|file| !open(file) && !file.is_empty());
    Checked {
        problems,
        warnings: Vec::new(),
        guarantee: Some(guarantee),
        targets: target.into_iter().map(|file| TargetId::new(format!("file:{file}"))).collect(),
    }
}
