//! A change of some flags of one file: prepared, swapped in, settled.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backout_plugin_api::files::{
    Faults, Kind, Look, Method, Patience, Point, Swap, SwapPlan, look, sha256_hex,
};
use backout_plugin_api::{
    Call, Context, EffectKey, Guarantee, Hazard, Image, Outcome, PrepareFailure, Prepared,
    PreparedEffect, Reversibility, Satisfied, Settled, TargetId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::check::format_of;
use crate::document::Document;
use crate::input::System;
use crate::kept::{self, Kept};
use crate::tree::{Edit, Layout, Plain, edited};

/// How long the file may take to look as wanted after the swap: it is a local file.
const CONVERGE: Duration = Duration::ZERO;

/// What `apply`, `settle` and `revert` of a file need; data version 1 was this alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    #[serde(default)]
    pub(crate) system: System,
    pub(crate) swap: SwapPlan,
    pub(crate) edits: Vec<Edit>,
    pub(crate) flags: Vec<Block>,
}

/// The text of one flag in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// What one flag of a change becomes.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    /// The bytes of the file that the edits stay in.
    pub(crate) block: Range<usize>,
    /// What everybody gets afterwards, where that is one variation.
    pub(crate) variation: Option<String>,
    /// That variation's value.
    pub(crate) value: Option<Value>,
    pub(crate) edits: Vec<Edit>,
    pub(crate) difference: Vec<String>,
    pub(crate) hazards: Vec<Hazard>,
    /// What the flag means afterwards.
    pub(crate) wanted: Plain,
}

/// A file of flags as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) system: System,
    pub(crate) path: PathBuf,
    pub(crate) look: Look,
    pub(crate) document: Document,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads a file of flags. Blocks.
pub(crate) fn read(system: System, file: &str) -> Result<Source, PrepareFailure> {
    let (format, layout) = format_of(system, file).map_err(refused)?;
    let failed = |error: std::io::Error| {
        let reason = format!("cannot read {file}: {error}");
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput => refused(reason),
            _ => PrepareFailure::Unreachable { reason },
        }
    };
    let path = std::fs::canonicalize(file).map_err(failed)?;
    let look = look(&path, Kind::File).map_err(failed)?;
    let text = String::from_utf8(look.content.clone())
        .map_err(|error| refused(format!("{file} is not UTF-8: {error}")))?;
    let document =
        Document::parse(text, format, layout).map_err(|why| refused(format!("{file}: {why}")))?;
    Ok(Source { system, path, look, document })
}

/// Turns planned flags into the one effect of the file.
pub(crate) fn prepared(
    source: &Source,
    planned: &[Planned],
    what: &str,
) -> Result<Prepared, PrepareFailure> {
    let path = source.path.display();
    let mut edits: Vec<Edit> = Vec::new();
    for flag in planned {
        edits.extend(edits_within(&source.document.text, flag).map_err(refused)?);
    }
    edits.sort_by_key(|edit| edit.start);
    let text = edited(&source.document.text, &edits).map_err(refused)?;
    let after = verify(source, &text, planned)
        .map_err(|why| refused(format!("{path}: {why}; nothing was changed")))?;
    let satisfied = edits.is_empty();
    if !satisfied {
        check_writable(&source.path)?;
    }
    let flags = blocks(&source.document, &after, planned, &edits).map_err(refused)?;
    let image = |text: fn(&Block) -> &String| {
        let blocks = flags.iter().map(|flag| (flag.name.clone(), json!(text(flag))));
        Image::Plain(Value::Object(blocks.collect::<Map<_, _>>()))
    };
    let names: Vec<_> = planned.iter().map(|flag| flag.name.as_str()).collect();
    let effect = PreparedEffect {
        title: format!("flags {} in {path}: {what}", names.join(", ")),
        wave: 0,
        satisfied: if satisfied { Satisfied::Yes } else { Satisfied::No },
        before: image(|block| &block.before),
        wanted: image(|block| &block.after),
        difference: planned.iter().flat_map(|flag| flag.difference.iter().cloned()).collect(),
        reversibility: Reversibility::Exact,
        hazards: planned.iter().flat_map(|flag| flag.hazards.iter().cloned()).collect(),
        data: Value::Null,
    };
    let swap = SwapPlan {
        target: source.path.clone(),
        kind: Kind::File,
        before: source.look.stamp.clone(),
        wanted_sha256: sha256_hex(text.as_bytes()),
    };
    with_data(effect, Data { system: source.system, swap, edits, flags }, &source.path)
}

fn with_data(
    mut effect: PreparedEffect,
    data: Data,
    path: &Path,
) -> Result<Prepared, PrepareFailure> {
    let seen = json!({ "file": path, "sha256": data.swap.before.sha256 });
    effect.data = Kept::File(data).to_value().map_err(refused)?;
    Ok(Prepared {
        data_version: kept::DATA_VERSION,
        guarantee: Guarantee::Conditional,
        remembered_ms: None,
        locks: vec![TargetId::new(format!("file:{}", path.display()))],
        effects: vec![effect],
        hazards: Vec::new(),
        gate: None,
        converge_ms: u64::try_from(CONVERGE.as_millis()).unwrap_or(0),
        seen,
    })
}

/// A folder that cannot be written to is an error now, not half way.
fn check_writable(path: &Path) -> Result<(), PrepareFailure> {
    let folder = path.parent().unwrap_or(path);
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| {
        refused(format!(
            "cannot write to the folder {}: {error}; the file is swapped for a new one beside it, \
             so the folder must be writable",
            folder.display()
        ))
    })
}

