//! A change of some flags of one file: prepared, swapped in, settled.

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

use crate::input::format_of;
use crate::tree::{Document, Edit, Plain, edited};

/// The version of [`Data`].
pub(crate) const DATA_VERSION: u32 = 1;
/// How long the file may take to look as wanted after the swap: it is a local file.
const CONVERGE: Duration = Duration::ZERO;

/// What `apply`, `settle` and `revert` need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) swap: SwapPlan,
    pub(crate) edits: Vec<Edit>,
    pub(crate) flags: Vec<Block>,
}

/// The text of one flag in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// What one flag of a change becomes.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) difference: Vec<String>,
    pub(crate) hazards: Vec<Hazard>,
    pub(crate) wanted: Plain,
}

/// A file of flags as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) look: Look,
    pub(crate) document: Document,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads a file of flags. Blocks.
pub(crate) fn read(file: &str) -> Result<Source, PrepareFailure> {
    let format = format_of(file).map_err(refused)?;
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
        Document::parse(text, format).map_err(|why| refused(format!("{file}: {why}")))?;
    Ok(Source { path, look, document })
}

/// Turns planned flags into the one effect of the file.
pub(crate) fn prepared(
    source: &Source,
    planned: Vec<Planned>,
    what: &str,
) -> Result<Prepared, PrepareFailure> {
    let path = source.path.display();
    let mut edits: Vec<Edit> = planned.iter().flat_map(|flag| flag.edits.iter().cloned()).collect();
    edits.sort_by_key(|edit| edit.start);
    let text = edited(&source.document.text, &edits).map_err(refused)?;
    let after = verify(source, &text, &planned)
        .map_err(|why| refused(format!("{path}: {why}; nothing was changed")))?;
    let satisfied = edits.is_empty();
    if !satisfied {
        check_writable(&source.path)?;
    }
    let flags = blocks(&source.document, &after, &planned).map_err(refused)?;
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
        hazards: planned.into_iter().flat_map(|flag| flag.hazards).collect(),
        data: Value::Null,
    };
    let swap = SwapPlan {
        target: source.path.clone(),
        kind: Kind::File,
        before: source.look.stamp.clone(),
        wanted_sha256: sha256_hex(text.as_bytes()),
    };
    with_data(effect, Data { swap, edits, flags }, &source.path)
}

fn with_data(
    mut effect: PreparedEffect,
    data: Data,
    path: &Path,
) -> Result<Prepared, PrepareFailure> {
    let seen = json!({ "file": path, "sha256": data.swap.before.sha256 });
    effect.data = serde_json::to_value(data).map_err(|error| refused(error.to_string()))?;
    Ok(Prepared {
        data_version: DATA_VERSION,
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
    let after = Document::parse(text.to_owned(), source.document.format)
        .map_err(|why| format!("the edit would make the file unreadable: {why}"))?;
    let (old, new) = (source.document.root.entries(), after.root.entries());
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

fn blocks(before: &Document, after: &Document, planned: &[Planned]) -> Result<Vec<Block>, String> {
    let block = |flag: &Planned| {
        Ok(Block {
            name: flag.name.clone(),
            before: before.flag_block(before.flag(&flag.name)?).to_owned(),
            after: after.flag_block(after.flag(&flag.name)?).to_owned(),
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

    pub(crate) async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let data = match data(call) {
            Ok(data) => data,
            Err(reason) => return Outcome::Refused { reason },
        };
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

    pub(crate) async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let data = match data(call) {
            Ok(data) => data,
            Err(evidence) => return Settled::Unknown { evidence },
        };
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
        Swap { plan: &data.swap, key, output, patience, method: self.method, faults: &self.faults }
    }
}

fn data(call: &Call) -> Result<Data, String> {
    if call.prepared.data_version == DATA_VERSION {
        call.data()
    } else {
        let version = call.prepared.data_version;
        Err(format!("flag data of version {version} is not known to this release"))
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
