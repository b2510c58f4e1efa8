//! One token: what its holder carries, and what is kept of it.
//!
//! The secret part is 256 random bits, so its SHA-256 needs neither salt nor a slow hash: there is
//! no dictionary of such secrets, and nobody can try a meaningful part of them.

use backout_core::contract::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::role::Role;

/// Random bytes that a token is made from: 4 name it, 32 are its secret.
pub const RANDOM_BYTES: usize = 36;
/// Random bytes that name it: enough for a file of [`crate::tokens::TOKENS_MAX`].
const ID_BYTES: usize = 4;
/// How a token begins, so that scanners for leaked secrets can know one.
pub const PREFIX: &str = "backout_";

/// What is kept of a token; the secret is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its public part, in hex.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What its holder may do; all of it where it breaks the glass.
    pub roles: Vec<Role>,
    /// Whether every command of it is marked, and the policy is set aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The SHA-256 of the secret part's text, in hex.
    pub sha256: String,
    /// When it was made, milliseconds since 1970.
    pub made_ms: i64,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: i64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
}

/// What is asked of a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is.
    pub name: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// Whether it breaks the glass.
    pub break_glass: bool,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: i64,
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is taken.
    Good,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl Standing {
    /// The word used everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Entry {
    /// A new token: what is kept, and the text that its holder carries and nobody sees again.
    pub fn issue(wanted: Wanted, random: &[u8; RANDOM_BYTES], now_ms: i64) -> (Self, String) {
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex(id), hex(secret));
        let text = format!("{PREFIX}{id}_{secret}");
        let Wanted { name, roles, break_glass, expires_ms } = wanted;
        let roles = if break_glass { Role::ALL.to_vec() } else { roles };
        let sha256 = hex(&Sha256::digest(&secret));
        let entry = Self {
            id,
            name,
            roles,
            break_glass,
            sha256,
            made_ms: now_ms,
            expires_ms,
            revoked_ms: None,
        };
        (entry, text)
    }

    /// Whether a secret is this token's. How long it takes says nothing of how much of it is right.
    pub fn is_secret(&self, secret: &str) -> bool {
        let hash = hex(&Sha256::digest(secret));
        hash.as_bytes().ct_eq(self.sha256.as_bytes()).into()
    }

    /// How it stands at a time.
    pub fn standing(&self, now_ms: i64) -> Standing {
        match self.revoked_ms {
            Some(_) => Standing::Revoked,
            None if now_ms >= self.expires_ms => Standing::Expired,
            None => Standing::Good,
        }
    }
}

/// The public and the secret part of what may be a token's text.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str, bytes: usize| {
        text.len() == bytes * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    (is_hex(id, ID_BYTES) && is_hex(secret, RANDOM_BYTES - ID_BYTES)).then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(break_glass: bool) -> Wanted {
        let roles = vec![Role::Operator];
        Wanted { name: "ann".to_owned(), roles, break_glass, expires_ms: 2_000 }
    }

    #[test]
    fn only_its_own_secret_opens_it_and_it_is_kept_nowhere() {
        let (entry, text) = Entry::issue(wanted(false), &[7; RANDOM_BYTES], 1_000);
        let (id, secret) = split(&text).unwrap();
        assert_eq!(id, entry.id);
        assert!(entry.is_secret(secret));
        assert!(!serde_json::to_string(&entry).unwrap().contains(secret));
        let mut random = [7; RANDOM_BYTES];
        random[RANDOM_BYTES - 1] = 6;
        let (_, other) = Entry::issue(wanted(false), &random, 1_000);
        assert!(!entry.is_secret(split(&other).unwrap().1));
    }

    #[test]
    fn it_ends_at_its_time_and_when_it_is_revoked() {
        let (mut entry, _) = Entry::issue(wanted(true), &[1; RANDOM_BYTES], 1_000);
        assert_eq!(entry.roles, Role::ALL);
        assert_eq!(entry.standing(1_999), Standing::Good);
        assert_eq!(entry.standing(2_000), Standing::Expired);
        entry.revoked_ms = Some(1_500);
        assert_eq!(entry.standing(1_600), Standing::Revoked);
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,90}|backout_[0-9a-f]{8}_[0-9a-f]{60,66}") {
            if let Some((id, secret)) = split(&text) {
                prop_assert_eq!(format!("{PREFIX}{id}_{secret}"), text);
            }
        }
    }
}
