//! The short way: a text that is only a plain reference needs no parser.

use super::reference::Reference;
use super::{RESERVED, reference};

/// The reference that the text is, or nothing where it takes CEL to tell.
pub(super) fn reference(text: &str) -> Option<Reference> {
    let text = text.trim_matches([' ', '\t', '\n']);
    if text.len() > 256 {
        return None;
    }
    let mut parts = text.split('.');
    let root = parts.next()?;
    let parts: Vec<&str> = parts.collect();
    if !parts.iter().all(|part| is_name(part)) {
        return None;
    }
    match (root, parts.as_slice()) {
        ("item", path) => Some(Reference::Item { path: owned(path) }),
        ("params", [name, path @ ..]) => {
            Some(Reference::Param { name: (*name).to_owned(), path: owned(path) })
        }
        ("steps", [step, reference::OUTPUT, field, path @ ..]) => Some(Reference::Output {
            step: (*step).to_owned(),
            key: None,
            field: Some((*field).to_owned()),
            path: owned(path),
        }),
        _ => None,
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|&part| part.to_owned()).collect()
}

fn is_name(part: &str) -> bool {
    let mut bytes = part.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !RESERVED.contains(&part)
}
