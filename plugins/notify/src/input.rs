//! The input of `notify.send`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters of a title: a line of a telephone.
pub const TITLE_CHARS_MAX: usize = 200;
/// Bytes of a text: what every receiver takes, and a person reads.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The channel, by its name in the channels file.
    pub channel: String,

    /// What kind of message it is: a receiver may sort by it, and a pager takes its severity from it.
    pub kind: Kind,

    /// One line.
    pub title: String,

    /// The rest, as plain text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,

    /// The run that it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,

    /// Whom it is for, where that is one person. A mail address goes to that address instead of
    /// those of the channel; any other name stands in the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Kind {
    /// How far it is.
    Update,
    /// Somebody is waited for.
    Reminder,
    /// Somebody else is called.
    Escalation,
    /// What was made is no longer as it was left.
    Alarm,
    /// The ordinary rules were set aside.
    BreakGlass,
    /// The run is over.
    Ended,
}

impl Kind {
    /// The word used everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Reminder => "reminder",
            Self::Escalation => "escalation",
            Self::Alarm => "alarm",
            Self::BreakGlass => "break_glass",
            Self::Ended => "ended",
        }
    }

    /// Whether it is better to arrive twice than never.
    pub(crate) const fn is_urgent(self) -> bool {
        matches!(self, Self::Escalation | Self::Alarm | Self::BreakGlass)
    }

    /// The word of `PagerDuty` for how bad it is.
    pub(crate) const fn severity(self) -> &'static str {
        match self {
            Self::Update | Self::Ended => "info",
            Self::Reminder => "warning",
            Self::Escalation | Self::Alarm | Self::BreakGlass => "critical",
        }
    }
}
