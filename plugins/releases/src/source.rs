//! A release that is not here yet: an archive or a binary, from a file or an HTTP(S) store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use backout_plugin_api::web::{self, Access, Ask};
use backout_plugin_api::words::{fetched, problem, quoted};
use backout_plugin_api::{Checked, Context, PrepareFailure, SecretRef};
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::folder::{digest, is_digest, is_inside};
use crate::unpack::{self, RECORD};

/// Bytes of an archive or a binary as it is fetched: two gibibytes, more than a release of one
/// service has.
pub(crate) const SOURCE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(crate) enum Form {
    /// A tar archive.
    Tar,
    /// A tar archive through gzip.
    TarGz,
    /// A zip archive.
    Zip,
    /// One file, the program itself.
    Binary,
}

/// Where a release comes from when its folder is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Source {
    /// A file, or `http(s)://…`; `{release}` and `{sha256}` stand for what they say.
    pub(crate) at: String,
    /// The SHA-256 of the archive or binary, lower-case hex.
    pub(crate) sha256: String,
    /// What it is: `tar`, `tar-gz`, `zip` or `binary`. By default as its name ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) form: Option<Form>,
    /// For a binary: its path in the release, `"bin/shop"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Leading folders of an archive's paths that are left out: 1 where all stands in one folder.
    #[serde(default)]
    pub(crate) strip: usize,
    /// Headers for a store, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers for a store whose values are secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) secret_headers: BTreeMap<String, SecretRef>,
    /// A secret token for a store, sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bearer: Option<SecretRef>,
}

/// What a release's folder says of where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Of the archive or binary.
    pub(crate) sha256: String,
}

