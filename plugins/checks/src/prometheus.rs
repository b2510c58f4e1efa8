//! `checks.prometheus`: a value of Prometheus, held against a bound or against an earlier time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use backout_plugin_api::look::{Check, Sample, Told, refused};
use backout_plugin_api::web::{self, Access};
use backout_plugin_api::words::{problem, quoted};
use backout_plugin_api::{ByHand, Checked, Context, PrepareFailure, SecretRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::bound::Bound;
use crate::words::{check_time, rfc3339, time_ms};

mod answer;
mod baseline;
mod burn;
mod server;

use answer::Series;
use baseline::{Baseline, Earlier};
use burn::Burn;
use server::Server;

/// Bytes of a query: it travels in a URL, and proxies cut those at 8 KiB.
const QUERY_BYTES_MAX: usize = 4 * 1024;
/// Series that the record keeps; the first that do not hold stand in the reason.
const KEPT_SERIES_MAX: usize = 10;

/// What `checks.prometheus` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusInput {
    /// Where Prometheus, or what speaks like it, is: `"http://prometheus:9090"`. A path before
    /// `/api/v1` is part of it.
    url: String,
    /// The value, in `PromQL`. Every series that it gives must hold; none is no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// How fast the error budget burns; in place of `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burn: Option<Burn>,
    /// The value must be this or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    /// The value must be this or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// The value must be like that of an earlier time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    baseline: Option<Baseline>,
    /// Whether the value is only recorded, whatever it is: the first step of a runbook, so that the
    /// level of the incident stands in the record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    record: bool,
    /// When the run began, `"${steps.level.output.at}"` of a step that records: the value then is
    /// kept beside each sample as the level of the incident. It is never a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incident: Option<String>,
    /// Headers, by name: a tenant's, for instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Headers whose values are secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secret_headers: BTreeMap<String, SecretRef>,
    /// A secret token, sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer: Option<SecretRef>,
}

/// The check `checks.prometheus`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrometheusCheck;

#[async_trait]
impl Check for PrometheusCheck {
    type Input = PrometheusInput;

    fn told(&self) -> Told {
        Told {
            name: "checks.prometheus",
            summary: "Holds a value of Prometheus against a bound or an earlier time.",
            docs: include_str!("docs/prometheus.md"),
            example: concat!(
                r#"(url: "http://prometheus:9090", query: "histogram_quantile(0.99, "#,
                r#"sum by (le) (rate(checkout_seconds_bucket[5m])))", "#,
                r#"baseline: (week_earlier: true, at_most_times: 1.2))"#
            ),
        }
    }

    fn title(&self, input: &PrometheusInput) -> String {
        let line = input.query().split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = line.chars().take(80).collect();
        let dots = if short.len() < line.len() { "…" } else { "" };
        format!("{short}{dots} at {}", web::shown(&input.url))
    }

    fn check(&self, input: &PrometheusInput, checked: &mut Checked) {
        input.access().check(checked, "/url", &input.url);
        input.check_query(checked);
        input.check_bounds(checked);
        check_time(checked, "/incident", input.incident.as_ref());
        if let Some(baseline) = &input.baseline {
            baseline.check(checked);
        }
    }

    fn by_hand(&self, input: &PrometheusInput) -> ByHand {
        let (url, query) = (quoted(&input.url), quoted(&input.query()));
        let mut commands = vec![format!("promtool query instant {url} {query}")];
        if let Some(baseline) = &input.baseline {
            commands.push(baseline.by_hand(&url, &query));
        }
        ByHand {
            does: "looks at a value of Prometheus".to_owned(),
            commands,
            verify: vec![format!("# {}", input.wanted())],
        }
    }

    async fn look(&self, ctx: &Context, input: &PrometheusInput) -> Result<Sample, PrepareFailure> {
        let server = Server::new(&input.url, input.access());
        let query = input.query();
        let series = server.instant(ctx, &query, None).await?;
        let earlier = match &input.baseline {
            Some(baseline) => Some(input.earlier(ctx, &server, &query, baseline, &series).await?),
            None => None,
        };
        let mut seen = kept(&series);
        seen.insert("at".to_owned(), json!(rfc3339(ctx.now_ms)));
        if let Some(earlier) = &earlier {
            seen.insert("baseline".to_owned(), json!(earlier));
        }
        if let Some(incident) = &input.incident {
            let level = level(ctx, &server, &query, incident).await;
            seen.insert("incident".to_owned(), level);
        }
        let wrong = input.wrong(&series, earlier.as_ref());
        Ok(Sample { wrong, seen: Value::Object(seen) })
    }
}

