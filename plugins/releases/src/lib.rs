//! Releases behind a symlink
