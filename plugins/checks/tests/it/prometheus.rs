//! `checks.prometheus` against Prometheus, which scrapes an exporter of the test and was given a past.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use backout_plugin_checks::{Gate, PrometheusCheck};
use backout_test_targets::prometheus::Prometheus;
use backout_test_targets::web::{Silent, Web, closed};
use serde_json::{Value, json};

use super::{Says, Secrets, look, look_with};

pub(crate) const CHECK: Gate<PrometheusCheck> = Gate(PrometheusCheck);
/// A week, seconds.
const WEEK: u64 = 7 * 24 * 3_600;
/// How long a scrape and the answers after it may take.
const SCRAPED_WITHIN: Duration = Duration::from_mins(1);

pub(crate) struct Shop {
    pub(crate) server: Prometheus,
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Two hours around the same time a week ago, a value each 15 s: latency 0.2, then for the last
/// half hour 0.8.
fn history() -> String {
    let mut text = "# HELP old_latency seconds\n# TYPE old_latency gauge\n".to_owned();
    let middle = now() - WEEK;
    for at in (middle - 3_600..=middle + 3_600).step_by(15) {
        let value = if at > middle + 1_800 { "0.8" } else { "0.2" };
        writeln!(text, "old_latency {value} {at}").unwrap();
    }
    text.push_str("# EOF\n");
    text
}

/// One server for all; its exporter says what is set.
pub(crate) fn shop() -> Option<&'static Shop> {
    static SHOP: OnceLock<Option<Shop>> = OnceLock::new();
    let start = || {
        Prometheus::is_here().then(|| {
            let exporter = Web::start().unwrap();
            exporter.header("Content-Type: text/plain; version=0.0.4");
            exporter.say(
                200,
                "latency{instance=\"a\"} 0.3\nlatency{instance=\"b\"} 0.5\nstuck 0\n\
                 not_a_number NaN\ngood_total 995\nall_total 1000\nlevel 7\n",
            );
            let server = Prometheus::start(&exporter.address(), Some(&history())).unwrap();
            Shop { server }
        })
    };
    SHOP.get_or_init(start).as_ref()
}

async fn ask(shop: &Shop, fields: Value) -> Says {
    let mut input = fields;
    input["url"] = json!(shop.server.url());
    look(&CHECK, &input).await
}