impl PrometheusInput {
    fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            secret_headers: self.secret_headers.clone(),
            bearer: self.bearer.clone(),
        }
    }

    fn query(&self) -> String {
        match (&self.query, &self.burn) {
            (Some(query), _) => query.clone(),
            (None, Some(burn)) => burn.query(),
            (None, None) => String::new(),
        }
    }

    /// The bounds; a budget that burns has one of its own.
    fn bound(&self) -> Bound<'_> {
        let burn = self.burn.as_ref().filter(|_| self.is_free()).map(|_| burn::AT_MOST_DEFAULT);
        Bound { at_most: self.at_most.or(burn), at_least: self.at_least, equals: None }
    }

    /// Whether it is held against nothing.
    fn is_free(&self) -> bool {
        self.at_most.is_none() && self.at_least.is_none() && self.baseline.is_none()
    }

    fn check_query(&self, checked: &mut Checked) {
        match (&self.query, &self.burn) {
            (Some(_), Some(_)) => {
                problem(checked, "/burn", "`query` and `burn` are two values", "keep one of them");
            }
            (None, None) => {
                problem(checked, "/query", "there is no value", "give `query` or `burn`");
            }
            (Some(query), None) if query.trim().is_empty() => {
                problem(checked, "/query", "there is no query", "write PromQL");
            }
            (Some(_), None) => {}
            (None, Some(burn)) => burn.check(checked),
        }
        if self.query().len() > QUERY_BYTES_MAX {
            let message = format!("longer than QUERY_BYTES_MAX ({QUERY_BYTES_MAX} bytes)");
            problem(checked, "/query", message, "make a recording rule of it");
        }
    }

    fn check_bounds(&self, checked: &mut Checked) {
        self.bound().check(checked);
        if self.record && !self.is_free() {
            let help = "leave out `record`, or the bounds";
            problem(checked, "/record", "what only records is held against nothing", help);
        }
        if !self.record && self.is_free() && self.burn.is_none() {
            let help = "give `at_most`, `at_least` or `baseline`; or `record: true`";
            problem(checked, "/query", "the value is held against nothing", help);
        }
    }

    fn wanted(&self) -> String {
        if self.record {
            return "any value".to_owned();
        }
        let bound = self.bound();
        let most = bound.at_most.map(|most| format!("at most {most}"));
        let least = bound.at_least.map(|least| format!("at least {least}"));
        let earlier = self.baseline.as_ref().map(Baseline::wanted);
        let all: Vec<_> = most.into_iter().chain(least).chain(earlier).collect();
        all.join(", ")
    }

    async fn earlier(
        &self,
        ctx: &Context,
        server: &Server,
        query: &str,
        baseline: &Baseline,
        now: &[Series],
    ) -> Result<Earlier, PrepareFailure> {
        if now.len() > 1 {
            let help = "sum it, or ask for one";
            return Err(refused(format!("{} series have no one baseline: {help}", now.len())));
        }
        let incident = self.incident.as_deref().map(time_ms).transpose().map_err(refused)?;
        let span = baseline.span(ctx.now_ms, incident).map_err(refused)?;
        let points = server.range(ctx, query, &span).await?;
        baseline.of(&span, &points)
    }

    fn wrong(&self, series: &[Series], earlier: Option<&Earlier>) -> Vec<String> {
        if self.record {
            return Vec::new();
        }
        let bound = self.bound();
        let mut wrong = Vec::new();
        for one in series {
            let name = one.name();
            wrong.extend(bound.wrong_number(name, one.value));
            wrong.extend(earlier.and_then(|earlier| earlier.wrong(name, one.value)));
        }
        let more = wrong.len().saturating_sub(KEPT_SERIES_MAX);
        wrong.truncate(KEPT_SERIES_MAX);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        wrong
    }
}

fn kept(series: &[Series]) -> Map<String, Value> {
    let mut seen = Map::new();
    if let [one] = series {
        seen.insert("value".to_owned(), json!(one.value));
    }
    if series.iter().any(|one| !one.labels.is_empty()) {
        let first: Vec<_> = series.iter().take(KEPT_SERIES_MAX).collect();
        seen.insert("series".to_owned(), json!(first));
    }
    if series.len() > KEPT_SERIES_MAX {
        seen.insert("of".to_owned(), json!(series.len()));
    }
    seen
}

/// The level of the incident. That it cannot be had changes nothing: it is for people.
async fn level(ctx: &Context, server: &Server, query: &str, incident: &str) -> Value {
    let read = match time_ms(incident) {
        Ok(at_ms) => server.instant(ctx, query, Some(at_ms)).await,
        Err(why) => Err(refused(why)),
    };
    let mut level = match read {
        Ok(series) => kept(&series),
        Err(failure) => Map::from_iter([("unknown".to_owned(), json!(failure.reason()))]),
    };
    level.insert("at".to_owned(), json!(incident));
    Value::Object(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(input: Value) -> Vec<String> {
        let mut input = input;
        input["url"] = json!("http://prometheus:9090");
        let input: PrometheusInput = serde_json::from_value(input).unwrap();
        let mut checked = Checked::default();
        PrometheusCheck.check(&input, &mut checked);
        checked.problems.into_iter().map(|problem| problem.at).collect()
    }

    #[test]
    fn what_is_asked_is_one_value_held_against_something() {
        let burn = json!({"good": "sum(rate(g[$window]))", "total": "sum(rate(t[$window]))",
            "objective": 0.999});
        let none = Vec::<String>::new();
        assert_eq!(problems(json!({"query": "up", "at_least": 1})), none);
        assert_eq!(problems(json!({"query": "up", "record": true})), none);
        assert_eq!(problems(json!({"burn": burn})), none);
        assert_eq!(problems(json!({"query": "up"})), ["/query"]);
        assert_eq!(problems(json!({"at_least": 1})), ["/query"]);
        assert_eq!(problems(json!({"query": "up", "burn": burn, "at_most": 1})), ["/burn"]);
        assert_eq!(problems(json!({"query": "up", "record": true, "at_most": 1})), ["/record"]);
        assert_eq!(problems(json!({"query": "up", "at_most": 1, "at_least": 2})), ["/at_most"]);
    }
}
