//! Views: pure functions from a run's state or events to the structures that `--json` prints and
//! the API answers. Texts for people are made from these, so that no face knows more than another.

mod by_hand;
mod circle;
mod exercise;
mod history;
mod lock;
mod message;
mod offer;
mod replay;
mod row;
mod run;
mod step;
mod time;

pub use by_hand::{ByHandView, StepByHand};
pub use circle::{circle, circle_words, waits_for};
pub use exercise::{DrillView, EMERGENCY, Leading, drill_view};
pub use history::{HistoryLine, history_line, sentence};
pub use lock::LockView;
pub use message::MessageView;
pub(crate) use message::message_view;
pub use offer::{
    Field, OFFERS, Offer, Offered, Reason, ask_of, offer_with, offers, offers_on, withheld,
};
pub use replay::ReplayView;
pub(crate) use row::{Row, STATES};
pub use run::{AlarmView, Listed, NoReturn, RunFacts, RunView, Want, alarm_words, run_view, wants};
pub use step::{EffectView, StepView, WaitView};
pub use time::{
    EARLIER_RUNS_MAX, Earlier, EarlierView, TimeView, add_earlier, left_words, time_view,
    time_words,
};
pub(crate) use time::{add_took, took};

use backout_core::id::Timestamp;
use chrono::{DateTime, SecondsFormat};

/// A moment as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: Timestamp) -> String {
    DateTime::from_timestamp_millis(at.0)
        .map_or_else(|| at.0.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds for people: `350ms`, `12s`, `5m`, `1h 30m`, `3d 4h`.
pub fn duration(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let Some(first) = UNITS.iter().position(|(_, size)| ms >= *size) else {
        return format!("{ms}ms");
    };
    let (name, size) = UNITS[first];
    let rest = UNITS.get(first + 1).map(|(name, unit)| (ms % size / unit, *name));
    match rest {
        Some((more, unit)) if more > 0 => format!("{}{name} {more}{unit}", ms / size),
        Some(_) | None => format!("{}{name}", ms / size),
    }
}

/// `1 step`, `2 steps`.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_at_most_two_units() {
        let shown = [0, 999, 1_000, 61_000, 3_600_000, 5_400_000, 90_061_000].map(duration);
        assert_eq!(shown, ["0ms", "999ms", "1s", "1m 1s", "1h", "1h 30m", "1d 1h"]);
    }

    #[test]
    fn moments_are_rfc_3339_in_utc() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
    }
}
