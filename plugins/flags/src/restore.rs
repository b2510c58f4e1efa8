//! `flags.restore`: puts the text of some flags back.

use std::collections::BTreeMap;

use async_trait::async_trait;
use backout_plugin_api::files::Point;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Hazard, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, Reverted, Settled, parse_input,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::change::{self, Changer, DATA_VERSION, Planned, Source};
use crate::force::revert;
use crate::input::{self, System, Wish};
use crate::tree::{Document, Edit, Plain, edited};

const DOCS: &str = include_str!("docs/restore.md");

/// What `flags.restore` takes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RestoreInput {
    /// The flag system.
    #[serde(default, rename = "system")]
    _system: System,
    /// The file that holds the flags: `.yaml`, `.yml` or `.json`.
    file: String,
    /// For each flag the text that it shall have in the file, its name included, as the file
    /// itself writes it.
    blocks: BTreeMap<String, String>,
    /// For each flag the text that we left behind: where the file has another now, somebody
    /// changed the flag since, and that is a hazard.
    #[serde(default)]
    left: BTreeMap<String, String>,
}

/// The action `flags.restore`.
#[derive(Clone, Debug, Default)]
pub struct FlagsRestore {
    changer: Changer,
}

impl FlagsRestore {
    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { changer: Changer::at(fault) }
    }
}

#[async_trait]
impl Action for FlagsRestore {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("flags.restore"),
            summary: "Puts the text of some flags back into their file.",
            docs: DOCS,
            input: schema_for!(RestoreInput),
            example: concat!(
                r#"(file: "/etc/shop/flags.yaml", blocks: { "new_checkout": "new_checkout:\n"#,
                r#"  variations:\n    on: true\n    off: false\n  defaultRule:\n    variation: on" })"#
            ),
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, Guarantee::Conditional)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand(input)
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: RestoreInput = parse_input(input)?;
        change::blocking(move || prepare(&input)).await
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        self.changer.apply(ctx, call).await
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        self.changer.settle(ctx, call).await
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
    }
}

fn prepare(input: &RestoreInput) -> Result<Prepared, PrepareFailure> {
    let refuse = |reason: String| PrepareFailure::Refused { reason };
    if input.blocks.is_empty() {
        return Err(refuse("no flag is named".to_owned()));
    }
    let source = change::read(&input.file)?;
    let plan = |(name, text): (&String, &String)| {
        plan(&source, name, text, input.left.get(name))
            .map_err(|why| refuse(format!("{}: {why}", input.file)))
    };
    let planned = input.blocks.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
    change::prepared(&source, planned, "as before")
}

fn plan(source: &Source, name: &str, text: &str, left: Option<&String>) -> Result<Planned, String> {
    // A block in the file ends before its line does; a text written by hand often ends with it.
    let text = text.trim_end_matches('\n');
    let document = &source.document;
    let flag = document
        .flag(name)
        .map_err(|why| format!("{why}; to put it back by hand, insert this:\n{text}"))?;
    let now = document.flag_block(flag);
    let block = document.block(flag, &document.root);
    let same = now == text;
    let edit = Edit { start: block.start, end: block.end, text: text.to_owned() };
    let wanted = wanted(document, name, &edit)?;
    let changed = left.is_some_and(|left| left != now) && !same;
    let hazard = Hazard {
        code: "changed-since".to_owned(),
        text: format!("flag `{name}` was changed by somebody since; that change is lost"),
    };
    Ok(Planned {
        name: name.to_owned(),
        edits: if same { Vec::new() } else { vec![edit] },
        difference: if same { Vec::new() } else { difference(name, now, text) },
        hazards: if changed { vec![hazard] } else { Vec::new() },
        wanted,
    })
}

/// What the text means in its place, where the anchors of the rest of the file are known; it must
/// hold this one flag and nothing else.
fn wanted(document: &Document, name: &str, edit: &Edit) -> Result<Plain, String> {
    let text = edited(&document.text, std::slice::from_ref(edit))?;
    let after = Document::parse(text, document.format)
        .map_err(|why| format!("the text given for flag `{name}` cannot be read: {why}"))?;
    if after.root.entries().len() != document.root.entries().len() {
        return Err(format!("the text given for `{name}` holds more than that flag"));
    }
    after.flag(name).map(|flag| flag.value.plain())
}

fn difference(name: &str, now: &str, text: &str) -> Vec<String> {
    let lost = now.lines().filter(|line| !text.lines().any(|other| other == *line));
    let back = text.lines().filter(|line| !now.lines().any(|other| other == *line));
    let mut lines: Vec<_> = lost.map(|line| format!("{name}: - {line}")).collect();
    lines.extend(back.map(|line| format!("{name}: + {line}")));
    if lines.is_empty() {
        lines.push(format!("{name}: order of lines"));
    }
    lines
}

fn by_hand(input: &Value) -> ByHand {
    let file = Wish::guess(input).file;
    let blocks = input.get("blocks").and_then(Value::as_object);
    let mut commands = vec![format!("cp -p '{file}' '{file}.before'")];
    for (name, text) in blocks.into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        commands.push(format!("# in {file}, flag {name} shall read:"));
        commands.extend(text.lines().map(|line| format!("#   {line}")));
    }
    commands.push(format!("\"${{EDITOR:-vi}}\" '{file}'"));
    ByHand {
        does: format!("puts the text of some flags back into {file}"),
        commands,
        verify: vec![format!("diff '{file}.before' '{file}'")],
    }
}
