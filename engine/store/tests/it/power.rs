//! Real power cuts: an ext4 image on a loop device, shut down while it is written to.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::{Writing, check};

/// Bytes of the image.
const IMAGE: u64 = 256 * 1024 * 1024;

struct Mounted {
    image: PathBuf,
    at: PathBuf,
}

fn sh(command: &str) -> Result<(), String> {
    let out = Command::new("sh").args(["-c", command]).output().map_err(|e| e.to_string())?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&out.stderr)))
}

impl Mounted {
    fn make(dir: &Path) -> Result<Self, String> {
        let (image, at) = (dir.join("image"), dir.join("mnt"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(IMAGE).unwrap();
        sh("command -v xfs_io")?;
        sh(&format!("mkfs.ext4 -q -F {}", image.display()))?;
        let mounted = Self { image, at };
        mounted.mount()?;
        Ok(mounted)
    }

    fn mount(&self) -> Result<(), String> {
        sh(&format!("mount -o loop {} {}", self.image.display(), self.at.display()))
    }

    fn cut(&self) {
        sh(&format!("xfs_io -x -c shutdown {}", self.at.display())).unwrap();
    }

    fn remount(&self) {
        sh(&format!("umount {}", self.at.display())).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ended = sh(&format!("umount {}", self.at.display()));
    }
}

/// A mounted image, or why there is none; in CI there must be one.
fn mounted(dir: &Path) -> Option<Mounted> {
    match Mounted::make(dir) {
        Ok(mounted) => Some(mounted),
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("skipped: {why}; it needs root and `apt-get install xfsprogs`");
            None
        }
    }
}

fn cuts(bytes: usize, turns: usize) {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = mounted(dir.path()) else { return };
    for turn in 0..turns {
        let store = disk.at.join(format!("store-{}", turn / 5));
        let mut writing = Writing::start(&store, bytes);
        writing.await_acks(1 + turn * 17 % 150);
        // What is acknowledged while the file system goes down proves nothing: a kernel that still
        // runs may let a sync succeed whose journal it has just given up. A real cut leaves no
        // kernel to say so.
        writing.freeze();
        disk.cut();
        let acknowledged = writing.end();
        disk.remount();
        check(&store, &acknowledged, &format!("cut {turn}, {bytes} bytes"));
    }
}

#[test]
fn small_events_survive_power_cuts() {
    cuts(300, 25);
}

#[test]
fn events_of_64_kib_survive_power_cuts() {
    cuts(64 * 1024, 15);
}
