//! What an action says: the words of the four verbs. Plain, serialisable data; it is journaled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::{ActionName, TargetId};

/// What is promised about an effect when the engine or the connection dies in the middle of it.
/// Ordered from the weakest to the strongest, so that `min` of several is what holds for all.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Nothing tells whether it happened: never repeated by the engine, a person settles it.
    Manual,
    /// The author's probe tells.
    Probed,
    /// The target remembers the key for a stated time.
    Keyed,
    /// Refused by the target unless it is still as it was prepared.
    Conditional,
    /// The key is written in the same transaction as the effect.
    Transactional,
    /// Changes nothing; may be repeated freely.
    ReadOnly,
}

impl Guarantee {
    /// The word used everywhere, `read-only` for instance.
    pub fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Probed => "probed",
            Self::Keyed => "keyed",
            Self::Conditional => "conditional",
            Self::Transactional => "transactional",
            Self::ReadOnly => "read-only",
        }
    }
}

/// What can be brought back once an effect is made.
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
#[serde(rename_all = "kebab-case")]
pub enum Reversibility {
    /// Nothing.
    None,
    /// The structure comes back, data does not.
    ShapeOnly,
    /// Everything.
    #[default]
    Exact,
}

impl Reversibility {
    /// The word used everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ShapeOnly => "shape-only",
            Self::Exact => "exact",
        }
    }
}

/// Something that a person should know before the effect is made. Accepted by its code in the
/// step's `accept`, or by an approval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Hazard {
    /// A stable word, such as `drops-column`.
    pub code: String,
    /// What it means here, with numbers.
    pub text: String,
}

/// What is, or should be, at the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// Nothing is there.
    Absent,
    /// The thing itself; only where the action declares that it holds no secret.
    Plain(Value),
    /// Its SHA-256 in hex; the thing itself stays `at` the target.
    Digest {
        /// Lower-case hex.
        sha256: String,
        /// Where the thing itself is, for a person.
        at: String,
    },
}

/// Whether the target is as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Satisfied {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// The action has no way to see it; it is not verified afterwards.
    CannotTell,
}

/// One effect that `prepare` found to make: what is there, what is wanted, and all that `apply`,
/// `settle` and `revert` need later, after a crash or in a newer release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreparedEffect {
    /// One line for people: `flag new_checkout: on -> off`.
    pub title: String,
    /// Effects of one wave are made together, waves in their order.
    #[serde(default)]
    pub wave: u32,
    /// Whether it is done already.
    pub satisfied: Satisfied,
    /// What is there now.
    pub before: Image,
    /// What is wanted.
    pub wanted: Image,
    /// The difference in lines, for people.
    #[serde(default)]
    pub difference: Vec<String>,
    /// What can be brought back.
    pub reversibility: Reversibility,
    /// What to know before.
    #[serde(default)]
    pub hazards: Vec<Hazard>,
    /// The action's own: precondition, paths, digests. Its shape is the action's
    /// [`Prepared::data_version`].
    #[serde(default)]
    pub data: Value,
}

/// What the step waits for by its nature; no effect is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// A durable timer.
    Timer {
        /// How long, from the moment the step began to wait.
        ms: u64,
    },
    /// A person's approval, always.
    Approval {
        /// What the person is asked.
        text: String,
    },
}

/// The answer of `prepare`: it reads only, and it is the dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prepared {
    /// The version of the shape of [`PreparedEffect::data`]; an action reads every version it ever
    /// released.
    pub data_version: u32,
    /// What holds for all the effects on this target.
    pub guarantee: Guarantee,
    /// For `keyed`: how long the target remembers a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered_ms: Option<u64>,
    /// The targets to lock while it runs.
    #[serde(default)]
    pub locks: Vec<TargetId>,
    /// What to make; none where the step only waits.
    pub effects: Vec<PreparedEffect>,
    /// What to know before, for the whole.
    #[serde(default)]
    pub hazards: Vec<Hazard>,
    /// What the step waits for by its nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// How long the target may take to look as wanted after `apply` says done.
    #[serde(default)]
    pub converge_ms: u64,
    /// What was seen, for people and evidence. A target that knows who changed it last says so as
    /// text under `changed_by`; see [`Prepared::changed_by`].
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub seen: Value,
}