/// Reads the edited text again: the flags named must mean what was wanted, and nothing else may
/// have changed.
fn verify(source: &Source, text: &str, planned: &[Planned]) -> Result<Document, String> {
    let document = &source.document;
    let after = Document::parse(text.to_owned(), document.format, document.layout)
        .map_err(|why| format!("the edit would make the file unreadable: {why}"))?;
    check_around(document, &after)?;
    let (old, new) = (document.flags().entries(), after.flags().entries());
    if old.len() != new.len() {
        return Err("the edit would add or lose a flag".to_owned());
    }
    for (was, is) in old.iter().zip(new) {
        let wanted = planned.iter().find(|flag| flag.name == was.name());
        let same = match wanted {
            Some(flag) => flag.wanted.same_meaning(&is.value.plain()),
            None => was.value.plain() == is.value.plain(),
        };
        if was.name() != is.name() || !same {
            return Err(format!("the edit would change `{}` in another way", was.name()));
        }
    }
    Ok(after)
}

/// What stands beside the map of flags stays as it is.
fn check_around(before: &Document, after: &Document) -> Result<(), String> {
    let Layout::Under(flags) = before.layout else { return Ok(()) };
    let rest = |document: &Document| -> Vec<Plain> {
        let others = document.root.entries().iter().filter(|entry| entry.name() != flags);
        others.flat_map(|entry| [entry.key.plain(), entry.value.plain()]).collect()
    };
    if rest(before) == rest(after) {
        return Ok(());
    }
    Err(format!("the edit would change more than `{flags}`"))
}

/// A flag's edits, so that none reaches beyond its block: a line that goes at the block's end takes
/// the newline before it, and leaves the one after.
fn edits_within(text: &str, flag: &Planned) -> Result<Vec<Edit>, String> {
    let mut limit = flag.block.end;
    let mut edits = flag.edits.clone();
    for edit in edits.iter_mut().rev() {
        let beyond = edit.end.saturating_sub(limit);
        let (start, end) = (edit.start.saturating_sub(beyond), edit.end - beyond);
        let same = text.get(start..edit.start) == text.get(end..edit.end);
        if beyond > 0 && (!same || start < flag.block.start) {
            return Err(format!("an edit of flag `{}` would reach beyond it", flag.name));
        }
        (edit.start, edit.end) = (start, end);
        limit = if beyond > 0 { start } else { usize::MAX };
    }
    Ok(edits)
}

/// The text of each flag before, and what stands in the place of those bytes after.
fn blocks(
    before: &Document,
    after: &Document,
    planned: &[Planned],
    edits: &[Edit],
) -> Result<Vec<Block>, String> {
    let moved = |at: usize, counts: &dyn Fn(&Edit) -> bool| {
        let counted = edits.iter().filter(|edit| counts(edit));
        counted.fold(at, |at, edit| (at + edit.text.len()).saturating_sub(edit.end - edit.start))
    };
    let block = |flag: &Planned| {
        let was = &flag.block;
        let start = moved(was.start, &|edit| edit.end <= was.start);
        let end = moved(was.end, &|edit| edit.start < was.end);
        let text = |document: &Document, start, end| {
            document
                .text
                .get(start..end)
                .map(str::to_owned)
                .ok_or("an edit is not where it was meant")
        };
        Ok(Block {
            name: flag.name.clone(),
            before: text(before, was.start, was.end)?,
            after: text(after, start, end)?,
        })
    };
    planned.iter().map(block).collect()
}

/// What the actions that change a file share: where a test disturbs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changer {
    pub(crate) faults: Faults,
    pub(crate) method: Method,
}

impl Changer {
    pub(crate) fn at(fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { faults: Faults::at(fault), method: Method::default() }
    }

    pub(crate) async fn apply(&self, ctx: &Context, call: &Call, data: Data) -> Outcome {
        let (this, key, fence) = (self.clone(), call.key.clone(), call.fence.clone());
        let patience = Patience::of(ctx);
        let work = move || {
            let swap = this.swap(&data, &key, &patience);
            swap.apply(&fence, |before| {
                let text = std::str::from_utf8(before).map_err(|error| error.to_string())?;
                edited(text, &data.edits).map(String::into_bytes)
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Outcome::Unclear { reason: error.to_string() })
    }

    pub(crate) async fn settle(&self, ctx: &Context, call: &Call, data: Data) -> Settled {
        let (this, key, dispatch) = (self.clone(), call.key.clone(), call.fence.dispatch);
        let patience = Patience::of(ctx);
        let work = move || this.swap(&data, &key, &patience).settle(dispatch);
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Settled::Unreachable { reason: error.to_string() })
    }

    fn swap<'a>(&'a self, data: &'a Data, key: &'a EffectKey, patience: &'a Patience) -> Swap<'a> {
        let names: Vec<_> = data.flags.iter().map(|flag| &flag.name).collect();
        let output = json!({
            "file": data.swap.target,
            "flags": names,
            "sha256": data.swap.wanted_sha256,
        });
        // flagd watches the file itself: one that is moved away leaves it deaf to all that follows.
        let method = match data.system {
            System::Flagd => Method::LinkRename,
            _ => self.method,
        };
        Swap { plan: &data.swap, key, output, patience, method, faults: &self.faults }
    }
}

/// Runs a blocking look on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrepareFailure> + Send + 'static,
) -> Result<T, PrepareFailure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(PrepareFailure::Unreachable { reason: error.to_string() }))
}
