//! The line to the engine, whatever it is made of.

use async_trait::async_trait;
use backout_core::command::Ask;
use backout_core::id::RunId;
use backout_server::view::Listed;
use backout_server::wire::{AskReply, By, EventsPage};

/// Why nothing came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The engine said no.
    #[error("{message}")]
    Refused {
        /// What stands in the way.
        message: String,
        /// What to do instead.
        help: Option<String>,
    },
    /// Nobody answers.
    #[error("no answer: {0}")]
    Silent(String),
}

/// Where runs are read and commands go.
#[async_trait(?Send)]
pub trait Source {
    /// What is watched, for people: a store's folder or an address.
    fn place(&self) -> String;

    /// All runs, the newest first.
    async fn runs(&self) -> Result<Vec<Listed>, SourceError>;

    /// The events of a run from a position on; waits so long for the first.
    async fn events(&self, run: &RunId, from: u64, wait_ms: u64)
    -> Result<EventsPage, SourceError>;

    /// Gives a person's command.
    async fn ask(&self, run: &RunId, ask: Ask, by: By) -> Result<AskReply, SourceError>;

    /// Has a run taken up and driven.
    async fn resume(&self, run: &RunId, by: By) -> Result<(), SourceError>;
}
