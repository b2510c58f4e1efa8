//! What both flag servers are asked, whichever it is.

use backout_plugin_api::{Context, Hazard};
use serde_json::{Map, Value};

use crate::input::{Server, System};
use crate::launchdarkly::{self, LaunchDarkly};
use crate::server::Work;
use crate::unleash::Unleash;
use crate::unleash_state;
use crate::wire::Fault;

/// One flag in one environment.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What can be written and put back.
    pub(crate) state: Map<String, Value>,
    /// The server's count of changes.
    pub(crate) version: i64,
    /// What somebody has planned for it.
    pub(crate) hazards: Vec<Hazard>,
    /// The server's own words, for what only one of the servers has.
    pub(crate) raw: Value,
}

/// What shall be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The parts of the state that are written.
    pub(crate) state: Map<String, Value>,
    /// In a few words.
    pub(crate) what: String,
    /// What everybody gets then, where that is one variation.
    pub(crate) variation: Option<String>,
    /// That variation's value.
    pub(crate) value: Option<Value>,
    /// Lines for people.
    pub(crate) difference: Vec<String>,
    pub(crate) hazards: Vec<Hazard>,
}

/// Who changed a flag since it was prepared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// There is a change by us.
    pub(crate) ours: bool,
    /// Changes by others, a line each.
    pub(crate) others: Vec<String>,
    /// What follows from both.
    pub(crate) sign: Sign,
}

/// What the changes of a flag tell of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Nothing more than the flag's state does.
    #[default]
    Nothing,
    /// Ours was written over somebody's.
    Overwrote,
    /// Ours was made, and somebody changed the flag after that.
    MadeThenChanged,
    /// The server refuses a request of ours that is still on its way.
    NeverLands,
}

/// Why a flag was not written as wanted.
#[derive(Clone, Debug)]
pub(crate) enum WriteFault {
    /// Proven: nothing was changed.
    Refused(String),
    /// It ended, and a person must look.
    Failed(String),
    /// Nobody knows yet.
    Unclear(String),
}

impl WriteFault {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Refused(text) | Self::Failed(text) | Self::Unclear(text) => text,
        }
    }
}

/// A server and how it is spoken to.
#[derive(Debug)]
pub(crate) enum Api {
    Unleash(Unleash),
    LaunchDarkly(LaunchDarkly),
}

impl Api {
    /// # Errors
    /// Its token cannot be had, or its address is none.
    pub(crate) async fn new(
        ctx: &Context,
        system: System,
        server: &Server,
    ) -> Result<Self, String> {
        match system {
            System::Unleash => Unleash::new(ctx, server).await.map(Self::Unleash),
            System::LaunchDarkly => LaunchDarkly::new(ctx, server).await.map(Self::LaunchDarkly),
            System::GoFeatureFlag | System::Flagd => {
                Err(format!("{} has no server that is written to", system.word()))
            }
        }
    }

    pub(crate) fn system(&self) -> System {
        match self {
            Self::Unleash(_) => System::Unleash,
            Self::LaunchDarkly(_) => System::LaunchDarkly,
        }
    }

    pub(crate) async fn look(&self, flag: &str) -> Result<Seen, Fault> {
        match self {
            Self::Unleash(api) => api.look(flag).await,
            Self::LaunchDarkly(api) => api.look(flag).await,
        }
    }

    /// What to write so that everybody gets `variation`; absent is the flag's off variation.
    pub(crate) fn forced(
        &self,
        flag: &str,
        seen: &Seen,
        variation: Option<&str>,
    ) -> Result<Wanted, String> {
        match self {
            Self::Unleash(_) => Ok(unleash_state::forced(flag, seen, variation)),
            Self::LaunchDarkly(_) => launchdarkly::forced(flag, seen, variation),
        }
    }

    /// What to write so that the flag is again as an earlier step saw it.
    pub(crate) fn restored(
        &self,
        flag: &str,
        seen: &Seen,
        state: &Map<String, Value>,
    ) -> Result<Wanted, String> {
        match self {
            Self::Unleash(_) => unleash_state::restored(flag, seen, state),
            Self::LaunchDarkly(_) => launchdarkly::restored(flag, seen, state),
        }
    }

    /// Whether a part of the state is as it was; a server gives new names to what it makes again.
    pub(crate) fn same(system: System, part: &str, a: &Value, b: &Value) -> bool {
        match system {
            System::Unleash if part == unleash_state::STRATEGIES => {
                unleash_state::same_strategies(a, b)
            }
            _ => a == b,
        }
    }

    pub(crate) async fn write(&self, work: &Work<'_>, now: &Seen) -> Result<(), WriteFault> {
        match self {
            Self::Unleash(api) => api.write(work, now).await,
            Self::LaunchDarkly(api) => api.write(work).await,
        }
    }

    /// Who changed the flag last in its environment, and how. Nothing where the server does not tell:
    /// this decides nothing, so it fails nothing.
    pub(crate) async fn last_change(&self, flag: &str) -> Option<String> {
        match self {
            Self::Unleash(api) => api.last_change(flag).await.ok().flatten(),
            Self::LaunchDarkly(api) => api.last_change(flag).await.ok().flatten(),
        }
    }

    /// Who else changed the flag up to our writing, which was just answered.
    pub(crate) async fn others(&self, work: &Work<'_>) -> Result<Found, Fault> {
        match self {
            Self::Unleash(api) => api.changes(work).await,
            // Nobody: it would have refused ours.
            Self::LaunchDarkly(_) => Ok(Found::default()),
        }
    }

    /// Who changed the flag since it was prepared.
    pub(crate) async fn changes(&self, work: &Work<'_>) -> Result<Found, Fault> {
        match self {
            Self::Unleash(api) => api.changes(work).await,
            Self::LaunchDarkly(api) => api.changes(work).await,
        }
    }
}