/// Asks until the first scrape is there.
async fn scraped(shop: &Shop) {
    let end = std::time::Instant::now() + SCRAPED_WITHIN;
    while !matches!(ask(shop, json!({"query": "level", "record": true})).await, Says::Holds(_)) {
        assert!(std::time::Instant::now() < end, "no scrape within {SCRAPED_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rfc3339(seconds: u64) -> String {
    let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[tokio::test]
async fn every_series_must_hold() {
    let Some(shop) = shop() else { return };
    scraped(shop).await;
    let seen = ask(shop, json!({"query": "latency", "at_most": 0.5})).await.holds();
    assert_eq!(seen["series"].as_array().unwrap().len(), 2);
    let said = ask(shop, json!({"query": "latency", "at_most": 0.4})).await;
    said.wrong("instance=\"b\"");
    said.wrong("is 0.5, which is above 0.4");
    let seen = ask(shop, json!({"query": "max(latency)", "at_least": 0.5})).await.holds();
    assert_eq!(seen["value"], json!(0.5));
    ask(shop, json!({"query": "scalar(stuck)", "at_most": 0})).await.holds();
}

#[tokio::test]
async fn no_data_nan_and_silence_are_unknown() {
    let Some(shop) = shop() else { return };
    scraped(shop).await;
    ask(shop, json!({"query": "no_such_metric", "at_most": 1})).await.unknown("no data");
    ask(shop, json!({"query": "not_a_number", "at_most": 1})).await.unknown("the value is NaN");
    ask(shop, json!({"query": "1 / stuck", "at_least": 1})).await.unknown("the value is +Inf");
    ask(shop, json!({"query": "no_such_metric", "record": true})).await.unknown("no data");
    ask(shop, json!({"query": "sum(", "at_most": 1})).await.unknown("parse error");
    ask(shop, json!({"query": "latency[5m]", "at_most": 1})).await.unknown("");
    let wait = Duration::from_secs(2);
    let silent = Silent::start().unwrap();
    for (address, why) in
        [(closed().unwrap(), "no connection"), (silent.address(), "no whole answer")]
    {
        let input = json!({"url": format!("http://{address}"), "query": "up", "at_most": 1});
        look_with(&CHECK, &input, Arc::new(Secrets::default()), wait).await.unknown(why);
    }
    let web = Web::start().unwrap();
    web.say(200, "<html>a portal that wants a login</html>");
    let input = json!({"url": web.url(""), "query": "up", "at_most": 1});
    look(&CHECK, &input).await.unknown("no answer of Prometheus");
    web.say(401, "who are you");
    look(&CHECK, &input).await.unknown("answered 401");
}

#[tokio::test]
async fn a_value_is_held_against_the_same_hour_a_week_earlier() {
    let Some(shop) = shop() else { return };
    scraped(shop).await;
    // The past is known by one name, the present by another.
    let query = "old_latency or max(latency)";
    let week = |times: f64| json!({"week_earlier": true, "window": "30m", "at_most_times": times});
    let seen = ask(shop, json!({"query": query, "baseline": week(2.6)})).await.holds();
    assert_eq!(seen["value"], json!(0.5));
    let earlier = seen["baseline"]["value"].as_f64().unwrap();
    assert!((earlier - 0.2).abs() < 1e-9, "{seen}");
    let said = ask(shop, json!({"query": query, "baseline": week(2.0)})).await;
    said.wrong("the value is 0.5, above 0.");
    let before = rfc3339(now() - WEEK);
    let mut reaches = week(9.0);
    reaches["before"] = json!(before);
    let input = json!({"query": query, "baseline": reaches});
    ask(shop, input).await.unknown("into the bad release");
}

#[tokio::test]
async fn a_value_is_held_against_a_time_and_a_window() {
    let Some(shop) = shop() else { return };
    scraped(shop).await;
    let query = "old_latency or max(latency)";
    let at = rfc3339(now() - WEEK + 3_500);
    let of = |take: &str| json!({"at": at, "window": "20m", "take": take, "at_most_times": 1});
    let seen = ask(shop, json!({"query": query, "baseline": of("median")})).await.holds();
    let earlier = seen["baseline"]["value"].as_f64().unwrap();
    assert!((earlier - 0.8).abs() < 1e-9, "{seen}");
    let empty = json!({"at": rfc3339(now() - 2 * WEEK), "window": "20m", "at_most_times": 1});
    let input = json!({"query": query, "baseline": empty});
    ask(shop, input).await.unknown("there are 0 of 61 points");
    let input = json!({"query": "latency", "baseline": of("max")});
    ask(shop, input).await.unknown("2 series have no one baseline");
}

#[tokio::test]
async fn the_level_of_the_incident_is_recorded_and_is_no_baseline() {
    let Some(shop) = shop() else { return };
    scraped(shop).await;
    let end = std::time::Instant::now() + SCRAPED_WITHIN;
    // The second in which the first scrape came began before it.
    let fields = loop {
        let level = ask(shop, json!({"query": "level", "record": true})).await.holds();
        assert_eq!(level["value"], json!(7.0));
        let fields = json!({"query": "level", "at_most": 9, "incident": level["at"]});
        let seen = ask(shop, fields.clone()).await.holds();
        if seen["incident"]["value"] == json!(7.0) {
            assert_eq!(seen["incident"]["at"], level["at"]);
            break fields;
        }
        assert!(std::time::Instant::now() < end, "{seen}");
    };
    let mut with = fields;
    with["baseline"] = json!({"at": rfc3339(now()), "window": "1s", "at_most_times": 2});
    with["incident"] = json!(rfc3339(now() - 60));
    ask(shop, with).await.unknown("into the incident");
}

#[tokio::test]
async fn a_budget_that_burns_does_not_hold() {
    let Some(shop) = shop() else { return };
    scraped(shop).await;
    // Counters that stand still have a rate of 0, and 0 of 0 is no data.
    let burn = json!({"good": "sum(rate(good_total[$window]))",
        "total": "sum(rate(all_total[$window]))", "objective": 0.999, "window": "1m"});
    ask(shop, json!({"burn": burn})).await.unknown("no data");
    // The same sum over what is known at once.
    let at_once = |objective: f64| {
        json!({"good": "sum(last_over_time(good_total[$window]))",
            "total": "sum(last_over_time(all_total[$window]))", "objective": objective})
    };
    ask(shop, json!({"burn": at_once(0.99)})).await.holds();
    ask(shop, json!({"burn": at_once(0.999)})).await.wrong("which is above 1");
    ask(shop, json!({"burn": at_once(0.999), "at_most": 6})).await.holds();
}
