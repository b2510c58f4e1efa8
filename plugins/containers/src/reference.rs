//! What an image is asked for by.

/// An image, named so that it cannot become another one; or the wish for the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The one before the running one.
    Previous,
    /// By its own id, which only the machine knows.
    Id(String),
    /// By the digest under which a registry knows it.
    Digest {
        /// Registry and repository, as written.
        repository: String,
        /// A tag beside the digest: only looked at, to see whether it moved.
        tag: Option<String>,
        /// `sha256:…`.
        digest: String,
    },
}

const PREVIOUS: &str = "previous";
const ALGORITHM: &str = "sha256:";
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

impl Reference {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// It names no image for good.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == PREVIOUS {
            return Ok(Self::Previous);
        }
        if is_digest(text) {
            return Ok(Self::Id(text.to_owned()));
        }
        let Some((name, digest)) = text.split_once('@') else {
            return Err(format!("`{text}` is not named by digest"));
        };
        if !is_digest(digest) {
            return Err(format!("`{digest}` is not sha256: and {DIGITS} hexadecimal digits"));
        }
        let (repository, tag) = split_tag(name);
        if repository.is_empty() || repository.contains(char::is_whitespace) {
            return Err(format!("`{text}` names no repository"));
        }
        Ok(Self::Digest {
            repository: repository.to_owned(),
            tag: tag.map(ToOwned::to_owned),
            digest: digest.to_owned(),
        })
    }

    /// How the engine is asked for it; nothing for the one before.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Previous => None,
            Self::Id(id) => Some(id.clone()),
            Self::Digest { repository, digest, .. } => Some(format!("{repository}@{digest}")),
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix(ALGORITHM).is_some_and(|hex| {
        hex.len() == DIGITS && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The repository and the tag of a name without a digest. A colon before the last slash belongs to
/// a port.
pub(crate) fn split_tag(name: &str) -> (&str, Option<&str>) {
    let after = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.get(after..).and_then(|last| last.find(':')) {
        Some(colon) => (
            name.get(..after + colon).unwrap_or(name),
            name.get(after + colon + 1..).filter(|tag| !tag.is_empty()),
        ),
        None => (name, None),
    }
}

/// The repository of a name of any kind; nothing where it is only an id.
pub(crate) fn repository(name: &str) -> Option<&str> {
    if name.starts_with(ALGORITHM) || name.is_empty() {
        return None;
    }
    Some(split_tag(name.split('@').next().unwrap_or(name)).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_move_is_a_reference() {
        let hex = "a".repeat(DIGITS);
        let digest = |repository: &str, tag: Option<&str>| Reference::Digest {
            repository: repository.into(),
            tag: tag.map(Into::into),
            digest: format!("sha256:{hex}"),
        };
        let cases = [
            ("previous".to_owned(), Some(Reference::Previous)),
            (format!("sha256:{hex}"), Some(Reference::Id(format!("sha256:{hex}")))),
            (format!("shop@sha256:{hex}"), Some(digest("shop", None))),
            (format!("r:5000/a/shop:1.4@sha256:{hex}"), Some(digest("r:5000/a/shop", Some("1.4")))),
            (format!("r:5000/shop@sha256:{hex}"), Some(digest("r:5000/shop", None))),
            ("shop:1.4".to_owned(), None),
            ("shop".to_owned(), None),
            ("shop@sha256:abc".to_owned(), None),
            (format!("@sha256:{hex}"), None),
            (format!("shop@sha256:{}", "A".repeat(DIGITS)), None),
        ];
        for (text, wanted) in cases {
            assert_eq!(Reference::parse(&text).ok(), wanted, "{text}");
        }
        assert_eq!(repository("r:5000/shop:1"), Some("r:5000/shop"));
        assert_eq!(repository("shop@sha256:1"), Some("shop"));
        assert_eq!(repository("sha256:1"), None);
    }
}
