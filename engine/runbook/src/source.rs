//! A file's bytes to a text, with a problem that a person can act on. Whoever reads the file says
//! what happened; nothing is read here.

use std::io::{Error, ErrorKind};

use backout_core::limits::RUNBOOK_BYTES_MAX;

use crate::codes;
use crate::problem::Problem;

/// What became of reading a file.
#[derive(Debug)]
pub enum FileFact {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// It is a folder.
    Folder,
    /// It is larger than [`RUNBOOK_BYTES_MAX`] and was not read.
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It could not be read.
    Failed(Error),
}

/// The text of a file that was read as `name`.
///
/// # Errors
/// One problem, where there is no text.
pub fn accept(name: &str, fact: FileFact) -> Result<String, Box<Problem>> {
    let bytes = match fact {
        FileFact::Bytes(bytes) if bytes.len() > RUNBOOK_BYTES_MAX => {
            return Err(Box::new(too_large(bytes.len() as u64)));
        }
        FileFact::Bytes(bytes) => bytes,
        FileFact::Folder => return Err(Box::new(folder(name))),
        FileFact::TooLarge { bytes } => return Err(Box::new(too_large(bytes))),
        FileFact::Failed(error) => return Err(Box::new(failed(name, &error))),
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..at).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column =
            String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
        let message = format!("{name} is not UTF-8: byte {at}, line {line}, column {column}");
        let mut problem = Problem::new(codes::FILE_NOT_UTF8, message)
            .advise("save the file as UTF-8; is it a runbook at all?");
        (problem.line, problem.column) = (line, column);
        Box::new(problem)
    })
}

fn folder(name: &str) -> Problem {
    Problem::new(codes::FILE_FOLDER, format!("{name} is a folder, not a file"))
        .help(format!("name a file in it: {}/NAME.ron", name.trim_end_matches('/')))
}

pub(crate) fn too_large(bytes: u64) -> Problem {
    let message =
        format!("the file has {bytes} bytes, more than RUNBOOK_BYTES_MAX ({RUNBOOK_BYTES_MAX})");
    Problem::new(codes::FILE_TOO_LARGE, message).advise("split the runbook, or move data out of it")
}

fn failed(name: &str, error: &Error) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => Problem::new(codes::FILE_MISSING, format!("{name} does not exist"))
            .advise("is the path right, seen from this folder?"),
        ErrorKind::IsADirectory => folder(name),
        ErrorKind::PermissionDenied => {
            Problem::new(codes::FILE_UNREADABLE, format!("{name} may not be read"))
                .help(format!("look at its owner and mode: ls -l {name}"))
        }
        _ => Problem::new(codes::FILE_UNREADABLE, format!("{name} cannot be read: {error}")),
    }
}
