//! Takes secrets out of what a target says, before it is kept or shown.

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Replaces exact values in a stream, also where one comes in two pieces. A value that comes in
/// another form, in base 64 for instance, is not known again.
#[derive(Debug)]
pub struct Masker {
    /// Longest first, so that a secret that contains another is masked whole.
    secrets: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Masker {
    /// A masker of these values; an empty one is no value.
    pub fn new(secrets: &[String]) -> Self {
        let mut secrets: Vec<Vec<u8>> =
            secrets.iter().filter(|s| !s.is_empty()).map(|s| s.as_bytes().to_vec()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets, held: Vec::new() }
    }

    /// Takes a piece and gives what can be told by now. What may be the beginning of a secret is
    /// held back.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        let (masked, rest) = self.masked(false);
        self.held = rest;
        masked
    }

    /// What was held back at the end.
    pub fn finish(&mut self) -> Vec<u8> {
        let (masked, _) = self.masked(true);
        self.held.clear();
        masked
    }

    /// A whole text without the values.
    pub fn text(secrets: &[String], text: &str) -> String {
        let mut masker = Self::new(secrets);
        let mut said = masker.push(text.as_bytes());
        said.extend(masker.finish());
        String::from_utf8_lossy(&said).into_owned()
    }

    fn masked(&self, at_end: bool) -> (Vec<u8>, Vec<u8>) {
        let (mut masked, mut rest) = (Vec::new(), self.held.as_slice());
        while let Some((&first, after)) = rest.split_first() {
            if !at_end && self.may_begin(rest) {
                break;
            }
            if let Some(secret) = self.secrets.iter().find(|secret| rest.starts_with(secret)) {
                masked.extend_from_slice(MASK);
                rest = &rest[secret.len()..];
            } else {
                masked.push(first);
                rest = after;
            }
        }
        (masked, rest.to_vec())
    }

    /// Whether all that is left is the beginning of some secret and more must come to tell.
    fn may_begin(&self, rest: &[u8]) -> bool {
        self.secrets.iter().any(|secret| rest.len() < secret.len() && secret.starts_with(rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_value_comes_through_however_it_is_cut(
            secrets in prop::collection::vec("[ab]{1,4}", 0..4),
            pieces in prop::collection::vec("[abc]{0,5}", 0..8),
        ) {
            let mut masker = Masker::new(&secrets);
            let mut said: Vec<u8> =
                pieces.iter().flat_map(|piece| masker.push(piece.as_bytes())).collect();
            said.extend(masker.finish());
            let said = String::from_utf8(said).unwrap();
            prop_assert_eq!(&said, &Masker::text(&secrets, &pieces.concat()));
            prop_assert!(!secrets.iter().any(|secret| said.contains(secret)), "{said}");
        }
    }

    fn check(secrets: &[&str], text: &str, expected: &str) {
        let secrets: Vec<String> = secrets.iter().map(|&s| s.to_owned()).collect();
        for size in 1..=text.len() {
            let mut masker = Masker::new(&secrets);
            let mut said: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|piece| masker.push(piece)).collect();
            said.extend(masker.finish());
            assert_eq!(String::from_utf8_lossy(&said), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn masks_across_pieces() {
        check(&["hunter2"], "pw=hunter2;hunter;hunter2", "pw=***;hunter;***");
        check(&["aab"], "aaab aaaab", "a*** aa***");
        check(&["abc", "abcdef"], "abcdef abcde", "*** ***de");
        check(&[], "hunter2", "hunter2");
        check(&["a\nb"], "xa\nby", "x***y");
    }
}