fn refused(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

impl Source {
    fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            secret_headers: self.secret_headers.clone(),
            bearer: self.bearer.clone(),
        }
    }

    fn place(&self, release: &str) -> String {
        self.at.replace("{release}", release).replace("{sha256}", &self.sha256)
    }

    fn form(&self) -> Option<Form> {
        if self.form.is_some() {
            return self.form;
        }
        let name = self.at.split('?').next().unwrap_or_default();
        let ends = |ending: &str| name.ends_with(ending);
        match () {
            () if ends(".tar.gz") || ends(".tgz") => Some(Form::TarGz),
            () if ends(".tar") => Some(Form::Tar),
            () if ends(".zip") => Some(Form::Zip),
            () => self.path.as_ref().map(|_| Form::Binary),
        }
    }

    pub(crate) fn check(&self, checked: &mut Checked) {
        if is_url(&self.at) {
            self.access().check(checked, "/source/at", &self.place("release"));
        }
        if !self.sha256.contains("${") && !is_digest(&self.sha256) {
            let help = "64 digits of hex, as `sha256sum` prints them";
            problem(checked, "/source/sha256", "this is no SHA-256", help);
        }
        match (self.form(), &self.path) {
            (None, _) => {
                let help = "give `form`, or `path` for a binary";
                problem(checked, "/source/form", "its name does not tell what it is", help);
            }
            (Some(Form::Binary), None) => {
                let help = "write where it goes: \"bin/shop\"";
                problem(checked, "/source/path", "a binary needs its path in the release", help);
            }
            (Some(Form::Binary), Some(path)) if !path.contains("${") && !is_inside(path) => {
                let help = "write it as \"bin/shop\"";
                problem(checked, "/source/path", "it does not stay inside the release", help);
            }
            (Some(Form::Tar | Form::TarGz | Form::Zip), Some(_)) => {
                let help = "leave it out";
                problem(checked, "/source/path", "an archive has its own paths", help);
            }
            (Some(_), _) => {}
        }
    }

    /// Whether it can be had, as far as that is known without fetching it.
    pub(crate) async fn look(&self, ctx: &Context, release: &str) -> Result<(), PrepareFailure> {
        let place = self.place(release);
        if is_url(&place) {
            return look_at_url(ctx, &place, self.access()).await;
        }
        let wanted = self.sha256.clone();
        let look = move || {
            let found = digest(Path::new(&place)).map_err(refused)?;
            if found.eq_ignore_ascii_case(&wanted) {
                Ok(())
            } else {
                Err(other(&place, &found, &wanted))
            }
        };
        blocking(look).await
    }

    /// Makes the release's folder, whole and durable, or finds it made from the same source.
    /// Nobody uses it before the link names it, so one that comes late does no harm.
    pub(crate) async fn install(&self, ctx: &Context, folder: &Path) -> Result<(), String> {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let (this, folder, wanted) = (self.clone(), folder.to_owned(), self.sha256.clone());
        let parent = folder.parent().unwrap_or(&folder).to_owned();
        if folder.symlink_metadata().is_ok() {
            return is_from(&folder, &wanted);
        }
        let said = |failure: PrepareFailure| failure.reason().to_owned();
        let staging = tempdir_in(&parent, &name)?;
        let fetched = self.fetch(ctx, &name, &staging.0).await.map_err(said)?;
        let cancel = ctx.cancel.clone();
        let work = move || {
            let unpacked = staging.0.join("release");
            this.unpack(fetched, &unpacked, &cancel)?;
            write_record(&unpacked, &wanted).map_err(|error| unkept(&error))?;
            settle_in(&unpacked, &folder, &wanted)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
    }

    /// The bytes, proven, in an open file.
    async fn fetch(
        &self,
        ctx: &Context,
        release: &str,
        staging: &Path,
    ) -> Result<File, PrepareFailure> {
        let place = self.place(release);
        let path = staging.join("fetched");
        let create = File::options().read(true).write(true).create_new(true).open(&path);
        let mut file = create.map_err(|error| refused(unkept(&error)))?;
        let found = if is_url(&place) {
            let ask = Ask::get(&place, self.access());
            web::download(ctx, &ask, &mut file, SOURCE_BYTES_MAX).await?.sha256
        } else {
            let from = place.clone();
            let (copied, found) = blocking(move || copy(&from, file)).await?;
            file = copied;
            found
        };
        if !found.eq_ignore_ascii_case(&self.sha256) {
            return Err(other(web::shown(&place), &found, &self.sha256));
        }
        file.seek(SeekFrom::Start(0)).map_err(|error| refused(unkept(&error)))?;
        Ok(file)
    }

    fn unpack(
        &self,
        file: File,
        to: &Path,
        cancel: &backout_plugin_api::CancellationToken,
    ) -> Result<(), String> {
        let mut unpacker = unpack::Unpacker::new(to, self.strip, cancel)?;
        match self.form().ok_or("its name does not tell what it is")? {
            Form::Tar => unpacker.tar(file)?,
            Form::TarGz => unpacker.tar(flate2::read::MultiGzDecoder::new(file))?,
            Form::Zip => unpacker.zip(file)?,
            Form::Binary => {
                let path = self.path.as_deref().ok_or("a binary needs its path")?;
                unpacker.binary(path, file)?;
            }
        }
        unpacker.finish()
    }

    /// What a person types; the folder is `DIR/release`.
    pub(crate) fn by_hand(&self, releases: &str, release: &str) -> Vec<String> {
        let (place, to) = (self.place(release), quoted(&format!("{releases}/{release}")));
        let mut words = vec!["curl -fsSL".to_owned()];
        for (name, reference) in &self.secret_headers {
            words.push(format!("-H \"{name}: {}\"", fetched(reference)));
        }
        if let Some(reference) = &self.bearer {
            words.push(format!("-H \"Authorization: Bearer {}\"", fetched(reference)));
        }
        let get = format!("{} {} -o /tmp/release", words.join(" "), quoted(&place));
        let get = if is_url(&place) { get } else { format!("cp {} /tmp/release", quoted(&place)) };
        let check = format!("echo '{}  /tmp/release' | sha256sum -c", self.sha256);
        let strip = self.strip;
        let unpack = match (self.form(), &self.path) {
            (Some(Form::Zip), _) => format!("unzip -d {to} /tmp/release"),
            (Some(Form::Binary), Some(path)) => {
                format!("install -D -m 0755 /tmp/release {to}/{}", quoted(path))
            }
            _ => format!("mkdir {to} && tar -xf /tmp/release -C {to} --strip-components={strip}"),
        };
        vec![get, check, unpack]
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn other(place: &str, found: &str, wanted: &str) -> PrepareFailure {
    refused(format!("{place} has the SHA-256 {found}, not {wanted}: it is not that release"))
}

fn unkept(error: &std::io::Error) -> String {
    format!("cannot keep the release: {error}")
}

async fn look_at_url(ctx: &Context, url: &str, access: Access) -> Result<(), PrepareFailure> {
    let answer = web::read(ctx, &Ask::head(url, access), 0).await?;
    let said = format!("{}: {}", web::shown(url), answer.says());
    match answer.status {
        // A store in front of a bucket may send elsewhere, and may not know HEAD.
        200..=399 | 405 | 501 => {}
        500.. => return Err(PrepareFailure::Unreachable { reason: said }),
        _ => return Err(refused(said)),
    }
    if answer.length.is_some_and(|length| length > SOURCE_BYTES_MAX) {
        let limit = format!("longer than SOURCE_BYTES_MAX ({SOURCE_BYTES_MAX} bytes)");
        return Err(refused(format!("{}: {limit}", web::shown(url))));
    }
    Ok(())
}

fn copy(from: &str, mut to: File) -> Result<(File, String), PrepareFailure> {
    let unread = |error: std::io::Error| refused(format!("cannot read {from}: {error}"));
    let source = File::open(from).map_err(unread)?;
    let copied = std::io::copy(&mut source.take(SOURCE_BYTES_MAX + 1), &mut to).map_err(unread)?;
    if copied > SOURCE_BYTES_MAX {
        let limit = format!("longer than SOURCE_BYTES_MAX ({SOURCE_BYTES_MAX} bytes)");
        return Err(refused(format!("{from} is {limit}")));
    }
    // Of what was copied: the file may have changed meanwhile.
    let found = digest_of(&mut to).map_err(unread)?;
    Ok((to, found))
}

fn digest_of(file: &mut File) -> std::io::Result<String> {
    use sha2::{Digest, Sha256};
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(backout_plugin_api::hex(&hasher.finalize()));
        }
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}

/// Where a release is put together, beside where it goes; removed in the end.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is litter with a name that says so.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A name that no other sending has: an orphan of an earlier one may be at work still.
fn tempdir_in(releases: &Path, release: &str) -> Result<Staging, String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    remove_litter(releases, release);
    let start = start_of_process();
    let name = format!(".{release}.backout-{}-{start}-{count}", std::process::id());
    let path = releases.join(name);
    std::fs::create_dir(&path).map_err(|error| unkept(&error))?;
    Ok(Staging(path))
}

