//! Keeps what a command says: the whole in a file up to a limit, and its end in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use backout_plugin_api::limits::CAPTURE_BYTES_MAX;

/// The end of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    bytes_max: usize,
    cut: bool,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: VecDeque::new(), bytes_max, cut: false }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend(piece);
        let beyond = self.bytes.len().saturating_sub(self.bytes_max);
        self.cut |= beyond > 0;
        self.bytes.drain(..beyond);
    }

    /// The text, and whether there was more before it.
    pub(crate) fn text(&self) -> (String, bool) {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        // A piece of a character, or of an invalid byte's stand-in, may exceed the limit.
        while text.len() > self.bytes_max {
            text.remove(0);
        }
        (text, self.cut)
    }
}

/// The file of everything that was said, cut at a limit with a mark.
#[derive(Debug)]
pub(crate) struct Capture {
    file: Option<File>,
    left: u64,
}

impl Capture {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Some(File::create(path)?), left: CAPTURE_BYTES_MAX })
    }

    /// Keeps a piece, or as much of it as there is room for. A disk that is full costs the output,
    /// never the command.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let kept = &piece[..piece.len().min(room)];
        let cut = kept.len() < piece.len();
        let written = file
            .write_all(kept)
            .and_then(|()| if cut { file.write_all(mark().as_bytes()) } else { Ok(()) });
        self.left -= kept.len() as u64;
        if cut || written.is_err() {
            self.close();
        }
    }

    /// Nothing more is kept; what was kept is on disk.
    pub(crate) fn close(&mut self) {
        if let Some(file) = self.file.take() {
            // The exit record follows on the same disk: it will meet the same trouble.
            drop(file.sync_data());
        }
    }
}

fn mark() -> String {
    format!("\n[backout: the output is cut here, at {CAPTURE_BYTES_MAX} bytes]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::new(4);
        tail.push(b"abc");
        assert_eq!(tail.text(), ("abc".into(), false));
        tail.push(b"def");
        assert_eq!(tail.text(), ("cdef".into(), true));
        tail.push(&[0xff; 8]);
        assert!(tail.text().0.len() <= 4);
    }

    #[test]
    fn a_capture_is_cut_with_a_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        let mut capture = Capture { file: Some(File::create(&path).unwrap()), left: 5 };
        capture.push(b"abc");
        capture.push(b"defg");
        capture.push(b"more");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, format!("abcde{}", mark()));
    }
}
