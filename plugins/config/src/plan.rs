//! What is there, what is wanted, and what stands between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use backout_plugin_api::files::{Kind, Stamp, SwapPlan, look};
use backout_plugin_api::{
    Context, Guarantee, Hazard, Image, PrepareFailure, Prepared, PreparedEffect, Reversibility,
    Satisfied, TargetId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::input::{FILES_MAX, RestoreInput};
use crate::manifest;
use crate::source::Place;

/// The version of [`Data`].
pub(crate) const DATA_VERSION: u32 = 1;
/// Digits of a digest that a difference shows.
const SHORT: usize = 12;
/// Unlisted files that a hazard names.
const NAMED_MAX: usize = 5;

/// What `apply`, `settle` and `revert` need of one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) swap: SwapPlan,
    pub(crate) place: Place,
}

/// One file as it was found.
struct Found {
    path: PathBuf,
    stamp: Stamp,
    bytes: usize,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads all that the step would write, and fetches all that it would need, so that what cannot be
/// had is known before anything is written.
pub(crate) async fn prepare(
    ctx: &Context,
    input: &RestoreInput,
) -> Result<Prepared, PrepareFailure> {
    let wanted = wanted(ctx, input).await?;
    let (path, asked) = (input.path.clone(), wanted.clone());
    let (found, unlisted) = blocking(move || find_all(&path, &asked)).await?;
    let mut effects = Vec::new();
    for ((inside, sha256), found) in wanted.iter().zip(found) {
        let place = Place::of(&input.from, inside.as_deref(), sha256);
        let bytes = if found.stamp.sha256 == *sha256 {
            None
        } else {
            check_writable(&found.path)?;
            Some(place.read(ctx, &input.access()).await?.len())
        };
        effects.push(effect(found, place, bytes)?);
    }
    Ok(prepared(input, effects, &unlisted))
}

/// The digest of each file, by its path inside of the folder; one without a path for a file.
type Wanted = BTreeMap<Option<String>, String>;

async fn wanted(ctx: &Context, input: &RestoreInput) -> Result<Wanted, PrepareFailure> {
    if let Some(sha256) = &input.sha256 {
        return Ok([(None, sha256.clone())].into());
    }
    let files = match &input.manifest {
        None => input.files.clone(),
        Some(list) => {
            let place = Place { at: list.from.clone(), sha256: list.sha256.clone() };
            let bytes = place.read(ctx, &input.access()).await?;
            manifest::read(&String::from_utf8_lossy(&bytes)).map_err(refused)?
        }
    };
    Ok(files.into_iter().map(|(path, sha256)| (Some(path), sha256)).collect())
}

fn find_all(root: &str, wanted: &Wanted) -> Result<(Vec<Found>, Vec<String>), PrepareFailure> {
    let canonical = Path::new(root).canonicalize().map_err(|error| unfound(root, &error))?;
    let found = wanted.keys().map(|inside| find(&canonical, inside.as_deref()));
    let found = found.collect::<Result<_, _>>()?;
    let listed = |path: &str| wanted.contains_key(&Some(path.to_owned()));
    let mut unlisted = Vec::new();
    if !wanted.contains_key(&None) {
        walk(&canonical, "", &mut unlisted)
            .map_err(|error| refused(format!("cannot read {root}: {error}")))?;
        unlisted.retain(|path| !listed(path));
    }
    Ok((found, unlisted))
}

fn find(root: &Path, inside: Option<&str>) -> Result<Found, PrepareFailure> {
    let path = inside.map_or_else(|| root.to_owned(), |inside| root.join(inside));
    let shown = path.display().to_string();
    let real = path.canonicalize().map_err(|error| unfound(&shown, &error))?;
    if !real.starts_with(root) {
        let real = real.display();
        return Err(refused(format!("{shown} leads out of the folder, to {real}")));
    }
    let seen = look(&real, Kind::File).map_err(|error| unfound(&shown, &error))?;
    Ok(Found { path: real, bytes: seen.content.len(), stamp: seen.stamp })
}

fn unfound(path: &str, error: &std::io::Error) -> PrepareFailure {
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!(
                "; make it first, empty and as it should be owned: `install -m 0640 /dev/null '{path}'`"
            )
        }
        _ => String::new(),
    };
    refused(format!("cannot read {path}: {error}{help}"))
}

