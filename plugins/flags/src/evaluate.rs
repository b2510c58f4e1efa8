//! What one endpoint answers for one flag and one context.

use std::time::Instant;

use backout_plugin_api::Context;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::input::{Endpoint, EndpointKind};
use crate::wire::{Credentials, Fault, Wire, url};

/// The header that go-feature-flag and the protocol take a key in.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Bytes of a flag's value that evidence quotes: more is a configuration of its own.
const VALUE_BYTES_MAX: usize = 512;

/// An answer. Only [`Said::Variation`] can be the wanted one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    /// A variation, its value, or both.
    Variation { variation: Option<String>, value: Value, reason: String },
    /// No value: whoever asks uses the default in its own code.
    CodeDefault { reason: String },
    /// The endpoint does not know the flag.
    UnknownFlag,
    /// It answered something that tells nothing of the flag.
    Unknown { why: String },
    /// It could not be asked.
    NotAsked { why: String },
}

impl Said {
    /// For people and for evidence.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Variation { variation: Some(variation), reason, .. } => {
                format!("is {variation} ({reason})")
            }
            Self::Variation { value, reason, .. } => format!("is the value {value} ({reason})"),
            Self::CodeDefault { reason } => {
                format!("has no value, so users get the code's own default ({reason})")
            }
            Self::UnknownFlag => "is not known there".to_owned(),
            Self::Unknown { why } => format!("cannot be told: {why}"),
            Self::NotAsked { why } => format!("could not be asked for: {why}"),
        }
    }

    /// As evidence, a long value by its length.
    pub(crate) fn evidence(&self) -> Value {
        match self {
            Self::Variation { variation, value, reason } => {
                let length = value.to_string().len();
                let value = if length > VALUE_BYTES_MAX {
                    json!(format!("{length} bytes"))
                } else {
                    value.clone()
                };
                json!({ "variation": variation, "value": value, "reason": reason })
            }
            other => json!({ "no_variation": other.text() }),
        }
    }
}

