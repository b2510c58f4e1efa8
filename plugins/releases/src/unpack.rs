//! An archive into a folder, and nowhere else.
//!
//! Refused: paths that leave the folder, links that do, hard links, devices, two entries of one
//! name, and more than the limits allow. Links are made last, so that nothing is written through
//! one. No owner, no time and no set-user bit is taken over.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use backout_plugin_api::CancellationToken;

/// Bytes of a release on disk: eight gibibytes; an archive that grows beyond is a bomb.
const UNPACKED_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Entries of an archive.
const ENTRIES_MAX: usize = 200_000;
/// Bytes of a path, as Linux takes them.
const PATH_BYTES_MAX: usize = 4_096;
/// Folders in one another.
const DEPTH_MAX: usize = 100;
/// The file in a release's folder that says where it came from.
pub(crate) const RECORD: &str = ".backout-release.json";

/// A folder that is being filled.
pub(crate) struct Unpacker<'a> {
    root: PathBuf,
    strip: usize,
    cancel: &'a CancellationToken,
    names: BTreeSet<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
    bytes: u64,
    entries: usize,
}

fn failed(what: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("cannot unpack {}: {error}", what.display())
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("the archive cannot be read: {error}")
}

impl<'a> Unpacker<'a> {
    /// Makes the folder, which must not be there.
    pub(crate) fn new(
        root: &Path,
        strip: usize,
        cancel: &'a CancellationToken,
    ) -> Result<Self, String> {
        std::fs::create_dir(root).map_err(failed(root))?;
        Ok(Self {
            root: root.to_owned(),
            strip,
            cancel,
            names: BTreeSet::new(),
            links: Vec::new(),
            bytes: 0,
            entries: 0,
        })
    }

    pub(crate) fn tar(&mut self, source: impl Read) -> Result<(), String> {
        let mut archive = tar::Archive::new(source);
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let path = entry.path().map_err(unreadable)?.into_owned();
            let kind = entry.header().entry_type();
            let mode = entry.header().mode().unwrap_or(0o644);
            let Some(inside) = self.inside(&path)? else { continue };
            if kind.is_dir() {
                self.folder(&inside)?;
            } else if kind.is_file() || kind == tar::EntryType::Continuous {
                self.file(&inside, mode, &mut entry)?;
            } else if kind.is_symlink() {
                let target = entry.link_name().map_err(unreadable)?;
                let target = target.ok_or_else(|| unreadable("a link without a target"))?;
                self.link(&inside, &target)?;
            } else if !is_about_others(kind) {
                return Err(format!("{} is no file, folder or link: refused", path.display()));
            }
        }
        Ok(())
    }

    pub(crate) fn zip(&mut self, source: impl Read + Seek) -> Result<(), String> {
        let mut archive = zip::ZipArchive::new(source).map_err(unreadable)?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(unreadable)?;
            let path = PathBuf::from(&*entry.name().map_err(unreadable)?);
            let Some(inside) = self.inside(&path)? else { continue };
            let mode = entry.unix_mode().unwrap_or(0o644);
            if entry.is_dir() {
                self.folder(&inside)?;
            } else if entry.is_symlink() {
                let mut target = String::new();
                let limit = PATH_BYTES_MAX as u64 + 1;
                entry.by_ref().take(limit).read_to_string(&mut target).map_err(unreadable)?;
                self.link(&inside, Path::new(&target))?;
            } else {
                self.file(&inside, mode, &mut entry)?;
            }
        }
        Ok(())
    }

    /// One program.
    pub(crate) fn binary(&mut self, path: &str, mut source: impl Read) -> Result<(), String> {
        self.file(Path::new(path), 0o755, &mut source)
    }

    /// The links, now that nothing is written any more.
    pub(crate) fn finish(self) -> Result<(), String> {
        if self.names.is_empty() && self.links.is_empty() {
            return Err("the archive holds nothing that is left after `strip`".to_owned());
        }
        for (path, target) in &self.links {
            let full = self.root.join(path);
            self.make_parents(path)?;
            symlink(target, &full).map_err(failed(path))?;
        }
        Ok(())
    }

    /// The path in the folder; `None` where nothing of it is left.
    fn inside(&mut self, path: &Path) -> Result<Option<PathBuf>, String> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(format!("the archive has more than ENTRIES_MAX ({ENTRIES_MAX}) entries"));
        }
        if self.cancel.is_cancelled() {
            return Err("ended on request while the archive was unpacked".to_owned());
        }
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(part) => parts.push(part),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(format!("{} leaves the release's folder: refused", path.display()));
                }
            }
        }
        if path.as_os_str().len() > PATH_BYTES_MAX || parts.len() > DEPTH_MAX {
            return Err("a path of the archive is too long or too deep".to_owned());
        }
        let inside: PathBuf = parts.into_iter().skip(self.strip).collect();
        if inside == Path::new(RECORD) {
            return Err(format!("the archive holds a {RECORD} of its own: refused"));
        }
        Ok((!inside.as_os_str().is_empty()).then_some(inside))
    }

    fn folder(&mut self, path: &Path) -> Result<(), String> {
        std::fs::create_dir_all(self.root.join(path)).map_err(failed(path))
    }

    fn make_parents(&self, path: &Path) -> Result<(), String> {
        let parent = self.root.join(path);
        let parent = parent.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(parent).map_err(failed(path))
    }

    fn file(&mut self, path: &Path, mode: u32, source: &mut impl Read) -> Result<(), String> {
        self.name(path)?;
        self.make_parents(path)?;
        let mut options = File::options();
        options.write(true).create_new(true).mode(mode & 0o777);
        let mut file = options.open(self.root.join(path)).map_err(failed(path))?;
        let left = UNPACKED_BYTES_MAX - self.bytes;
        let copied = io::copy(&mut source.take(left + 1), &mut file).map_err(failed(path))?;
        if copied > left {
            let limit = format!("more than UNPACKED_BYTES_MAX ({UNPACKED_BYTES_MAX} bytes)");
            return Err(format!("the archive unpacks to {limit}"));
        }
        self.bytes += copied;
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), String> {
        self.name(path)?;
        if !stays_inside(path, target) {
            let (path, target) = (path.display(), target.display());
            return Err(format!("the link {path} leads out of the release, to {target}: refused"));
        }
        self.links.push((path.to_owned(), target.to_owned()));
        Ok(())
    }

    fn name(&mut self, path: &Path) -> Result<(), String> {
        if self.names.insert(path.to_owned()) {
            return Ok(());
        }
        Err(format!("the archive holds {} twice: refused", path.display()))
    }
}

