//! The value at an earlier time, from before the bad release.

use std::time::Duration;

use backout_plugin_api::look::{refused, unreachable};
use backout_plugin_api::words::problem;
use backout_plugin_api::{Checked, PrepareFailure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::{check_duration, check_time, duration, millis, rfc3339, time_ms};

/// A week, milliseconds.
const WEEK_MS: i64 = 7 * 24 * 3_600 * 1_000;
/// Points of a window: enough for a mean, and few for the server.
const POINTS: i64 = 60;
/// The shortest time between two points, milliseconds: nobody scrapes more often.
const STEP_MIN_MS: i64 = 1_000;
/// The share of a window's points that must be there.
const COVER_MIN: f64 = 0.5;

fn window_default() -> String {
    "1h".to_owned()
}

/// What is taken of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum Take {
    /// The mean of its points.
    #[default]
    Mean,
    /// The middle one.
    Median,
    /// The highest.
    Max,
    /// The lowest.
    Min,
}

/// An earlier time, and how like it the value must be.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct Baseline {
    /// The end of the window: a time before the bad release, `"2026-11-20T14:00:00Z"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// The same time of the day a week earlier, the window around it; in place of `at`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    week_earlier: bool,
    /// How long the window is.
    #[serde(default = "window_default")]
    window: String,
    /// What is taken of the window: `mean`, `median`, `max` or `min`.
    #[serde(default)]
    take: Take,
    /// When the bad release went out: a window that reaches past it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The value must be at most so many times the earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most_times: Option<f64>,
    /// The value must be at least so many times the earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least_times: Option<f64>,
    /// What is allowed beyond that, in the value's own unit: an earlier value of 0 allows nothing.
    #[serde(default)]
    slack: f64,
}

/// A stretch of time, and how finely it is read; milliseconds, and since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit stands last in a name")]
pub(super) struct Span {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) step_ms: i64,
}

/// The earlier value and the limits that follow from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Earlier {
    value: f64,
    from: String,
    to: String,
    take: Take,
    points: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
}

impl Baseline {
    pub(super) fn check(&self, checked: &mut Checked) {
        check_time(checked, "/baseline/at", self.at.as_ref());
        check_time(checked, "/baseline/before", self.before.as_ref());
        check_duration(checked, "/baseline/window", Some(&self.window));
        if self.at.is_some() == self.week_earlier {
            let help = "give a time from before the bad release, or `week_earlier: true`";
            problem(checked, "/baseline/at", "one of `at` and `week_earlier` is wanted", help);
        }
        if self.at_most_times.is_none() && self.at_least_times.is_none() {
            let help = "give `at_most_times` or `at_least_times`";
            problem(checked, "/baseline", "the value is held against nothing", help);
        }
        let times = [self.at_most_times, self.at_least_times, Some(self.slack)];
        if times.into_iter().flatten().any(|number| !number.is_finite() || number < 0.0) {
            let message = "the numbers of a baseline are not negative";
            problem(checked, "/baseline", message, "write 1.2 for a fifth more");
        }
    }

    /// When it was.
    pub(super) fn span(&self, now_ms: i64, incident_ms: Option<i64>) -> Result<Span, String> {
        let window = duration(&self.window)?;
        let to_ms = self.end(now_ms, window)?;
        let before = self.before.as_deref().map(time_ms).transpose()?;
        for (limit, what) in [
            (before, "the bad release"),
            (incident_ms, "the incident"),
            (Some(now_ms), "the present"),
        ] {
            if limit.is_some_and(|limit| to_ms > limit) {
                let (to, limit) = (rfc3339(to_ms), rfc3339(limit.unwrap_or_default()));
                return Err(format!(
                    "the baseline reaches until {to} and so into {what} ({limit}); name a time \
                     before it"
                ));
            }
        }
        let window_ms = i64::try_from(millis(window)).unwrap_or(i64::MAX);
        let step_ms = (window_ms / POINTS).max(STEP_MIN_MS);
        Ok(Span { from_ms: to_ms.saturating_sub(window_ms), to_ms, step_ms })
    }

    fn end(&self, now_ms: i64, window: Duration) -> Result<i64, String> {
        if let Some(at) = &self.at {
            return time_ms(at);
        }
        let half_ms = i64::try_from(millis(window / 2)).unwrap_or(i64::MAX);
        Ok(now_ms.saturating_sub(WEEK_MS).saturating_add(half_ms))
    }

    /// The earlier value, of the points that were there.
    pub(super) fn of(&self, span: &Span, points: &[f64]) -> Result<Earlier, PrepareFailure> {
        let (from, to) = (rfc3339(span.from_ms), rfc3339(span.to_ms));
        let wanted = (span.to_ms - span.from_ms) / span.step_ms + 1;
        let cover = count(points.len()) / count(usize::try_from(wanted).unwrap_or(usize::MAX));
        if points.is_empty() || cover < COVER_MIN {
            let found = points.len();
            return Err(unreachable(format!(
                "no baseline: from {from} to {to} there are {found} of {wanted} points"
            )));
        }
        let value = self.take.of(points);
        if value < 0.0 {
            return Err(refused(format!(
                "the earlier value is {value}: what is below 0 has no multiple to compare with"
            )));
        }
        Ok(Earlier {
            value,
            from,
            to,
            take: self.take,
            points: points.len(),
            at_most: self.at_most_times.map(|times| value * times + self.slack),
            at_least: self.at_least_times.map(|times| value * times - self.slack),
        })
    }