/// An endpoint with its keys resolved.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) endpoint: &'a Endpoint,
    credentials: Credentials,
    admin: Credentials,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// A key cannot be had.
    pub(crate) async fn new(ctx: &Context, endpoint: &'a Endpoint) -> Result<Self, String> {
        let json = || Credentials::default().plain(CONTENT_TYPE, "application/json");
        let (mut credentials, mut admin) = (json(), json());
        if let Some(bearer) = &endpoint.bearer {
            credentials.add(ctx, AUTHORIZATION, "Bearer ", bearer).await?;
        }
        if let Some(key) = &endpoint.api_key {
            let header = match endpoint.kind {
                EndpointKind::Ofrep => API_KEY,
                EndpointKind::Unleash => AUTHORIZATION,
            };
            credentials.add(ctx, header, "", key).await?;
        }
        match &endpoint.admin_key {
            Some(key) => admin.add(ctx, API_KEY, "", key).await?,
            None => admin = credentials.clone(),
        }
        Ok(Self { endpoint, credentials, admin })
    }

    /// Asks the relay to read its source again; true where it says that it did.
    ///
    /// # Errors
    /// It did not.
    pub(crate) async fn refresh(&self, wire: &Wire) -> Result<(), String> {
        let url = url(&self.endpoint.url, &["admin", "v1", "retriever", "refresh"])?;
        // A relay that hangs here may still answer what it is asked for next.
        let half = wire.end().saturating_duration_since(Instant::now()) / 2;
        let body = json!({});
        let asked = wire.ask(Method::POST, url, &self.admin, Some(&body));
        let answer = tokio::time::timeout(half, asked).await;
        match answer.map_err(|_| "it did not answer in time".to_owned())? {
            Ok(said) if said.get("refreshed") == Some(&json!(true)) => Ok(()),
            Ok(_) => Err("it says that it did not read its source again".to_owned()),
            Err(fault) => Err(fault.text().to_owned()),
        }
    }

    /// What it answers.
    pub(crate) async fn ask(&self, wire: &Wire, flag: &str, context: &Map<String, Value>) -> Said {
        let asked = match self.endpoint.kind {
            EndpointKind::Ofrep => self.ofrep(wire, flag, context).await,
            EndpointKind::Unleash => self.playground(wire, flag, context).await,
        };
        asked.unwrap_or_else(|why| Said::NotAsked { why })
    }

    async fn ofrep(
        &self,
        wire: &Wire,
        flag: &str,
        context: &Map<String, Value>,
    ) -> Result<Said, String> {
        let url = url(&self.endpoint.url, &["ofrep", "v1", "evaluate", "flags", flag])?;
        let body = json!({ "context": context });
        Ok(match wire.ask(Method::POST, url, &self.credentials, Some(&body)).await {
            Ok(answer) => of_ofrep(&answer),
            // flagd before 0.13 says it in either way; 0.11 was asked.
            Err(Fault::Status(404, text)) if text.contains("` is disabled") => disabled(),
            Err(Fault::Status(_, text)) if text.contains("FLAG_DISABLED") => disabled(),
            Err(Fault::Status(404, text)) if text.contains("FLAG_NOT_FOUND") => Said::UnknownFlag,
            Err(fault @ Fault::Status(..)) => Said::Unknown { why: fault.text().to_owned() },
            Err(fault) => Said::NotAsked { why: fault.text().to_owned() },
        })
    }

    async fn playground(
        &self,
        wire: &Wire,
        flag: &str,
        context: &Map<String, Value>,
    ) -> Result<Said, String> {
        let url = url(&self.endpoint.url, &["api", "admin", "playground"])?;
        let body = json!({
            "environment": self.endpoint.environment,
            "projects": [self.endpoint.project],
            "context": unleash_context(context),
        });
        Ok(match wire.ask(Method::POST, url, &self.credentials, Some(&body)).await {
            Ok(answer) => of_playground(&answer, flag),
            Err(fault @ Fault::Status(..)) => Said::Unknown { why: fault.text().to_owned() },
            Err(fault) => Said::NotAsked { why: fault.text().to_owned() },
        })
    }
}

/// An OFREP answer of status 200.
fn of_ofrep(answer: &Value) -> Said {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let reason = text("reason").unwrap_or("no reason").to_owned();
    let variation = text("variant").filter(|name| !name.is_empty()).map(str::to_owned);
    let value = answer.get("value").filter(|value| !value.is_null());
    // go-feature-flag writes the variant `SdkDefault`, and older relays a made-up value with it.
    if reason == "DISABLED" || variation.as_deref() == Some("SdkDefault") {
        return Said::CodeDefault { reason };
    }
    match (value, text("errorCode")) {
        (_, Some(code)) => Said::Unknown { why: format!("the error {code}") },
        (None, None) => Said::CodeDefault { reason },
        (Some(value), None) => Said::Variation { variation, value: value.clone(), reason },
    }
}

fn disabled() -> Said {
    Said::CodeDefault { reason: "FLAG_DISABLED".to_owned() }
}

/// Unleash's own context, as its OpenFeature providers make it: the targeting key is the user.
fn unleash_context(context: &Map<String, Value>) -> Value {
    let mut wanted = Map::new();
    wanted.insert("appName".to_owned(), json!("backout"));
    for (name, value) in context {
        let name = if name == "targetingKey" { "userId" } else { name };
        wanted.insert(name.to_owned(), value.clone());
    }
    Value::Object(wanted)
}

