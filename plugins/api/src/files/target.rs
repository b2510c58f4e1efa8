//! Looking at a target, staging its successor, exchanging the two.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, fchown, symlink};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Deserialize, FILE_BYTES_MAX, Method, Path, Places, Serialize, Write, io, sha256_hex};

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file; its content is its bytes.
    File,
    /// A symlink; its content is the path it holds.
    Link,
}

/// How a target was at one moment: content, identity, and the change time that every write,
/// rename and link moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// SHA-256 of its content, lower-case hex.
    pub sha256: String,
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Its change time, nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl Stamp {
    /// Whether it is the same file with the same content; the change time may differ.
    pub fn same_thing(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 && self.identity() == other.identity()
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { dev: self.dev, ino: self.ino }
    }
}

/// Which file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    dev: u64,
    ino: u64,
}

/// What was seen at a target.
#[derive(Clone, Debug)]
pub struct Look {
    /// A file's bytes or a link's path.
    pub content: Vec<u8>,
    /// How it was.
    pub stamp: Stamp,
    kind: Kind,
    metadata: std::fs::Metadata,
}

/// Reads a target and its stamp. The stamp is of the file that was read, also where its name is
/// given to another meanwhile.
pub fn look(path: &Path, kind: Kind) -> io::Result<Look> {
    let (content, metadata) = match kind {
        Kind::File => read_file(path)?,
        Kind::Link => {
            let metadata = path.symlink_metadata()?;
            if !metadata.is_symlink() {
                let what = format!("{} is not a symlink", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            (std::fs::read_link(path)?.into_os_string().into_vec(), metadata)
        }
    };
    let stamp = Stamp {
        sha256: sha256_hex(&content),
        dev: metadata.dev(),
        ino: metadata.ino(),
        ctime_ns: metadata
            .ctime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.ctime_nsec()),
    };
    Ok(Look { content, stamp, kind, metadata })
}

fn read_file(path: &Path) -> io::Result<(Vec<u8>, std::fs::Metadata)> {
    use io::Read;
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if !metadata.is_file() {
        return refuse(format!("{} is not a file", path.display()));
    }
    let mut content = Vec::new();
    (&file).take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return refuse(format!(
            "{} is larger than FILE_BYTES_MAX ({FILE_BYTES_MAX} bytes)",
            path.display()
        ));
    }
    Ok((content, metadata))
}

/// Which file has this name, if any.
pub(super) fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(Identity { dev: found.dev(), ino: found.ino() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the successor of `like`, durably, with its mode and owner.
pub(super) fn stage(path: &Path, content: &[u8], like: &Look) -> io::Result<Identity> {
    match like.kind {
        Kind::Link => symlink(Path::new(OsStr::from_bytes(content)), path)?,
        Kind::File => {
            let mut file = std::fs::File::create_new(path)?;
            file.write_all(content)?;
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (like.metadata.uid(), like.metadata.gid()) {
                fchown(&file, Some(like.metadata.uid()), Some(like.metadata.gid()))?;
            }
            file.set_permissions(like.metadata.permissions())?;
            file.sync_all()?;
        }
    }
    identity(path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Exchanges the staged file and the target; afterwards the displaced one has the staged name, or its
/// own where two names cannot be exchanged or should not be.
pub(super) fn exchange(places: &Places, target: &Path, method: Method) -> io::Result<()> {
    if method == Method::Exchange {
        match renameat_with(CWD, &places.staged, CWD, target, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return Ok(other?),
        }
    }
    match std::fs::remove_file(&places.aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(target, &places.aside)?;
    std::fs::rename(&places.staged, target)
}

/// Makes the names of a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