    pub(super) fn wanted(&self) -> String {
        let most = self.at_most_times.map(|times| format!("at most {times} times"));
        let least = self.at_least_times.map(|times| format!("at least {times} times"));
        let times: Vec<_> = most.into_iter().chain(least).collect();
        format!("{} the earlier value (slack {})", times.join(", "), self.slack)
    }

    /// `url` and `query` are words of a shell already.
    pub(super) fn by_hand(&self, url: &str, query: &str) -> String {
        let end = match &self.at {
            Some(at) => format!("--end='{at}'"),
            None => "--end=\"$(date -u -d '7 days ago' +%FT%TZ)\"".to_owned(),
        };
        format!("promtool query range {end} {url} {query}   # the {} before", self.window)
    }
}

impl Take {
    /// Of at least one point.
    fn of(self, points: &[f64]) -> f64 {
        let mut sorted = points.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        match self {
            Self::Mean => points.iter().sum::<f64>() / count(points.len()),
            Self::Median => f64::midpoint(at((sorted.len() - 1) / 2), at(sorted.len() / 2)),
            Self::Max => at(sorted.len() - 1),
            Self::Min => at(0),
        }
    }
}

impl Earlier {
    /// Why a value is not like it.
    pub(super) fn wrong(&self, name: &str, value: f64) -> Option<String> {
        let (than, limit) = if let Some(most) = self.at_most.filter(|most| value > *most) {
            ("above", most)
        } else {
            ("below", self.at_least.filter(|least| value < *least)?)
        };
        let Self { value: earlier, from, to, .. } = self;
        Some(format!("{name} is {value}, {than} {limit}; it was {earlier} from {from} to {to}"))
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-22T10:00:00Z";

    fn baseline(fields: Value) -> Baseline {
        serde_json::from_value(fields).unwrap()
    }

    fn span(fields: Value) -> Result<(String, String), String> {
        let span = baseline(fields).span(time_ms(NOW).unwrap(), None)?;
        Ok((rfc3339(span.from_ms), rfc3339(span.to_ms)))
    }

    #[test]
    fn the_window_ends_at_its_time_or_lies_around_the_hour_a_week_earlier() {
        let ends = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        assert_eq!(
            span(json!({"at": "2026-11-20T14:00:00Z", "window": "30m"})),
            ends("2026-11-20T13:30:00Z", "2026-11-20T14:00:00Z")
        );
        assert_eq!(
            span(json!({"week_earlier": true})),
            ends("2026-11-15T09:30:00Z", "2026-11-15T10:30:00Z")
        );
    }

    #[test]
    fn a_window_that_reaches_into_the_trouble_is_refused() {
        for fields in [
            json!({"at": "2026-11-22T11:00:00Z"}),
            json!({"at": "2026-11-20T14:00:00Z", "before": "2026-11-20T13:59:59Z"}),
            json!({"week_earlier": true, "before": "2026-11-15T10:00:00Z"}),
            json!({"week_earlier": true, "window": "20d"}),
        ] {
            assert!(span(fields.clone()).is_err(), "{fields}");
        }
        let incident = time_ms("2026-11-20T12:00:00Z").unwrap();
        let at = baseline(json!({"at": "2026-11-20T14:00:00Z"}));
        let refused = at.span(time_ms(NOW).unwrap(), Some(incident)).unwrap_err();
        assert!(refused.contains("into the incident"), "{refused}");
    }

    #[test]
    fn a_value_is_held_against_the_earlier_one() {
        let baseline = baseline(json!({"at": NOW, "window": "4s", "take": "median",
            "at_most_times": 2.0, "at_least_times": 0.5, "slack": 1.0}));
        let span = baseline.span(time_ms(NOW).unwrap(), None).unwrap();
        let earlier = baseline.of(&span, &[10.0, 90.0, 10.0]).unwrap();
        assert_eq!(earlier.wrong("it", 21.0), None);
        assert_eq!(earlier.wrong("it", 4.0), None);
        assert!(earlier.wrong("it", 21.1).unwrap().contains("above 21"));
        assert!(earlier.wrong("it", 3.9).unwrap().contains("below 4"));
        assert!(baseline.of(&span, &[10.0, 10.0]).is_err(), "two of five points");
        assert!(baseline.of(&span, &[-10.0; 5]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_lies_among_the_points(points in proptest::collection::vec(-1e9..1e9, 1..50)) {
            let (low, high) = (Take::Min.of(&points), Take::Max.of(&points));
            for take in [Take::Mean, Take::Median] {
                let value = take.of(&points);
                prop_assert!(low - 1e-3 <= value && value <= high + 1e-3);
            }
        }
    }
}
