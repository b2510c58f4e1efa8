//! Durations and times.

use std::time::Duration;

use backout_plugin_api::words::{has_expression, problem};
use backout_plugin_api::{Checked, limits};
use chrono::{DateTime, SecondsFormat, Utc};

/// `"90s"`, `"15m"`, `"1h"`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration: {error}"))?;
    if parsed.is_zero() {
        return Err(format!("`{text}` is no time at all"));
    }
    if u64::try_from(parsed.as_millis()).unwrap_or(u64::MAX) > limits::DURATION_MS_MAX {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(parsed)
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub(crate) fn time_ms(text: &str) -> Result<i64, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_millis())
        .map_err(|error| format!("`{text}` is no time: {error}"))
}

/// A time for people.
pub(crate) fn rfc3339(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Milliseconds for evidence.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn check_duration(checked: &mut Checked, at: &str, text: Option<&String>) {
    let Some(text) = text.filter(|text| !has_expression(text)) else { return };
    if let Err(message) = duration(text) {
        problem(checked, at, message, "write \"500ms\", \"90s\" or \"1h\"");
    }
}

pub(crate) fn check_time(checked: &mut Checked, at: &str, text: Option<&String>) {
    let Some(text) = text.filter(|text| !has_expression(text)) else { return };
    if let Err(message) = time_ms(text) {
        problem(checked, at, message, "write it as 2026-11-20T14:00:00Z");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read_or_refused() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for text in ["", "0s", "soon", "800d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        let ms = time_ms("2026-11-20T14:00:00Z").unwrap();
        assert_eq!(rfc3339(ms), "2026-11-20T14:00:00Z");
        assert!(time_ms("yesterday").is_err());
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}
