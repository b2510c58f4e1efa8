//! What is there, what is wanted, and what stands between.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use backout_plugin_api::files::{Kind, PresencePlan, Stamp, SwapPlan, look};
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
    /// Absent where nothing is to be done.
    pub(crate) change: Option<Change>,
    /// Absent for a file that goes.
    pub(crate) place: Option<Place>,
}

/// What is to become of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// Its content.
    Swap(SwapPlan),
    /// Whether it is there.
    Presence(PresencePlan),
}

/// One file as it was found.
struct Found {
    path: PathBuf,
    /// Absent where no file is.
    stamp: Option<Stamp>,
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
    let mut wanted = wanted(ctx, input).await?;
    let path = input.path.clone();
    let (root, unlisted) = blocking({
        let asked = wanted.clone();
        move || Ok((root_of(&path)?, unlisted(&path, &asked)?))
    })
    .await?;
    if input.remove_unlisted {
        wanted.extend(unlisted.iter().map(|path| (Some(path.clone()), None)));
    }
    let asked = wanted.clone();
    let found = blocking(move || find_all(&root, &asked)).await?;
    let mut effects = Vec::new();
    for ((inside, sha256), found) in wanted.iter().zip(found) {
        let place = sha256.as_ref();
        let place = place.map(|sha256| Place::of(&input.from, inside.as_deref(), sha256));
        let is_there = found.stamp.as_ref().map(|stamp| &stamp.sha256) == sha256.as_ref();
        if !is_there {
            check_writable(&found.path)?;
        }
        let bytes = match place.as_ref().filter(|_| !is_there) {
            Some(place) => place.read(ctx, &input.access()).await?.len(),
            None => 0,
        };
        effects.push(effect(found, place, bytes)?);
    }
    let left: &[String] = if input.remove_unlisted { &[] } else { &unlisted };
    Ok(prepared(input, effects, left))
}

/// The digest of each file, or nothing where it shall not be, by its path inside of the folder; one
/// without a path for a file.
type Wanted = BTreeMap<Option<String>, Option<String>>;

async fn wanted(ctx: &Context, input: &RestoreInput) -> Result<Wanted, PrepareFailure> {
    if input.sha256.is_some() || input.absent {
        return Ok([(None, input.sha256.clone())].into());
    }
    let files = match &input.manifest {
        None => input.files.clone(),
        Some(list) => {
            let place = Place { at: list.from.clone(), sha256: list.sha256.clone() };
            let bytes = place.read(ctx, &input.access()).await?;
            manifest::read(&String::from_utf8_lossy(&bytes)).map_err(refused)?
        }
    };
    Ok(files.into_iter().map(|(path, sha256)| (Some(path), Some(sha256))).collect())
}

/// The folder, or the file, by its canonical path; of a file that is not there its folder's.
fn root_of(root: &str) -> Result<PathBuf, PrepareFailure> {
    let path = Path::new(root);
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => absent(path),
        Err(error) => Err(refused(format!("cannot read {root}: {error}"))),
    }
}

/// The path of a file that is not there, in a folder that is.
fn absent(path: &Path) -> Result<PathBuf, PrepareFailure> {
    let unfound = |why: &str| refused(format!("cannot find {}: {why}", path.display()));
    if path.symlink_metadata().is_ok() {
        return Err(unfound("it is a link to nothing; remove it by hand"));
    }
    let name = path.file_name().ok_or_else(|| unfound("it has no name"))?;
    let folder = path.parent().ok_or_else(|| unfound("it is in no folder"))?;
    let folder = folder.canonicalize().map_err(|error| {
        refused(format!("{}: {error}; make this folder first", folder.display()))
    })?;
    Ok(folder.join(name))
}

fn unlisted(root: &str, wanted: &Wanted) -> Result<Vec<String>, PrepareFailure> {
    let mut found = Vec::new();
    if !wanted.contains_key(&None) {
        walk(Path::new(root), "", &mut found)
            .map_err(|error| refused(format!("cannot read {root}: {error}")))?;
        found.retain(|path| !wanted.contains_key(&Some(path.clone())));
    }
    Ok(found)
}

