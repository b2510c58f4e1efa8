//! Captured output: what an effect says while it works goes to a file of its run, durable before an
//! event names it.

use std::sync::{Arc, Mutex, PoisonError};

use backout_core::contract::Outcome;
use backout_core::event::Sending;
use backout_core::id::RunId;
use backout_store::journal::StoreError;
use backout_store::{Capture, Captured};
use serde_json::{Value, json};

/// Opens the file for the output of one sending: the run, and a name for it.
pub type Captures = Arc<dyn Fn(&RunId, &str) -> Result<Capture, StoreError> + Send + Sync>;

/// The output of one sending on its way; no file is made before the first byte.
#[derive(Clone)]
pub(crate) struct Capturing {
    open: Captures,
    run: RunId,
    name: String,
    file: Arc<Mutex<Option<Capture>>>,
}

impl Capturing {
    pub(crate) fn new(open: &Captures, run: &RunId, sending: &Sending) -> Self {
        let Sending { step, attempt, effect, dispatch } = sending;
        let name = format!("{step}.{attempt}.{effect}.{dispatch}");
        Self { open: open.clone(), run: run.clone(), name, file: Arc::default() }
    }

    /// Adds output. Where the disk refuses, the output is lost and the effect goes on.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = (self.open)(&self.run, &self.name)
                .inspect_err(|error| tracing::warn!(%error, "output is not kept"))
                .ok();
        }
        if let Some(capture) = file.as_mut()
            && let Err(error) = capture.push(bytes)
        {
            tracing::warn!(%error, "output is not kept any more");
            *file = None;
        }
    }

    /// Makes the output durable, and lets the outcome name it.
    pub(crate) async fn finish(self, outcome: Outcome) -> Outcome {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(capture) = file else { return outcome };
        let finished = tokio::task::spawn_blocking(move || capture.finish()).await;
        match finished {
            Ok(Ok(captured)) => named(outcome, &captured),
            Ok(Err(error)) => {
                tracing::warn!(%error, "output is not kept");
                outcome
            }
            Err(_) => outcome,
        }
    }
}

fn named(outcome: Outcome, captured: &Captured) -> Outcome {
    let log = json!({ "sha256": captured.sha256, "bytes": captured.len, "cut": captured.cut });
    let with_log = |output: Value| match output {
        Value::Object(mut fields) => {
            fields.insert("log".into(), log.clone());
            Value::Object(fields)
        }
        Value::Null => json!({ "log": log }),
        other => other,
    };
    match outcome {
        Outcome::Done { output } => Outcome::Done { output: with_log(output) },
        Outcome::Failed { reason, output } => Outcome::Failed { reason, output: with_log(output) },
        outcome @ (Outcome::Refused { .. } | Outcome::Unclear { .. }) => outcome,
    }
}