/// The files under a folder by their path inside, without ours; symlinks are not followed.
fn walk(root: &Path, inside: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(inside))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else if !(name.starts_with('.') && name.contains(".backout-")) {
            found.push(path);
        }
        if found.len() > 2 * FILES_MAX {
            return Err(std::io::Error::other("the folder holds too many files"));
        }
    }
    found.sort();
    Ok(())
}

fn check_writable(path: &Path) -> Result<(), PrepareFailure> {
    let folder = path.parent().unwrap_or(path);
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| {
        refused(format!("cannot write to the folder {}: {error}", folder.display()))
    })
}

fn effect(
    found: Found,
    place: Place,
    bytes: Option<usize>,
) -> Result<PreparedEffect, PrepareFailure> {
    let path = found.path.display().to_string();
    let (before, after) = (found.stamp.sha256.clone(), place.sha256.clone());
    let difference = bytes.map(|bytes| {
        let (from, to) = (short(&before), short(&after));
        format!("{path}: {from} ({} bytes) -> {to} ({bytes} bytes)", found.bytes)
    });
    let data = Data {
        swap: SwapPlan {
            target: found.path,
            kind: Kind::File,
            before: found.stamp,
            wanted_sha256: after.clone(),
        },
        place,
    };
    Ok(PreparedEffect {
        title: format!("{path} is {}", short(&after)),
        wave: 0,
        satisfied: if difference.is_none() { Satisfied::Yes } else { Satisfied::No },
        before: Image::Digest { sha256: before, at: path },
        wanted: Image::Digest { sha256: after, at: shown(&data.place.at) },
        difference: difference.into_iter().collect(),
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: serde_json::to_value(data).map_err(|error| refused(error.to_string()))?,
    })
}

fn prepared(input: &RestoreInput, effects: Vec<PreparedEffect>, unlisted: &[String]) -> Prepared {
    let lock = |effect: &PreparedEffect| match &effect.before {
        Image::Digest { at, .. } => Some(TargetId::new(format!("file:{at}"))),
        Image::Absent | Image::Plain(_) => None,
    };
    let open = |effect: &&PreparedEffect| effect.satisfied != Satisfied::Yes;
    Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Conditional,
        remembered_ms: None,
        locks: effects.iter().filter_map(lock).collect(),
        hazards: hazards(input, unlisted),
        gate: None,
        converge_ms: 0,
        seen: json!({ "files": effects.len(), "differ": effects.iter().filter(open).count() }),
        effects,
    }
}

fn hazards(input: &RestoreInput, unlisted: &[String]) -> Vec<Hazard> {
    if unlisted.is_empty() {
        return Vec::new();
    }
    let named: Vec<_> = unlisted.iter().take(NAMED_MAX).map(String::as_str).collect();
    let dots = if unlisted.len() > NAMED_MAX { ", …" } else { "" };
    vec![Hazard {
        code: "unlisted-files".to_owned(),
        text: format!(
            "{} holds {} files that the digest does not cover; they are left as they are: {}{dots}",
            input.path,
            unlisted.len(),
            named.join(", ")
        ),
    }]
}

fn short(sha256: &str) -> &str {
    sha256.get(..SHORT).unwrap_or(sha256)
}

fn shown(at: &str) -> String {
    backout_plugin_api::web::shown(at).to_owned()
}

/// Off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrepareFailure> + Send + 'static,
) -> Result<T, PrepareFailure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(refused(error.to_string())))
}