fn start_of_process() -> u64 {
    crate::process::start_ticks(std::process::id()).unwrap_or(0)
}

/// What engines that died left: their pid, with their start time, is nobody's any more.
fn remove_litter(releases: &Path, release: &str) {
    let prefix = format!(".{release}.backout-");
    let entries = std::fs::read_dir(releases).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        let mut parts = rest.split('-').map(str::parse::<u64>);
        let (Some(Ok(pid)), Some(Ok(start))) = (parts.next(), parts.next()) else { continue };
        let lives = u32::try_from(pid).ok().and_then(crate::process::start_ticks) == Some(start);
        if !lives {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn write_record(folder: &Path, sha256: &str) -> std::io::Result<()> {
    let record = Record { format: 1, sha256: sha256.to_ascii_lowercase() };
    std::fs::write(folder.join(RECORD), serde_json::to_vec(&record)?)
}

/// What the folder says of its source, where we made it.
pub(crate) fn record(folder: &Path) -> Result<Option<Record>, String> {
    let path = folder.join(RECORD);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| format!("{} cannot be read: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Whether a folder that is there is the wanted one, as far as it says.
pub(crate) fn is_from(folder: &Path, wanted: &str) -> Result<(), String> {
    match record(folder)? {
        Some(record) if !record.sha256.eq_ignore_ascii_case(wanted) => Err(format!(
            "{} was made from another source ({}), not from {wanted}: remove it, or name its release \
             otherwise",
            folder.display(),
            record.sha256
        )),
        Some(_) | None => Ok(()),
    }
}

/// Durable first, then visible, in one step; a folder that is there already stays.
fn settle_in(unpacked: &Path, folder: &Path, wanted: &str) -> Result<(), String> {
    let all = File::open(unpacked).map_err(|error| unkept(&error))?;
    syncfs(&all).map_err(|error| unkept(&error.into()))?;
    match renameat_with(CWD, unpacked, CWD, folder, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return is_from(folder, wanted),
        Err(error) => return Err(unkept(&error.into())),
    }
    let parent = folder.parent().unwrap_or(folder);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| unkept(&error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrepareFailure> + Send + 'static,
) -> Result<T, PrepareFailure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(refused(error.to_string())))
}
