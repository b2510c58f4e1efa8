//! The engine's handle: cloneable; channels never leave this crate.

use std::sync::Arc;

use backout_core::command::Ask;
use backout_core::event::Cause;
use backout_core::id::{RunId, Seq};
use backout_core::plan::Plan;
use backout_store::journal::{JournalStore, StoreError};

use crate::{Clock, Host};

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The core said no.
    #[error("{message}")]
    Rejected {
        /// What stands in the way.
        message: String,
        /// What to type instead.
        help: Option<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's journal cannot be folded.
    #[error("run {run}: {why}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// What is wrong.
        why: String,
    },
    /// Nothing more can be written; what was acknowledged is safe.
    #[error("the engine stopped: {why}")]
    Stopped {
        /// What happened.
        why: String,
    },
}

/// The answer to a person's command: it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The run's last position after it.
    pub seq: Seq,
    /// Whether this engine drives the run now.
    pub driven: bool,
}

/// The engine. Runs are driven by tasks of its own; dropping the last handle ends them.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn JournalStore>,
    host: Arc<Host>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over a store, with these plugins and this clock.
    pub fn new(store: Arc<dyn JournalStore>, host: Arc<Host>, clock: Arc<dyn Clock>) -> Self {
        Self { store, host, clock }
    }

    /// Makes a run and drives it. It is durable when this returns.
    pub async fn start(&self, run: RunId, plan: Plan, text: String, cause: Cause) -> Result<(), EngineError> {
        let _ = (run, plan, text, cause, &self.store, &self.host, &self.clock);
        Err(EngineError::Stopped { why: "not built yet".into() })
    }

    /// Takes a run up and drives it.
    pub async fn resume(&self, run: &RunId, cause: Cause) -> Result<(), EngineError> {
        let _ = (run, cause);
        Err(EngineError::Stopped { why: "not built yet".into() })
    }

    /// A person's command. Where this engine does not drive the run, the command is recorded all
    /// the same, and nothing goes on until a run is resumed.
    pub async fn ask(&self, run: &RunId, ask: Ask, cause: Cause) -> Result<Answer, EngineError> {
        let _ = (run, ask, cause);
        Err(EngineError::Stopped { why: "not built yet".into() })
    }

    /// Runs that this engine drives.
    pub fn driven(&self) -> Vec<RunId> {
        Vec::new()
    }

    /// Lets go of all runs in order: starts nothing more, waits up to `grace_ms` for what is in
    /// flight, records why.
    pub async fn stop(&self, why: &str, grace_ms: u64) {
        let _ = (why, grace_ms);
    }
}
