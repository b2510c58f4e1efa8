//! What commands print, as it comes: one dim line `step | text`. Nothing of it is recorded here; what is
//! secret was masked where it was read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backout_core::id::StepId;
use backout_plugin_api::Emit;
use backout_runtime::Observer;

use crate::ui::{Output, Ui};
use crate::view::style::{DIM, paint};
use crate::view::text::cut;

/// Between two lines of one step where only the last one is shown.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a line that are kept until it ends; a terminal's line is shorter.
const LINE_BYTES_MAX: usize = 4096;

/// Shows what the commands of this process print, where a person wants to see it.
pub(crate) fn observer(ui: &Ui) -> Option<Observer> {
    if ui.output == Output::Nothing {
        return None;
    }
    let (ui, steps) = (ui.clone(), Mutex::new(BTreeMap::<StepId, Live>::new()));
    Some(Arc::new(move |_, step, said| {
        let Emit::Output(bytes) = said else { return };
        let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = steps.entry(step.clone()).or_default().take(&bytes, ui.output, Instant::now());
        for line in lines {
            let line = cut(&format!("{step} | {line}"), ui.told_width);
            ui.say(&paint(DIM, &line));
        }
    }))
}

/// What one step printed that is not shown yet.
#[derive(Debug, Default)]
struct Live {
    begun: Vec<u8>,
    shown: Option<Instant>,
}

impl Live {
    /// Takes a piece; gives the lines to show now.
    fn take(&mut self, piece: &[u8], output: Output, now: Instant) -> Vec<String> {
        self.begun.extend_from_slice(piece);
        let Some(end) = self.begun.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) else {
            // A line without an end: only its beginning could be seen.
            self.begun.truncate(LINE_BYTES_MAX);
            return Vec::new();
        };
        let whole: Vec<u8> = self.begun.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        let mut lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
        if output == Output::All {
            return lines.map(str::to_owned).collect();
        }
        if self.shown.is_some_and(|shown| now.duration_since(shown) < PAUSE) {
            return Vec::new();
        }
        self.shown = Some(now);
        lines.next_back().map(str::to_owned).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_shown_once_it_is_whole() {
        let (mut live, now) = (Live::default(), Instant::now());
        assert_eq!(live.take(b"one\ntw", Output::All, now), ["one"]);
        assert_eq!(live.take(b"o\r\n\nthree\n", Output::All, now), ["two", "three"]);
    }

    #[test]
    fn the_last_line_is_shown_now_and_then() {
        let (mut live, now) = (Live::default(), Instant::now());
        assert_eq!(live.take(b"one\ntwo\n", Output::Last, now), ["two"]);
        assert_eq!(live.take(b"three\n", Output::Last, now), [""; 0]);
        assert_eq!(live.take(b"four\n", Output::Last, now + PAUSE), ["four"]);
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let (mut live, now) = (Live::default(), Instant::now());
        assert_eq!(live.take(&vec![b'x'; 100_000], Output::All, now), [""; 0]);
        assert_eq!(live.begun.len(), LINE_BYTES_MAX);
    }
}