fn find_all(root: &Path, wanted: &Wanted) -> Result<Vec<Found>, PrepareFailure> {
    let find = |(inside, sha256): (&Option<String>, &Option<String>)| {
        let found = find(root, inside.as_deref())?;
        let path = inside.as_ref().map_or_else(|| root.to_owned(), |inside| root.join(inside));
        if sha256.is_none() && found.stamp.is_some() && found.path != path {
            let path = path.display();
            return Err(refused(format!("{path} is reached by a link; remove it by hand")));
        }
        Ok(found)
    };
    wanted.iter().map(find).collect()
}

fn find(root: &Path, inside: Option<&str>) -> Result<Found, PrepareFailure> {
    let path = inside.map_or_else(|| root.to_owned(), |inside| root.join(inside));
    let unread = |error| refused(format!("cannot read {}: {error}", path.display()));
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => absent(&path)?,
        Err(error) => return Err(unread(error)),
    };
    if !real.starts_with(root) {
        let (path, real) = (path.display(), real.display());
        return Err(refused(format!("{path} leads out of the folder, to {real}")));
    }
    match look(&real, Kind::File) {
        Ok(seen) => Ok(Found { path: real, bytes: seen.content.len(), stamp: Some(seen.stamp) }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(Found { path: real, bytes: 0, stamp: None })
        }
        Err(error) => Err(unread(error)),
    }
}

/// The files under a folder by their path inside, without hidden ones, ours among them;
/// symlinks are not followed.
fn walk(root: &Path, inside: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(inside))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
        let kind = entry.file_type()?;
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else {
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
    place: Option<Place>,
    bytes: usize,
) -> Result<PreparedEffect, PrepareFailure> {
    let path = found.path.display().to_string();
    let wanted = place.as_ref().map(|place| place.sha256.clone());
    let before = found.stamp.as_ref().map(|stamp| stamp.sha256.clone());
    let line = format!(
        "{path}: {} -> {}",
        before.as_ref().map_or("absent".to_owned(), |sha| sized(sha, found.bytes)),
        wanted.as_ref().map_or("absent".to_owned(), |sha| sized(sha, bytes)),
    );
    let image = |sha256: Option<String>, at: String| {
        sha256.map_or(Image::Absent, |sha256| Image::Digest { sha256, at })
    };
    let at = place.as_ref().map(|place| shown(&place.at)).unwrap_or_default();
    let title = wanted.as_ref().map_or("absent", |sha256| short(sha256));
    let title = format!("{path} is {title}");
    let change = change(found, wanted.as_ref());
    let satisfied = if change.is_none() { Satisfied::Yes } else { Satisfied::No };
    let difference = change.iter().map(|_| line.clone()).collect();
    Ok(PreparedEffect {
        title,
        wave: 0,
        satisfied,
        before: image(before, path),
        wanted: image(wanted, at),
        difference,
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: serde_json::to_value(Data { change, place })
            .map_err(|error| refused(error.to_string()))?,
    })
}

fn change(found: Found, wanted: Option<&String>) -> Option<Change> {
    let target = found.path;
    match (found.stamp, wanted) {
        (None, None) => None,
        (Some(stamp), Some(wanted)) if stamp.sha256 == *wanted => None,
        (Some(before), Some(wanted)) => Some(Change::Swap(SwapPlan {
            target,
            kind: Kind::File,
            before,
            wanted_sha256: wanted.clone(),
        })),
        (None, Some(wanted)) => {
            Some(Change::Presence(PresencePlan::Make { target, wanted_sha256: wanted.clone() }))
        }
        (Some(before), None) => Some(Change::Presence(PresencePlan::Take { target, before })),
    }
}

fn sized(sha256: &str, bytes: usize) -> String {
    format!("{} ({bytes} bytes)", short(sha256))
}

fn prepared(input: &RestoreInput, effects: Vec<PreparedEffect>, unlisted: &[String]) -> Prepared {
    // The title begins with the path.
    let lock = |effect: &PreparedEffect| {
        effect.title.rsplit_once(" is ").map(|(path, _)| TargetId::new(format!("file:{path}")))
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
