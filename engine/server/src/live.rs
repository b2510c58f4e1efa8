//! What steps print while they work, for those who look: the end of it, in memory. Nothing of it is
//! recorded here; what is secret was masked where it was read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use backout_core::id::{RunId, StepId};
use backout_plugin_api::Emit;
use backout_runtime::Observer;
use tokio::sync::watch;

use crate::witness::locked;

/// Bytes kept of one step: some hundred lines. All of it stands in the captured output.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Steps of which output is kept, over all runs.
const STEPS_MAX: usize = 256;

/// The ends of what steps print.
#[derive(Debug)]
pub struct Live {
    tails: Mutex<Tails>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Tails {
    by_step: HashMap<(RunId, StepId), Tail>,
    pushes: u64,
}

#[derive(Debug, Default)]
struct Tail {
    /// How many bytes came before those that are kept.
    gone: u64,
    bytes: Vec<u8>,
    pushed: u64,
}

/// A piece of what a step printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Where the next piece begins, bytes since the step first printed.
    pub next: u64,
}

impl Default for Live {
    fn default() -> Self {
        Self { tails: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Live {
    /// Listens to an engine, and passes on what it hears.
    pub fn observer(self: &Arc<Self>, also: Option<Observer>) -> Observer {
        let live = self.clone();
        Arc::new(move |run, step, said| {
            if let Emit::Output(bytes) = &said {
                live.push(run, step, bytes);
            }
            if let Some(also) = &also {
                also(run, step, said);
            }
        })
    }

    fn push(&self, run: &RunId, step: &StepId, bytes: &[u8]) {
        let mut tails = locked(&self.tails);
        tails.pushes += 1;
        let pushed = tails.pushes;
        let key = (run.clone(), step.clone());
        if tails.by_step.len() >= STEPS_MAX && !tails.by_step.contains_key(&key) {
            tails.forget_oldest();
        }
        let tail = tails.by_step.entry(key).or_default();
        tail.pushed = pushed;
        tail.bytes.extend_from_slice(bytes);
        let over = tail.bytes.len().saturating_sub(KEPT_BYTES_MAX);
        tail.bytes.drain(..over);
        tail.gone += u64::try_from(over).unwrap_or(u64::MAX);
        drop(tails);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// What a step printed from a byte on, as far as it is kept; nothing where there is nothing new.
    pub fn since(&self, run: &RunId, step: &StepId, from: u64) -> Option<Piece> {
        let tails = locked(&self.tails);
        let tail = tails.by_step.get(&(run.clone(), step.clone()))?;
        let begin = usize::try_from(from.saturating_sub(tail.gone)).unwrap_or(usize::MAX);
        let bytes = tail.bytes.get(begin..).filter(|bytes| !bytes.is_empty())?;
        let whole = whole_characters(bytes);
        let end = tail.gone + u64::try_from(begin + whole.len()).unwrap_or(u64::MAX);
        let text = String::from_utf8_lossy(whole).into_owned();
        (!whole.is_empty()).then_some(Piece { text, next: end })
    }

    /// Wakes whenever any step printed something.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Tails {
    fn forget_oldest(&mut self) {
        let oldest = self.by_step.iter().min_by_key(|(_, tail)| tail.pushed);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.by_step.remove(&key);
        }
    }
}

/// Without a last character of which only the beginning came yet.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(live: &Arc<Live>, step: &str, bytes: &[u8]) {
        live.observer(None)(&"r000000000".into(), &step.into(), Emit::Output(bytes.into()));
    }

    fn since(live: &Live, step: &str, from: u64) -> Option<(String, u64)> {
        let piece = live.since(&"r000000000".into(), &step.into(), from)?;
        Some((piece.text, piece.next))
    }

    #[test]
    fn what_is_printed_is_followed_and_no_character_is_torn() {
        let live = Arc::new(Live::default());
        assert_eq!(since(&live, "a", 0), None);
        said(&live, "a", b"gr\xc3");
        assert_eq!(since(&live, "a", 0), Some(("gr".to_owned(), 2)));
        assert_eq!(since(&live, "a", 2), None);
        said(&live, "a", b"\xbcn\n");
        assert_eq!(since(&live, "a", 2), Some(("\u{fc}n\n".to_owned(), 6)));
        assert_eq!(since(&live, "a", 99), None);
    }

    #[test]
    fn only_the_end_is_kept_of_the_last_steps() {
        let live = Arc::new(Live::default());
        said(&live, "a", &vec![b'x'; KEPT_BYTES_MAX + 10]);
        let (text, next) = since(&live, "a", 0).unwrap();
        assert_eq!((text.len(), next), (KEPT_BYTES_MAX, KEPT_BYTES_MAX as u64 + 10));
        for at in 0..STEPS_MAX {
            said(&live, &format!("s{at}"), b"hello");
        }
        assert_eq!(since(&live, "a", 0), None, "the oldest is forgotten");
        assert_eq!(locked(&live.tails).by_step.len(), STEPS_MAX);
    }
}
