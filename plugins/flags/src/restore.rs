//! `flags.restore`: puts some flags back as they were.

use std::ops::Range;

use async_trait::async_trait;
use backout_plugin_api::files::Point;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Hazard, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, Reverted, Settled, Tidied, parse_input,
};
use schemars::schema_for;
use serde_json::Value;

use crate::api::Api;
use crate::by_hand;
use crate::change::{self, Planned, Source};
use crate::check::{self, Kind};
use crate::document::Document;
use crate::input::{Place, Prove, RestoreInput, Server, place};
use crate::kept::DATA_VERSIONS;
use crate::proof::Expected;
use crate::server::{self, ServerPoint};
use crate::step::{self, Maker};
use crate::tree::{Edit, Entry, Plain, edited};

const DOCS: &str = include_str!("docs/restore.md");

/// The action `flags.restore`.
#[derive(Clone, Debug, Default)]
pub struct FlagsRestore {
    maker: Maker,
}

impl FlagsRestore {
    /// The same, disturbed after each sub-step of a file's swap; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { maker: self.maker.stopped_at(fault) }
    }

    /// The same, disturbed after each sub-step on a server; for tests.
    #[must_use]
    pub fn with_server_fault(
        self,
        stop: impl Fn(ServerPoint) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { maker: self.maker.server_stopped_at(stop) }
    }
}

#[async_trait]
impl Action for FlagsRestore {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("flags.restore"),
            summary: "Puts some flags back as they were.",
            docs: DOCS,
            input: || schema_for!(RestoreInput),
            example: concat!(
                r#"(file: "/etc/shop/flags.yaml", blocks: { "new_checkout": "new_checkout:\n"#,
                r#"  variations:\n    on: true\n    off: false\n  defaultRule:\n    variation: on" })"#
            ),
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: DATA_VERSIONS,
        }
    }

    fn check(&self, input: &Value) -> Checked {
        check::check(input, Kind::Restore)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand::restore(input)
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        check::check(input, Kind::Restore).accepted()?;
        let input: RestoreInput = parse_input(input)?;
        let names: Vec<String> = if input.system.is_file() {
            input.blocks.keys().cloned().collect()
        } else {
            input.states.keys().cloned().collect()
        };
        let unknown = step::unknown_flags(&names, input.known_flags.as_deref());
        let prove = input.prove.clone();
        let expected = prove.as_ref().map(|prove| expected(&names, prove)).unwrap_or_default();
        let prepared = match place(input.system, input.file.clone(), input.server.clone()) {
            Place::File(file) => change::blocking(move || in_file(&input, &file)).await?,
            Place::Server(server) => on_server(ctx, &input, &server).await?,
            Place::Nowhere => return Err(refuse("neither `file` nor `server` is named")),
        };
        step::completed(ctx, prepared, unknown, prove.as_ref(), expected).await
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        self.maker.apply(ctx, call).await
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        self.maker.settle(ctx, call).await
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        step::revert(made)
    }

    async fn tidy(&self, _: &Context, made: &MadeEffect) -> Tidied {
        step::tidy(made).await
    }
}

fn refuse(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

fn expected(names: &[String], prove: &Prove) -> Vec<Expected> {
    let expected = |name: &String| Expected {
        flag: name.clone(),
        variation: prove.expect.get(name).cloned(),
        value: None,
    };
    names.iter().map(expected).collect()
}

fn changed_since(name: &str) -> Hazard {
    Hazard {
        code: "changed-since".to_owned(),
        text: format!("flag `{name}` was changed by somebody since; that change is lost"),
    }
}

async fn on_server(
    ctx: &Context,
    input: &RestoreInput,
    server: &Server,
) -> Result<Prepared, PrepareFailure> {
    let api = Api::new(ctx, input.system, server).await.map_err(refuse)?;
    let mut planned = Vec::new();
    for (flag, state) in &input.states {
        let seen = api.look(flag).await.map_err(server::not_seen)?;
        let mut wanted = api.restored(flag, &seen, state).map_err(refuse)?;
        let left = input.left.get(flag).and_then(Value::as_object);
        let changed = left.into_iter().flatten().any(|(part, left)| {
            let now = seen.state.get(part).unwrap_or(&Value::Null);
            wanted.state.contains_key(part) && !Api::same(input.system, part, left, now)
        });
        if changed {
            wanted.hazards.push(changed_since(flag));
        }
        planned.push(server::Planned::new(&api, flag, seen, wanted).await);
    }
    server::prepared(input.system, server, planned)
}

fn in_file(input: &RestoreInput, file: &str) -> Result<Prepared, PrepareFailure> {
    let source = change::read(input.system, file)?;
    let plan = |(name, text): (&String, &String)| {
        let left = input.left.get(name).and_then(Value::as_str);
        plan(&source, name, text, left).map_err(|why| refuse(format!("{file}: {why}")))
    };
    let planned = input.blocks.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
    change::prepared(&source, &planned, "as before")
}

fn plan(source: &Source, name: &str, text: &str, left: Option<&str>) -> Result<Planned, String> {
    let document = &source.document;
    let flag = document
        .flag(name)
        .map_err(|why| format!("{why}; to put it back by hand, insert this:\n{text}"))?;
    let block = replaced(document, flag, left);
    let now = document.text.get(block.clone()).unwrap_or_default();
    // A block in the file ends before its line does; a text written by hand often ends with it.
    let text = if left.is_some() { text } else { text.trim_end_matches('\n') };
    let same = now == text;
    let edit = Edit { start: block.start, end: block.end, text: text.to_owned() };
    let wanted = wanted(document, name, &edit)?;
    let changed = left.is_some_and(|left| left != now) && !same;
    Ok(Planned {
        name: name.to_owned(),
        variation: None,
        block,
        value: None,
        edits: if same { Vec::new() } else { vec![edit] },
        difference: if same { Vec::new() } else { difference(name, now, text) },
        hazards: if changed { vec![changed_since(name)] } else { Vec::new() },
        wanted,
    })
}

/// The bytes that are replaced: what we left, where it is still there (lines at the end of a flag
/// may go, and empty lines or comments before them stay, which no parser counts to the flag), else
/// the flag's own.
fn replaced(document: &Document, flag: &Entry, left: Option<&str>) -> Range<usize> {
    let block = document.block(flag, document.flags());
    let tail = document.text.get(block.start..).unwrap_or_default();
    match left {
        Some(left) if tail.starts_with(left) && left.len() > block.len() => {
            block.start..block.start + left.len()
        }
        _ => block,
    }
}

/// What the text means in its place, where the anchors of the rest of the file are known; it must
/// hold this one flag and nothing else.
fn wanted(document: &Document, name: &str, edit: &Edit) -> Result<Plain, String> {
    let text = edited(&document.text, std::slice::from_ref(edit))?;
    let after = Document::parse(text, document.format, document.layout)
        .map_err(|why| format!("the text given for flag `{name}` cannot be read: {why}"))?;
    if after.flags().entries().len() != document.flags().entries().len() {
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
