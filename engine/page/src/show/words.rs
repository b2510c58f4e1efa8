//! Words, signs and times that all pages share.

use backout_core::event::Actor;
use backout_core::id::Timestamp;
use backout_server::graph::state_sign;
use backout_server::view::{duration, rfc3339};
use chrono::DateTime;
use maud::{Markup, html};

/// A moment of today's clock, in UTC.
pub(super) fn moment(at: Timestamp) -> String {
    clock(&rfc3339(at))
}

/// `2026-11-23T02:58:01.123Z` as `02:58:01 UTC`.
pub(super) fn clock(rfc3339: &str) -> String {
    let time = rfc3339.split_once('T').map_or(rfc3339, |(_, time)| time);
    let seconds = time.split(['.', 'Z']).next().unwrap_or(time);
    format!("{seconds} UTC")
}

/// A moment, with how long ago it was.
pub(super) fn ago(at: &str, now: Timestamp) -> Markup {
    let past = DateTime::parse_from_rfc3339(at).ok();
    let past = past.map(|past| now.since_ms(Timestamp(past.timestamp_millis())));
    html! {
        time datetime=(at) title=(at) {
            (clock(at))
            @if let Some(ms) = past { ", " (duration(ms / 1_000 * 1_000)) " ago" }
        }
    }
}

/// What is said beside a name that nobody vouches for. One that came by a port says so itself.
pub(super) fn vouched(actor: &Actor) -> &'static str {
    if actor.verified || actor.name.ends_with(')') { "" } else { " (not verified)" }
}

/// The sign of a run's state.
pub(super) fn run_sign(state: &str) -> &'static str {
    match state {
        "interrupted" => "!",
        "paused" => "\u{2016}",
        "aborted" => "\u{25a0}",
        other => state_sign(other),
    }
}

/// A state, by sign, word and colour.
pub(super) fn badge(state: &str, sign: &str) -> Markup {
    html! {
        span.badge.{ "is-" (state) } { span.sign aria-hidden="true" { (sign) } (plain(state)) }
    }
}

/// `in-doubt` as `in doubt`.
pub(super) fn plain(word: &str) -> String {
    word.replace('-', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_by_the_clock() {
        assert_eq!(clock("2026-11-23T02:58:01.123Z"), "02:58:01 UTC");
        assert_eq!(clock("nonsense"), "nonsense UTC");
        assert_eq!(moment(Timestamp(0)), "00:00:00 UTC");
    }
}
