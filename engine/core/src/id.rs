//! Names of things. Newtypes, so that a step is never taken for a run.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text; the caller has checked its shape.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
    };
}

text_id! {
    /// A run of a runbook: [`RunId::LEN`] characters of Crockford's base 32 in lower case. Random
    /// from the first character on, so that two or three characters usually name it.
    RunId
}
text_id! {
    /// A step of a plan: `id`, `id[key]` for an item of `for_each`, `id/undo-N` or `id/undo-N.E` for
    /// a step that undoes effect `E` of another.
    StepId
}
text_id! {
    /// The identity of something that a run locks: `kind:identity`, such as
    /// `sqlite:/var/lib/shop/shop.db`. The identity is the target's own, never a way to reach it.
    TargetId
}
text_id! {
    /// An action: `plugin.verb`, such as `flags.off`.
    ActionName
}
text_id! {
    /// Names one command of a person or one append, so that a repeat is known as such.
    CommandId
}

impl RunId {
    /// Characters in a run's name; 50 bits, so that a million runs still hardly collide.
    pub const LEN: usize = 10;

    /// A name from 50 random bits.
    pub fn from_random(bits: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let text: String = (0..Self::LEN)
            .map(|place| {
                let index = (bits >> (5 * place)) & 31;
                char::from(
                    ALPHABET.get(usize::try_from(index).unwrap_or(0)).copied().unwrap_or(b'0'),
                )
            })
            .collect();
        Self::new(text)
    }

    /// Whether the text has the shape of a run's name, so that it is safe as a folder name.
    pub fn is_valid(text: &str) -> bool {
        text.len() == Self::LEN
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"ilou".contains(&b)))
    }
}

/// The position of an event in its run's journal, from 1 on; 0 is before the first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which engine drives a run: raised each time one takes it over.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// One number of the store's single counter; a later lock has a higher one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct LockToken(pub u64);

/// The index of a step in its plan. No event holds one: events name steps by [`StepId`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct StepIx(pub usize);

/// `run/step/attempt/effect`: what one effect is marked with at its target, for ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EffectKey(Arc<str>);

impl EffectKey {
    /// The key of effect `effect` (from 0) of attempt `attempt` (from 1) of a step.
    pub fn new(run: &RunId, step: &StepId, attempt: u32, effect: usize) -> Self {
        Self(format!("{run}/{step}/{attempt}/{effect}").into())
    }

    /// A key read back from a record.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Tells an older holder from a newer one at the target. The token is compared per target (the
/// highest of the step's locks), the dispatch per key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fence {
    /// The store that counts the tokens; tokens of two stores say nothing about each other.
    pub store: String,
    /// The lock token; 0 where the step locks nothing.
    pub token: LockToken,
    /// Which sending of this key this is, from 1 on.
    pub dispatch: u32,
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment and so many milliseconds; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this moment; 0 where `earlier` is later.
    pub fn since_ms(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
