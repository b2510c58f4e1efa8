//! Journals on disk. The journal files are the truth; sled is their index.

pub mod journal;