fn of_playground(answer: &Value, flag: &str) -> Said {
    let features = answer.get("features").and_then(Value::as_array);
    let found = features
        .into_iter()
        .flatten()
        .find(|feature| feature.get("name").and_then(Value::as_str) == Some(flag));
    let Some(feature) = found else { return Said::UnknownFlag };
    let truth = |name: &str| feature.get(name).and_then(Value::as_bool);
    let known = feature.pointer("/strategies/result").and_then(Value::as_bool).is_some();
    match (truth("isEnabled"), truth("isEnabledInCurrentEnvironment")) {
        (Some(true), _) | (Some(false), Some(false)) => {}
        (Some(false), _) if known => {}
        _ => {
            let why = "it cannot evaluate the flag's strategies".to_owned();
            return Said::Unknown { why };
        }
    }
    let enabled = truth("isEnabled").unwrap_or_default();
    Said::Variation {
        variation: Some(if enabled { "on" } else { "off" }.to_owned()),
        value: Value::Bool(enabled),
        reason: "PLAYGROUND".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// Any answer, made of what has a meaning in one.
    fn answer() -> impl Strategy<Value = Value> {
        const NAMES: [&str; 12] = [
            "value",
            "reason",
            "variant",
            "errorCode",
            "features",
            "name",
            "isEnabled",
            "f",
            "isEnabledInCurrentEnvironment",
            "strategies",
            "result",
            "key",
        ];
        let word = select(vec!["f", "off", "DISABLED", "SdkDefault", "STATIC", ""]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            word.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            let map = prop::collection::vec((select(&NAMES[..]), inner), 0..6).prop_map(|fields| {
                let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect())
            });
            prop_oneof![list, map]
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read_and_only_a_value_is_a_variation(answer in answer()) {
            match of_ofrep(&answer) {
                Said::Variation { value, variation, reason } => {
                    prop_assert!(!value.is_null() && reason != "DISABLED");
                    prop_assert!(variation.as_deref() != Some("SdkDefault"));
                }
                other => prop_assert!(!other.text().is_empty()),
            }
            if let Said::Variation { value, .. } = of_playground(&answer, "f") {
                let features = answer["features"].as_array().unwrap();
                let feature = features.iter().find(|feature| feature["name"] == "f").unwrap();
                prop_assert_eq!(&feature["isEnabled"], &value);
            }
        }
    }

    #[test]
    fn no_value_is_never_false() {
        let answers = [
            json!({"key": "f", "reason": "DISABLED", "variant": "SdkDefault", "value": null}),
            json!({"key": "f", "reason": "DISABLED", "value": "thisisadefaultvalue"}),
            json!({"key": "f", "reason": "DISABLED"}),
            json!({"key": "f", "reason": "DEFAULT"}),
            json!({"key": "f", "reason": "STATIC", "variant": "off", "value": null}),
        ];
        for answer in answers {
            assert!(matches!(of_ofrep(&answer), Said::CodeDefault { .. }), "{answer}");
        }
        let said = of_ofrep(&json!({"reason": "STATIC", "variant": "off", "value": false}));
        assert!(matches!(said, Said::Variation { value: Value::Bool(false), .. }));
        for odd in [json!([]), json!("x"), json!({"errorCode": "GENERAL"})] {
            assert!(!matches!(of_ofrep(&odd), Said::Variation { .. }), "{odd}");
        }
    }

    #[test]
    fn a_strategy_that_unleash_cannot_evaluate_is_unknown() {
        let feature = |enabled: bool, there: bool, result: &str| {
            let result = serde_json::from_str(result).unwrap_or(json!("unknown"));
            json!({"features": [{"name": "f", "isEnabled": enabled, "strategies": {"result": result},
                "isEnabledInCurrentEnvironment": there}]})
        };
        let said = |answer: &Value| of_playground(answer, "f");
        assert!(matches!(said(&feature(false, true, "unknown")), Said::Unknown { .. }));
        assert!(matches!(said(&feature(false, false, "unknown")), Said::Variation { .. }));
        assert!(matches!(said(&feature(false, true, "false")), Said::Variation { .. }));
        assert_eq!(of_playground(&feature(true, true, "true"), "g"), Said::UnknownFlag);
    }
}
