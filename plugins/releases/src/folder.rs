//! A root folder with releases and the link that names the current one.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use backout_plugin_api::PrepareFailure;
use backout_plugin_api::files::{Kind, Look, look};
use backout_plugin_api::hex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::source::Source;

fn default_releases() -> String {
    "releases".to_owned()
}

fn default_current() -> String {
    "current".to_owned()
}

/// A file of a release that proves which release it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Artifact {
    /// Its path inside the release's folder.
    pub(crate) path: String,
    /// Its SHA-256, lower-case hex.
    pub(crate) sha256: String,
}

/// What `releases.activate` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivateInput {
    /// The folder that holds the releases and the link.
    pub(crate) root: String,
    /// The folder of releases, in `root`.
    #[serde(default = "default_releases")]
    pub(crate) releases: String,
    /// The link, in `root`.
    #[serde(default = "default_current")]
    pub(crate) current: String,
    /// The release to activate: the name of its folder.
    pub(crate) release: String,
    /// A file of the release and its SHA-256. Without it only the folder is looked at.
    #[serde(default)]
    pub(crate) artifact: Option<Artifact>,
    /// Where the release comes from when its folder is not there.
    #[serde(default)]
    pub(crate) source: Option<Source>,
}

impl ActivateInput {
    /// What is wrong with its names, as (field, message).
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let names = [
            ("/releases", &self.releases),
            ("/current", &self.current),
            ("/release", &self.release),
        ];
        for (at, name) in names {
            if !name.contains("${") && !is_name(name) {
                problems.push((at, format!("`{name}` is not the name of one thing in a folder")));
            }
        }
        if let Some(artifact) = &self.artifact {
            if !artifact.path.contains("${") && !is_inside(&artifact.path) {
                let message = format!("`{}` does not stay inside the release", artifact.path);
                problems.push(("/artifact/path", message));
            }
            let digest = &artifact.sha256;
            if !digest.contains("${") && !is_digest(digest) {
                problems.push(("/artifact/sha256", "it is not 64 digits of hex".to_owned()));
            }
        }
        problems
    }
}

fn is_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    matches!(parts.next(), Some(Component::Normal(name)) if name.as_bytes() == text.as_bytes())
        && parts.next().is_none()
}

/// Whether it is a SHA-256 in hex.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path stays in the folder that it is put under.
pub(crate) fn is_inside(text: &str) -> bool {
    !text.is_empty()
        && Path::new(text).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A root as it was found.
#[derive(Debug)]
pub(crate) struct Root {
    /// The link's own path, its folder canonical.
    pub(crate) link: PathBuf,
    pub(crate) look: Look,
    /// What the link holds.
    pub(crate) text: String,
    /// What the link should hold.
    pub(crate) wanted: String,
    /// The folder of the release to activate.
    pub(crate) release: PathBuf,
    /// The release that is current, if it is one of ours and there.
    pub(crate) previous: Option<String>,
    /// Whether the wanted release is current.
    pub(crate) is_current: bool,
    /// Whether its folder is there.
    pub(crate) is_here: bool,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Looks at a root. Blocks.
pub(crate) fn find(input: &ActivateInput) -> Result<Root, PrepareFailure> {
    if let Some((at, problem)) = input.problems().into_iter().next() {
        return Err(refused(format!("{at}: {problem}")));
    }
    let root = canonical(Path::new(&input.root), "the root folder")?;
    let releases = canonical(&root.join(&input.releases), "the folder of releases")?;
    let release = releases.join(&input.release);
    let is_here = release.is_dir();
    if !is_here && input.source.is_none() {
        return Err(refused(missing_release(&releases, &input.release)));
    }
    let link = root.join(&input.current);
    let look = look(&link, Kind::Link).map_err(|error| {
        refused(format!(
            "{}: {error}; the first release is linked by hand: `ln -s {}/{} {}`",
            link.display(),
            input.releases,
            input.release,
            link.display()
        ))
    })?;
    let text = String::from_utf8(look.content.clone())
        .map_err(|_| refused(format!("{} does not hold UTF-8", link.display())))?;
    let wanted = if Path::new(&text).is_absolute() {
        releases.join(&input.release).display().to_string()
    } else {
        format!("{}/{}", input.releases, input.release)
    };
    let now = std::fs::canonicalize(&link).ok();
    let is_current = now.is_some() && now == std::fs::canonicalize(&release).ok();
    let previous = now.filter(|path| path.parent() == Some(&releases));
    let previous = previous.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    Ok(Root { link, look, text, wanted, release, previous, is_current, is_here })
}

fn canonical(path: &Path, what: &str) -> Result<PathBuf, PrepareFailure> {
    std::fs::canonicalize(path).map_err(|error| {
        let reason = format!("cannot find {what} {}: {error}", path.display());
        PrepareFailure::Unreachable { reason }
    })
}

fn missing_release(releases: &Path, release: &str) -> String {
    /// Names in the message: more do not fit a screen.
    const NAMED_MAX: usize = 20;
    let entries = std::fs::read_dir(releases).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.truncate(NAMED_MAX);
    format!("{} has no release `{release}`; it has: {}", releases.display(), names.join(", "))
}

/// Compares an artifact's digest. Blocks.
pub(crate) fn verify(release: &Path, artifact: &Artifact) -> Result<(), String> {
    let found = digest(&release.join(&artifact.path))?;
    if found.eq_ignore_ascii_case(&artifact.sha256) {
        return Ok(());
    }
    Err(format!(
        "{} has the SHA-256 {found}, not {}: it is not that release, or it is damaged",
        release.join(&artifact.path).display(),
        artifact.sha256
    ))
}

/// The SHA-256 of a file of any size. Blocks.
pub(crate) fn digest(path: &Path) -> Result<String, String> {
    /// Bytes read at once.
    const CHUNK_BYTES: usize = 64 * 1024;
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).map_err(failed)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::{is_inside, is_name};

    #[test]
    fn names_stay_in_their_folder() {
        for name in ["1.4.2", "a b", "..x"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "/a", "a/", "./a"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_inside("bin/shop"));
        for path in ["", "/bin/shop", "../shop", "bin/../../shop"] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
