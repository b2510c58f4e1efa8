//! How fast an error budget burns: 1 is the rate that uses it up exactly in its period, 14.4 uses up
//! two percent of a month's budget in an hour
//! (<https://sre.google/workbook/alerting-on-slos/>).

use backout_plugin_api::Checked;
use backout_plugin_api::words::{has_expression, problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::check_duration;

/// The rate at which the budget is not used up before its time.
pub(super) const AT_MOST_DEFAULT: f64 = 1.0;
/// What stands for the window in the two rates.
const WINDOW: &str = "$window";

fn window_default() -> String {
    "5m".to_owned()
}

/// An error budget.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct Burn {
    /// The rate of good events without labels: `sum(rate(http_requests_total{code!~"5.."}[$window]))`.
    /// Good ones are asked for, not bad ones: a misspelt name then is no data, not no errors.
    good: String,
    /// The rate of all events: `sum(rate(http_requests_total[$window]))`.
    total: String,
    /// The share of good events that was promised: 0.999.
    objective: f64,
    /// What `$window` stands for. After a rollback a short one shows soonest that it helped.
    #[serde(default = "window_default")]
    window: String,
}

impl Burn {
    /// The rate as `PromQL`.
    pub(super) fn query(&self) -> String {
        let Self { good, total, objective, window } = self;
        let text = format!("(1 - ({good}) / ({total})) / (1 - {objective})");
        text.replace(WINDOW, window)
    }

    pub(super) fn check(&self, checked: &mut Checked) {
        check_duration(checked, "/burn/window", Some(&self.window));
        // Also Prometheus must read it: one number and one unit.
        let digits = self.window.trim_start_matches(|c: char| c.is_ascii_digit());
        if !has_expression(&self.window) && !matches!(digits, "s" | "m" | "h" | "d") {
            let help = "write one number and one of s, m, h, d";
            problem(checked, "/burn/window", "Prometheus cannot read this", help);
        }
        if !(self.objective > 0.0 && self.objective < 1.0) {
            let help = "write the share that was promised: 0.999";
            problem(checked, "/burn/objective", "this leaves no budget to burn", help);
        }
        for (at, rate) in [("/burn/good", &self.good), ("/burn/total", &self.total)] {
            if !has_expression(rate) && !rate.contains(WINDOW) {
                let help = "write `[$window]` for its time";
                problem(checked, at, "this is no rate over the window", help);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_written_whole() {
        let burn = Burn {
            good: "sum(rate(g[$window]))".to_owned(),
            total: "sum(rate(t[$window]))".to_owned(),
            objective: 0.999,
            window: "5m".to_owned(),
        };
        let wanted = "(1 - (sum(rate(g[5m]))) / (sum(rate(t[5m])))) / (1 - 0.999)";
        assert_eq!(burn.query(), wanted);
        let mut checked = Checked::default();
        burn.check(&mut checked);
        assert_eq!(checked.problems, []);
        let wrong =
            Burn { good: "g".to_owned(), objective: 1.0, window: "1h 5m".to_owned(), ..burn };
        wrong.check(&mut checked);
        let at: Vec<_> = checked.problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(at, ["/burn/window", "/burn/objective", "/burn/good"]);
    }
}
