//! Where things are in a store's folder.

use std::path::{Path, PathBuf};

use backout_core::id::RunId;

/// The paths of one store. `docs/storage-format.md` describes each.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn owner(&self) -> PathBuf {
        self.root.join("owner.lock")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    pub(crate) fn durable(&self) -> PathBuf {
        self.root.join("durable")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.log().join(format!("{number:012}.log"))
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(crate) fn run(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }

    pub(crate) fn journal(&self, run: &RunId) -> PathBuf {
        self.run(run).join("journal")
    }

    pub(crate) fn fold(&self, run: &RunId) -> PathBuf {
        self.run(run).join("fold")
    }

    pub(crate) fn held(&self, run: &RunId) -> PathBuf {
        self.run(run).join("held")
    }

    pub(crate) fn imported(&self, run: &RunId) -> PathBuf {
        self.run(run).join("imported")
    }

    pub(crate) fn captures(&self, run: &RunId) -> PathBuf {
        self.run(run).join("out")
    }

    pub(crate) fn scratch(&self, run: &RunId) -> PathBuf {
        self.run(run).join("work")
    }

    pub(crate) fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

/// Bytes of a run's name at the most: what a frame's table has room for.
pub(crate) const RUN_NAME_MAX: usize = 16;

/// Whether a run's name fits a frame's table and is safe as a folder's name.
pub(crate) fn is_run_name(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=RUN_NAME_MAX).contains(&text.len()) && text.bytes().all(safe)
}