/// Headers that speak of the entries after them, not of one.
fn is_about_others(kind: tar::EntryType) -> bool {
    kind.is_pax_global_extensions()
        || kind.is_pax_local_extensions()
        || kind.is_gnu_longname()
        || kind.is_gnu_longlink()
}

/// Whether a relative target, from where its link stands, stays in the folder all the way.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use proptest::prelude::*;

    use super::*;

    fn unpacked(
        strip: usize,
        fill: impl FnOnce(&mut Unpacker<'_>) -> Result<(), String>,
    ) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let (root, cancel) = (dir.path().join("release"), CancellationToken::new());
        let mut unpacker = Unpacker::new(&root, strip, &cancel)?;
        let filled = fill(&mut unpacker).and_then(|()| unpacker.finish());
        let outside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "something was written outside: {outside:?}");
        filled?;
        let mut found = Vec::new();
        list(&root, "", &mut found);
        Ok(found)
    }

    fn list(root: &Path, inside: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(root.join(inside)).unwrap().flatten() {
            let path = format!("{inside}/{}", entry.file_name().to_string_lossy());
            let path = path.trim_start_matches('/').to_owned();
            if entry.file_type().unwrap().is_dir() {
                list(root, &path, found);
            } else {
                found.push(path);
            }
        }
        found.sort();
    }

    /// A tar of (name, kind, content or target), names as they are.
    fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_old();
            let bytes = name.as_bytes();
            header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let is_link = kind.is_symlink() || kind.is_hard_link();
            if is_link {
                let target = content.as_bytes();
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
            }
            let data = if is_link { "" } else { content };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    use tar::EntryType as Kind;

    #[test]
    fn files_folders_and_links_inside_are_unpacked() {
        let bytes = tar_of(&[
            ("shop-1.4.2/", Kind::Directory, ""),
            ("shop-1.4.2/bin/shop", Kind::Regular, "program"),
            ("./shop-1.4.2/lib/x", Kind::Regular, "x"),
            ("shop-1.4.2/shop", Kind::Symlink, "bin/shop"),
        ]);
        let found = unpacked(1, |unpacker| unpacker.tar(Cursor::new(bytes))).unwrap();
        assert_eq!(found, ["bin/shop", "lib/x", "shop"]);
    }

    #[test]
    fn what_leaves_the_folder_is_refused() {
        for (entries, why) in [
            (vec![("../evil", Kind::Regular, "x")], "leaves"),
            (vec![("/etc/evil", Kind::Regular, "x")], "leaves"),
            (vec![("a/../../evil", Kind::Regular, "x")], "leaves"),
            (vec![("a", Kind::Symlink, "/etc")], "leads out"),
            (vec![("a/b", Kind::Symlink, "../../x")], "leads out"),
            (vec![("a", Kind::Symlink, "b"), ("a/evil", Kind::Regular, "x")], "cannot unpack"),
            (vec![("a", Kind::Regular, "1"), ("a", Kind::Regular, "2")], "twice"),
            (vec![("a", Kind::Link, "/etc/passwd")], "refused"),
            (vec![("a", Kind::Fifo, "")], "refused"),
            (vec![("a", Kind::Char, "")], "refused"),
            (vec![(RECORD, Kind::Regular, "{}")], "of its own"),
            (vec![], "nothing"),
        ] {
            let bytes = tar_of(&entries);
            let said = unpacked(0, |unpacker| unpacker.tar(Cursor::new(bytes))).unwrap_err();
            assert!(said.contains(why), "{entries:?}: {said}");
        }
    }

    fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (name, content) in entries {
            writer.start_file(*name, options).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_zip_is_unpacked_as_safely() {
        let bytes = zip_of(&[("bin/shop", "program"), ("x", "y")]);
        let found = unpacked(0, |unpacker| unpacker.zip(Cursor::new(bytes))).unwrap();
        assert_eq!(found, ["bin/shop", "x"]);
        for name in ["../evil", "a/../../evil"] {
            let bytes = zip_of(&[(name, "x")]);
            let said = unpacked(0, |unpacker| unpacker.zip(Cursor::new(bytes))).unwrap_err();
            assert!(said.contains("leaves"), "{name}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_archive_stays_inside(
            names in proptest::collection::vec("[a./]{1,8}", 0..5),
            targets in proptest::collection::vec("[a./]{1,8}", 0..5),
            junk in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut entries: Vec<_> =
                targets.iter().map(|target| ("l", Kind::Symlink, target.as_str())).collect();
            entries.extend(names.iter().map(|name| (name.as_str(), Kind::Regular, "x")));
            // `unpacked` looks at what is outside; any answer will do.
            drop(unpacked(0, |unpacker| unpacker.tar(Cursor::new(tar_of(&entries)))));
            drop(unpacked(0, |unpacker| unpacker.tar(Cursor::new(junk.clone()))));
            drop(unpacked(0, |unpacker| unpacker.zip(Cursor::new(junk))));
        }
    }
}
