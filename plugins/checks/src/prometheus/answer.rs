//! What Prometheus answers (<https://prometheus.io/docs/prometheus/latest/querying/api/>).

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Series that are read: a gate over more should be summed.
pub(super) const SERIES_MAX: usize = 1_000;
/// Characters of a warning or an error that a reason quotes.
const QUOTE_CHARS_MAX: usize = 300;

/// One series at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Series {
    /// `{instance="a:1"}`, or nothing.
    pub(super) labels: String,
    /// A finite number.
    pub(super) value: f64,
}

impl Series {
    /// What a reason calls it.
    pub(super) fn name(&self) -> &str {
        if self.labels.is_empty() { "the value" } else { &self.labels }
    }
}

/// Why an answer gives no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// The query is wrong; asking again will not help.
    Wrong(String),
    /// There is no value, now.
    NoData(String),
}

#[derive(Deserialize)]
struct Wire {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Row>),
    Matrix(Vec<Row>),
    Scalar((Value, String)),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<(Value, String)>,
    #[serde(default)]
    values: Vec<(Value, String)>,
}

/// The series of an instant query; at least one, all finite.
pub(super) fn instant(body: &str) -> Result<Vec<Series>, Nothing> {
    let rows = match data(body)? {
        Data::Scalar((_, text)) => vec![(String::new(), text)],
        Data::Vector(rows) => rows.into_iter().map(numbered).collect::<Result<_, _>>()?,
        Data::Matrix(_) | Data::String(_) => {
            let why = "the query gives no number: a range or a text".to_owned();
            return Err(Nothing::Wrong(why));
        }
    };
    if rows.is_empty() {
        return Err(Nothing::NoData("no data: the query gives no series".to_owned()));
    }
    if rows.len() > SERIES_MAX {
        let why = format!("the query gives {} series, more than {SERIES_MAX}", rows.len());
        return Err(Nothing::Wrong(why));
    }
    rows.into_iter().map(finite).collect()
}

/// The finite points of the one series of a range query.
pub(super) fn range(body: &str) -> Result<Vec<f64>, Nothing> {
    let Data::Matrix(mut rows) = data(body)? else {
        return Err(Nothing::Wrong("the query gives no range".to_owned()));
    };
    match (rows.pop(), rows.len()) {
        (None, _) => Ok(Vec::new()),
        (Some(row), 0) => {
            let points = row.values.iter().filter_map(|(_, text)| text.parse::<f64>().ok());
            Ok(points.filter(|value| value.is_finite()).collect())
        }
        (Some(_), more) => {
            let why = format!("{} series stood there: sum them, or ask for one", more + 1);
            Err(Nothing::Wrong(why))
        }
    }
}

fn data(body: &str) -> Result<Data, Nothing> {
    let unread = |error| Nothing::NoData(format!("this is no answer of Prometheus: {error}"));
    let wire: Wire = serde_json::from_str(body).map_err(unread)?;
    if wire.status != "success" {
        return Err(Nothing::Wrong(quote(&wire.error)));
    }
    // Part of the data is missing, so the value is not the value.
    if let Some(warning) = wire.warnings.first() {
        return Err(Nothing::NoData(format!("it answered with a warning: {}", quote(warning))));
    }
    wire.data.ok_or_else(|| Nothing::NoData("the answer has no data".to_owned()))
}

fn numbered(row: Row) -> Result<(String, String), Nothing> {
    let labels = labels(&row.metric);
    match row.value {
        Some((_, text)) => Ok((labels, text)),
        None => Err(Nothing::Wrong(format!("{labels} is a histogram, not a number"))),
    }
}

fn finite((labels, text): (String, String)) -> Result<Series, Nothing> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Series { labels, value }),
        _ => Err(Nothing::NoData(format!("no data: {labels} the value is {}", quote(&text)))),
    }
}

fn labels(metric: &BTreeMap<String, String>) -> String {
    if metric.is_empty() {
        return String::new();
    }
    let pair = |(name, value): (&String, &String)| format!("{name}={value:?}");
    format!("{{{}}}", metric.iter().map(pair).collect::<Vec<_>>().join(","))
}

pub(super) fn quote(text: &str) -> String {
    text.chars().take(QUOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(values: &[&str]) -> String {
        let rows: Vec<_> = values
            .iter()
            .map(|text| serde_json::json!({"metric": {"i": text}, "value": [1.5, text]}))
            .collect();
        serde_json::json!({"status": "success",
            "data": {"resultType": "vector", "result": rows}})
        .to_string()
    }

    #[test]
    fn numbers_are_read_and_nothing_else_is_a_value() {
        let series = instant(&vector(&["1.5", "2"])).unwrap();
        assert_eq!(series[0], Series { labels: "{i=\"1.5\"}".to_owned(), value: 1.5 });
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
        let seven = Series { labels: String::new(), value: 7.0 };
        assert_eq!(instant(scalar).unwrap(), [seven]);
        for body in [
            &vector(&[]),
            &vector(&["1", "NaN"]),
            &vector(&["+Inf"]),
            "<html>",
            r#"{"status":"success"}"#,
            r#"{"status":"success","warnings":["half"],"data":{"resultType":"scalar","result":[1,"7"]}}"#,
        ] {
            assert!(matches!(instant(body), Err(Nothing::NoData(_))), "{body}");
        }
        for body in [
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#,
        ] {
            assert!(matches!(instant(body), Err(Nothing::Wrong(_))), "{body}");
        }
    }

    #[test]
    fn a_range_is_one_series_without_its_gaps() {
        let body = |rows: Value| {
            serde_json::json!({"status": "success",
                "data": {"resultType": "matrix", "result": rows}})
            .to_string()
        };
        let row = serde_json::json!({"metric": {}, "values": [[1, "1"], [2, "NaN"], [3, "3"]]});
        assert_eq!(range(&body(serde_json::json!([row]))).unwrap(), [1.0, 3.0]);
        assert_eq!(range(&body(serde_json::json!([]))).unwrap(), Vec::<f64>::new());
        assert!(range(&body(serde_json::json!([row, row]))).is_err());
        assert!(range(&vector(&["1"])).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(text in ".{0,200}", value in ".{0,10}") {
            prop_assert!(instant(&text).is_err());
            prop_assert!(range(&text).is_err());
            if let Ok(series) = instant(&vector(&[&value])) {
                prop_assert!(series[0].value.is_finite());
            }
        }
    }
}