impl Prepared {
    /// Whether every effect is there already.
    pub fn is_satisfied(&self) -> bool {
        self.effects.iter().all(|effect| effect.satisfied == Satisfied::Yes)
    }

    /// Who changed the target last, where it knows: what an alarm of a watched step names.
    pub fn changed_by(&self) -> Option<&str> {
        self.seen.get("changed_by")?.as_str()
    }

    /// All hazards, of the whole and of each effect.
    pub fn all_hazards(&self) -> impl Iterator<Item = &Hazard> {
        self.hazards.iter().chain(self.effects.iter().flat_map(|effect| &effect.hazards))
    }

    /// The weakest reversibility of its effects that still have to be made.
    pub fn reversibility(&self) -> Reversibility {
        self.effects
            .iter()
            .filter(|effect| effect.satisfied != Satisfied::Yes)
            .map(|effect| effect.reversibility)
            .min()
            .unwrap_or_default()
    }

    /// The differences in lines.
    pub fn difference(&self) -> Vec<String> {
        self.effects.iter().flat_map(|effect| effect.difference.iter().cloned()).collect()
    }

    /// What a person consents to: wanted, difference, hazards, guarantee, reversibility; in hex.
    /// Two prepares with one consent differ at most in things that the step does not write.
    pub fn consent(&self) -> String {
        let effects: Vec<_> = self
            .effects
            .iter()
            .map(|e| (&e.wanted, &e.difference, &e.hazards, e.reversibility, e.satisfied))
            .collect();
        let consented = (self.guarantee, &self.hazards, &self.gate, effects);
        hex(&Sha256::digest(serde_json::to_vec(&consented).unwrap_or_default()))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let text = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    String::from_utf8(text).unwrap_or_default()
}

/// Why `prepare` gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PrepareFailure {
    /// The target answered, and the action refuses: a hole in a ledger, a missing flag.
    Refused {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The target did not answer.
    Unreachable {
        /// What was tried.
        reason: String,
    },
}

impl PrepareFailure {
    /// What was said.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason } | Self::Unreachable { reason } => reason,
        }
    }
}

/// The answer of `apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The effect is made.
    Done {
        /// What later steps may use.
        output: Value,
    },
    /// Proven: it was not made, and this sending of it will not make it.
    Refused {
        /// Why.
        reason: String,
    },
    /// It ended and says that it failed; part of it may have been made. The engine sends it again
    /// only where the author allowed that by `retry`.
    Failed {
        /// What it said.
        reason: String,
        /// What it left behind, an exit status for instance.
        output: Value,
    },
    /// Nobody knows yet: a timeout, a lost reply. It will be settled.
    Unclear {
        /// What happened.
        reason: String,
    },
}

/// The answer of `settle`: what became of a sending whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Settled {
    /// It was made.
    Done {
        /// As `apply` would have given it.
        output: Value,
    },
    /// Final: it was not made, and no earlier sending of this key can still make it.
    NotDone,
    /// It ended and says that it failed; see [`Outcome::Failed`].
    Failed {
        /// What it said.
        reason: String,
        /// What it left behind.
        output: Value,
    },
    /// It is still being made.
    Running {
        /// What shows it.
        evidence: String,
    },
    /// The target was looked at and does not tell.
    Unknown {
        /// What was seen.
        evidence: String,
    },
    /// The target could not be looked at.
    Unreachable {
        /// What was tried.
        reason: String,
    },
}

/// The answer of `revert`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reverted {
    /// The action that puts the before image back.
    By {
        /// Its name.
        action: ActionName,
        /// Its input.
        input: Value,
    },
    /// There is nothing to put back.
    Nothing,
    /// It cannot be put back.
    NotPossible {
        /// Why, and what a person could do.
        why: String,
    },
}

/// An action in the words and commands of a person who has no engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByHand {
    /// What it does, one sentence.
    pub does: String,
    /// Commands that do it, ready to type. A secret stands as its reference.
    pub commands: Vec<String>,
    /// Commands or looks that show that it worked.
    pub verify: Vec<String>,
}
